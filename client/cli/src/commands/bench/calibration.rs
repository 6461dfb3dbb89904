//! The planner's costs, measured on the machine at hand with the crates that do the work.
//!
//! Each is core time of this process with all threads busy, so that what they share (caches, memory) is in
//! it, and time that other processes take is not. Of several runs the fastest counts.

use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use blindsmith_keys::{
    Along, Check, Checked, Context, Encryption, Freshness, Key, Opener, Received, Scalars, Secret, Share,
    Taken,
};
use blindsmith_learn::{
    Accelerator, Batch, Bounds, Labels, Left, Loss, Matrix, Pass, Recipe, Targets, Trainer,
};
use blindsmith_matrix::plan::{Costs, Counts, LayerWork, ProductCosts, ProductCounts};
use blindsmith_matrix::{Form, MaskSeed, ProductKind, ProductShape, Scale, Security, Shape, Tile, View};
use blindsmith_ring::{Eval, Lanes, PACKED_BYTES_PER_LANES, Poly, zeroed_lanes};
use blindsmith_shared::{Arena, Region};
use rayon::prelude::*;
use rustix::time::ClockId;

use super::products::Operands;
use super::{core_seconds, median};
use crate::Failure;

/// Runs of each measurement.
const RUNS: usize = 3;
const KINDS: [ProductKind; 3] =
    [ProductKind::Forward, ProductKind::WeightGradient, ProductKind::InputGradient];

/// The cores that this process gets when it asks for one, and when it asks for all threads of the global
/// pool: fewer than it asked for where others work, too.
pub(crate) fn available_cores() -> (f64, f64) {
    let degree = usual_tile(Security::Bits128).degree();
    let work = || drop(MaskSeed([1; 32]).expand(8192, degree));
    let share = |work: &dyn Fn()| {
        let (start, before) = (Instant::now(), core_seconds(ClockId::ProcessCPUTime));
        work();
        (core_seconds(ClockId::ProcessCPUTime) - before) / start.elapsed().as_secs_f64()
    };
    let all = |_: usize| share(&|| drop(rayon::broadcast(|_| work())));
    let one = |_: usize| share(&work);
    (median((0..RUNS).map(one)).clamp(0.05, 1.0), median((0..RUNS).map(all)).max(0.05))
}

/// Measures in the global thread pool, in about a second, what matrices of so many tiles along a side cost:
/// what does not fit a cache takes longer.
pub(crate) fn measure(security: Security, tiles: usize) -> Result<Costs, Failure> {
    let tiles = tiles.clamp(32, 512);
    let mut costs = Costs::default();
    let tile = usual_tile(security);
    for (costs, kind) in costs.products.iter_mut().zip(KINDS) {
        *costs = product(kind, tile, tiles.min(128), costs)?;
    }
    costs.read = read(tile.degree())?;
    let degree = tile.degree();
    costs.mask = least(|| drop(MaskSeed([1; 32]).expand(256, degree))) / (256 * degree) as f64;
    encryption(tile, tiles, &mut costs);
    opening(tile, tiles, &mut costs)?;
    costs.byte = byte()?;
    learning(&mut costs)?;
    Ok(costs)
}

