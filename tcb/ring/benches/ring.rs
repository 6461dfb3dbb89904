//! Time of each operation on one polynomial of 2048 points, for every backend of this machine.

use std::hint::black_box;
use std::time::Duration;

use blindsmith_ring::backend::{self, Backend, NOISE_BYTES, TERNARY_BYTES};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Coeff, Eval, Lanes, PACKED_BYTES_PER_LANES, Poly, Q, Table, zeroed_lanes};
use criterion::{Criterion, criterion_group, criterion_main};

const POINTS: usize = 2048;
const WINDOW: usize = 128;
const FOLD: usize = 16;

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
    let source = residues(2);
    group.bench_function("inverse_window/128", |b| {
        b.iter(|| {
            x.copy_from_slice(&source);
            backend.inverse_window(table, black_box(words_mut(&mut x)), WINDOW)
        })
    });
}

fn products(c: &mut Criterion, backend: &dyn Backend) {
    let [p, q, r, s] = [1, 2, 3, 4].map(residues);
    let [p, q, r, s] = [&p, &q, &r, &s].map(|x| words(x));
    let (mut out, mut high) = (residues(5), residues(6));
    let (out, high) = (words_mut(&mut out), words_mut(&mut high));
    let mut group = c.benchmark_group(backend.name());
    group.bench_function("add_assign", |b| b.iter(|| backend.add_assign(black_box(out), p)));
    group.bench_function("mul", |b| b.iter(|| backend.mul(black_box(out), p, q)));
    group.bench_function("mul_sub", |b| b.iter(|| backend.mul_sub(black_box(out), p, q)));
    group.bench_function("dot2", |b| b.iter(|| backend.dot2(black_box(out), p, q, r, s)));
    group.bench_function("dot2_fold/16", |b| {
        b.iter(|| backend.dot2_fold(black_box(&mut out[..POINTS / FOLD]), p, q, r, s, FOLD))
    });
    group.bench_function("mul_accumulate", |b| {
        b.iter(|| backend.mul_accumulate(black_box(&mut *out), &mut *high, p, q))
    });
    group.bench_function("reduce_pairs", |b| b.iter(|| backend.reduce_pairs(black_box(out), p, q)));
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
    let (mask, secret) = (stream.uniform(0, POINTS), stream.ternary(1, POINTS));
    let mut number = 1;
    let mut next = || {
        number += 1;
        number
    };
    let mut group = c.benchmark_group(format!("active ({})", backend::active().name()));
    let mut poly = Poly::<Coeff>::zero(POINTS);
    group.bench_function("noise", |b| b.iter(|| stream.add_noise(next(), black_box(&mut poly))));
    group.bench_function("ternary", |b| b.iter(|| stream.ternary(next(), POINTS)));
    group.bench_function("uniform", |b| b.iter(|| stream.uniform(next(), POINTS)));
    let mut buffer = Some(Poly::<Eval>::zero(POINTS));
    group.bench_function("encryption of zero, buffer reused", |b| {
        b.iter(|| {
            let mut poly = buffer.take().expect("put back below").recycle::<Coeff>();
            stream.add_noise(next(), &mut poly);
            let mut body = poly.into_eval();
            body.mul_sub(&mask, &secret);
            buffer = Some(body);
        })
    });
    group.bench_function("encryption of zero, new buffer", |b| {
        b.iter(|| {
            let mut poly = Poly::<Coeff>::zero(POINTS);
            stream.add_noise(next(), &mut poly);
            let mut body = poly.into_eval();
            body.mul_sub(&mask, &secret);
            body
        })
    });
}

fn all(c: &mut Criterion) {
    for backend in backend::available() {
        transforms(c, *backend);
        products(c, *backend);
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
