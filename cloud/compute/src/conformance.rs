//! What every device must give, bit for bit: loops over [`modulus::mul`].

use blindsmith_ring::backend::{Backend as _, Portable};
use blindsmith_ring::{LANES, PACKED_BYTES_PER_LANES, Q, modulus};

use crate::backend::Device;
use crate::product::{Left, MaskSet, Names, Product};
use crate::row::Row;

/// A case: sizes, and how the operands are given.
#[derive(Debug, Clone)]
pub struct Case {
    /// n.
    pub roots: usize,
    /// Places of the contraction.
    pub places: usize,
    /// Rows of the left operand.
    pub rows: usize,
    /// Columns that are wanted.
    pub columns: usize,
    /// Columns of the right operand before the first wanted one.
    pub skip: usize,
    /// Places are dealt out to so many mask sets of the left operand.
    pub sets: usize,
    /// N_l / n and N_r / n; a width of zero is no mask.
    pub widths: [usize; 2],
    /// Whether the left operand comes transposed.
    pub transposed: bool,
    /// Whether left and right operand come packed.
    pub packed: [bool; 2],
    /// Whether the result is added.
    pub add: bool,
    /// Every residue; pseudo-random ones without.
    pub constant: Option<u64>,
}

/// A matrix, row by row, that can be given as it is or packed.
struct Matrix {
    plain: Vec<Vec<u64>>,
    packed: Option<Vec<Vec<u8>>>,
}

impl Matrix {
    fn rows(&self) -> Vec<Row<'_>> {
        match &self.packed {
            Some(rows) => rows.iter().map(|row| Row::Packed(row)).collect(),
            None => self.plain.iter().map(|row| Row::Plain(row)).collect(),
        }
    }
}

struct Source {
    state: u64,
    constant: Option<u64>,
}

impl Source {
    fn residues(&mut self, len: usize) -> Vec<u64> {
        let mut next = || {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.constant.unwrap_or(self.state % Q)
        };
        (0..len).map(|_| next()).collect()
    }

    fn matrix(&mut self, rows: usize, width: usize, packed: bool) -> Matrix {
        // A packed row is padded; a plain one need not be.
        let len = if packed { width.next_multiple_of(LANES) } else { width };
        let plain: Vec<_> = (0..rows).map(|_| self.residues(len)).collect();
        let pack = |row: &Vec<u64>| {
            let mut bytes = vec![0; len / LANES * PACKED_BYTES_PER_LANES];
            Portable.pack(&mut bytes, row);
            bytes
        };
        let packed = packed.then(|| plain.iter().map(pack).collect());
        Matrix { plain, packed }
    }
}

/// Multiplies a case and compares with the oracle.
///
/// # Panics
/// If the results differ.
pub fn check(device: &dyn Device, case: &Case) {
    let contraction = case.roots * case.places;
    let mut source = Source { state: 0x9e37_79b9_7f4a_7c15 ^ contraction as u64, constant: case.constant };
    let (height, width) = if case.transposed { (contraction, case.rows) } else { (case.rows, contraction) };
    let left = source.matrix(height, width, case.packed[0]);
    let right = source.matrix(contraction, case.skip + case.columns, case.packed[1]);
    let masks = case.widths.map(|width| source.matrix(case.places, case.roots * width, false).plain);
    let sets: Vec<Vec<u32>> = (0..if case.widths[0] == 0 { 0 } else { case.sets })
        .map(|set| {
            (0..case.places).filter(|place| place % case.sets == set).map(|place| place as u32).collect()
        })
        .collect();

    let set_rows: Vec<Vec<&[u64]>> =
        sets.iter().map(|set| set.iter().map(|&place| &masks[0][place as usize][..]).collect()).collect();
    let left_masks: Vec<_> =
        sets.iter().zip(&set_rows).map(|(places, rows)| MaskSet { places, rows }).collect();
    let right_masks: Vec<_> = masks[1].iter().map(|row| &row[..]).collect();
    let (left_rows, right_rows) = (left.rows(), right.rows());
    let product = Product {
        roots: case.roots,
        rows: case.rows,
        left: if case.transposed { Left::Transposed(&left_rows) } else { Left::Rows(&left_rows) },
        left_masks: &left_masks,
        right: &right_rows,
        columns: case.skip..case.skip + case.columns,
        right_masks: (case.widths[1] > 0).then_some(&right_masks),
        names: Names::default(),
    };
    let before = source.residues(product.residues());
    let mut found = before.clone();
    product.multiply_on(device, case.add, &mut found).expect("sizes fit");

    let a = |row: usize, k: usize| if case.transposed { left.plain[k][row] } else { left.plain[row][k] };
    let mut expected = oracle(case, &sets, &masks, &a, &|k, column| right.plain[k][case.skip + column]);
    if case.add {
        expected.iter_mut().zip(&before).for_each(|(x, &y)| *x = modulus::add(*x, y));
    }
    assert_eq!(found.len(), expected.len(), "{} {case:?}", device.name());
    let wrong = found.iter().zip(&expected).position(|(x, y)| x != y);
    assert_eq!(wrong, None, "{} {case:?} of {:?}", device.name(), product.layout());
}

