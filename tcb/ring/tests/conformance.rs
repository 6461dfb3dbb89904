//! Every backend against naive oracles, bit for bit.

use blindsmith_ring::{Q, Table, backend, modulus};

fn residues(seed: u64, len: usize) -> Vec<u64> {
    let mut x = seed.wrapping_mul(2) + 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x % Q
        })
        .collect()
}

/// The product in Z_q[X]/(X^N + 1), by its definition.
fn schoolbook(a: &[u64], b: &[u64]) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0; n];
    for i in 0..n {
        for j in 0..n {
            let p = modulus::mul(a[i], b[j]);
            let k = (i + j) % n;
            out[k] = if i + j < n { modulus::add(out[k], p) } else { modulus::sub(out[k], p) };
        }
    }
    out
}

#[test]
fn transforms_multiply_as_the_schoolbook_does() {
    for points in [8, 16, 64, 256, 2048] {
        let table = Table::of(points);
        let (a, b) = (residues(1, points), residues(2, points));
        let expected = schoolbook(&a, &b);
        for backend in backend::available() {
            let (mut x, mut y) = (a.clone(), b.clone());
            backend.forward(table, &mut x);
            backend.forward(table, &mut y);
            let mut z = vec![0; points];
            backend.mul(&mut z, &x, &y);
            backend.inverse(table, &mut z);
            assert_eq!(z, expected, "{} points on {}", points, backend.name());
        }
    }
}

#[test]
fn window_and_fold_select_the_right_coefficients() {
    for (points, n) in [(64, 4), (2048, 16), (2048, 2), (4096, 64)] {
        let coefficients = residues(3, points);
        for backend in backend::available() {
            let mut x = coefficients.clone();
            backend.forward(Table::of(points), &mut x);
            let mut window = x.clone();
            backend.inverse_window(Table::of(points), &mut window, 2 * n);
            assert_eq!(window[..2 * n], coefficients[..2 * n]);
            let mut folded = vec![0; points / n];
            let one = vec![1; points];
            let zero = vec![0; points];
            backend.dot2_fold(&mut folded, &x, &one, &zero, &zero, n);
            backend.inverse(Table::of(points / n), &mut folded);
            let expected: Vec<u64> =
                coefficients.iter().step_by(n).map(|&c| modulus::mul(c, n as u64)).collect();
            assert_eq!(folded, expected);
        }
    }
}