/// A tile of middling sizes.
fn usual_tile(security: Security) -> Tile {
    // Unwrap safety: powers of two whose product is the degree.
    Tile::new(16, 16, security.degree() / 256).expect("powers of two")
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

/// Time of one product whose operands have so many tiles along rows, inputs and outputs.
fn time_product(
    kind: ProductKind,
    tile: Tile,
    grid: [usize; 3],
    packed: bool,
) -> Result<(ProductCounts, f64), Failure> {
    let [rows, inputs, outputs] = [grid[0] * tile.m(), grid[1] * tile.n(), grid[2] * tile.p()];
    let shape = ProductShape { kind, tile, rows, inputs, outputs };
    let mut operands = Operands::random(shape, packed);
    operands.multiply()?;
    let ns = least(|| operands.multiply().expect("operands that were multiplied before"));
    let work = LayerWork { rows, inputs, outputs, first: packed, parts: 1 };
    Ok((Counts::of(&work, tile).products[kind as usize], ns))
}

/// Products in which one cost after the other dominates, the dominant one solved for with the others as they
/// are; repeated until they agree.
fn product(
    kind: ProductKind,
    tile: Tile,
    tiles: usize,
    start: &ProductCosts,
) -> Result<ProductCosts, Failure> {
    // Along rows, inputs, outputs: the contraction, and the two sides of the result.
    let grid = |contraction: usize, left: usize, right: usize| match kind {
        ProductKind::Forward => [left, contraction, right],
        ProductKind::WeightGradient => [contraction, left, right],
        ProductKind::InputGradient => [left, right, contraction],
    };
    let stores = kind != ProductKind::InputGradient;
    // Points are independent: few are enough where multiplying dominates.
    let small = Tile::new(8, 8, 4).map_err(|e| Failure::Other(e.to_string()))?;
    let cube = time_product(kind, small, grid(tiles, tiles, tiles), false)?;
    let thin = time_product(kind, tile, grid(32, 64, 2), false)?;
    let flat = time_product(kind, tile, grid(4, 32, 32), false)?;
    let packed = if stores { Some(time_product(kind, tile, grid(32, 64, 2), true)?) } else { None };
    // A tile of which the input gradient keeps all.
    let full = Tile::new(4 * tile.m(), tile.degree() / (4 * tile.m()), 1);
    let full = full.map_err(|e| Failure::Other(e.to_string()))?;
    let kept = if stores { None } else { Some(time_product(kind, full, grid(4, 32, 32), false)?) };

    let mut costs = *start;
    for _ in 0..20 {
        costs.multiply_add = solve(&cube, costs, |c| &mut c.multiply_add);
        costs.loaded = solve(&thin, costs, |c| &mut c.loaded);
        costs.cell = solve(&flat, costs, |c| &mut c.cell);
        if let Some(packed) = &packed {
            costs.stored = solve(packed, costs, |c| &mut c.stored);
        }
        if let Some(kept) = &kept {
            costs.kept = solve(kept, costs, |c| &mut c.kept);
        }
    }
    Ok(costs)
}

/// The cost that explains what the others leave of a measurement; never less than a hundredth of it all.
fn solve(
    (counts, ns): &(ProductCounts, f64),
    mut costs: ProductCosts,
    field: fn(&mut ProductCosts) -> &mut f64,
) -> f64 {
    *field(&mut costs) = 0.0;
    let others = costs.of(counts);
    *field(&mut costs) = 1.0;
    let count = costs.of(counts) - others;
    (ns - others).max(0.01 * ns) / count
}

/// Reading a packed residue from a cached file.
fn read(degree: usize) -> Result<f64, Failure> {
    let failed = |e: std::io::Error| Failure::Other(format!("a temporary file: {e}"));
    let mut file = tempfile::tempfile().map_err(failed)?;
    let block = vec![1; 64 * degree / 8 * PACKED_BYTES_PER_LANES];
    let blocks = 8;
    (0..blocks).try_for_each(|_| file.write_all(&block)).map_err(failed)?;
    let mut out = vec![0; blocks * block.len()];
    let ns = least(|| {
        let each = out.par_chunks_exact_mut(block.len()).enumerate();
        // A failure shows as a time of nothing, which no plan mistakes for a disk.
        each.for_each(|(i, out)| _ = file.read_exact_at(out, (i * block.len()) as u64));
    });
    Ok(ns / (blocks * 64 * degree) as f64)
}

fn entries(rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols).map(|i| (i % 255) as f32 / 255.0 - 0.5).collect()
}

const CONTEXT: Context = Context { project: [0; 32], round: 0, attempt: 0, step: 0, layer: 0, part: 0 };

fn encrypt(data: &[f32], shape: Shape) -> Encryption<'_> {
    let view = View::new(data, shape.rows, shape.cols);
    Encryption::operand(
        &Key::from_bytes([7; 32]),
        &CONTEXT,
        shape,
        Scale::from_log2(20),
        view,
        Freshness::Fresh,
        Share::Nothing,
    )
}

/// Encrypts all strips in parallel; their secrets.
fn strips(encryption: &Encryption<'_>, cross: Option<&[Secret]>) -> Vec<Secret> {
    // With the projections that check its products.
    let shape = encryption.shape();
    let (across, along) = (Scalars::random(shape.strips()), Scalars::random(shape.strip_len()));
    let taken = Taken { cross, across: Some(&across), along: Along::Scaled(&along) };
    (0..encryption.shape().strips())
        .into_par_iter()
        .map_init(
            || (encryption.scratch(), encryption.strip_buffer()),
            |(scratch, out), s| encryption.strip(s, &taken, scratch, out).secret.expect("its own"),
        )
        .collect()
}

