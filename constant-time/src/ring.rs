//! The backend in use on secret residues, the scalar arithmetic, and the samplers under secret keys.

use std::hint::black_box;

use blindsmith_ring::backend::{NOISE_BYTES, TERNARY_BYTES, active};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Coeff, LANES, PACKED_BYTES_PER_LANES, Poly, Table, modulus};

use crate::Case;
use crate::valgrind::{expect_secret, revealed};
use crate::values::{reals, residues, secret, secret_key, secret_poly, words};

pub const CASES: &[Case] = &[
    ("ring: transforms", transforms),
    ("ring: point by point", pointwise),
    ("ring: sums of products", sums),
    ("ring: vectors of elements", vectors),
    ("ring: entries of matrices", entries),
    ("ring: sums over secret subsets", subsets),
    ("ring: noise and ternary from bytes", bytes),
    ("ring: streams under a secret key", streams),
    ("ring: polynomials", polynomials),
    ("ring: packing, range, transposition", formats),
    ("ring: scalar arithmetic", scalars),
];

/// Vector code, and sizes that are left to the portable code.
const SIZES: [usize; 5] = [8, 64, 256, 2048, 4096];

fn transforms() {
    for points in SIZES {
        let table = Table::of(points);
        let mut x = secret(residues(1, points));
        active().forward(table, &mut x);
        active().inverse(table, &mut x);
        expect_secret(&x[..]);
        for roots in [1, 4, points / 8, points] {
            active().forward_mixed(table, &mut x, roots);
            expect_secret(&x[..]);
            active().mixed_to_eval(table, &mut x, roots);
            expect_secret(&x[..]);
            active().eval_to_mixed(table, &mut x, roots);
            expect_secret(&x[..]);
            active().inverse_mixed(table, &mut x, roots);
            expect_secret(&x[..]);
        }
    }
}

fn pointwise() {
    for points in [6, 64, 2048] {
        let [a, b] = [1, 2].map(|seed| secret(residues(seed, points)));
        let mut out = secret(residues(3, points));
        active().add_assign(&mut out, &a);
        active().sub_assign(&mut out, &b);
        active().mul_add(&mut out, &a, &b);
        expect_secret(&out[..]);
        active().mul(&mut out, &a, &b);
        expect_secret(&out[..]);
    }
}

fn sums() {
    // As short as eight points, and of no whole registers.
    for points in [LANES, 64, 2048, 13] {
        let [a, b] = [1, 2].map(|seed| secret(residues(seed, points)));
        expect_secret(&active().dot(&a, &b));
        let (a, scalars) = (residues(1, 3 * points), secret(residues(2, 3)));
        let [mut lo, mut hi, mut out] = [0; 3].map(|x| vec![x; points]);
        active().scale_accumulate(&mut lo, &mut hi, &a, &scalars);
        active().reduce_pairs(&mut out, &lo, &hi);
        expect_secret(&out[..]);
    }
}

fn vectors() {
    for (roots, rank, strip) in [(4, 1, 64), (4, 3, 8), (2, 2, 5)] {
        let [a, b] = [1, 2].map(|seed| secret(residues(seed, roots * rank * strip)));
        let mut out = vec![0; roots * strip];
        active().mul_ranks(&mut out, &a, &b, rank, strip);
        expect_secret(&out[..]);
        let mut folded = vec![0; strip];
        active().fold_blocks(&mut folded, &out);
        expect_secret(&folded[..]);
    }
}

fn entries() {
    for len in [64, 13] {
        let values = secret(reals(1, len).iter().map(|v| v.clamp(-100.0, 100.0)).collect());
        let mut out = vec![0; len];
        active().encode(&mut out, &values, -1048576.0);
        expect_secret(&out[..]);
        let mut back = vec![0.0; len];
        expect_secret(&active().decode(&mut back, &out, 12345, 1e-9));
        expect_secret(&back[..]);
    }
}

fn subsets() {
    for len in [1, 8, 13, 64] {
        let (elements, members) = (residues(1, 5 * len), secret(words(2, 5)));
        let mut sums = vec![0; 64 * len];
        active().subset_sums(&mut sums, &elements, &members);
        expect_secret(&sums[..]);
        active().subset_sums(&mut sums, &secret(elements), &members);
        expect_secret(&sums[..]);
    }
}

fn bytes() {
    for points in [6, 64, 2048] {
        let random = secret(words(5, points));
        let random: &[u8] = bytemuck::cast_slice(&random);
        let mut out = secret(residues(6, points));
        active().add_noise(&mut out, &random[..NOISE_BYTES * points]);
        expect_secret(&out[..]);
        active().ternary(&mut out, &random[..TERNARY_BYTES * points]);
        expect_secret(&out[..]);
    }
}

fn streams() {
    let mut stream = Stream::new(*secret_key(1).expose());
    let mut poly = Poly::<Coeff>::zero(2048);
    stream.add_noise(3, &mut poly);
    expect_secret(poly.as_slice());
    expect_secret(stream.ternary(4, 2048).as_slice());
}

fn polynomials() {
    let mixed = secret_poly::<Coeff>(8, 2048).into_mixed(16);
    expect_secret(mixed.as_slice());
    let mixed = mixed.into_coeff(16).into_eval().into_mixed(16);
    expect_secret(mixed.as_slice());
}

fn formats() {
    for points in [64, 2048] {
        let mut out = secret(residues(9, points));
        let mut packed = vec![0; points / LANES * PACKED_BYTES_PER_LANES];
        active().pack(&mut packed, &out);
        expect_secret(&packed[..]);
        let whole = revealed(active().unpack(&mut out, &packed)) & revealed(active().is_canonical(&out));
        assert!(whole);
        expect_secret(&out[..]);
        let mut turned = vec![0; points];
        active().transpose(&mut turned, 4, &out, 4, points / 4);
        expect_secret(&turned[..]);
    }
}

fn scalars() {
    let [a, b] = [1, 2].map(|seed| secret(residues(seed, 64)));
    for (&a, &b) in a.iter().zip(&b) {
        let (a, b) = (black_box(a), black_box(b));
        let sum = modulus::sub(modulus::add(a, modulus::mul(a, b)), modulus::sub(0, b));
        let pair = modulus::reduce_pair(a, b);
        let signed = modulus::to_signed(modulus::add(sum, pair));
        expect_secret(&modulus::from_signed(signed));
    }
}
