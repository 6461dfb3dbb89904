//! What an elementary step takes on one core of a machine.

use serde::{Deserialize, Serialize};

use super::counts::{Counts, LayerWork, ProductCounts};

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
                product(0.036, 0.6, 0.7, 0.6, 0.0),
                product(0.047, 1.1, 0.9, 2.4, 0.0),
                product(0.062, 0.6, 0.5, 2.2, 4.5),
            ],
            read: 0.44,
            mask: 0.8,
            encrypt: 2.2,
            cross: 0.3,
            secret: 1.9,
            open: [0.6, 1.5, 1.7],
            value: 3.8,
            entry: 6.2,
            byte: 0.13,
            activation: 3.8,
            update: 0.8,
        }
    }
}

/// A part of a side's work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// What is done.
    pub name: &'static str,
    /// Core time, nanoseconds.
    pub ns: f64,
    /// Whether it stays on one thread.
    pub serial: bool,
}

impl Part {
    const fn parallel(name: &'static str, ns: f64) -> Self {
        Part { name, ns, serial: false }
    }

    const fn serial(name: &'static str, ns: f64) -> Self {
        Part { name, ns, serial: true }
    }
}

impl Costs {
    /// The cloud's work, part by part.
    pub fn cloud(&self, counts: &Counts) -> [Part; 5] {
        let sum = |part: fn(&ProductCosts, &ProductCounts) -> f64| -> f64 {
            self.products.iter().zip(&counts.products).map(|(cost, count)| part(cost, count)).sum()
        };
        [
            Part::parallel("multiply-adds", sum(|cost, n| cost.multiply_add * n.multiply_adds)),
            Part::parallel(
                "reading operands",
                sum(|cost, n| cost.stored * n.stored + cost.loaded * n.loaded),
            ),
            Part::parallel("finishing results", sum(|cost, n| cost.cell * n.cells + cost.kept * n.kept)),
            Part::parallel("reading uploads", self.read * counts.read),
            Part::serial("masks", self.mask * counts.masks),
        ]
    }

    /// The warden's work for the products of a layer, part by part.
    pub fn warden(&self, counts: &Counts) -> [Part; 6] {
        let opened: f64 = self.open.iter().zip(&counts.opened).map(|(cost, n)| cost * n).sum();
        let bytes = counts.sent_bytes + counts.received_bytes;
        [
            Part::parallel("encryption", self.encrypt * counts.encrypted + self.secret * counts.secrets),
            Part::parallel("own terms", self.cross * counts.crossed),
            Part::parallel("opening", opened + self.value * counts.values),
            Part::parallel("handing over", self.byte * bytes),
            Part::serial("bounds and digests", self.entry * counts.entries),
            Part::serial("masks", self.mask * counts.masks),
        ]
    }

    /// The training loop's own work on a layer, at the warden.
    pub fn learning(&self, work: &LayerWork) -> Part {
        let (outputs, weights) = (work.rows * work.outputs, work.inputs * work.outputs);
        Part::serial("training loop", self.activation * outputs as f64 + self.update * weights as f64)
    }
}
