//! Which encodings, blocks and offloaded layers make a training step shortest.

use blindsmith_matrix::{Encoding, MAX_ROOTS, Scale, feature_scale};
use blindsmith_protocol::{Layer, MAX_BLOCK_ROWS, MAX_WIDTH, MIN_BLOCK_ROWS, Offload, packed_bytes};
use thiserror::Error;

use crate::costs::Costs;
use crate::counts::Counts;
use crate::network::{LayerWork, Network};
use crate::predict::Machine;
use crate::product::Stored;

/// Most rows of a block that is chosen freely: blocks are dealt into batches whole.
const MAX_ROWS: usize = 256;
/// Most bytes of a block.
const BLOCK_BYTES: usize = 64 << 20;
/// Padding of the contraction of stored rows that is accepted, over their features.
const PADDING: f64 = 0.04;
/// Fewest features of a row whose padding matters: of fewer, any is a few bytes.
const FEW_INPUTS: usize = 64;

/// What a project fixes when it is created.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The layers, with the n of their products where the refinery multiplies them.
    pub layers: Vec<Layer>,
    /// Rows of a block.
    pub block_rows: u32,
    /// The encoding of stored rows for Z.
    pub row_form: Encoding,
    /// The encoding of stored rows for G.
    pub column_form: Encoding,
    /// The scale of stored features.
    pub feature_scale: Scale,
}

/// A network that cannot be planned.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// Sizes out of range.
    #[error("layers of {0:?} units, where at least two widths from 1 to {MAX_WIDTH} are possible")]
    Widths(Vec<usize>),
    /// A batch or a micro-batch without rows.
    #[error("a batch and a micro-batch have at least one row")]
    Rows,
    /// No block is small enough and holds whole strips of rows.
    #[error("no blocks of at most {MAX_BLOCK_ROWS} rows fit rows of {0} features")]
    Blocks(usize),
}

/// Plans a network for these costs. Of the plans whose step is shortest on this machine, or nearly so, it takes the one that
/// costs the warden's cores least. A hidden layer is offloaded only where that makes the step shorter and spares the warden's cores.
///
/// # Errors
/// [`PlanError`] for sizes out of range.
pub fn plan(network: &Network, costs: &Costs, machine: &Machine) -> Result<Plan, PlanError> {
    let widths = &network.widths;
    if widths.len() < 2 || widths.iter().any(|w| !(1..=MAX_WIDTH as usize).contains(w)) {
        return Err(PlanError::Widths(widths.clone()));
    }
    if network.batch_rows == 0 || network.micro_batch_rows == 0 {
        return Err(PlanError::Rows);
    }
    let works = network.layers();
    let inputs = works[0].inputs;
    let (block_rows, row_forms) = blocks(&works[0], network.batch_rows).ok_or(PlanError::Blocks(inputs))?;
    let row_counts = |form: &Encoding| works[0].stored_forward(Stored { form: *form, block_rows });
    let row_form = sparing(row_forms, row_counts, (costs, machine)).ok_or(PlanError::Blocks(inputs))?;
    let column_forms = roots().filter(|n| *n <= block_rows);
    let column_forms = column_forms.filter_map(|n| Encoding::fit(network.security, n, inputs).ok()).collect();
    let column_counts = |form: &Encoding| works[0].stored_gradient(Stored { form: *form, block_rows });
    let column_form =
        sparing(column_forms, column_counts, (costs, machine)).ok_or(PlanError::Blocks(inputs))?;

    let first = Offload { forward: row_form.roots() as u16, gradient: column_form.roots() as u16, input: 1 };
    let offloads =
        std::iter::once(Some(first)).chain(works[1..].iter().map(|work| offload(work, costs, machine)));
    let layer = |(work, offload): (&LayerWork, Option<Offload>)| Layer {
        inputs: work.inputs as u32,
        outputs: work.outputs as u32,
        offload,
    };
    Ok(Plan {
        layers: works.iter().zip(offloads).map(layer).collect(),
        block_rows: block_rows as u32,
        row_form,
        column_form,
        feature_scale: feature_scale(inputs, network.input_rms),
    })
}

/// Rows of a block, about a quarter of a batch, and the encodings of the row form that are possible with them: blocks
/// hold whole strips, and features are padded little.
fn blocks(first: &LayerWork, batch_rows: usize) -> Option<(usize, Vec<Encoding>)> {
    let (least, most) = (MIN_BLOCK_ROWS as usize, MAX_BLOCK_ROWS as usize);
    let quarter = (batch_rows / 4).clamp(least, MAX_ROWS);
    let mut rows = 1 << quarter.ilog2();
    // Both forms; labels are small.
    let bytes = 2 * packed_bytes(first.inputs.next_multiple_of(MAX_ROOTS));
    while rows > least && rows * bytes > BLOCK_BYTES {
        rows /= 2;
    }
    while rows <= most {
        let fits = |form: &Encoding| form.strip() <= rows && padded_little(first.inputs, form.roots());
        let forms = roots().filter_map(|n| row_form(first, n, rows)).filter(fits).collect::<Vec<_>>();
        if !forms.is_empty() {
            return Some((rows, forms));
        }
        rows *= 2;
    }
    None
}

