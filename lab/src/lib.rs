//! What measures and shows: `blindsmith demo`, `bench` and `soak`, and refinery and warden as child processes for them and
//! for tests. Nothing that ships to users depends on it but their command line.

pub mod bench;
pub mod demo;
mod services;
pub mod soak;

pub use services::Services;

use blindsmith_client::Failure;
use serde::Serialize;

/// Prints a result: one JSON object, or words.
///
/// # Errors
/// If it has no JSON.
pub fn report<T: Serialize>(json: bool, value: &T, words: impl FnOnce(&T)) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string(value).map_err(|e| Failure::Other(e.to_string()))?;
        println!("{text}");
    } else {
        words(value);
    }
    Ok(())
}
