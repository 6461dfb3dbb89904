//! Training in the clear: the twin of the encrypted run, and the baseline of its benchmarks.
//!
//! [`Twin`] serves the same training loop as the encrypted accelerators. With the same recipe, rows and
//! labels it takes the same steps, up to the noise of encryption. [`Run`] is a whole training with it.

#![deny(unsafe_code)]

mod accelerator;
mod product;
mod run;

pub use accelerator::{Twin, TwinError};
pub use run::{Run, RunError};
