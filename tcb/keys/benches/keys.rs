//! Time of encrypting a strip and of opening a row of a product, on one core, at 784-512 with tiles of
//! 16 x 16 x 8: `cargo bench -p blindsmith-keys`. Divide by the polynomials that each name counts.

use std::time::Duration;

use blindsmith_keys::{
    Check, Context, Encryption, Freshness, Key, Opener, Received, Scalars, Secret, Share, Taken,
};
use blindsmith_matrix::{Form, ProductKind, ProductShape, Scale, Shape, Tile, View};
use blindsmith_ring::{Eval, Poly};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 64;
const INPUTS: usize = 784;
const OUTPUTS: usize = 512;
const CONTEXT: Context = Context { project: [0; 32], round: 0, attempt: 0, step: 0, layer: 0, part: 0 };

fn tile() -> Tile {
    Tile::new(16, 16, 8).expect("powers of two")
}

fn entries(shape: &Shape) -> Vec<f32> {
    (0..shape.rows * shape.cols).map(|i| (i % 255) as f32 / 255.0 - 0.5).collect()
}

fn encryption<'a>(shape: Shape, data: &'a [f32]) -> Encryption<'a> {
    let view = View::new(data, shape.rows, shape.cols);
    let key = Key::from_bytes([7; 32]);
    Encryption::operand(&key, &CONTEXT, shape, Scale::from_log2(20), view, Freshness::Fresh, Share::Nothing)
}

/// Secrets of so many strips.
fn secrets(count: usize) -> Vec<Secret> {
    let shape = Shape::new(Form::Rows, tile(), count * tile().m(), tile().n());
    let data = entries(&shape);
    let encryption = encryption(shape, &data);
    let (mut scratch, mut out) = (encryption.scratch(), encryption.strip_buffer());
    (0..count)
        .map(|s| encryption.strip(s, &Taken::default(), &mut scratch, &mut out).secret.expect("its own"))
        .collect()
}

fn encrypt(c: &mut Criterion) {
    let mut group = c.benchmark_group("encrypt");
    for (name, form, rows, cols, crossed) in [
        ("rows", Form::Rows, ROWS, INPUTS, false),
        ("weights", Form::Weights, INPUTS, OUTPUTS, false),
        ("errors right, own term", Form::ErrorRight, ROWS, OUTPUTS, true),
        ("errors left, own term", Form::ErrorLeft, ROWS, OUTPUTS, true),
    ] {
        let shape = Shape::new(form, tile(), rows, cols);
        let data = entries(&shape);
        let encryption = encryption(shape, &data);
        let cross = crossed.then(|| secrets(shape.strip_len()));
        let taken = Taken { cross: cross.as_deref(), ..Taken::default() };
        let (mut scratch, mut out) = (encryption.scratch(), encryption.strip_buffer());
        group.throughput(Throughput::Elements((shape.strip_len() * shape.tile.degree()) as u64));
        group.bench_function(BenchmarkId::new(name, format!("{} polynomials", shape.strip_len())), |b| {
            b.iter(|| encryption.strip(0, &taken, &mut scratch, &mut out).secret.expect("its own"))
        });
    }
    let shape = Shape::new(Form::Weights, tile(), INPUTS, OUTPUTS);
    let data = entries(&shape);
    group.throughput(Throughput::Elements((INPUTS * OUTPUTS) as u64));
    // The digest of the entries and the masks.
    group.bench_function("preparation of weights", |b| b.iter(|| encryption(shape, &data).mask_seed()));
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    let count = INPUTS.div_ceil(tile().n()).max(OUTPUTS.div_ceil(tile().p()));
    let secrets = secrets(count);
    for (name, kind) in [
        ("products", ProductKind::Forward),
        ("weight gradients", ProductKind::WeightGradient),
        ("input gradients", ProductKind::InputGradient),
    ] {
        let shape = ProductShape { kind, tile: tile(), rows: ROWS, inputs: INPUTS, outputs: OUTPUTS };
        // Zero operands: what is done with a product does not depend on its residues.
        let mut product = Received::new(shape);
        product.extras(&vec![0; shape.extras() * shape.tile.degree()]).expect("of its size");
        product.rows(0, &vec![0; shape.residues()]).expect("of its size");
        let scalars = (Scalars::random(shape.grid().0), Scalars::random(shape.grid().1));
        let zero = || Poly::zero(shape.tile.degree());
        let check = Check { rows: &scalars.0, cols: &scalars.1, body: zero(), extras: zero() };
        let product = check.verify(product).expect("whole").expect("right");
        let scales = [Scale::from_log2(20); 2];
        let ((rows, cols), all) = (shape.grid(), &secrets[..]);
        let opener = match kind {
            ProductKind::Forward => Opener::forward(product, &all[..rows], &all[..cols], scales),
            ProductKind::WeightGradient => {
                Opener::weight_gradient(product, &all[..rows], &all[..cols], &all[..cols], scales)
            }
            ProductKind::InputGradient => {
                Opener::input_gradient(product, &all[..cols], &all[..rows], &all[..rows], scales)
            }
        };
        let mut scratch = Poly::<Eval>::zero(shape.tile.degree());
        let mut out = vec![0f32; opener.rows_per_grid_row() * shape.size().1];
        group.throughput(Throughput::Elements((cols * shape.tile.degree()) as u64));
        group.bench_function(BenchmarkId::new(name, format!("{cols} polynomials")), |b| {
            b.iter(|| opener.open_row(0, &mut scratch, &mut out))
        });
    }
}

fn quick() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .without_plots()
}

criterion_group! { name = benches; config = quick(); targets = encrypt, open }
criterion_main!(benches);
