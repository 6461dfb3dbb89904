//! The product as its users meet it: real processes, real sockets, real files.

mod accelerator;
mod attacks;
mod attest;
mod crashes;
mod damage;
mod enclave;
mod failpoints;
mod first_hour;
mod flow;
mod garbage;
mod hand_over;
mod http;
mod keys;
mod members;
mod memory;
mod plain;
mod receipts;
mod refusals;
mod rules;
mod secrecy;
mod site;
mod soak;
mod tables;
mod terminal;
mod uploads;
mod watch;
