//! Tiles: where the entries of a matrix lie in a polynomial, and where those of a product come out.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Tile sizes (m, n, p), powers of two with m n p = N: a left matrix is cut into tiles of m rows by n
/// columns, a right one into tiles of n rows by p columns.
///
/// With b in 0..m, i in 0..n, j in 0..p the exponents are
///
/// | operand | exponent |
/// |---|---|
/// | features or activations, left | b np - i |
/// | weights, right | j n + i |
/// | errors, right (weight gradient) | -b np + j n + (n-1) |
/// | errors, left (input gradient) | b np - j n |
///
/// | product | contraction | exponent of the result |
/// |---|---|---|
/// | Z = X W | over i | b np + j n |
/// | G = X^T E | over b | j n + (n-1-i), the first np coefficients |
/// | D = E W^T | over j | b np + i |
///
/// Terms of unequal contraction index fall elsewhere: i - i' in (-n, n) is not a multiple of n; b - b'
/// moves by a non-zero multiple of np, modulo N = m np, so out of the first np; (j - j') n is not a
/// multiple of np. The tests check it exhaustively for small N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub struct Tile {
    m: u32,
    n: u32,
    p: u32,
}

/// Tile sizes that are not powers of two, or whose product is no ring degree.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no tile of {0} x {1} x {2}: sizes must be powers of two whose product is at most 8192")]
pub struct TileError(u32, u32, u32);

/// A signed coefficient of R_q: index `index`, with a minus sign if the exponent wrapped an odd number
/// of times around X^N = -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which coefficient, in 0..N.
    pub index: usize,
    /// Whether the entry lies there negated.
    pub negative: bool,
}

impl Tile {
    /// A tile of m x n (left) and n x p (right).
    pub fn new(m: usize, n: usize, p: usize) -> Result<Self, TileError> {
        let size = |x: usize| u32::try_from(x).unwrap_or(0);
        Self::try_from((size(m), size(n), size(p)))
    }

    /// Rows of a left tile.
    pub const fn m(&self) -> usize {
        self.m as usize
    }

    /// Columns of a left tile, rows of a right one.
    pub const fn n(&self) -> usize {
        self.n as usize
    }

    /// Columns of a right tile.
    pub const fn p(&self) -> usize {
        self.p as usize
    }

    /// The ring degree N = m n p.
    pub const fn degree(&self) -> usize {
        self.m() * self.n() * self.p()
    }

    /// Coefficients of a weight gradient that matter: the first n p.
    pub const fn window(&self) -> usize {
        self.n() * self.p()
    }

    fn position(&self, exponent: i64) -> Position {
        let degree = self.degree() as i64;
        Position {
            index: exponent.rem_euclid(degree) as usize,
            negative: exponent.rem_euclid(2 * degree) >= degree,
        }
    }

    fn np(&self) -> i64 {
        self.window() as i64
    }

    /// Entry (b, i) of a left matrix of features or activations.
    pub fn rows(&self, b: usize, i: usize) -> Position {
        self.position(b as i64 * self.np() - i as i64)
    }

    /// Entry (i, j) of a right matrix of weights.
    pub fn weights(&self, i: usize, j: usize) -> Position {
        self.position((j * self.n() + i) as i64)
    }

    /// Entry (b, j) of a right matrix of errors.
    pub fn error_right(&self, b: usize, j: usize) -> Position {
        self.position((j * self.n() + self.n() - 1) as i64 - b as i64 * self.np())
    }

    /// Entry (b, j) of a left matrix of errors.
    pub fn error_left(&self, b: usize, j: usize) -> Position {
        self.position(b as i64 * self.np() - (j * self.n()) as i64)
    }

    /// Where entry (b, j) of Z = X W comes out; a multiple of n.
    pub const fn product(&self, b: usize, j: usize) -> usize {
        b * self.window() + j * self.n()
    }

    /// Where entry (i, j) of G = X^T E comes out; below n p.
    pub const fn weight_gradient(&self, i: usize, j: usize) -> usize {
        j * self.n() + (self.n() - 1 - i)
    }

    /// Where entry (b, i) of D = E W^T comes out.
    pub const fn input_gradient(&self, b: usize, i: usize) -> usize {
        b * self.window() + i
    }
}

impl TryFrom<(u32, u32, u32)> for Tile {
    type Error = TileError;

    fn try_from((m, n, p): (u32, u32, u32)) -> Result<Self, TileError> {
        // Three sizes that came from outside have up to 96 bits.
        let degree = u128::from(m) * u128::from(n) * u128::from(p);
        let powers = m.is_power_of_two() && n.is_power_of_two() && p.is_power_of_two();
        if powers && (8..=8192).contains(&degree) { Ok(Tile { m, n, p }) } else { Err(TileError(m, n, p)) }
    }
}

