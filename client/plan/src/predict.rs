//! What a training step takes: time, memory, bytes.

use blindsmith_matrix::Side as OperandSide;
use blindsmith_protocol::{Layer, Offload};
use serde::{Deserialize, Serialize};

use crate::choose::Plan;
use crate::costs::{Cloud, Costs, Part, Spread};
use crate::counts::Counts;
use crate::network::{LayerWork, Network};
use crate::product::Stored;

/// Where the two sides run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that the refinery gets when it works in all its threads, as many as threads on an idle machine; 1 for
    /// a device, whose costs are those of all of it.
    pub cloud_cores: f64,
    /// Cores that the warden gets when it works in all its threads.
    pub warden_cores: f64,
    /// What a side gets when it works in one thread: 1 on an idle machine.
    pub one_core: f64,
    /// Whether both sides share the warden's cores.
    pub shared: bool,
    /// Share of the shorter side's time that passes while the other works, 0 to 1.
    pub overlap: f64,
}

/// A machine has some core at least.
const LEAST: f64 = 1e-3;
/// Cores that a warden is assumed to have beside a device.
const BESIDE_DEVICE: f64 = 4.0;

impl Machine {
    /// What is assumed where nothing is known: two cores for each side, or a device beside four cores.
    pub fn reference(cloud: Cloud) -> Self {
        match cloud {
            Cloud::Cpu => Machine::idle(2, false),
            Cloud::Gpu => {
                Machine { cloud_cores: 1.0, warden_cores: BESIDE_DEVICE, ..Machine::idle(2, false) }
            }
        }
    }

    /// An idle machine on which each side has so many threads, or two of them.
    pub fn idle(threads: usize, shared: bool) -> Self {
        let cores = threads.max(1) as f64;
        Machine { cloud_cores: cores, warden_cores: cores, one_core: 1.0, shared, overlap: 0.0 }
    }

    /// Wall-clock time of both sides' work, one after the other.
    pub(crate) fn step_ns(&self, costs: &Costs, counts: &Counts) -> f64 {
        let (cloud, warden) = Work::of_both(costs, counts);
        self.wall(&cloud, self.cloud_cores) + self.wall(&warden, self.warden_cores)
    }

    fn wall(&self, work: &Work, cores: f64) -> f64 {
        work.parallel_ns / cores.max(LEAST) + work.serial_ns / self.one_core.max(LEAST) + work.waiting_ns
    }
}

/// Time of one side.
#[derive(Clone, Copy, Default)]
struct Work {
    parallel_ns: f64,
    serial_ns: f64,
    waiting_ns: f64,
}

impl Work {
    /// The refinery's and the warden's.
    fn of_both(costs: &Costs, counts: &Counts) -> (Work, Work) {
        let (mut cloud, mut warden) = (Work::default(), Work::default());
        costs.cloud.of(&counts.cloud).iter().for_each(|part| cloud.add(part));
        costs.warden.of(&counts.warden).iter().for_each(|part| warden.add(part));
        (cloud, warden)
    }

    fn add(&mut self, part: &Part) {
        let sum = match part.spread {
            Spread::Parallel => &mut self.parallel_ns,
            Spread::Serial => &mut self.serial_ns,
            Spread::Waiting => &mut self.waiting_ns,
        };
        *sum += part.ns;
    }

    fn cores(&self) -> f64 {
        self.parallel_ns + self.serial_ns
    }
}

/// Bytes that each side holds at the same time, about.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The warden: weights, their gradients and momentum, the activations of a batch, secrets, masks, a product.
    pub warden_bytes: f64,
    /// The refinery: operands, rows of a batch, masks, products.
    pub cloud_bytes: f64,
}

/// A part of a step's work on one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepPart {
    /// The layer, from 0.
    pub layer: usize,
    /// Whether the refinery does it, or the warden.
    pub cloud: bool,
    /// What is done.
    pub name: &'static str,
    /// Core time, or the device's, or time of waiting, in nanoseconds.
    pub ns: f64,
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
    /// The work, part by part and layer by layer.
    pub parts: Vec<StepPart>,
}

