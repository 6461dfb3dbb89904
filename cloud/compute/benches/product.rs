//! Products of a layer, 1024 rows x 784 inputs x 512 and x 10 outputs, beside float32. Elements are the
//! multiply-adds of the plain product. `RAYON_NUM_THREADS` sets the threads.

use std::hint::black_box;
use std::time::Duration;

use blindsmith_compute::{Left, MaskSet, Names, Product, Row, backend};
use blindsmith_ring::{PACKED_BYTES_PER_LANES, Q, backend as ring};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

const N: usize = 2048;
const ROWS: usize = 1024;
const INPUTS: usize = 784;

fn residues(rows: usize, width: usize) -> Vec<Vec<u64>> {
    let value = |i: usize| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % Q;
    (0..rows).map(|row| (0..width).map(|i| value(row * width + i)).collect()).collect()
}

fn pack(row: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; row.len() / 8 * PACKED_BYTES_PER_LANES];
    ring::active().pack(&mut bytes, row);
    bytes
}

fn float(outputs: usize, z: &mut [f32], x: &[f32], w: &[f32]) {
    let parallelism = match rayon::current_num_threads() {
        1 => gemm::Parallelism::None,
        threads => gemm::Parallelism::Rayon(threads),
    };
    let (z, x, w, o, i) = (z.as_mut_ptr(), x.as_ptr(), w.as_ptr(), outputs as isize, INPUTS as isize);
    // SAFETY: row-major matrices of these sizes.
    unsafe {
        gemm::gemm(
            ROWS,
            outputs,
            INPUTS,
            z,
            1,
            o,
            false,
            x,
            1,
            i,
            w,
            1,
            o,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("product");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    for (outputs, roots) in [(512, 4), (10, 64)] {
        let places = INPUTS.div_ceil(roots);
        let contraction = places * roots;
        let packed: Vec<_> =
            residues(ROWS, contraction.next_multiple_of(8)).iter().map(|x| pack(x)).collect();
        let (w, left_masks, right_masks) =
            (residues(contraction, outputs), residues(places, N), residues(places, N));
        let left: Vec<_> = packed.iter().map(|row| Row::Packed(row)).collect();
        let right: Vec<_> = w.iter().map(|row| Row::Plain(row)).collect();
        let left_masks: Vec<_> = left_masks.iter().map(|row| &row[..]).collect();
        let right_masks: Vec<_> = right_masks.iter().map(|row| &row[..]).collect();
        let all: Vec<_> = (0..places as u32).collect();
        let sets = [MaskSet { places: &all, rows: &left_masks }];
        let plain = Product {
            roots,
            rows: ROWS,
            left: Left::Rows(&left),
            left_masks: &[],
            right: &right,
            columns: 0..outputs,
            right_masks: None,
            names: Names::default(),
        };
        let masked = Product { left_masks: &sets, right_masks: Some(&right_masks), ..plain.clone() };
        let mut out = vec![0; masked.residues()];
        let (x, w, mut z) =
            (vec![1f32; ROWS * INPUTS], vec![1f32; INPUTS * outputs], vec![0f32; ROWS * outputs]);
        group.throughput(Throughput::Elements((ROWS * INPUTS * outputs) as u64));
        group.bench_function(format!("{outputs} outputs, float32"), |bencher| {
            bencher.iter(|| float(outputs, black_box(&mut z), &x, &w));
        });
        for device in backend::available() {
            for (what, product) in [("alone", &plain), ("with masks", &masked)] {
                let out = &mut out[..product.residues()];
                group.bench_function(format!("{outputs} outputs, {what}, {}", device.name()), |bencher| {
                    bencher.iter(|| {
                        product.multiply_on(*device, false, black_box(&mut *out)).expect("a product")
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, products);
criterion_main!(benches);
