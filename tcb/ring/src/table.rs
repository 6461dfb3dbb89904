//! Powers of the roots of unity that the transforms use.

use std::sync::OnceLock;

use crate::modulus::{self, Q};

/// The largest transform that q serves.
pub const MAX_POINTS: usize = 8192;

/// Twiddle factors of the negacyclic transform of `points` points, a power of two up to 8192.
///
/// `roots[i]` is psi^brv(i) with psi a primitive 2N-th root of unity and brv the reversal of log2 N
/// bits, `roots_shoup[i]` is floor(2^52 roots\[i\] / q); `inverse` holds the negated powers.
/// Point `i` of the transform is the value at psi^(2 brv(i) + 1), so the n points that share an n-th
/// power are neighbours. The first log2 n stages leave n blocks of m = N/n residues: block `j` is the
/// polynomial modulo t^m = zeta_j, with zeta_j point `j` of the table of n points. (Longa and Naehrig,
/// CANS 2016; Harvey, JSC 2014.)
#[derive(Debug)]
pub struct Table {
    points: usize,
    pub(crate) roots: Vec<u64>,
    pub(crate) roots_shoup: Vec<u64>,
    pub(crate) inverse: Vec<u64>,
    pub(crate) inverse_shoup: Vec<u64>,
    /// 2^-k for k up to log2 N.
    pub(crate) scales: Vec<u64>,
    pub(crate) scales_shoup: Vec<u64>,
}

/// floor(2^52 w / q), the precomputed quotient of a multiplication by the constant w.
pub(crate) const fn shoup(w: u64) -> u64 {
    (((w as u128) << 52) / Q as u128) as u64
}

impl Table {
    /// The table for `points` points; built once a process.
    ///
    /// # Panics
    /// If `points` is not a power of two up to [`MAX_POINTS`]: sizes come from checked parameters.
    pub fn of(points: usize) -> &'static Table {
        static TABLES: [OnceLock<Table>; 14] = [const { OnceLock::new() }; 14];
        assert!(points.is_power_of_two() && points <= MAX_POINTS, "no transform of {points} points");
        TABLES[points.trailing_zeros() as usize].get_or_init(|| Table::new(points))
    }

    /// The number of points N.
    pub fn points(&self) -> usize {
        self.points
    }

    fn new(points: usize) -> Self {
        let psi_max = modulus::pow(modulus::GENERATOR, (Q - 1) / (2 * MAX_POINTS as u64));
        // The subring of the n-th powers must see the n-th power of the same root.
        let psi = modulus::pow(psi_max, (MAX_POINTS / points) as u64);
        let psi_inverse = modulus::inv(psi);
        let bits = points.trailing_zeros();
        let powers = |root| -> Vec<u64> {
            (0..points as u64)
                .map(|i| {
                    let reversed = if bits == 0 { 0 } else { i.reverse_bits() >> (64 - bits) };
                    modulus::pow(root, reversed)
                })
                .collect()
        };
        let shoups = |w: &[u64]| w.iter().map(|&w| shoup(w)).collect::<Vec<_>>();
        let roots = powers(psi);
        let inverse = powers(psi_inverse);
        let scales: Vec<u64> = (0..=bits).map(|k| modulus::inv(1 << k)).collect();
        Table {
            points,
            roots_shoup: shoups(&roots),
            roots,
            inverse_shoup: shoups(&inverse),
            inverse,
            scales_shoup: shoups(&scales),
            scales,
        }
    }
}
