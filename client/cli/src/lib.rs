//! `blindsmith`, the command line: arguments, words, and exit codes of what `blindsmith-client` and `blindsmith-lab` do.

pub mod commands;
pub mod exit;
