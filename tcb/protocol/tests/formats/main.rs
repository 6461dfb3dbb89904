//! Frames, messages and upload headers: round trips, known answers, and bytes that are none of them.

mod frames;
mod messages;
mod specifications;
mod uploads;