/// The encoding with so many roots for blocks of `rows` rows: the best whose strips are no longer than a block.
fn row_form(first: &LayerWork, roots: usize, rows: usize) -> Option<Encoding> {
    let fit = Encoding::fit(first.security, roots, rows).ok()?;
    let rank = first.security.degree() / (roots * fit.strip().min(rows));
    Encoding::new(roots, fit.strip().min(rows), rank).ok()
}

fn padded_little(inputs: usize, roots: usize) -> bool {
    let padded = inputs.next_multiple_of(roots) as f64;
    padded <= (1.0 + PADDING) * inputs as f64 || (inputs < FEW_INPUTS && padded <= FEW_INPUTS as f64)
}

impl Plan {
    /// The same with all layers multiplied by the refinery, whatever that costs.
    pub fn offloading_all(mut self, network: &Network, costs: &Costs, machine: &Machine) -> Self {
        for (layer, work) in self.layers.iter_mut().zip(network.layers()).skip(1) {
            layer.offload = Some(fastest_offload(&work, costs, machine));
        }
        self
    }
}

/// How the refinery multiplies a hidden layer, if that is worth it.
fn offload(work: &LayerWork, costs: &Costs, machine: &Machine) -> Option<Offload> {
    let offload = fastest_offload(work, costs, machine);
    let (counts, plain) = (work.offloaded(offload), work.in_the_clear());
    let shorter = machine.step_ns(costs, &counts) < machine.step_ns(costs, &plain);
    (shorter && costs.warden_ns(&counts) < costs.warden_ns(&plain)).then_some(offload)
}

/// The n of each of a hidden layer's products that makes it fastest.
fn fastest_offload(work: &LayerWork, costs: &Costs, machine: &Machine) -> Offload {
    let best = |of: &dyn Fn(usize) -> Counts| {
        let all: Vec<usize> = roots().collect();
        // Unwrap safety: there are some.
        least(all, |n| machine.step_ns(costs, &of(*n))).expect("numbers of roots") as u16
    };
    Offload {
        forward: best(&|n| work.hidden_forward(n)),
        gradient: best(&|n| work.hidden_gradient(n)),
        input: best(&|n| work.hidden_input(n)),
    }
}

fn roots() -> impl Iterator<Item = usize> {
    (0..=MAX_ROOTS.ilog2()).map(|log2| 1 << log2)
}

/// How much longer a product may take than at best if that spares the warden's cores, which are the dear ones.
const NEARLY: f64 = 1.1;

/// Of what takes nearly the shortest time, that which takes the warden's cores the shortest.
fn sparing<T>(all: Vec<T>, counts: impl Fn(&T) -> Counts, (costs, machine): (&Costs, &Machine)) -> Option<T> {
    let time = |one: &T| machine.step_ns(costs, &counts(one));
    let shortest = all.iter().map(time).min_by(f64::total_cmp)?;
    let near = all.into_iter().filter(|one| time(one) <= NEARLY * shortest).collect();
    least(near, |one| costs.warden_ns(&counts(one)))
}

fn least<T>(all: Vec<T>, cost: impl Fn(&T) -> f64) -> Option<T> {
    all.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b)))
}

#[cfg(test)]
mod tests {
    use blindsmith_matrix::Security;
    use proptest::prelude::*;

    use super::*;
    use crate::costs::Cloud;

    fn network(widths: &[usize], batch_rows: usize, high: bool) -> Network {
        let security = if high { Security::Bits256 } else { Security::Bits128 };
        Network { widths: widths.to_vec(), batch_rows, micro_batch_rows: 1024, input_rms: 0.125, security }
    }

    fn planned(network: &Network, cloud: Cloud) -> Plan {
        plan(network, &Costs::reference(cloud), &Machine::reference(cloud)).unwrap()
    }

    #[test]
    fn a_narrow_layer_is_computed_by_the_warden_and_a_wide_one_may_not_be() {
        for cloud in [Cloud::Cpu, Cloud::Gpu] {
            let plan = planned(&network(&[784, 512, 10], 1024, false), cloud);
            assert!(plan.layers[0].offload.is_some() && plan.layers[1].offload.is_none(), "{plan:?}");
        }
        // Cores that multiply residues are slower than the warden's that multiply numbers.
        let wide = network(&[4096, 8192, 8192, 10], 8192, false);
        assert_eq!(planned(&wide, Cloud::Cpu).layers[1].offload, None);
        let costs = Costs::reference(Cloud::Gpu);
        let few = Machine { warden_cores: 1.0, ..Machine::reference(Cloud::Gpu) };
        assert!(plan(&wide, &costs, &few).unwrap().layers[1].offload.is_some());
    }