impl From<Tile> for (u32, u32, u32) {
    fn from(tile: Tile) -> Self {
        (tile.m, tile.n, tile.p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles(degree: usize) -> Vec<Tile> {
        let powers = || (0..=degree.trailing_zeros()).map(|e| 1usize << e);
        powers()
            .flat_map(|m| powers().filter_map(move |n| Tile::new(m, n, degree.checked_div(m * n)?).ok()))
            .filter(|t| t.degree() == degree)
            .collect()
    }

    #[test]
    fn sizes_whose_product_has_more_than_64_bits_are_refused() {
        let half = 1 << 31;
        for (m, n, p) in [(half, half, half), (half, half, 4), (u32::MAX, u32::MAX, u32::MAX)] {
            assert_eq!(Tile::try_from((m, n, p)), Err(TileError(m, n, p)));
        }
    }

    fn times(tile: &Tile, x: Position, y: Position) -> Position {
        let sum = x.index + y.index;
        Position { index: sum % tile.degree(), negative: x.negative ^ y.negative ^ (sum >= tile.degree()) }
    }

    /// Every pair of entries of every tile shape: the wanted coefficient gets the terms of equal
    /// contraction index, with a plus sign, and no other term.
    #[test]
    fn no_unwanted_term_lands_on_a_wanted_coefficient() {
        for degree in [8, 16, 32, 64] {
            for tile in tiles(degree) {
                let (m, n, p) = (tile.m(), tile.n(), tile.p());
                let wanted_z: Vec<usize> =
                    (0..m).flat_map(|b| (0..p).map(move |j| tile.product(b, j))).collect();
                let wanted_d: Vec<usize> =
                    (0..m).flat_map(|b| (0..n).map(move |i| tile.input_gradient(b, i))).collect();
                assert!(wanted_z.iter().all(|z| z % n == 0) && wanted_z.len() == degree / n);
                for b in 0..m {
                    for i in 0..n {
                        for (i2, j) in (0..n).flat_map(|i| (0..p).map(move |j| (i, j))) {
                            let at = times(&tile, tile.rows(b, i), tile.weights(i2, j));
                            if i == i2 {
                                assert_eq!(at, Position { index: tile.product(b, j), negative: false });
                            } else {
                                assert!(!wanted_z.contains(&at.index));
                            }
                        }
                        for (b2, j) in (0..m).flat_map(|b| (0..p).map(move |j| (b, j))) {
                            let at = times(&tile, tile.rows(b, i), tile.error_right(b2, j));
                            if b == b2 {
                                let index = tile.weight_gradient(i, j);
                                assert_eq!(at, Position { index, negative: false });
                                assert!(index < tile.window());
                            } else {
                                assert!(at.index >= tile.window());
                            }
                        }
                    }
                    for j in 0..p {
                        for (i, j2) in (0..n).flat_map(|i| (0..p).map(move |j| (i, j))) {
                            let at = times(&tile, tile.error_left(b, j), tile.weights(i, j2));
                            if j == j2 {
                                let index = tile.input_gradient(b, i);
                                assert_eq!(at, Position { index, negative: false });
                            } else {
                                assert!(!wanted_d.contains(&at.index));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn entries_of_one_operand_do_not_collide() {
        for tile in tiles(64) {
            let (m, n, p) = (tile.m(), tile.n(), tile.p());
            let distinct = |positions: Vec<Position>| {
                let mut seen: Vec<usize> = positions.iter().map(|p| p.index).collect();
                seen.sort_unstable();
                seen.dedup();
                seen.len() == positions.len()
            };
            let pairs = |x: usize, y: usize| (0..x).flat_map(move |a| (0..y).map(move |b| (a, b)));
            assert!(distinct(pairs(m, n).map(|(b, i)| tile.rows(b, i)).collect()));
            assert!(distinct(pairs(n, p).map(|(i, j)| tile.weights(i, j)).collect()));
            assert!(distinct(pairs(m, p).map(|(b, j)| tile.error_right(b, j)).collect()));
            assert!(distinct(pairs(m, p).map(|(b, j)| tile.error_left(b, j)).collect()));
        }
    }

    #[test]
    fn odd_sizes_are_refused() {
        assert_eq!(Tile::new(3, 16, 8), Err(TileError(3, 16, 8)));
        assert!(Tile::new(0, 16, 8).is_err());
        assert!(Tile::new(1 << 20, 1 << 20, 1 << 20).is_err());
        assert!(Tile::new(16, 16, 8).is_ok());
    }
}