type Entry<'a> = &'a dyn Fn(usize, usize) -> u64;

/// C, P, Q, R as [`Product`] defines them, one entry after the other.
fn oracle(
    case: &Case,
    sets: &[Vec<u32>],
    masks: &[Vec<Vec<u64>>; 2],
    a: Entry<'_>,
    b: Entry<'_>,
) -> Vec<u64> {
    let n = case.roots;
    let [left_len, right_len] = case.widths.map(|width| n * width);
    let every: Vec<_> = (0..case.places as u32).collect();
    let sum = |places: &[u32], term: &dyn Fn(usize) -> (u64, u64)| {
        let product = |&place: &u32| {
            let (x, y) = term(place as usize);
            modulus::mul(x, y)
        };
        places.iter().map(product).fold(0, modulus::add)
    };
    let mut out = Vec::new();
    for row in 0..case.rows {
        for column in 0..case.columns {
            let root = |j: usize| sum(&every, &|k| (a(row, k * n + j), b(k * n + j, column)));
            out.push((0..n).map(root).fold(0, modulus::add));
        }
    }
    for set in sets {
        for column in 0..case.columns {
            out.extend((0..left_len).map(|at| {
                let root = at / case.widths[0];
                sum(set, &|k| (masks[0][k][at], b(k * n + root, column)))
            }));
        }
    }
    for row in 0..case.rows {
        out.extend((0..right_len).map(|at| {
            let root = at / case.widths[1];
            sum(&every, &|k| (a(row, k * n + root), masks[1][k][at]))
        }));
    }
    for set in sets {
        for x in 0..left_len {
            let root = x / case.widths[0];
            let y = root * case.widths[1]..(root + 1) * case.widths[1];
            out.extend(y.map(|y| sum(set, &|k| (masks[0][k][x], masks[1][k][y]))));
        }
    }
    out
}

/// Every part of the suite.
///
/// # Panics
/// If a result differs from the oracle's.
pub fn run(device: &dyn Device) {
    let case = Case {
        roots: 4,
        places: 5,
        rows: 13,
        columns: 21,
        skip: 0,
        sets: 2,
        widths: [12, 20],
        transposed: false,
        packed: [true, false],
        add: false,
        constant: None,
    };
    for form in 0..16 {
        let [transposed, left, right, add] = [1, 2, 4, 8].map(|bit| form & bit != 0);
        for (roots, places) in [(1, 19), (2, 9), (8, 3), (128, 2)] {
            let case =
                Case { transposed, packed: [left, right], add, roots, places, skip: 3, ..case.clone() };
            check(device, &case);
        }
    }
    // Every size of a ragged tile.
    for rows in 1..=12 {
        check(device, &Case { rows, ..case.clone() });
    }
    for columns in 1..=33 {
        check(device, &Case { columns, skip: columns % 9, ..case.clone() });
        check(device, &Case { widths: [columns, 34 - columns], ..case.clone() });
    }
    // Without some of the masks, and with one set for each place.
    for (sets, widths) in [(1, [0, 0]), (1, [3, 0]), (1, [0, 3]), (1, [16, 16]), (5, [2, 2])] {
        check(device, &Case { sets, widths, ..case.clone() });
    }
    // Several blocks of rows, of columns and of the contraction, and the largest sums.
    let large = Case { rows: 200, columns: 530, places: 530, roots: 1, widths: [3, 3], ..case.clone() };
    check(device, &large);
    check(device, &Case { rows: 11, columns: 280, places: 150, ..large.clone() });
    let long = Case { rows: 7, columns: 9, places: 2600, roots: 2, sets: 1, ..large };
    for constant in [None, Some(0), Some(1), Some(Q - 1), Some(Q / 2)] {
        for transposed in [false, true] {
            check(device, &Case { constant, transposed, add: constant.is_some(), ..long.clone() });
        }
    }
}
