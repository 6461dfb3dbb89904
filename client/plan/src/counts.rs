//! How often a training step does what.

use std::ops::AddAssign;

/// A training step of one layer, in elementary pieces of work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// The refinery's.
    pub cloud: CloudCounts,
    /// The warden's.
    pub warden: WardenCounts,
}

/// What the refinery does.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CloudCounts {
    /// Multiplications of residues of two operands.
    pub multiply_adds: f64,
    /// Multiplications with residues of masks, root by root.
    pub mask_multiply_adds: f64,
    /// Residues of stored rows that are read and unpacked.
    pub stored: f64,
    /// Residues of masks that are expanded.
    pub masks: f64,
    /// Residues of operands that come from the warden.
    pub sent: f64,
    /// Residues of results.
    pub results: f64,
    /// Products that are asked for.
    pub products: f64,
}

/// What the warden does.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WardenCounts {
    /// Plain entries of operands: bounded, hashed, rounded.
    pub entries: f64,
    /// Residues of masks that are expanded.
    pub masks: f64,
    /// Residues of secrets that are derived.
    pub secrets: f64,
    /// Coefficients that get noise and are encrypted.
    pub encrypted: f64,
    /// Residues of masks that are multiplied with residues of secrets, in encryption and opening.
    pub ranked: f64,
    /// Points that are transformed, times levels of butterflies.
    pub butterflies: f64,
    /// Points that are transformed.
    pub points: f64,
    /// Residues that are projected or checked.
    pub projected: f64,
    /// Residues of kept projections that are unsealed.
    pub kept: f64,
    /// Residues of mask terms that are added where they belong.
    pub terms: f64,
    /// Opened values.
    pub values: f64,
    /// Residues that are handed over or taken.
    pub carried: f64,
    /// Multiply-adds in the clear.
    pub plain: f64,
    /// Outputs of layers, each with its activation and error.
    pub outputs: f64,
    /// Weights that are updated.
    pub weights: f64,
}

impl Counts {
    /// Bytes between warden and refinery: eight a residue.
    pub fn traffic_bytes(&self) -> f64 {
        8.0 * self.warden.carried
    }

    /// The same work so many times.
    pub fn times(mut self, times: usize) -> Self {
        let factor = times as f64;
        self.cloud.fields_mut().into_iter().for_each(|field| *field *= factor);
        self.warden.fields_mut().into_iter().for_each(|field| *field *= factor);
        self
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, mut other: Counts) {
        self.cloud.fields_mut().into_iter().zip(other.cloud.fields_mut()).for_each(|(a, b)| *a += *b);
        self.warden.fields_mut().into_iter().zip(other.warden.fields_mut()).for_each(|(a, b)| *a += *b);
    }
}

impl CloudCounts {
    fn fields_mut(&mut self) -> [&mut f64; 7] {
        let CloudCounts { multiply_adds, mask_multiply_adds, stored, masks, sent, results, products } = self;
        [multiply_adds, mask_multiply_adds, stored, masks, sent, results, products]
    }
}

impl WardenCounts {
    fn fields_mut(&mut self) -> [&mut f64; 15] {
        let WardenCounts {
            entries, masks, secrets, encrypted, ranked, butterflies, points, projected, ..
        } = self;
        let WardenCounts { kept, terms, values, carried, plain, outputs, weights, .. } = self;
        [
            entries,
            masks,
            secrets,
            encrypted,
            ranked,
            butterflies,
            points,
            projected,
            kept,
            terms,
            values,
            carried,
            plain,
            outputs,
            weights,
        ]
    }
}