    #[test]
    fn all_layers_can_be_offloaded_whatever_it_costs() {
        let network = network(&[30, 16, 8, 2], 64, false);
        let (costs, machine) = (Costs::reference(Cloud::Cpu), Machine::reference(Cloud::Cpu));
        let plan = planned(&network, Cloud::Cpu);
        assert!(plan.layers[1..].iter().all(|layer| layer.offload.is_none()));
        let all = plan.clone().offloading_all(&network, &costs, &machine);
        assert!(all.layers.iter().all(|layer| layer.offload.is_some()));
        assert_eq!((all.layers[0], all.row_form), (plan.layers[0], plan.row_form));
    }

    #[test]
    fn a_device_is_given_more_to_multiply_and_the_warden_less_to_open() {
        let network = network(&[784, 512, 10], 1024, false);
        let (cpu, gpu) = (planned(&network, Cloud::Cpu), planned(&network, Cloud::Gpu));
        assert!(gpu.row_form.roots() <= cpu.row_form.roots(), "{gpu:?} {cpu:?}");
        assert!(gpu.column_form.roots() <= cpu.column_form.roots(), "{gpu:?} {cpu:?}");
    }

    #[test]
    fn blocks_are_about_a_quarter_of_a_batch() {
        let rows = |widths: &[usize], batch_rows| {
            planned(&network(widths, batch_rows, false), Cloud::Cpu).block_rows
        };
        assert_eq!([1, 32, 64, 1024, 5000].map(|batch| rows(&[784, 10], batch)), [8, 8, 16, 256, 256]);
        assert_eq!(rows(&[65_536, 10], 1024), 64, "64 MiB at most");
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let (costs, machine) = (Costs::reference(Cloud::Cpu), Machine::reference(Cloud::Cpu));
        let good = network(&[784, 10], 64, false);
        for widths in [vec![], vec![784], vec![784, 0], vec![65_537, 1]] {
            let bad = Network { widths: widths.clone(), ..good.clone() };
            assert_eq!(plan(&bad, &costs, &machine), Err(PlanError::Widths(widths)));
        }
        for bad in [Network { batch_rows: 0, ..good.clone() }, Network { micro_batch_rows: 0, ..good }] {
            assert_eq!(plan(&bad, &costs, &machine), Err(PlanError::Rows));
        }
    }

    proptest! {
        #[test]
        fn plans_keep_their_limits(
            inputs in 1usize..20_000, hidden in 1usize..5000, outputs in 1usize..100,
            batch_rows in 1usize..40_000, high in any::<bool>(), gpu in any::<bool>(),
        ) {
            let network = network(&[inputs, hidden, outputs], batch_rows, high);
            let plan = planned(&network, if gpu { Cloud::Gpu } else { Cloud::Cpu });
            let rows = plan.block_rows as usize;
            prop_assert!(rows.is_power_of_two() && (8..=4096).contains(&rows));
            prop_assert!(plan.row_form.strip() <= rows && plan.column_form.roots() <= rows);
            prop_assert!(padded_little(inputs, plan.row_form.roots()));
            for form in [plan.row_form, plan.column_form] {
                prop_assert_eq!(form.dimension(), network.security.degree());
            }
            let first = plan.layers[0].offload.unwrap();
            prop_assert_eq!(usize::from(first.forward), plan.row_form.roots());
            prop_assert_eq!(usize::from(first.gradient), plan.column_form.roots());
        }

        #[test]
        fn no_other_number_of_roots_is_much_faster_or_nearly_as_fast_and_spares_the_warden(
            inputs in 1usize..5000, outputs in 1usize..5000, batch_rows in 64usize..8000,
        ) {
            let network = network(&[inputs, outputs], batch_rows, false);
            let (costs, machine) = (Costs::reference(Cloud::Cpu), Machine::reference(Cloud::Cpu));
            let plan = planned(&network, Cloud::Cpu);
            let work = network.layers()[0];
            let (_, forms) = blocks(&work, batch_rows).unwrap();
            let of = |form| {
                let stored = Stored { form, block_rows: plan.block_rows as usize };
                let counts = work.stored_forward(stored);
                (machine.step_ns(&costs, &counts), costs.warden_ns(&counts))
            };
            let chosen = of(plan.row_form);
            let shortest = forms.iter().map(|form| of(*form).0).fold(f64::INFINITY, f64::min);
            prop_assert!(chosen.0 <= NEARLY * shortest);
            for (time, warden) in forms.into_iter().map(of) {
                prop_assert!(time > NEARLY * shortest || chosen.1 <= warden);
            }
        }
    }
}
