//! Made-up values, secret and public.

use blindsmith_keys::Key;
use blindsmith_learn::Matrix;
use blindsmith_ring::{Domain, Poly, Q};

use crate::valgrind::conceal;

/// A splitmix generator.
pub fn words(seed: u64, len: usize) -> Vec<u64> {
    let word = |i: u64| {
        let mut x = (seed << 32 | i).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    (0..len as u64).map(word).collect()
}

/// Public residues.
pub fn residues(seed: u64, len: usize) -> Vec<u64> {
    words(seed, len).into_iter().map(|w| w % Q).collect()
}

/// Public reals in [-4, 4), the first ones special.
pub fn reals(seed: u64, len: usize) -> Vec<f32> {
    let special = [0.0, -0.0, 1e-30, -100.0, 1e30];
    let others = words(seed, len).into_iter().map(|w| (w >> 40) as f32 / (1 << 21) as f32 - 4.0);
    special.into_iter().chain(others).take(len).collect()
}

/// The same, secret.
pub fn secret<T>(mut values: Vec<T>) -> Vec<T> {
    conceal(values.as_mut_slice());
    values
}

/// A secret matrix.
pub fn secret_matrix(seed: u64, rows: usize, cols: usize) -> Matrix {
    let values = secret(
        words(seed, rows * cols).into_iter().map(|w| (w >> 40) as f32 / (1 << 22) as f32 - 2.0).collect(),
    );
    // Unwrap safety: the length is right.
    Matrix::from_rows(rows, cols, values).expect("rows x cols values")
}

/// A secret key.
pub fn secret_key(seed: u8) -> Key {
    let mut bytes = [seed; 32];
    conceal(&mut bytes);
    Key::from_bytes(bytes)
}

/// A secret polynomial.
pub fn secret_poly<D: Domain>(seed: u64, degree: usize) -> Poly<D> {
    let mut poly = Poly::zero(degree);
    poly.as_mut_slice().copy_from_slice(&residues(seed, degree));
    conceal(poly.as_mut_slice());
    poly
}
