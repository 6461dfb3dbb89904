//! Products of one layer, 1024 rows x 784 inputs x 512 outputs and x 10 outputs, on one thread; elements are
//! useful multiply-adds. `examples/ratio.rs` compares with float32.

use std::hint::black_box;
use std::time::Duration;

use blindsmith_compute::{Operand, Orientation, Output, Product, Strip, backend};
use blindsmith_ring::{LANES, Lanes, PACKED_BYTES_PER_LANES, Q, backend as ring};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

const POINTS: usize = 2048;

/// Strips that live as long as the process, as a benchmark's do.
fn strips(count: usize, length: usize) -> Vec<Strip<'static>> {
    let value = |i: usize| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % Q;
    let line = |i: usize| Lanes(std::array::from_fn(|lane| value(8 * i + lane)));
    let strip = |_| Strip::Lanes((0..POINTS / LANES * length).map(line).collect::<Vec<_>>().leak());
    (0..count).map(strip).collect()
}

fn pack(strips: &[Strip<'static>]) -> Vec<Strip<'static>> {
    let pack = |strip: &Strip<'static>| {
        let Strip::Lanes(lanes) = strip else { return *strip };
        let mut bytes = vec![0; lanes.len() * PACKED_BYTES_PER_LANES];
        ring::active().pack(&mut bytes, bytemuck::cast_slice(lanes));
        Strip::Packed(bytes.leak())
    };
    strips.iter().map(pack).collect()
}

fn products(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let mut group = criterion.benchmark_group("product");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    let (x, w, e) = (strips(64, 49), strips(64, 49), strips(64, 64));
    let packed = pack(&x);
    let (narrow_x, narrow_w) = (strips(32, 25), strips(5, 25));
    let operand = |strips, length| Operand::new(POINTS, strips, length).expect("an operand");
    use Orientation::{Forward, WeightGradient};
    for (name, orientation, a, b, output, outputs) in [
        ("forward", Forward, operand(&x, 49), operand(&w, 49), Output::Fold(16), 512),
        ("forward packed", Forward, operand(&packed, 49), operand(&w, 49), Output::Fold(16), 512),
        ("gradient", WeightGradient, operand(&x, 49), operand(&e, 64), Output::Window(128), 512),
        ("ten outputs", Forward, operand(&narrow_x, 25), operand(&narrow_w, 25), Output::Fold(32), 10),
    ] {
        let product = Product::new(orientation, a, b, output).expect("a product");
        let mut out = vec![0; product.layout().len()];
        group.throughput(Throughput::Elements(1024 * 784 * outputs));
        for backend in backend::available() {
            group.bench_function(format!("{name} {}", backend.name()), |bencher| {
                let mut run = || product.compute_on(*backend, false, black_box(&mut out)).expect("a buffer");
                bencher.iter(|| pool.install(&mut run));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, products);
criterion_main!(benches);
