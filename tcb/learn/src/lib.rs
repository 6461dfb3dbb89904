//! Dense networks and their training in plain `f32`: layers, losses, optimisers, metrics, the loop itself.
//!
//! The loop multiplies no matrices. It is written against [`Accelerator`], behind which they are multiplied
//! in the clear ([`product`] does it), encrypted in this process, or encrypted on another machine:
//!
//! ```no_run
//! # fn train<A: blindsmith_learn::Accelerator>(
//! #     accelerator: &mut A, uploads: Vec<blindsmith_learn::Labels>, blocks: Vec<blindsmith_learn::Block>,
//! # ) -> Result<(), Box<dyn std::error::Error + 'static>> where A::Error: 'static {
//! use blindsmith_learn::{Loss, Recipe, Sampler, Trainer, gather_labels};
//!
//! let recipe = Recipe::new(&[64, 32, 10], Loss::SoftmaxCrossEntropy);
//! let sampler = Sampler::new(blocks, recipe.batch_rows, recipe.order_seed)?;
//! let mut trainer = Trainer::new(recipe)?;
//! trainer.begin_round(&sampler, 5);
//! for _ in 0..5 {
//!     let report = trainer.train_epoch(accelerator, &sampler, |_, blocks| {
//!         Ok(gather_labels(blocks, 16, &uploads)?)
//!     })?;
//!     println!("epoch {}: loss {:.4}", report.epoch, report.loss);
//! }
//! # Ok(()) }
//! ```
//!
//! Activations, outputs, labels, errors and gradients are secrets of others. No branch and no index depends
//! on their values, nor does a division or square root except in the figures of a finished evaluation
//! ([`metrics`]); sums over rows take the same time whatever the rows hold. ([`elementary`] says how; for x86-64
//! branches and indices are tested under valgrind, see `docs/constant-time.md`; divisions were looked for in the
//! compiler's output.) Two things do show: whether training diverged, and whether labels or checkpoints were refused.

#![deny(unsafe_code)]

pub mod accelerator;
mod activation;
mod auc;
mod batch;
pub mod elementary;
mod labels;
pub mod loss;
mod matrix;
pub mod metrics;
pub mod network;
mod optimiser;
pub mod product;
mod random;
mod recipe;
mod sampler;
mod schedule;
mod state;
mod trainer;

pub use accelerator::{Accelerator, Bounds, Left, Pass};
pub use activation::Activation;
pub use batch::{Batch, BatchError, Block, gather_labels};
pub use labels::{Labels, LabelsError, Targets};
pub use loss::{Loss, Objective, ObjectiveError};
pub use matrix::{Matrix, largest_column_sum, largest_row_sum};
pub use metrics::{ClassLoss, Estimate, Losses, MAX_CONFUSION, Metrics, OutputCounts, Scoreboard};
pub use network::{Layer, Network, NetworkError};
pub use optimiser::{Moments, NOISE_MARGIN, Rule};
pub use recipe::{Recipe, RecipeError};
pub use sampler::{Sampler, SamplerError};
pub use schedule::{Position, Schedule};
pub use state::{StateError, TrainerState};
pub use trainer::{EpochReport, SetupError, StepReport, TrainError, Trainer, predict};
