//! The planner's costs, measured on the machine at hand with the crates that do the work.
//!
//! Each is core time of this process with all threads busy, so that what they share (caches, memory) is in
//! it, and time that other processes take is not. Of several runs the fastest counts.

use std::ops::Range;
use std::time::Instant;

use blindsmith_keys::{
    Check, Checked, Context, Contraction, Encryption, Freshness, Key, MaskTerms, Opener, ProductKind,
    ProjectionScalars, RowStrip, Scalars, Secrets, Share, expand,
};
use blindsmith_learn::{
    Accelerator, Batch, Block, Bounds, Labels, Left, Loss, Matrix, Pass, Recipe, Targets, Trainer, product,
};
use blindsmith_matrix::{Encoding, MaskSeed, Masks, OperandShape, ProductShape, Scale, Security, Side, View};
use blindsmith_plan::{Cloud, CloudCosts, Costs, WardenCosts};
use blindsmith_ring::{Lanes, PACKED_BYTES_PER_LANES, Table, backend, zeroed_lanes};
use blindsmith_shared::{Arena, Region};
use rustix::time::ClockId;

use super::products::{Form, Operands, Sizes};
use super::{core_seconds, median};
use blindsmith_client::Failure;

/// Runs of each measurement.
const RUNS: usize = 3;
/// Roots of what is measured.
const ROOTS: usize = 16;

/// The cores that this process gets when it asks for one, and when it asks for all threads of the global
/// pool: fewer than it asked for where others work, too.
pub fn available_cores() -> (f64, f64) {
    let work = || drop(MaskSeed([1; 32]).expand(8192, 2048));
    let share = |work: &dyn Fn()| {
        let (start, before) = (Instant::now(), core_seconds(ClockId::ProcessCPUTime));
        work();
        (core_seconds(ClockId::ProcessCPUTime) - before) / start.elapsed().as_secs_f64()
    };
    let all = |_: usize| share(&|| drop(rayon::broadcast(|_| work())));
    let one = |_: usize| share(&work);
    (median((0..RUNS).map(one)).clamp(0.05, 1.0), median((0..RUNS).map(all)).max(0.05))
}

/// Measures in the global thread pool, in about a second. A device is not measured: its costs are assumed.
pub fn measure(security: Security, cloud: Cloud) -> Result<Costs, Failure> {
    let mut costs = Costs::reference(cloud);
    let warden = &mut costs.warden;
    warden.mask = mask(security);
    transforms(security, warden);
    encryption(security, warden)?;
    opening(security, warden)?;
    warden.kept = kept()?;
    warden.carry = carry()?;
    warden.plain = plain();
    learning(warden)?;
    if cloud == Cloud::Cpu {
        costs.cloud = products(security, CloudCosts { mask: costs.warden.mask, ..costs.cloud })?;
    }
    Ok(costs)
}

/// Nanoseconds of core time of the fastest run.
fn least(mut work: impl FnMut()) -> f64 {
    let run = |_| {
        let start = core_seconds(ClockId::ProcessCPUTime);
        work();
        (core_seconds(ClockId::ProcessCPUTime) - start) * 1e9
    };
    (0..RUNS).map(run).fold(f64::INFINITY, f64::min)
}

fn other(e: impl std::fmt::Display) -> Failure {
    Failure::Other(e.to_string())
}

/// What the refinery's products take.
fn products(security: Security, mut costs: CloudCosts) -> Result<CloudCosts, Failure> {
    let time = |rows, inputs, outputs, form| -> Result<(Sizes, f64), Failure> {
        let fit = |width| Encoding::fit(security, ROOTS, width).map_err(other);
        let sizes = Sizes { rows, inputs, outputs, left: fit(256)?, right: fit(outputs)? };
        let mut operands = Operands::random(sizes);
        operands.multiply(form)?;
        Ok((sizes, least(|| operands.multiply(form).expect("operands that were multiplied before"))))
    };
    let (sizes, alone) = time(512, 784, 512, Form::Plain)?;
    let (_, masked) = time(512, 784, 512, Form::Augmented)?;
    let body = (512 * 784 * 512) as f64;
    costs.multiply_add = alone / body;
    costs.mask_multiply_add = ((masked - alone) / (sizes.augmented_macs() - body)).max(0.001);
    let stored = time(1024, 1024, 8, Form::Stored)?.1 - time(1024, 1024, 8, Form::Plain)?.1;
    costs.stored = (stored / f64::from(1 << 20)).max(0.1);
    let results = time(1024, ROOTS, 1024, Form::Plain)?.1 - costs.multiply_add * (ROOTS << 20) as f64;
    costs.result = (results / f64::from(1 << 20)).max(0.1);
    Ok(costs)
}

