//! Arguments that more than one command takes, as clap reads them, and what they mean to `blindsmith-client`.

mod data;
mod project;
mod training;
mod trust;

pub use data::{ColumnArguments, DataArguments, FormatArguments, Names, names, say_left_out};
pub use project::{CloudName, TaskName};
pub use training::{Hidden, TrainingArguments};
pub use trust::{KemName, TrustArguments};
