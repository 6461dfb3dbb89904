//! The plan: which tile each layer uses, and what a training step then costs.
//!
//! The cloud's products take about rows x inputs x outputs whatever the tile, plus reading the operands; the
//! warden's work is counted in polynomials, which small m and n make few; and a stored upload is larger by p
//! than the plain matrix. [`Counts`] says how often each elementary step is done, [`Costs`] what one takes on
//! a machine, and their product is minimised over all tiles. Everything here is a function of its arguments.

mod costs;
mod counts;
mod prediction;

pub use costs::{Costs, Part, ProductCosts};
pub use counts::{Counts, LayerWork, ProductCounts};
pub use prediction::{Machine, Memory, Prediction, predict, upload_bytes};

use blindsmith_ring::modulus::MAX_CHAIN;
use serde::{Deserialize, Serialize};

use crate::{Security, Tile};

/// What the planner may spend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest size of stored ciphertext over the float32 size of the rows. A tile of p = 1 is always allowed.
    pub storage_factor: f64,
    /// Largest number of rows in a row block: uploads are padded to whole blocks.
    pub max_block_rows: usize,
    /// What a nanosecond of the warden's cores is worth in nanoseconds of the cloud's: above 1 where trusted
    /// cores are scarce.
    pub warden_weight: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { storage_factor: 16.0, max_block_rows: 32, warden_weight: 1.0 }
    }
}

impl Limits {
    /// Whether a first layer may use this tile.
    fn allow(&self, tile: &Tile) -> bool {
        let storage = tile.p() == 1 || storage_factor(tile) <= self.storage_factor;
        storage && tile.m() <= self.max_block_rows.max(1)
    }
}

/// A tile with what it costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerPlan {
    /// The tile.
    pub tile: Tile,
    /// How often each elementary step is done.
    pub counts: Counts,
    /// The cloud's core time of a training step, nanoseconds.
    pub cloud_ns: f64,
    /// The warden's core time of a training step, nanoseconds, without activations and update.
    pub warden_ns: f64,
}

/// Plans within this factor of the cheapest count as equal: then less storage decides. Half the bytes to encrypt,
/// send, keep and read are worth a seventh of a step.
const EQUAL: f64 = 1.15;

/// Stored bytes over float32 bytes for left tiles of `tile`: p residues of 50 bits for each value.
pub fn storage_factor(tile: &Tile) -> f64 {
    tile.p() as f64 * 50.0 / 32.0
}

/// What a training step of this layer costs with this tile.
pub fn cost(work: &LayerWork, tile: Tile, costs: &Costs) -> LayerPlan {
    let counts = Counts::of(work, tile);
    let total = |parts: &[Part]| parts.iter().map(|part| part.ns).sum();
    LayerPlan {
        tile,
        counts,
        cloud_ns: total(&costs.cloud(&counts)),
        warden_ns: total(&costs.warden(&counts)),
    }
}

/// The tile that makes a training step of this layer cheapest within the limits, which bind the first layer
/// alone. Among nearly equal ones a first layer takes the one that stores least.
pub fn choose(work: &LayerWork, security: Security, costs: &Costs, limits: &Limits) -> LayerPlan {
    let total = |plan: &LayerPlan| plan.cloud_ns + limits.warden_weight * plan.warden_ns;
    let possible = |allowed: bool| -> Vec<LayerPlan> {
        all_tiles(security.degree())
            .filter(|tile| !allowed || !work.first || limits.allow(tile))
            .filter(|tile| !allowed || longest_chain(work, tile) <= MAX_CHAIN)
            .map(|tile| cost(work, tile, costs))
            .collect()
    };
    let mut plans = possible(true);
    if plans.is_empty() {
        // More rows than any chain has, or limits that exclude everything.
        plans = possible(false);
    }
    let least = plans.iter().map(total).fold(f64::INFINITY, f64::min);
    let good_enough = if work.first { EQUAL * least } else { least };
    plans
        .into_iter()
        .filter(|plan| total(plan) <= good_enough)
        .min_by(|a, b| a.tile.p().cmp(&b.tile.p()).then(total(a).total_cmp(&total(b))))
        .expect("the cheapest tile is among those that are good enough")
}

/// The tiles of a network of dense layers with the given widths (inputs first).
pub fn tiles(widths: &[usize], rows: usize, security: Security, costs: &Costs, limits: &Limits) -> Vec<Tile> {
    LayerWork::of_network(widths, rows)
        .iter()
        .map(|work| choose(work, security, costs, limits).tile)
        .collect()
}