fn mask(security: Security) -> f64 {
    let mut masks = Masks::zero(256, security.degree());
    least(|| expand(MaskSeed([1; 32]), 0, &mut masks)) / masks.as_slice().len() as f64
}

/// Transforms with many levels and with few tell levels from the rest; products with secrets.
fn transforms(security: Security, costs: &mut WardenCosts) {
    let (backend, degree, times) = (backend::active(), security.degree(), 256);
    let table = Table::of(degree);
    let mut x: Vec<u64> = (0..degree as u64).collect();
    let mut back = |roots: usize| {
        least(|| (0..times).for_each(|_| backend.eval_to_mixed(table, &mut x, roots)))
            / (times * degree) as f64
    };
    let (many, few, levels) = (back(1), back(ROOTS), f64::from(ROOTS.ilog2()));
    costs.butterfly = ((many - few) / levels).max(0.01);
    costs.point = (few - costs.butterfly * (f64::from(degree.ilog2()) - levels)).max(0.05);
    let (a, b, mut out) = (x.clone(), x, vec![0; degree]);
    let multiply = || (0..times).for_each(|_| backend.mul_ranks(&mut out, &a, &b, 1, degree / ROOTS));
    costs.rank = least(multiply) / (times * degree) as f64;
}

fn entries(rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols).map(|i| (i % 255) as f32 / 255.0 - 0.5).collect()
}

/// A right operand of these sizes.
fn operand(security: Security, contraction: usize, width: usize) -> Result<OperandShape, Failure> {
    let encoding = Encoding::fit(security, ROOTS, width).map_err(other)?;
    Ok(OperandShape { side: Side::Right, encoding, contraction, width })
}

fn encrypt(data: &[f32], shape: OperandShape) -> Encryption<'_> {
    let product = ProductKind::Forward;
    let context = Context { project: [0; 32], round: 0, attempt: 0, step: 0, layer: 0, part: 0, product };
    let view = View::new(data, shape.contraction, shape.width);
    let of = ((view, Contraction::Rows), (shape, Scale::from_log2(20)));
    Encryption::operand(&Key::from_bytes([7; 32]), &context, of.0, of.1, Freshness::Fresh, Share::Nothing)
}

fn encryption(security: Security, costs: &mut WardenCosts) -> Result<(), Failure> {
    let shape = operand(security, 1024, 512)?;
    let (encoding, data) = (shape.encoding, entries(shape.contraction, shape.width));
    let strips = 256;
    let secrets = || drop(Secrets::derive(&Key::from_bytes([7; 32]), encoding, 0..strips));
    costs.secret = least(secrets) / (strips * encoding.dimension()) as f64;

    // Preparing is hashing, masks and secrets; bounds take two passes over the entries.
    let masks = (shape.places() * encoding.dimension()) as f64;
    let prepared = least(|| drop(encrypt(&data, shape)))
        - costs.mask * masks
        - costs.secret * (shape.strips() * encoding.dimension()) as f64;
    let bounded = least(|| {
        // Side by side, as the warden does.
        let mut sums = [(0f32, 0f64); 16];
        for values in data.as_chunks::<16>().0 {
            let add = |(m, s): (f32, f64), v: f32| (m.max(v.abs()), s + f64::from(v * v));
            sums.iter_mut().zip(values).for_each(|(sums, v)| *sums = add(*sums, *v));
        }
        std::hint::black_box(sums);
    });
    costs.entry = (prepared.max(0.0) + 2.0 * bounded) / data.len() as f64;

    let (backend, times) = (backend::active(), 256);
    let (a, b) = (vec![1; 4096], vec![2; 4096]);
    let dots = || (0..times).for_each(|_| _ = std::hint::black_box(backend.dot(&a, &b)));
    costs.project = least(dots) / (times * a.len()) as f64;
    let (encryption, scalars) = (encrypt(&data, shape), ProjectionScalars::random(&shape));
    let write = |_, _: &[u64]| Ok::<(), std::convert::Infallible>(());
    let whole: Range<usize> = 0..shape.width;
    let stripes = std::slice::from_ref(&whole);
    let ns = least(|| _ = encryption.pieces(&scalars, stripes, write));
    let elements = (shape.strips() * shape.places()) as f64;
    let points = elements * encoding.degree() as f64;
    let known = points * (costs.butterfly * f64::from(encoding.degree().ilog2()) + 2.0 * costs.point)
        + costs.rank * elements * encoding.dimension() as f64
        + costs.project * (shape.residues() as f64 + masks);
    costs.noise = ((ns - known) / points).max(0.1);
    Ok(())
}

