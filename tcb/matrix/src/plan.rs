//! The plan: which tile each layer uses.
//!
//! The cloud's products cost about rows x inputs x outputs whatever the tile, plus one block row and one
//! block column; the warden's work is counted in polynomials, which small m and n make few; and the stored
//! upload is larger by p than the plain matrix. The planner counts and chooses.

use serde::{Deserialize, Serialize};

use crate::{Form, Security, Shape, Tile};

/// What one layer is asked to do in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerWork {
    /// Rows of a batch.
    pub rows: usize,
    /// Inputs of the layer.
    pub inputs: usize,
    /// Outputs of the layer.
    pub outputs: usize,
    /// Whether it is the first layer, whose left operand is stored uploads.
    pub first: bool,
}

/// Costs in nanoseconds of one core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// One modular multiply-add in the cloud's product.
    pub multiply_add: f64,
    /// Encrypting one coefficient (noise, transform, mask).
    pub encrypt: f64,
    /// Opening one coefficient of a gradient.
    pub open: f64,
    /// Opening one point of a folded product.
    pub open_folded: f64,
    /// The cloud's inverse transform of one coefficient.
    pub crop: f64,
}

impl Default for Costs {
    /// Measured on one core with AVX-512 IFMA.
    fn default() -> Self {
        Costs { multiply_add: 0.06, encrypt: 2.2, open: 1.2, open_folded: 0.3, crop: 1.0 }
    }
}

/// What the planner may spend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest size of stored ciphertext over the float32 size of the rows.
    pub storage_factor: f64,
    /// Largest number of rows in a row block: uploads are padded to whole blocks.
    pub max_block_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { storage_factor: 16.0, max_block_rows: 32 }
    }
}

/// Work and sizes of one layer under a tile, per step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerCost {
    /// The tile.
    pub tile: Tile,
    /// The cloud's core time, nanoseconds.
    pub cloud_ns: f64,
    /// The warden's core time, nanoseconds.
    pub warden_ns: f64,
    /// Bytes from warden to refinery.
    pub sent_bytes: f64,
    /// Bytes from refinery to warden.
    pub received_bytes: f64,
}

/// Stored bytes over float32 bytes for left tiles of `tile`: p residues of 50 bits for each value.
pub fn storage_factor(tile: &Tile) -> f64 {
    tile.p() as f64 * 50.0 / 32.0
}

/// What a step of this layer costs with this tile.
pub fn cost(work: &LayerWork, tile: Tile, costs: &Costs) -> LayerCost {
    let degree = tile.degree() as f64;
    let left = Shape::new(Form::Rows, tile, work.rows, work.inputs);
    let right = Shape::new(Form::Weights, tile, work.inputs, work.outputs);
    let (r, k, j) = (left.strips() as f64, left.strip_len() as f64, right.strips() as f64);
    let n = tile.n() as f64;
    let products = if work.first { 2.0 } else { 3.0 };

    let mut multiply_adds = (r * k * j * products + r * k * 2.0 + k * j * 2.0 + r * j) * degree;
    let mut encrypted = k * j + r * j;
    let mut opened = k * j;
    let mut cropped = k * j;
    let mut received = r * j * degree / n + k * j * tile.window() as f64 + (r + j + k) * degree;
    if !work.first {
        multiply_adds += (r * k + k * j) * degree;
        encrypted += r * k + r * j;
        opened += r * k;
        cropped += r * k;
        received += r * k * (tile.m() * tile.n()) as f64 + k * degree;
    }
    LayerCost {
        tile,
        cloud_ns: multiply_adds * costs.multiply_add + cropped * degree * costs.crop,
        warden_ns: (encrypted * costs.encrypt + opened * costs.open + r * j * costs.open_folded) * degree,
        sent_bytes: encrypted * degree * 8.0,
        received_bytes: received * 8.0,
    }
}

/// The tile that makes a step of this layer cheapest within the limits; the first layer's also bounds the
/// storage.
pub fn choose(work: &LayerWork, security: Security, costs: &Costs, limits: &Limits) -> LayerCost {
    let degree = security.degree();
    let powers = || (0..=degree.trailing_zeros()).map(|e| 1usize << e);
    powers()
        .flat_map(|m| powers().map(move |n| (m, n)))
        .filter(|(m, n)| m * n <= degree)
        .filter_map(|(m, n)| Tile::new(m, n, degree / (m * n)).ok())
        .filter(|tile| {
            !work.first
                || tile.p() == 1
                || (storage_factor(tile) <= limits.storage_factor && tile.m() <= limits.max_block_rows)
        })
        .filter(|tile| !work.first || tile.m() <= limits.max_block_rows.max(8))
        .map(|tile| cost(work, tile, costs))
        .min_by(|a, b| {
            let total = |c: &LayerCost| c.cloud_ns + c.warden_ns;
            total(a).total_cmp(&total(b)).then(a.tile.p().cmp(&b.tile.p()))
        })
        .expect("m = n = 1 is a power of two for every degree")
}

/// The tiles of a network of dense layers with the given widths (inputs first).
pub fn tiles(widths: &[usize], rows: usize, security: Security, costs: &Costs, limits: &Limits) -> Vec<Tile> {
    widths
        .windows(2)
        .enumerate()
        .map(|(layer, w)| {
            let work = LayerWork { rows, inputs: w[0], outputs: w[1], first: layer == 0 };
            choose(&work, security, costs, limits).tile
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_output_is_planned_with_p_of_one() {
        let work = LayerWork { rows: 1024, inputs: 784, outputs: 1, first: true };
        let tile = choose(&work, Security::Bits128, &Costs::default(), &Limits::default()).tile;
        assert_eq!(tile.p(), 1);
    }

    #[test]
    fn storage_stays_within_the_limit() {
        for outputs in [1, 2, 10, 128, 512, 4096] {
            for security in [Security::Bits128, Security::Bits256] {
                let work = LayerWork { rows: 1024, inputs: 784, outputs, first: true };
                let tile = choose(&work, security, &Costs::default(), &Limits::default()).tile;
                assert!(storage_factor(&tile) <= 16.0, "{outputs} outputs: {tile:?}");
                assert_eq!(tile.degree(), security.degree());
            }
        }
    }
}
