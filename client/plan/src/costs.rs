//! What an elementary piece of work takes.

use serde::{Deserialize, Serialize};

use crate::counts::{CloudCounts, Counts, WardenCounts};

/// What the refinery multiplies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// Processor cores.
    Cpu,
    /// A graphics processor.
    Gpu,
}

/// Nanoseconds of the refinery for each piece of work: of one core, or of the whole device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CloudCosts {
    /// Multiplying residues of two operands and adding.
    pub multiply_add: f64,
    /// The same with residues of masks, in products of their own for each root.
    pub mask_multiply_add: f64,
    /// Reading and unpacking a stored residue.
    pub stored: f64,
    /// Expanding a residue of a mask.
    pub mask: f64,
    /// Having a residue of an operand that the warden sent.
    pub sent: f64,
    /// Finishing a residue of a result.
    pub result: f64,
    /// Asking for a product and starting it.
    pub product: f64,
}

/// Nanoseconds of one of the warden's cores for each piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WardenCosts {
    /// Bounding, hashing and rounding an entry of an operand.
    pub entry: f64,
    /// Expanding a residue of a mask.
    pub mask: f64,
    /// Deriving a residue of a secret.
    pub secret: f64,
    /// Adding noise to a coefficient, and putting its residue in place.
    pub noise: f64,
    /// Multiplying a residue of a mask with one of a secret.
    pub rank: f64,
    /// A level of butterflies, for each point.
    pub butterfly: f64,
    /// What else a transform takes, for each point.
    pub point: f64,
    /// Projecting or checking a residue.
    pub project: f64,
    /// Unsealing a residue of a projection.
    pub kept: f64,
    /// Adding a residue of a mask term.
    pub term: f64,
    /// Reading an opened value.
    pub value: f64,
    /// Handing a residue over, or taking it.
    pub carry: f64,
    /// A multiply-add in the clear.
    pub plain: f64,
    /// Activation, its slope and the loss, for each output of a layer and row.
    pub activation: f64,
    /// Updating a weight.
    pub update: f64,
}

/// What both sides take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// The refinery.
    pub cloud: CloudCosts,
    /// The warden.
    pub warden: WardenCosts,
}

impl Costs {
    /// Reference costs. Those of processors were measured on a core of an Emerald Rapids Xeon with AVX-512 IFMA and AMX,
    /// both cores busy; `blindsmith plan --json` prints those of the machine at hand.
    pub fn reference(cloud: Cloud) -> Self {
        let cloud = match cloud {
            Cloud::Cpu => CloudCosts::CORE,
            Cloud::Gpu => CloudCosts::DEVICE,
        };
        Costs { cloud, warden: WardenCosts::CORE }
    }
}

impl CloudCosts {
    /// One core of the reference machine.
    const CORE: CloudCosts = CloudCosts {
        multiply_add: 0.03,
        mask_multiply_add: 0.07,
        stored: 0.12,
        mask: 1.0,
        sent: 0.2,
        result: 0.6,
        product: 60_000.0,
    };

    /// An assumption, for a device like an H200 beside the processor: 300 billion multiply-adds modulo q a second,
    /// stored rows and masks made on the device, operands and results over a bus of 40 GB/s.
    const DEVICE: CloudCosts = CloudCosts {
        multiply_add: 1.0 / 300.0,
        mask_multiply_add: 1.0 / 300.0,
        stored: 0.01,
        mask: 0.02,
        sent: 0.2,
        result: 0.2,
        product: 100_000.0,
    };
}

impl WardenCosts {
    /// One core of the reference machine.
    const CORE: WardenCosts = WardenCosts {
        entry: 3.6,
        mask: 1.0,
        secret: 3.6,
        noise: 1.7,
        rank: 0.27,
        butterfly: 0.1,
        point: 0.14,
        project: 0.85,
        kept: 2.2,
        term: 3.6,
        value: 12.0,
        carry: 1.4,
        plain: 0.026,
        activation: 3.4,
        update: 1.15,
    };
}

/// A part of a side's work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// What is done.
    pub name: &'static str,
    /// Core time, or time of the device, in nanoseconds.
    pub ns: f64,
    /// How it spreads over threads.
    pub spread: Spread,
}

/// How a part of the work spreads over threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Over all.
    Parallel,
    /// It stays on one.
    Serial,
    /// It is waiting, and takes no core.
    Waiting,
}

const fn parallel(name: &'static str, ns: f64) -> Part {
    Part { name, ns, spread: Spread::Parallel }
}

const fn serial(name: &'static str, ns: f64) -> Part {
    Part { name, ns, spread: Spread::Serial }
}

const fn waiting(name: &'static str, ns: f64) -> Part {
    Part { name, ns, spread: Spread::Waiting }
}

impl CloudCosts {
    /// The refinery's work, part by part.
    pub fn of(&self, counts: &CloudCounts) -> [Part; 7] {
        [
            parallel("products", self.multiply_add * counts.multiply_adds),
            parallel("products of masks", self.mask_multiply_add * counts.mask_multiply_adds),
            parallel("stored rows", self.stored * counts.stored),
            parallel("masks", self.mask * counts.masks),
            parallel("operands", self.sent * counts.sent),
            parallel("results", self.result * counts.results),
            waiting("starting products", self.product * counts.products),
        ]
    }
}

impl WardenCosts {
    /// The warden's work, part by part.
    pub fn of(&self, counts: &WardenCounts) -> [Part; 11] {
        let transforms = self.butterfly * counts.butterflies + self.point * counts.points;
        [
            parallel("bounds and digests", self.entry * counts.entries),
            parallel("masks", self.mask * counts.masks),
            parallel("secrets", self.secret * counts.secrets),
            parallel("noise", self.noise * counts.encrypted),
            parallel("masks times secrets", self.rank * counts.ranked),
            parallel("transforms", transforms),
            parallel("checks", self.project * counts.projected + self.kept * counts.kept),
            parallel("opening", self.term * counts.terms + self.value * counts.values),
            parallel("handing over", self.carry * counts.carried),
            parallel("plain products", self.plain * counts.plain),
            serial("training loop", self.activation * counts.outputs + self.update * counts.weights),
        ]
    }
}

impl Costs {
    /// Core time of the warden.
    pub fn warden_ns(&self, counts: &Counts) -> f64 {
        self.warden.of(&counts.warden).iter().map(|part| part.ns).sum()
    }
}