fn encryption(tile: Tile, len: usize, costs: &mut Costs) {
    let strips_long = (512 / len).max(2 * rayon::current_num_threads());
    let shape = Shape::new(Form::Rows, tile, strips_long * tile.m(), len * tile.n());
    let data = entries(shape.rows, shape.cols);
    let long = encrypt(&data, shape);
    let single_strips = len.max(256);
    let short = Shape::new(Form::Rows, tile, single_strips * tile.m(), tile.n());
    let short_data = entries(short.rows, short.cols);
    let short = encrypt(&short_data, short);
    let secrets: Vec<Secret> = strips(&short, None).into_iter().take(len).collect();

    let degree = tile.degree() as f64;
    let tiles = (strips_long * len) as f64;
    let plain = least(|| drop(strips(&long, None)));
    let crossed = least(|| drop(strips(&long, Some(&secrets))));
    let single = least(|| drop(strips(&short, None)));
    // single = strips (encrypt + secret), plain = tiles encrypt + strips secret.
    let both = single / (single_strips as f64 * degree);
    let encrypt_ns = (plain / degree - strips_long as f64 * both) / (tiles - strips_long as f64);
    costs.encrypt = encrypt_ns.clamp(0.1 * both, both);
    costs.secret = (both - costs.encrypt).max(0.05 * both);
    costs.cross = ((crossed - plain) / (tiles * degree)).max(0.02 * costs.encrypt);

    // Preparing is hashing and expanding masks; bounds take two passes over the entries.
    let matrix = entries(512, 1024);
    let wide = Shape::new(Form::Rows, tile, 512, 1024);
    let prepared =
        least(|| drop(encrypt(&matrix, wide))) - costs.mask * (wide.strip_len() * tile.degree()) as f64;
    let bounded = least(|| {
        let sums = matrix.iter().fold((0f32, 0f64), |(m, s), v| (m.max(v.abs()), s + f64::from(v * v)));
        std::hint::black_box(sums);
    });
    costs.entry = (prepared.max(0.0) + 2.0 * bounded) / matrix.len() as f64;
}

/// The product of zero operands, checked: what is done with it does not depend on its residues.
fn zero_product(shape: ProductShape) -> Result<Checked, Failure> {
    let malformed = |e: blindsmith_keys::Malformed| Failure::Other(e.to_string());
    let mut product = Received::new(shape);
    product.extras(&vec![0; shape.extras() * shape.tile.degree()]).map_err(malformed)?;
    product.rows(0, &vec![0; shape.residues()]).map_err(malformed)?;
    let (rows, cols) = (Scalars::random(shape.grid().0), Scalars::random(shape.grid().1));
    let zero = || Poly::zero(shape.tile.degree());
    let check = Check { rows: &rows, cols: &cols, body: zero(), extras: zero() };
    check.verify(product).map_err(malformed)?.map_err(|e| Failure::Other(e.to_string()))
}

/// Opens zeros.
fn time_opening(
    kind: ProductKind,
    tile: Tile,
    tiles: usize,
    secrets: &[Secret],
) -> Result<(ProductShape, f64), Failure> {
    let few = (512 / tiles).max(4 * rayon::current_num_threads());
    // Few rows of the grid, many columns.
    let (rows, inputs, outputs) = match kind {
        ProductKind::Forward => (few, 1, tiles),
        ProductKind::WeightGradient => (1, few, tiles),
        ProductKind::InputGradient => (few, tiles, 1),
    };
    let (rows, inputs, outputs) = (rows * tile.m(), inputs * tile.n(), outputs * tile.p());
    let shape = ProductShape { kind, tile, rows, inputs, outputs };
    let product = zero_product(shape)?;
    let ((of_rows, of_cols), scales) = (secrets.split_at(few), [Scale::from_log2(20); 2]);
    let cross = &secrets[secrets.len() - tiles..];
    let opener = match kind {
        ProductKind::Forward => Opener::forward(product, of_rows, &of_cols[..tiles], scales),
        ProductKind::WeightGradient => {
            Opener::weight_gradient(product, of_rows, &of_cols[..tiles], cross, scales)
        }
        ProductKind::InputGradient => {
            Opener::input_gradient(product, &of_cols[..tiles], of_rows, of_rows, scales)
        }
    };
    let mut out = vec![0f32; shape.size().0 * shape.size().1];
    let per_row = opener.rows_per_grid_row() * shape.size().1;
    let ns = least(|| {
        out.par_chunks_mut(per_row).enumerate().for_each_init(
            || Poly::<Eval>::zero(tile.degree()),
            |scratch, (i, out)| _ = opener.open_row(i, scratch, out),
        );
    });
    Ok((shape, ns))
}

