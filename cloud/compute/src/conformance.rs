//! What every backend must give, bit for bit: triple loops over [`modulus::mul`], then transforms of the
//! full length.

use blindsmith_ring::backend::{Backend as _, Portable};
use blindsmith_ring::{LANES, Lanes, PACKED_BYTES_PER_LANES, PIECE, Q, Table, modulus};

use crate::backend::Backend;
use crate::{Operand, Orientation, Output, Product, Strip};

/// A case: sizes, and how the operands are given.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Points.
    pub points: usize,
    /// Orientation.
    pub orientation: Orientation,
    /// Block rows of the body, block columns, blocks of the contraction.
    pub shape: [usize; 3],
    /// Output.
    pub output: Output,
    /// Whether left and right operand come packed.
    pub packed: [bool; 2],
    /// Whether they come in pieces, where they are not packed.
    pub pieces: [bool; 2],
    /// Whether they have masks, where the orientation takes them.
    pub masks: [bool; 2],
    /// Whether the result is added.
    pub accumulate: bool,
    /// Where residues come from.
    pub residues: Residues,
}

/// Test data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residues {
    /// Pseudo-random.
    Random(u64),
    /// All q - 1: the largest products.
    Largest,
    /// A left a and a right b with (a + b)^2 = -7 modulo 2^52: the largest low parts of products of sums.
    LargestLow,
}

impl Residues {
    fn generate(self, side: usize, index: usize, len: usize) -> Vec<u64> {
        let seed = match self {
            Residues::Random(seed) => seed,
            Residues::Largest => return vec![Q - 1; len],
            Residues::LargestLow => {
                // A root of -7 modulo 2^52, bit by bit (Hensel); that below 2^51 is one as well.
                let wrong = |s: u64, bit: u32| (s.wrapping_mul(s).wrapping_add(7) >> (bit + 1)) & 1;
                let root = (2..51).fold(1, |s, bit| s | wrong(s, bit) << bit);
                return vec![if side == 0 { root / 2 } else { root - root / 2 }; len];
            }
        };
        let salt = (side * 1000 + index + 1) as u64;
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x % Q
        };
        (0..len).map(|_| next()).collect()
    }
}

/// An operand that owns its strips; a mask is the last.
struct Owned {
    lanes: Vec<Vec<Lanes>>,
    packed: Option<Vec<Vec<u8>>>,
    pieces: Option<Vec<Vec<Lanes>>>,
    length: usize,
    mask: bool,
}

/// A strip of interleaved polynomials, piece after piece.
fn in_pieces(strip: &[Lanes], length: usize) -> Vec<Lanes> {
    let starts = (0..length).step_by(PIECE);
    let piece = |first: usize| strip.chunks_exact(length).map(move |g| &g[first..length.min(first + PIECE)]);
    starts.flat_map(piece).flatten().copied().collect()
}

impl Owned {
    fn new(case: &Case, side: usize, strips: usize, length: usize, mask: bool) -> Self {
        let count = case.points / LANES * length;
        let strip = |i: usize| -> Vec<Lanes> {
            let residues = case.residues.generate(side, i, count * LANES);
            residues.as_chunks().0.iter().map(|&x| Lanes(x)).collect()
        };
        let lanes: Vec<_> = (0..strips + usize::from(mask)).map(strip).collect();
        let pack = |strip: &Vec<Lanes>| {
            let mut bytes = vec![0; strip.len() * PACKED_BYTES_PER_LANES];
            Portable.pack(&mut bytes, bytemuck::cast_slice(strip));
            bytes
        };
        let packed = case.packed[side].then(|| lanes.iter().map(pack).collect());
        let pieces = case.pieces[side].then(|| lanes.iter().map(|strip| in_pieces(strip, length)).collect());
        Owned { lanes, packed, pieces, length, mask }
    }

    fn strips(&self) -> Vec<Strip<'_>> {
        match (&self.packed, &self.pieces) {
            (Some(packed), _) => packed.iter().map(|strip| Strip::Packed(strip)).collect(),
            (_, Some(pieces)) => pieces.iter().map(|strip| Strip::Pieces(strip)).collect(),
            _ => self.lanes.iter().map(|strip| Strip::Lanes(strip)).collect(),
        }
    }

    fn operand<'a>(&self, points: usize, strips: &'a [Strip<'a>]) -> Operand<'a> {
        let (mask, body) = strips.split_last().expect("there are strips");
        if self.mask {
            Operand::new(points, body, self.length).and_then(|x| x.with_mask(*mask)).expect("a valid operand")
        } else {
            Operand::new(points, strips, self.length).expect("a valid operand")
        }
    }

    /// Polynomial `k` of a strip at a point.
    fn at(&self, strip: usize, k: usize, point: usize) -> u64 {
        self.lanes[strip][point / LANES * self.length + k].0[point % LANES]
    }
}