/// The product of zero operands, checked: what is done with it does not depend on its residues.
fn zero_product(shape: ProductShape, costs: &mut WardenCosts) -> Result<Checked, Failure> {
    let zeros = vec![0; shape.residues()];
    let scalars =
        [shape.rows, shape.columns, shape.left.dimension(), shape.right.dimension()].map(Scalars::random);
    let [rows, columns, left, right] = &scalars;
    let (mut checked, mut memory) = (None::<Checked>, Vec::new());
    let ns = least(|| {
        // In memory that is used again, as the warden's is.
        memory = checked.take().map_or_else(|| std::mem::take(&mut memory), Checked::into_memory);
        let check = Check {
            rows,
            left_masks: &[left],
            columns,
            stripe: 0..shape.columns,
            right_masks: right,
            expected: 0,
        };
        let mut product = check.receive(shape, std::mem::take(&mut memory));
        checked = product.take(&zeros).and_then(|()| product.verify()).ok().and_then(Result::ok);
    });
    costs.project = costs.project.max(ns / shape.residues() as f64);
    checked.ok_or_else(|| other("a product of zeros was refused"))
}

/// Opens zeros.
fn opening(security: Security, costs: &mut WardenCosts) -> Result<(), Failure> {
    let (rows, columns) = (512, 512);
    let shape = operand(security, ROOTS, columns)?;
    let encoding = shape.encoding;
    let product =
        ProductShape { left: encoding, right: encoding, rows, columns, mask_sets: 1, right_masks: true };
    let checked = zero_product(product, costs)?;
    let secrets = Secrets::derive(&Key::from_bytes([7; 32]), encoding, 0..shape.strips());
    let back = |elements: usize| {
        let level = costs.butterfly * f64::from(encoding.strip().ilog2()) + costs.point;
        let each = level * encoding.degree() as f64 + costs.rank * encoding.dimension() as f64;
        elements as f64 * each
    };
    let mut terms = None;
    let ns = least(|| terms = Some(MaskTerms::new(&checked, checked.shape().columns, (&secrets, 0))));
    let terms = terms.ok_or_else(|| other("no terms"))?;
    let term = (ns - back(encoding.per_root() * shape.strips())) / (columns * encoding.dimension()) as f64;
    let strip = |s: usize| RowStrip {
        rows: encoding.strip().min(rows - s * encoding.strip()),
        secrets: vec![(0, secrets.reference(s))],
    };
    let strips: Vec<RowStrip<'_>> = (0..rows.div_ceil(encoding.strip())).map(strip).collect();
    let opener = Opener {
        product: &checked,
        of_left_masks: &checked,
        terms: &terms,
        of_right_masks: &checked,
        strips: &strips,
        right: &secrets,
        first: 0,
        scales: [Scale::from_log2(20); 2],
    };
    let mut out = vec![0f32; rows * columns];
    let ns = least(|| _ = opener.open(&mut out, columns, 0));
    let opened = strips.len() * columns + rows * shape.strips();
    let folded = costs.point * (opened * encoding.degree()) as f64;
    let value = (ns - back(opened) - folded) / (rows * columns) as f64;
    (costs.term, costs.value) = (term.max(0.1), value.max(0.1));
    Ok(())
}

/// Unsealing and unpacking a residue of a projection.
fn kept() -> Result<f64, Failure> {
    let (key, mut residues) = (Key::from_bytes([7; 32]), vec![0; 1 << 17]);
    let sealed = key.encrypt_once(b"", &vec![0; residues.len() / 8 * PACKED_BYTES_PER_LANES]);
    let mut good = true;
    let ns = least(|| {
        let packed = key.decrypt_once(b"", &sealed);
        good &= packed.is_ok_and(|packed| backend::active().unpack(&mut residues, &packed));
    });
    if good { Ok(ns / residues.len() as f64) } else { Err(other("what was sealed does not open")) }
}