fn opening(tile: Tile, tiles: usize, costs: &mut Costs) -> Result<(), Failure> {
    let strips_needed = 512 + 2 * tiles + 4 * rayon::current_num_threads();
    let shape = Shape::new(Form::Rows, tile, strips_needed * tile.m(), tile.n());
    let data = entries(shape.rows, shape.cols);
    let secrets = strips(&encrypt(&data, shape), None);
    // Two tiles of one product tell coefficients from values: m n are read of m n p.
    let full = Tile::new(4 * tile.m(), tile.degree() / (4 * tile.m()), 1);
    let full = full.map_err(|e| Failure::Other(e.to_string()))?;
    let (few, few_ns) = time_opening(ProductKind::InputGradient, tile, tiles, &secrets)?;
    let (all, all_ns) = time_opening(ProductKind::InputGradient, full, tiles, &secrets)?;
    let more = (all.residues() - few.residues()) as f64;
    costs.value = ((all_ns - few_ns) / more).max(0.1);
    for (cost, kind) in costs.open.iter_mut().zip(KINDS) {
        let (shape, ns) = time_opening(kind, tile, tiles, &secrets)?;
        let points = (shape.grid().0 * shape.grid().1 * tile.degree()) as f64;
        *cost = (ns - costs.value * shape.residues() as f64).max(0.1 * ns) / points;
    }
    Ok(())
}

/// Writing a byte into memory that is shared, where it is given back afterwards, and copying one out.
fn byte() -> Result<f64, Failure> {
    let failed = |e: blindsmith_shared::SharedError| Failure::Other(e.to_string());
    let groups = (16 << 20) / size_of::<Lanes>();
    let region = Region::create(groups).map_err(failed)?;
    let range = Arena::new(groups).take(groups).ok_or(Failure::Other("no shared memory".into()))?;
    let source = zeroed_lanes(groups);
    let mut out = vec![0; groups * 8];
    let ns = least(|| {
        _ = region.write(&range, 0, &source);
        _ = region.read(0, &mut out);
    });
    Ok(ns / (2 * groups * size_of::<Lanes>()) as f64)
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

fn learning(costs: &mut Costs) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::Other(e.to_string());
    let recipe = Recipe::new(&LOOP, Loss::SoftmaxCrossEntropy);
    let mut trainer = Trainer::new(recipe).map_err(|e| failed(&e))?;
    let mut time = |rows: u32| -> Result<f64, Failure> {
        let labels = Labels::new(Targets::Classes(vec![0; rows as usize]));
        let group = blindsmith_learn::Group { upload: 0, first_block: 0, blocks: 1 };
        let batch = Batch::new(vec![group], rows as usize, labels).map_err(|e| failed(&e))?;
        let mut outcome = trainer.train_step(&mut Nothing, &batch).map(drop);
        let ns = least(|| outcome = trainer.train_step(&mut Nothing, &batch).map(drop));
        outcome.map_err(|e| failed(&e))?;
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
    fn a_cost_is_solved_from_what_the_others_leave() {
        let counts = ProductCounts { multiply_adds: 100.0, stored: 0.0, loaded: 10.0, cells: 4.0, kept: 1.0 };
        let costs = ProductCosts { multiply_add: 0.5, stored: 9.0, loaded: 2.0, cell: 3.0, kept: 8.0 };
        let ns = costs.of(&counts);
        let wrong = ProductCosts { loaded: 77.0, ..costs };
        let solved = solve(&(counts, ns), wrong, |c| &mut c.loaded);
        assert!((solved - 2.0).abs() < 1e-9, "{solved}");
        // Never negative, however little is left.
        assert!(solve(&(counts, 1.0), costs, |c| &mut c.loaded) > 0.0);
    }
}
