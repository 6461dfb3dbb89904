//! The plan of a project: how its rows are encoded and cut into blocks, which layers the refinery multiplies, and
//! what a training step then takes.
//!
//! `blindsmith init` and `blindsmith plan` use it. [`Counts`] says how often a step does each elementary piece of work,
//! [`Costs`] what a piece takes on a machine, and [`plan`] takes what makes their product least. The sources of the
//! counts are `docs/arithmetic.md` and the code of the warden and the refinery. Everything here is a function of its
//! arguments and holds no secret.

mod choose;
mod costs;
mod counts;
mod network;
mod predict;
mod product;

pub use choose::{Plan, PlanError, plan};
pub use costs::{Cloud, CloudCosts, Costs, Part, Spread, WardenCosts};
pub use counts::{CloudCounts, Counts, WardenCounts};
pub use network::{LayerWork, Network};
pub use predict::{Machine, Memory, Prediction, StepPart, predict};
