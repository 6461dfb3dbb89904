//! Time of each operation on one polynomial of 2048 points, for every backend of this machine.

use std::hint::black_box;
use std::time::Duration;

use blindsmith_ring::backend::{self, Backend, NOISE_BYTES, TERNARY_BYTES};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Coeff, Lanes, PACKED_BYTES_PER_LANES, Poly, Q, Table, zeroed_lanes};
use criterion::{Criterion, criterion_group, criterion_main};

const POINTS: usize = 2048;

fn residues(seed: u64) -> Vec<Lanes> {
    let mut values = zeroed_lanes(POINTS / 8);
    for (i, v) in bytemuck::cast_slice_mut::<Lanes, u64>(&mut values).iter_mut().enumerate() {
        *v = (i as u64 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) % Q;
    }
    values
}

fn words(values: &[Lanes]) -> &[u64] {
    bytemuck::cast_slice(values)
}

fn words_mut(values: &mut [Lanes]) -> &mut [u64] {
    bytemuck::cast_slice_mut(values)
}

fn transforms(c: &mut Criterion, backend: &dyn Backend) {
    let table = Table::of(POINTS);
    let mut group = c.benchmark_group(backend.name());
    // Canonical in, canonical out: each call feeds the next.
    let mut x = residues(1);
    group.bench_function("forward", |b| b.iter(|| backend.forward(table, black_box(words_mut(&mut x)))));
    group.bench_function("inverse", |b| b.iter(|| backend.inverse(table, black_box(words_mut(&mut x)))));
}

/// To and from the mixed form, for few roots and for many.
fn mixed_transforms(c: &mut Criterion, backend: &dyn Backend) {
    let table = Table::of(POINTS);
    let mut group = c.benchmark_group(backend.name());
    let mut x = residues(1);
    let x = words_mut(&mut x);
    for roots in [1, 4, 16, 64] {
        group.bench_function(format!("forward_mixed/{roots}"), |b| {
            b.iter(|| backend.forward_mixed(table, black_box(&mut *x), roots))
        });
        group.bench_function(format!("inverse_mixed/{roots}"), |b| {
            b.iter(|| backend.inverse_mixed(table, black_box(&mut *x), roots))
        });
        group.bench_function(format!("mixed_to_eval/{roots}"), |b| {
            b.iter(|| backend.mixed_to_eval(table, black_box(&mut *x), roots))
        });
        group.bench_function(format!("eval_to_mixed/{roots}"), |b| {
            b.iter(|| backend.eval_to_mixed(table, black_box(&mut *x), roots))
        });
    }
    let from = residues(2);
    for rows in [4, 8, 64] {
        group.bench_function(format!("transpose/{rows}"), |b| {
            b.iter(|| backend.transpose(black_box(&mut *x), rows, words(&from), rows, POINTS / rows))
        });
    }
}

fn products(c: &mut Criterion, backend: &dyn Backend) {
    let [p, q] = [1, 2].map(residues);
    let [p, q] = [&p, &q].map(|x| words(x));
    let (mut out, mut high) = (residues(5), residues(6));
    let (out, high) = (words_mut(&mut out), words_mut(&mut high));
    let mut group = c.benchmark_group(backend.name());
    group.bench_function("add_assign", |b| b.iter(|| backend.add_assign(black_box(out), p)));
    group.bench_function("mul", |b| b.iter(|| backend.mul(black_box(out), p, q)));
    group.bench_function("mul_add", |b| b.iter(|| backend.mul_add(black_box(out), p, q)));
    group.bench_function("scale_accumulate/1", |b| {
        b.iter(|| backend.scale_accumulate(black_box(&mut *out), &mut *high, p, &q[..1]))
    });
    group.bench_function("dot", |b| b.iter(|| backend.dot(black_box(p), q)));
    group.bench_function("reduce_pairs", |b| b.iter(|| backend.reduce_pairs(black_box(out), p, q)));
}

/// Vectors of elements, and entries of matrices.
fn entries(c: &mut Criterion, backend: &dyn Backend) {
    let [p, q] = [1, 2].map(residues);
    let [p, q] = [&p, &q].map(|x| words(x));
    let mut out = residues(5);
    let out = words_mut(&mut out);
    let mut reals: Vec<f32> = (0..POINTS).map(|i| i as f32 / POINTS as f32 - 0.5).collect();
    let mut group = c.benchmark_group(backend.name());
    for rank in [1, 4] {
        group.bench_function(format!("mul_ranks/{rank}"), |b| {
            b.iter(|| backend.mul_ranks(black_box(&mut out[..POINTS / rank]), p, q, rank, 128))
        });
    }
    group.bench_function("fold_blocks/16", |b| {
        b.iter(|| backend.fold_blocks(black_box(&mut out[..POINTS / 16]), p))
    });
    group.bench_function("encode", |b| b.iter(|| backend.encode(black_box(&mut *out), &reals, 1e6)));
    group.bench_function("decode", |b| b.iter(|| backend.decode(black_box(&mut reals), p, q[0], 1e-12)));
    let mut sums = vec![0; 64 * 64];
    group.bench_function("subset_sums/64", |b| {
        b.iter(|| backend.subset_sums(black_box(&mut sums), p, &q[..POINTS / 64]))
    });
}

fn bytes(c: &mut Criterion, backend: &dyn Backend) {
    let random: Vec<u8> = (0..TERNARY_BYTES * POINTS).map(|i| ((i * i) >> 3) as u8).collect();
    let mut x = residues(7);
    let x = words_mut(&mut x);
    let mut packed = vec![0; POINTS / 8 * PACKED_BYTES_PER_LANES];
    let mut group = c.benchmark_group(backend.name());
    group.bench_function("pack", |b| b.iter(|| backend.pack(black_box(&mut packed), x)));
    group.bench_function("unpack", |b| b.iter(|| backend.unpack(black_box(&mut *x), &packed)));
    group.bench_function("add_noise", |b| {
        b.iter(|| backend.add_noise(black_box(&mut *x), &random[..NOISE_BYTES * POINTS]))
    });
    group.bench_function("ternary", |b| b.iter(|| backend.ternary(black_box(&mut *x), &random)));
}

/// What a caller sees, on the backend that the process chose, AES included.
fn with_active_backend(c: &mut Criterion) {
    let mut stream = Stream::new([7; 32]);
    let mut number = 1;
    let mut next = || {
        number += 1;
        number
    };
    let mut group = c.benchmark_group(format!("active ({})", backend::active().name()));
    let mut poly = Poly::<Coeff>::zero(POINTS);
    group.bench_function("noise", |b| b.iter(|| stream.add_noise(next(), black_box(&mut poly))));
    group.bench_function("ternary", |b| b.iter(|| stream.ternary(next(), POINTS)));
    let mut slice = vec![0; POINTS];
    group.bench_function("uniform_into", |b| b.iter(|| stream.uniform_into(next(), black_box(&mut slice))));
}

fn all(c: &mut Criterion) {
    for backend in backend::available() {
        transforms(c, *backend);
        mixed_transforms(c, *backend);
        products(c, *backend);
        entries(c, *backend);
        bytes(c, *backend);
    }
    with_active_backend(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .sample_size(20);
    targets = all
}
criterion_main!(benches);