/// Runs one case on a backend and compares.
///
/// # Panics
/// If the result is wrong.
pub fn check(backend: &dyn Backend, case: &Case) {
    let [rows, columns, contraction] = case.shape;
    let across =
        [case.orientation == Orientation::WeightGradient, case.orientation == Orientation::InputGradient];
    let owned = |side: usize, outer: usize| {
        let (strips, length) = if across[side] { (contraction, outer) } else { (outer, contraction) };
        Owned::new(case, side, strips, length, case.masks[side] && !across[side])
    };
    let (left, right) = (owned(0, rows), owned(1, columns));
    let (left_strips, right_strips) = (left.strips(), right.strips());
    let a = left.operand(case.points, &left_strips);
    let b = right.operand(case.points, &right_strips);
    let product = Product::new(case.orientation, a, b, case.output).expect("a valid product");
    let layout = product.layout().clone();

    let before = Residues::Random(77).generate(0, 0, layout.len());
    let mut out = before.clone();
    product.compute_on(backend, case.accumulate, &mut out).expect("a buffer of the right length");

    // The polynomial at outer indices (r, c), the mask's index being the one after the last.
    let cell = |r: usize, c: usize| -> Vec<u64> {
        let at = |x: &Owned, across: bool, outer, k, point| {
            if across { x.at(k, outer, point) } else { x.at(outer, k, point) }
        };
        let product = |point: usize, k: usize| {
            modulus::mul(at(&left, across[0], r, k, point), at(&right, across[1], c, k, point))
        };
        let sum = |point| (0..contraction).fold(0, |sum, k| modulus::add(sum, product(point, k)));
        (0..case.points).map(sum).collect()
    };
    let compare = |what: &str, at: usize, expected: &[u64]| {
        for (i, &x) in expected.iter().enumerate() {
            let start = if case.accumulate { before[at + i] } else { 0 };
            assert_eq!(
                out[at + i],
                modulus::add(start, x),
                "{what}, residue {i}: {} on {case:?}",
                backend.name()
            );
        }
    };
    for r in 0..rows {
        for c in 0..columns {
            let at = layout.body.start + (r * columns + c) * layout.cell;
            compare("body", at, &select(case.points, case.output, cell(r, c)));
        }
    }
    for r in 0..layout.column.len() / case.points {
        compare("column", layout.column.start + r * case.points, &cell(r, columns));
    }
    for c in 0..layout.row.len() / case.points {
        compare("row", layout.row.start + c * case.points, &cell(rows, c));
    }
    if !layout.corner.is_empty() {
        compare("corner", layout.corner.start, &cell(rows, columns));
    }
}

/// The wanted part of a polynomial given at all points.
fn select(points: usize, output: Output, mut values: Vec<u64>) -> Vec<u64> {
    let fold = |values: &[u64], n: usize| -> Vec<u64> {
        values.chunks(n).map(|x| x.iter().fold(0, |sum, &v| modulus::add(sum, v))).collect()
    };
    if let Output::Full | Output::FoldEval(_) = output {
        return if let Output::FoldEval(n) = output { fold(&values, n) } else { values };
    }
    Portable.inverse(Table::of(points), &mut values);
    match output {
        Output::Fold(n) => values.iter().step_by(n).map(|&x| modulus::mul(x, n as u64)).collect(),
        Output::Window(w) => values[..w].to_vec(),
        Output::Comb { stride, width } => values.chunks(stride).flat_map(|x| x[..width].to_vec()).collect(),
        Output::Full | Output::FoldEval(_) => unreachable!("returned above"),
    }
}