/// Writing a residue into memory that is shared, where it is given back afterwards, and copying one out.
fn carry() -> Result<f64, Failure> {
    let groups = (16 << 20) / size_of::<Lanes>();
    let region = Region::create(groups).map_err(other)?;
    let range = Arena::new(groups).take(groups).ok_or(other("no shared memory"))?;
    let source = zeroed_lanes(groups);
    let mut out = vec![0; groups * 8];
    let ns = least(|| {
        _ = region.write(&range, 0, bytemuck::cast_slice(&source));
        _ = region.read(0, &mut out);
    });
    Ok(ns / (2 * out.len()) as f64)
}

/// A multiply-add of the warden's own products.
fn plain() -> f64 {
    let (rows, inputs, outputs) = (512, 512, 512);
    let filled = |rows, cols| {
        let mut matrix = Matrix::zeros(rows, cols);
        matrix.as_mut_slice().copy_from_slice(&entries(rows, cols));
        matrix
    };
    let (left, right) = (filled(rows, inputs), filled(inputs, outputs));
    let mut out = Matrix::zeros(rows, outputs);
    least(|| product::multiply(&left, &right, 0..rows, &mut out)) / (rows * inputs * outputs) as f64
}

/// An accelerator without products: what is left of a step is the training loop's own work.
struct Nothing;

impl Accelerator for Nothing {
    type Error = std::convert::Infallible;

    fn begin(&mut self, _: Pass) -> Result<(), Self::Error> {
        Ok(())
    }

    fn load_weights(&mut self, _: usize, _: &Matrix) -> Result<(), Self::Error> {
        Ok(())
    }

    fn forward(&mut self, _: usize, _: Left<'_>, _: Range<usize>, _: &mut Matrix) -> Result<(), Self::Error> {
        Ok(())
    }

    fn add_gradient(
        &mut self,
        _: usize,
        _: Left<'_>,
        _: &Matrix,
        _: Option<Bounds>,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn input_gradient(
        &mut self,
        _: usize,
        _: &Matrix,
        _: Range<usize>,
        _: &mut Matrix,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), Self::Error> {
        out.reshape(LOOP[layer], LOOP[layer + 1]);
        Ok(())
    }

    fn gradient_noise(&self, _: usize) -> f32 {
        0.0
    }
}

/// Widths of the network whose loop is timed.
const LOOP: [usize; 3] = [1024, 256, 10];

fn learning(costs: &mut WardenCosts) -> Result<(), Failure> {
    let recipe = Recipe::new(&LOOP, Loss::SoftmaxCrossEntropy);
    let mut trainer = Trainer::new(recipe).map_err(other)?;
    let mut time = |rows: u32| -> Result<f64, Failure> {
        let labels = Labels::new(Targets::Classes(vec![0; rows as usize]));
        let batch = Batch::new(vec![Block { upload: 0, index: 0, rows }], labels).map_err(other)?;
        let mut outcome = trainer.train_step(&mut Nothing, &batch).map(drop);
        let ns = least(|| outcome = trainer.train_step(&mut Nothing, &batch).map(drop));
        outcome.map_err(other)?;
        Ok(ns)
    };
    let (few, many) = (time(16)?, time(528)?);
    costs.activation = ((many - few) / (512 * (LOOP[1] + LOOP[2])) as f64).max(0.1);
    let weights = LOOP[0] * LOOP[1] + LOOP[1] * LOOP[2];
    costs.update =
        (few - costs.activation * (16 * (LOOP[1] + LOOP[2])) as f64).max(0.1 * few) / weights as f64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cost_is_measured_and_a_device_is_assumed() {
        let costs = measure(Security::Bits128, Cloud::Cpu).unwrap();
        let json = serde_json::to_value(costs).unwrap();
        for side in ["cloud", "warden"] {
            for (name, cost) in json[side].as_object().unwrap() {
                assert!(cost.as_f64().is_some_and(|ns| ns > 0.0 && ns < 1e6), "{name}: {cost}");
            }
        }
        let device = measure(Security::Bits128, Cloud::Gpu).unwrap();
        assert_eq!(device.cloud, Costs::reference(Cloud::Gpu).cloud);
    }
}