/// Predicts a training step of a network.
pub fn predict(network: &Network, plan: &Plan, costs: &Costs, machine: &Machine) -> Prediction {
    let (mut all, mut parts) = (Counts::default(), Vec::new());
    for (l, (work, layer)) in network.layers().iter().zip(&plan.layers).enumerate() {
        let counts = layer_counts(work, layer, plan, l == 0);
        let part =
            |cloud: bool| move |part: &Part| StepPart { layer: l, cloud, name: part.name, ns: part.ns };
        parts.extend(costs.cloud.of(&counts.cloud).iter().map(part(true)));
        parts.extend(costs.warden.of(&counts.warden).iter().map(part(false)));
        all += counts;
    }
    let (cloud, warden) = Work::of_both(costs, &all);
    let cloud_ns = machine.wall(&cloud, machine.cloud_cores);
    let warden_ns = machine.wall(&warden, machine.warden_cores);
    let apart = cloud_ns + warden_ns - machine.overlap.clamp(0.0, 1.0) * cloud_ns.min(warden_ns);
    let busy =
        if machine.shared { (cloud.cores() + warden.cores()) / machine.warden_cores.max(LEAST) } else { 0.0 };
    Prediction {
        step_ns: apart.max(busy),
        cloud_ns,
        warden_ns,
        cloud_core_ns: cloud.cores(),
        warden_core_ns: warden.cores(),
        traffic_bytes: all.traffic_bytes(),
        memory: memory(network, plan),
        parts,
    }
}

fn layer_counts(work: &LayerWork, layer: &Layer, plan: &Plan, first: bool) -> Counts {
    let mut counts = work.learning();
    let block_rows = plan.block_rows as usize;
    match layer.offload {
        Some(_) if first => {
            counts += work.stored_forward(Stored { form: plan.row_form, block_rows });
            counts += work.stored_gradient(Stored { form: plan.column_form, block_rows });
        }
        Some(offload) => counts += work.offloaded(offload),
        None => counts += work.in_the_clear(),
    }
    counts
}

/// Scratch of the products, and the programs themselves.
const CLOUD_BASE: f64 = (48 << 20) as f64;
const WARDEN_BASE: f64 = (8 << 20) as f64;
/// Residues of a gradient that the warden asks for at a time, about.
const STRIPE: f64 = (8 << 20) as f64;
/// Bytes for each weight while a round's state is sealed: the state of before, and copies of the new one.
const SEALING: f64 = 32.0;

fn memory(network: &Network, plan: &Plan) -> Memory {
    let mut memory = Memory { warden_bytes: WARDEN_BASE, cloud_bytes: CLOUD_BASE };
    let dimension = network.security.degree();
    let (mut widest, mut product) = (0.0f64, 0.0f64);
    for (l, (work, layer)) in network.layers().iter().zip(&plan.layers).enumerate() {
        let rows = work.micro_batch_rows();
        let weights = (work.inputs * work.outputs) as f64;
        // Weights, momentum, gradient; activations and slopes.
        memory.warden_bytes += (12.0 + SEALING) * weights + 8.0 * (rows * work.outputs) as f64;
        widest = widest.max(4.0 * (rows * work.outputs.max(work.inputs)) as f64);
        let Some(Offload { forward, gradient, input }) = layer.offload else { continue };
        // The first layer's weights are scaled into a buffer of their own.
        widest = widest.max(4.0 * weights);
        let operand = |roots: u16, contraction, width| {
            work.operand(OperandSide::Right, roots.into(), (contraction, width))
        };
        let mut operands =
            vec![operand(forward, work.inputs, work.outputs), operand(gradient, rows, work.outputs)];
        if l > 0 {
            operands.push(operand(input, work.outputs, work.inputs));
            operands.push(operand(forward, work.inputs, work.part_rows()));
            operands.push(operand(gradient, rows, work.inputs));
        } else {
            // Both forms of a batch, packed, and the masks of each.
            memory.cloud_bytes += 12.5 * (work.rows * work.inputs) as f64;
            let places = work.inputs.div_ceil(forward.into()) + work.rows.div_ceil(gradient.into());
            memory.cloud_bytes += 8.0 * (places * dimension) as f64;
        }
        for shape in operands {
            let masks = 8.0 * (shape.places() * dimension) as f64;
            let secrets = 8.0 * (shape.strips() * dimension) as f64;
            memory.cloud_bytes += 8.0 * shape.residues() as f64 + masks;
            memory.warden_bytes += 16.0 * shape.padded() as f64 + secrets;
            widest = widest.max(masks);
        }
        let of_rows = (work.part_rows() + dimension / usize::from(forward)) as f64
            * (work.outputs + dimension / usize::from(forward)) as f64;
        let of_weights = (work.inputs + dimension / usize::from(gradient)) as f64
            * (work.outputs + dimension / usize::from(gradient)) as f64;
        product = product.max(of_rows).max(of_weights);
    }
    memory.warden_bytes += 2.0 * widest + 16.0 * product.min(2.0 * STRIPE);
    memory.cloud_bytes += 16.0 * product;
    memory
}