/// Runs all cases on a backend: every orientation, output, form of strips and mask; odd sizes; chains
/// longer than an accumulator holds; the largest residues.
///
/// # Panics
/// If a result is wrong.
pub fn run(backend: &dyn Backend) {
    let orientations = [Orientation::Forward, Orientation::WeightGradient, Orientation::InputGradient];
    let outputs = |points: usize| {
        [
            Output::Full,
            Output::Fold(1),
            Output::Fold(2),
            Output::Fold(8),
            Output::Fold(16),
            Output::Fold(points),
            Output::FoldEval(4),
            Output::FoldEval(32),
            Output::Window(1),
            Output::Window(16),
            Output::Window(128),
            Output::Window(points),
            Output::Comb { stride: 8, width: 3 },
            Output::Comb { stride: 128, width: 16 },
            Output::Comb { stride: points, width: points },
            Output::Comb { stride: 1, width: 1 },
        ]
    };
    let mut seed = 0u64;
    for orientation in orientations {
        for output in outputs(256) {
            seed += 1;
            let pick = |n: u64, salt: u64| {
                (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(salt as u32 * 9) % n) as usize
            };
            let flag = |salt: u64| pick(2, salt) == 1;
            for (round, accumulate) in [(0, false), (1, true)] {
                let shape = [1 + pick(13, 1 + round), 1 + pick(13, 3 + round), 1 + pick(9, 5 + round)];
                check(
                    backend,
                    &Case {
                        points: 256,
                        orientation,
                        shape,
                        output,
                        packed: [flag(2) ^ accumulate, flag(4)],
                        pieces: [flag(6), flag(7) ^ accumulate],
                        masks: [flag(3), flag(5) ^ accumulate],
                        accumulate,
                        residues: Residues::Random(seed),
                    },
                );
            }
        }
    }
    sizes(backend);
    chains(backend);
}

/// Every small number of rows, columns and steps, and sizes of the field.
fn sizes(backend: &dyn Backend) {
    let case = Case {
        points: 64,
        orientation: Orientation::Forward,
        shape: [1, 1, 1],
        output: Output::Full,
        packed: [false, true],
        pieces: [true, false],
        masks: [true, true],
        accumulate: false,
        residues: Residues::Random(5),
    };
    for outer in 1..=13 {
        for other in [1, 2, 3, 5, 13] {
            let shape = [outer, other, 1 + (outer + other) % 9];
            check(backend, &Case { shape, ..case });
            check(backend, &Case { shape: [other, outer, shape[2]], output: Output::Fold(8), ..case });
        }
    }
    check(backend, &Case { points: 2048, shape: [3, 2, 25], output: Output::Fold(32), ..case });
    check(backend, &Case { points: 4096, shape: [2, 3, 5], output: Output::Window(512), ..case });
    check(backend, &Case { points: 8192, output: Output::Comb { stride: 64, width: 64 }, ..case });
    // Several blocks of rows, of columns, and cells that fill scratch memory.
    check(backend, &Case { shape: [60, 40, 3], output: Output::Fold(8), ..case });
    check(backend, &Case { shape: [20, 21, 1], points: 8192, output: Output::Window(8192), ..case });
    for orientation in [Orientation::Forward, Orientation::WeightGradient, Orientation::InputGradient] {
        for packed in [[false, true], [false; 2]] {
            check(backend, &Case { orientation, shape: [30, 95, 80], packed, pieces: [true; 2], ..case });
            check(backend, &Case { orientation, shape: [70, 33, 17], packed, pieces: [false, true], ..case });
        }
    }
}

/// Contractions that need several passes and several reductions, with the largest residues.
fn chains(backend: &dyn Backend) {
    for (orientation, shape, output) in [
        (Orientation::Forward, [7, 3, 97], Output::Full),
        (Orientation::Forward, [3, 2, 4099], Output::Full),
        (Orientation::Forward, [2, 9, 1025], Output::Fold(16)),
        (Orientation::WeightGradient, [3, 2, 1031], Output::Window(64)),
        (Orientation::InputGradient, [3, 8, 257], Output::Comb { stride: 16, width: 8 }),
    ] {
        for residues in [Residues::Largest, Residues::LargestLow, Residues::Random(9)] {
            let masks = [true, true];
            let case = Case {
                points: 64,
                orientation,
                shape,
                output,
                packed: [true, false],
                pieces: [true; 2],
                masks,
                accumulate: false,
                residues,
            };
            check(backend, &case);
            check(backend, &Case { accumulate: true, packed: [false, true], ..case });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Q, Residues};

    #[test]
    fn the_largest_low_part_is_that() {
        let [a, b] = [0, 1].map(|side| Residues::LargestLow.generate(side, 0, 1)[0]);
        assert!(a < Q && b < Q);
        assert_eq!(((a + b) as u128 * (a + b) as u128 + 7) % (1 << 52), 0);
    }
}