/// Every tile of a ring degree, which is a power of two.
fn all_tiles(degree: usize) -> impl Iterator<Item = Tile> {
    let powers = move || (0..=degree.trailing_zeros()).map(|e| 1usize << e);
    powers()
        .flat_map(move |m| powers().map(move |n| (m, n)))
        .filter(move |(m, n)| m * n <= degree)
        .filter_map(move |(m, n)| Tile::new(m, n, degree / (m * n)).ok())
}

/// The most tiles along any contraction: input blocks, row blocks of a part, and for the input gradient
/// output blocks.
fn longest_chain(work: &LayerWork, tile: &Tile) -> usize {
    let rows = work.rows.div_ceil(work.parts.max(1)).div_ceil(tile.m());
    let outputs = if work.first { 0 } else { work.outputs.div_ceil(tile.p()) };
    rows.max(work.inputs.div_ceil(tile.n())).max(outputs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(work: LayerWork, security: Security, limits: &Limits) -> LayerPlan {
        choose(&work, security, &Costs::default(), limits)
    }

    #[test]
    fn one_output_is_planned_with_p_of_one() {
        let work = LayerWork { rows: 1024, inputs: 784, outputs: 1, first: true, parts: 1 };
        assert_eq!(plan(work, Security::Bits128, &Limits::default()).tile.p(), 1);
    }

    #[test]
    fn a_dearer_warden_gets_less_to_do() {
        let work = LayerWork { rows: 4096, inputs: 4096, outputs: 4096, first: true, parts: 1 };
        let weighed = |warden_weight| {
            let limits = Limits { warden_weight, storage_factor: 100.0, ..Limits::default() };
            plan(work, Security::Bits128, &limits).warden_ns
        };
        assert!(weighed(4.0) < weighed(0.01), "{} {}", weighed(4.0), weighed(0.01));
    }

    #[test]
    fn limits_that_exclude_everything_still_give_a_tile() {
        let work = LayerWork { rows: 64, inputs: 64, outputs: 10, first: true, parts: 1 };
        let limits = Limits { storage_factor: 0.0, max_block_rows: 0, warden_weight: 1.0 };
        let tile = plan(work, Security::Bits128, &limits).tile;
        assert_eq!((tile.m(), tile.p(), tile.degree()), (1, 1, 2048));
        let many = LayerWork { rows: 1 << 18, ..work };
        assert_eq!(plan(many, Security::Bits128, &limits).tile.degree(), 2048);
    }

    proptest! {
        #[test]
        fn plans_keep_their_limits(
            rows in 1usize..16_000, inputs in 1usize..9000, outputs in 1usize..9000,
            storage in 1.6f64..64.0, block_rows in 5usize..256, high in any::<bool>(),
        ) {
            let security = if high { Security::Bits256 } else { Security::Bits128 };
            let work = LayerWork { rows, inputs, outputs, first: true, parts: 1 };
            let limits = Limits { storage_factor: storage, max_block_rows: block_rows, warden_weight: 1.0 };
            let tile = plan(work, security, &limits).tile;
            prop_assert_eq!(tile.degree(), security.degree());
            prop_assert!(storage_factor(&tile) <= storage && tile.m() <= block_rows, "{:?}", tile);
            prop_assert!(longest_chain(&work, &tile) <= MAX_CHAIN);
        }

        #[test]
        fn more_storage_never_costs_more(
            rows in 1usize..20_000, inputs in 1usize..9000, outputs in 1usize..9000, storage in 1.6f64..64.0,
        ) {
            let work = LayerWork { rows, inputs, outputs, first: true, parts: 1 };
            let total = |storage_factor| {
                let limits = Limits { storage_factor, ..Limits::default() };
                let plan = plan(work, Security::Bits128, &limits);
                plan.cloud_ns + plan.warden_ns
            };
            // Nearly equal plans count as equal.
            prop_assert!(total(2.0 * storage) <= EQUAL * total(storage));
        }

        #[test]
        fn no_layer_is_cheaper_for_more_work(
            rows in 1usize..10_000, inputs in 1usize..5000, outputs in 1usize..5000, first in any::<bool>(),
        ) {
            let cheapest = |rows, inputs, outputs| {
                let work = LayerWork { rows, inputs, outputs, first, parts: 1 };
                let plan = plan(work, Security::Bits128, &Limits::default());
                plan.cloud_ns + plan.warden_ns
            };
            let base = cheapest(rows, inputs, outputs);
            for grown in [
                cheapest(2 * rows, inputs, outputs),
                cheapest(rows, 2 * inputs, outputs),
                cheapest(rows, inputs, 2 * outputs),
            ] {
                prop_assert!(base <= EQUAL * grown, "{} then {}", base, grown);
            }
        }
    }
}
