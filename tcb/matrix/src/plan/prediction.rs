//! What a training step takes: time, memory, bytes.

use serde::{Deserialize, Serialize};

use super::costs::{Costs, Part};
use super::counts::{Counts, LayerWork};
use crate::{Form, ProductKind, ProductShape, Shape, Tile};

/// Core time of one side, nanoseconds.
#[derive(Clone, Copy, Default)]
struct Side {
    /// Spread over all threads.
    parallel_ns: f64,
    /// On one.
    serial_ns: f64,
}

impl Side {
    /// Both together.
    fn total(&self) -> f64 {
        self.parallel_ns + self.serial_ns
    }

    fn wall(&self, machine: &Machine) -> f64 {
        self.parallel_ns / machine.all_cores.max(LEAST) + self.serial_ns / machine.one_core.max(LEAST)
    }

    fn add(&mut self, part: &Part) {
        *if part.serial { &mut self.serial_ns } else { &mut self.parallel_ns } += part.ns;
    }
}

/// Where the two sides run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that a side gets when it works in all its threads: as many as threads on an idle machine.
    pub all_cores: f64,
    /// What it gets when it works in one: 1 on an idle machine.
    pub one_core: f64,
    /// Whether both sides share these cores.
    pub shared: bool,
    /// Share of the shorter side's time that passes while the other works, 0 to 1.
    pub overlap: f64,
}

/// A machine has some core at least.
const LEAST: f64 = 1e-3;

impl Machine {
    /// An idle machine on which each side has so many threads, or two of them.
    pub fn idle(threads: usize, shared: bool) -> Self {
        Machine { all_cores: threads.max(1) as f64, one_core: 1.0, shared, overlap: 0.0 }
    }
}

/// Bytes that each side holds at the same time, about.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The warden: weights, their gradients and momentum, the activations of a batch, keys, buffers.
    pub warden_bytes: f64,
    /// The refinery: operands, rows of a batch, a product, scratch.
    pub cloud_bytes: f64,
}

/// A training step under a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Wall-clock time.
    pub step_ns: f64,
    /// Of it, the cloud's.
    pub cloud_ns: f64,
    /// Of it, the warden's.
    pub warden_ns: f64,
    /// The cloud's core time.
    pub cloud_core_ns: f64,
    /// The warden's core time.
    pub warden_core_ns: f64,
    /// Bytes between the two.
    pub traffic_bytes: f64,
    /// Memory of both sides.
    pub memory: Memory,
}

/// Buffers of fixed size: scratch of the products; the program itself.
const CLOUD_BASE: f64 = (80 << 20) as f64;
const WARDEN_BASE: f64 = (8 << 20) as f64;
/// Residues of a product that the warden holds at a time.
const WARDEN_PRODUCT: f64 = (8 << 20) as f64;
/// Bytes for each weight while a round's state is sealed: the state of before, and copies of the new one.
const SEALING: f64 = 32.0;

/// Predicts a training step of a network, one tile for each layer.
pub fn predict(layers: &[(LayerWork, Tile)], costs: &Costs, machine: &Machine) -> Prediction {
    let (mut cloud, mut warden, mut traffic_bytes) = (Side::default(), Side::default(), 0.0);
    for (work, tile) in layers {
        let counts = Counts::of(work, *tile);
        costs.cloud(&counts).iter().for_each(|part| cloud.add(part));
        costs.warden(&counts).iter().chain([&costs.learning(work)]).for_each(|part| warden.add(part));
        traffic_bytes += counts.sent_bytes + counts.received_bytes;
    }
    let (cloud_ns, warden_ns) = (cloud.wall(machine), warden.wall(machine));
    let apart = cloud_ns + warden_ns - machine.overlap.clamp(0.0, 1.0) * cloud_ns.min(warden_ns);
    let busy =
        if machine.shared { (cloud.total() + warden.total()) / machine.all_cores.max(LEAST) } else { 0.0 };
    Prediction {
        step_ns: apart.max(busy),
        cloud_ns,
        warden_ns,
        cloud_core_ns: cloud.total(),
        warden_core_ns: warden.total(),
        traffic_bytes,
        memory: memory(layers),
    }
}