#[cfg(test)]
mod tests {
    use blindsmith_matrix::Security;

    use super::*;
    use crate::choose::plan;

    fn network(widths: &[usize], batch_rows: usize) -> Network {
        Network {
            widths: widths.to_vec(),
            batch_rows,
            micro_batch_rows: 1024,
            input_rms: 0.125,
            security: Security::Bits128,
        }
    }

    fn step(network: &Network, machine: &Machine) -> Prediction {
        let costs = Costs::reference(Cloud::Cpu);
        let plan = plan(network, &costs, &Machine::reference(Cloud::Cpu)).unwrap();
        predict(network, &plan, &costs, machine)
    }

    fn equal(a: f64, b: f64) {
        assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn sides_add_up_or_overlap() {
        let network = network(&[784, 128, 10], 1024);
        let step = |overlap, shared| step(&network, &Machine { overlap, ..Machine::idle(2, shared) });
        let (apart, together) = (step(0.0, false), step(1.0, false));
        equal(apart.step_ns, apart.cloud_ns + apart.warden_ns);
        equal(together.step_ns, together.cloud_ns.max(together.warden_ns));
        // Two cores cannot do more than two cores' work, however much overlaps.
        let shared = step(1.0, true);
        equal(shared.step_ns, (shared.cloud_core_ns + shared.warden_core_ns) / 2.0);
    }

    #[test]
    fn threads_shorten_time_but_not_core_time() {
        let network = network(&[784, 512, 10], 1024);
        let step = |threads| step(&network, &Machine::idle(threads, false));
        let (one, four) = (step(1), step(4));
        assert!(four.step_ns < one.step_ns && four.step_ns > one.step_ns / 4.0);
        equal(one.cloud_core_ns, four.cloud_core_ns);
    }

    #[test]
    fn a_busy_machine_takes_longer() {
        let network = network(&[784, 128, 10], 1024);
        let idle = Machine::idle(2, true);
        let busy = Machine { cloud_cores: 1.0, warden_cores: 1.0, one_core: 0.5, ..idle };
        let (idle, busy) = (step(&network, &idle), step(&network, &busy));
        assert!(busy.step_ns > 1.8 * idle.step_ns);
        equal(busy.cloud_core_ns, idle.cloud_core_ns);
    }

    #[test]
    fn micro_batches_bound_memory() {
        let of = |micro_batch_rows| {
            step(&Network { micro_batch_rows, ..network(&[784, 512, 10], 40_000) }, &Machine::idle(2, true))
                .memory
        };
        let (whole, parts) = (of(40_000), of(1024));
        assert!(parts.warden_bytes < whole.warden_bytes / 3.0, "{parts:?} {whole:?}");
        assert!(parts.cloud_bytes < whole.cloud_bytes, "{parts:?} {whole:?}");
    }

    #[test]
    fn parts_add_up_to_the_sides() {
        let prediction = step(&network(&[784, 128, 10], 1024), &Machine::idle(2, true));
        let sum = |cloud| prediction.parts.iter().filter(|p| p.cloud == cloud).map(|p| p.ns).sum::<f64>();
        equal(sum(false), prediction.warden_core_ns);
        assert!(sum(true) > prediction.cloud_core_ns, "with what is waited for");
    }
}
