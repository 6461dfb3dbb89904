//! The backend in use on secret residues, the scalar arithmetic, and the samplers under secret keys.

use std::hint::black_box;

use blindsmith_ring::backend::{NOISE_BYTES, TERNARY_BYTES, active};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Coeff, Eval, LANES, PACKED_BYTES_PER_LANES, Poly, Table, modulus};

use crate::Case;
use crate::valgrind::{expect_secret, revealed};
use crate::values::{residues, secret, secret_key, secret_poly, secrets, words};

pub const CASES: &[Case] = &[
    ("ring: transforms", transforms),
    ("ring: point by point", pointwise),
    ("ring: sums of products", sums),
    ("ring: noise and ternary from bytes", bytes),
    ("ring: streams under a secret key", streams),
    ("ring: polynomials", polynomials),
    ("ring: signed integers, packing, range", formats),
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
        for window in [1, points / 8, points / 2, points] {
            active().inverse_window(table, &mut x, window);
            expect_secret(&x[..window]);
            x = secret(residues(2, points));
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
        active().mul_sub(&mut out, &a, &b);
        expect_secret(&out[..]);
        active().mul(&mut out, &a, &b);
        expect_secret(&out[..]);
    }
}

fn sums() {
    for points in [64, 2048] {
        let [a, b, c, d] = [1, 2, 3, 4].map(|seed| secret(residues(seed, points)));
        let mut out = vec![0; points];
        active().dot2(&mut out, &a, &b, &c, &d);
        expect_secret(&out[..]);
        for fold in [1, 2, 4, 8, 16, 32, 64] {
            let mut out = vec![0; points / fold];
            active().dot2_fold(&mut out, &a, &b, &c, &d, fold);
            expect_secret(&out[..]);
        }
        let (mut lo, mut hi) = (vec![0; points], vec![0; points]);
        active().mul_accumulate(&mut lo, &mut hi, &a, &b);
        active().mul_accumulate(&mut lo, &mut hi, &c, &d);
        active().reduce_pairs(&mut out, &lo, &hi);
        expect_secret(&out[..]);
    }
    // As short as eight points: what reads uploads adds up lanes.
    for points in [LANES, 64, 2048] {
        let (a, scalars) = (residues(1, 3 * points), secret(residues(2, 3)));
        let [mut lo, mut hi, mut out] = [0; 3].map(|x| vec![x; points]);
        active().scale_accumulate(&mut lo, &mut hi, &a, &scalars);
        active().reduce_pairs(&mut out, &lo, &hi);
        expect_secret(&out[..]);
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
    let ternary = stream.ternary(4, 2048);
    expect_secret(ternary.as_slice());
    expect_secret(stream.ternary_in(5, ternary).as_slice());
}

fn polynomials() {
    let secrets = secrets(2, 2, 2048);
    let mut sum: Poly<Eval> = secret_poly(7, 2048);
    sum.mul_add(&secrets[0], &secrets[1]);
    sum.mul_sub(&secrets[0], &secrets[1]);
    sum.add_assign(&secrets[0]);
    sum.sub_assign(&secrets[1]);
    let mut values = sum.into_coeff();
    values.add_assign(&secret_poly(8, 2048));
    expect_secret(values.into_eval().as_slice());
}

fn formats() {
    for points in [64, 2048] {
        let signed = secret(words(9, points).into_iter().map(|w| w as i64 >> 15).collect());
        let mut out = vec![0; points];
        active().encode_signed(&mut out, &signed);
        expect_secret(&out[..]);
        let mut packed = vec![0; points / LANES * PACKED_BYTES_PER_LANES];
        active().pack(&mut packed, &out);
        expect_secret(&packed[..]);
        let whole = revealed(active().unpack(&mut out, &packed)) & revealed(active().is_canonical(&out));
        assert!(whole);
        expect_secret(&out[..]);
    }
}

fn scalars() {
    let [a, b] = [1, 2].map(|seed| secret(residues(seed, 64)));
    for (&a, &b) in a.iter().zip(&b) {
        let (a, b) = (black_box(a), black_box(b));
        let sum = modulus::sub(modulus::add(a, modulus::mul(a, b)), modulus::neg(b));
        let pair = modulus::reduce_pair(a, b);
        let signed = modulus::to_signed(modulus::add(sum, pair));
        expect_secret(&modulus::from_signed(signed));
    }
}