fn memory(layers: &[(LayerWork, Tile)]) -> Memory {
    let mut memory = Memory { warden_bytes: WARDEN_BASE, cloud_bytes: CLOUD_BASE };
    let (mut widest, mut product, mut errors, mut strip) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (work, tile) in layers {
        let part = LayerWork { rows: work.rows.div_ceil(work.parts.max(1)), parts: 1, ..*work };
        let shape = |kind| ProductShape {
            kind,
            tile: *tile,
            rows: part.rows,
            inputs: part.inputs,
            outputs: part.outputs,
        };
        let polynomial = 8.0 * tile.degree() as f64;
        let bytes = |s: Shape| (s.strips() * s.strip_len()) as f64 * polynomial;
        let (forward, gradient) = (shape(ProductKind::Forward), shape(ProductKind::WeightGradient));
        // Weights, momentum, gradient; activations and slopes; secrets, masks and own terms.
        memory.warden_bytes += (12.0 + SEALING) * (part.inputs * part.outputs) as f64;
        memory.warden_bytes += 8.0 * (part.rows * part.outputs) as f64;
        let (r, k, j) = (forward.grid().0, forward.left().strip_len(), forward.grid().1);
        memory.warden_bytes += (r + 2 * k + 2 * j) as f64 * polynomial;
        widest = widest.max(4.0 * (part.rows * part.inputs.max(part.outputs)) as f64);
        if work.first {
            // The first layer's weights are scaled into a buffer of their own.
            widest = widest.max(4.0 * (part.inputs * part.outputs) as f64);
        }
        memory.cloud_bytes += bytes(forward.right());
        memory.cloud_bytes += bytes(forward.left()) * if work.first { 50.0 / 64.0 } else { 1.0 };
        errors = errors.max(bytes(gradient.right()) * if work.first { 1.0 } else { 2.0 });
        for kind in [ProductKind::Forward, ProductKind::WeightGradient, ProductKind::InputGradient] {
            if kind != ProductKind::InputGradient || !work.first {
                let shape = shape(kind);
                let kept = 8.0 * shape.residues() as f64 + shape.extras() as f64 * polynomial;
                product = product.max(kept);
            }
        }
        strip = strip.max(k.max(r) as f64 * polynomial);
    }
    // Strips are encrypted in a buffer for each thread.
    memory.warden_bytes += 2.0 * widest + product.min(WARDEN_PRODUCT) + 4.0 * strip;
    memory.cloud_bytes += 2.0 * product + errors;
    memory
}

/// Bytes of an upload of so many rows, sealed labels of `label_bytes` a row included.
pub fn upload_bytes(rows: usize, inputs: usize, tile: Tile, label_bytes: usize) -> f64 {
    let shape = Shape::new(Form::Rows, tile, rows, inputs);
    let packed = (shape.strip_len() * tile.degree() / 8 * 50) as f64;
    shape.strips() as f64 * (packed + (tile.m() * label_bytes + 16) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(widths: &[usize], rows: usize) -> Vec<(LayerWork, Tile)> {
        let tile = Tile::new(16, 16, 8).unwrap();
        LayerWork::of_network(widths, rows).into_iter().map(|work| (work, tile)).collect()
    }

    #[test]
    fn sides_add_up_or_overlap() {
        let layers = layers(&[784, 128, 10], 1024);
        let step = |overlap, shared| {
            predict(&layers, &Costs::default(), &Machine { overlap, ..Machine::idle(2, shared) })
        };
        let equal = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}");
        let (apart, together) = (step(0.0, false), step(1.0, false));
        equal(apart.step_ns, apart.cloud_ns + apart.warden_ns);
        equal(together.step_ns, together.cloud_ns.max(together.warden_ns));
        // Two cores cannot do more than two cores' work, however much overlaps.
        let shared = step(1.0, true);
        equal(shared.step_ns, (shared.cloud_core_ns + shared.warden_core_ns) / 2.0);
    }

    #[test]
    fn threads_shorten_time_but_not_core_time() {
        let layers = layers(&[784, 512, 10], 1024);
        let step = |threads| predict(&layers, &Costs::default(), &Machine::idle(threads, false));
        let (one, four) = (step(1), step(4));
        assert!(four.step_ns < one.step_ns && four.step_ns > one.step_ns / 4.0);
        assert_eq!(one.cloud_core_ns, four.cloud_core_ns);
        assert!((one.step_ns - one.cloud_core_ns - one.warden_core_ns).abs() < 1.0);
    }

    #[test]
    fn a_busy_machine_takes_longer() {
        let layers = layers(&[784, 128, 10], 1024);
        let idle = Machine::idle(2, true);
        let busy = Machine { all_cores: 1.0, one_core: 0.5, ..idle };
        let step = |machine| predict(&layers, &Costs::default(), machine);
        let (idle, busy) = (step(&idle), step(&busy));
        assert!((busy.step_ns / idle.step_ns - 2.0).abs() < 1e-9);
        assert_eq!(busy.cloud_core_ns, idle.cloud_core_ns);
    }

    #[test]
    fn micro_batches_bound_memory() {
        let of = |parts| {
            let layers: Vec<_> = layers(&[784, 512, 10], 65_536)
                .into_iter()
                .map(|(work, tile)| (LayerWork { parts, ..work }, tile))
                .collect();
            predict(&layers, &Costs::default(), &Machine::idle(2, true)).memory
        };
        let (whole, parts) = (of(1), of(64));
        assert!(parts.warden_bytes < whole.warden_bytes / 4.0);
        assert!(parts.cloud_bytes < whole.cloud_bytes / 8.0);
    }

    #[test]
    fn an_upload_has_the_bytes_of_its_format() {
        let tile = Tile::new(16, 16, 8).unwrap();
        // 625 blocks of 49 polynomials of 2048 residues of 50 bits, and of 16 labels of 8 bytes with a tag.
        let expected = 625.0 * (49.0 * 12_800.0 + 144.0);
        assert_eq!(upload_bytes(10_000, 784, tile, 8), expected);
    }
}
