//! What an elementary step takes on one core of a machine.

use serde::{Deserialize, Serialize};

use super::counts::{Counts, ProductCounts};
use super::prediction::Side;

/// One kind of the cloud's products: nanoseconds for each residue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProductCosts {
    /// Multiplying and adding.
    pub multiply_add: f64,
    /// Reading one of a packed left operand.
    pub stored: f64,
    /// Reading one of another operand.
    pub loaded: f64,
    /// Finishing one of the result.
    pub cell: f64,
    /// Writing one that is kept.
    pub kept: f64,
}

impl ProductCosts {
    /// The core time of a product.
    pub fn of(&self, counts: &ProductCounts) -> f64 {
        self.multiply_add * counts.multiply_adds
            + self.stored * counts.stored
            + self.loaded * counts.loaded
            + self.cell * counts.cells
            + self.kept * counts.kept
    }
}

/// Nanoseconds of one core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// The cloud's products: forward, weight gradient, input gradient.
    pub products: [ProductCosts; 3],
    /// Reading a stored residue from a cached file.
    pub read: f64,
    /// Expanding a coefficient of a mask.
    pub mask: f64,
    /// Encrypting a coefficient: noise, transform, mask.
    pub encrypt: f64,
    /// Multiplying it with a secret as well.
    pub cross: f64,
    /// Deriving a coefficient of a secret.
    pub secret: f64,
    /// Opening a point of a product: forward (folded), weight gradient (cropped), input gradient.
    pub open: [f64; 3],
    /// Reading an opened value.
    pub value: f64,
    /// Bounding, hashing and rounding an entry of an operand.
    pub entry: f64,
    /// Handing a byte over, at each side.
    pub byte: f64,
    /// Activation, its slope and the loss, for each output of a layer and row.
    pub activation: f64,
    /// Updating a weight.
    pub update: f64,
}

impl Default for Costs {
    /// Measured on one core of a Zen 5 EPYC, AVX-512 IFMA, both cores busy (`blindsmith plan --json` prints
    /// those of the machine at hand).
    fn default() -> Self {
        let product = |multiply_add, stored, loaded, cell, kept| ProductCosts {
            multiply_add,
            stored,
            loaded,
            cell,
            kept,
        };
        Costs {
            products: [
                product(0.03, 1.0, 0.9, 0.3, 0.0),
                product(0.035, 1.9, 1.4, 1.1, 0.0),
                product(0.05, 0.6, 0.6, 1.5, 7.0),
            ],
            read: 0.6,
            mask: 1.0,
            encrypt: 2.2,
            cross: 0.3,
            secret: 2.5,
            open: [0.4, 1.2, 1.4],
            value: 3.0,
            entry: 3.0,
            byte: 0.15,
            activation: 5.0,
            update: 2.0,
        }
    }
}

impl Costs {
    /// The cloud's core time.
    pub fn cloud(&self, counts: &Counts) -> Side {
        let products: f64 = self.products.iter().zip(&counts.products).map(|(cost, n)| cost.of(n)).sum();
        Side { parallel_ns: products + self.read * counts.read, serial_ns: self.mask * counts.masks }
    }

    /// The warden's core time for the products of a layer.
    pub fn warden(&self, counts: &Counts) -> Side {
        let opened: f64 = self.open.iter().zip(&counts.opened).map(|(cost, n)| cost * n).sum();
        let parallel_ns = self.encrypt * counts.encrypted
            + self.cross * counts.crossed
            + self.secret * counts.secrets
            + opened
            + self.value * counts.values
            + self.byte * (counts.sent_bytes + counts.received_bytes);
        Side { parallel_ns, serial_ns: self.mask * counts.masks + self.entry * counts.entries }
    }
}
