//! Uploads that are well formed are admitted, others are not.

use std::sync::Arc;

use blindsmith_keys::{Encryption, Freshness, Key, UploadContext, UploadKey, column_secrets};
use blindsmith_matrix::{MaskSeed, Masks, OperandShape, View};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Mixed, Poly, Q, modulus};

use super::contributor::*;
use super::pair::values;

/// An honest upload of so many rows.
fn honest(context: UploadContext, rows: usize) -> Upload {
    Upload::new(&Key::random(), context, &values(rows * context.inputs, 1 + rows as u64))
}

/// A warden's verdicts on an honest upload after a change of its first block.
fn verdict_after(context: UploadContext, rows: usize, change: impl FnOnce(&mut Block)) -> bool {
    let mut upload = honest(context, rows);
    change(&mut upload.blocks[0]);
    let verdicts = Warden::new(&context).verdicts(&upload);
    assert!(verdicts[1..].iter().all(|good| *good), "other blocks are refused");
    verdicts[0]
}

/// How often a change is tried that must never be admitted.
const TRIES: usize = 6;

#[test]
fn honest_blocks_are_admitted() {
    let roots = [1, 2, 4, 8, 16, 32, 64];
    for (row_roots, column_roots) in roots.iter().flat_map(|n| roots.map(|l| (*n, l))) {
        // A full block and one of five rows; features fill no place but with one root.
        let context = context(row_roots, column_roots, 64, 69);
        let upload = honest(context, 64 + 5);
        let warden = Warden::new(&context);
        assert_eq!(warden.verdicts(&upload), [true; 2], "n {row_roots} and {column_roots}");
        assert_eq!(warden.query_verdicts(&upload), [true; 2], "n {row_roots} and {column_roots}");
    }
}

#[test]
fn blocks_of_every_size_are_admitted() {
    for (row_roots, column_roots, inputs) in [(4, 4, 21), (16, 8, 5), (1, 1, 3), (64, 64, 64), (8, 16, 200)] {
        let context = context(row_roots, column_roots, 64, inputs);
        let warden = Warden::new(&context);
        for rows in [1, 2, 3, 15, 16, 17, 63, 64] {
            let upload = honest(context, rows);
            assert_eq!(warden.verdicts(&upload), [true], "{rows} rows of {inputs}, n {row_roots}");
            assert_eq!(warden.query_verdicts(&upload), [true], "{rows} rows of {inputs}, n {row_roots}");
        }
    }
}

#[test]
fn entries_at_their_bound_are_admitted() {
    for (row_roots, column_roots, rows) in [(1, 1, 64), (4, 8, 40), (16, 4, 1), (64, 64, 64), (8, 64, 7)] {
        let context = context(row_roots, column_roots, 64, 69);
        let all = |sign: &dyn Fn(usize) -> bool| -> Vec<f32> {
            (0..rows * context.inputs).map(|i| if sign(i) { 1.0 } else { -1.0 }).collect()
        };
        let random = values(rows * context.inputs, 7);
        for data in [all(&|_| true), all(&|_| false), all(&|i| i % 2 == 0), all(&|i| random[i] > 0.0)] {
            let upload = Upload::new(&Key::random(), context, &data);
            let warden = Warden::new(&context);
            assert_eq!(warden.verdicts(&upload), [true]);
            assert_eq!(warden.query_verdicts(&upload), [true]);
        }
    }
}

/// With few places and groups some pair of subsets has all of their entries, four times the mean: its noise is twice
/// that of the mean pair. What is added here honest noise comes to once in a million sums.
#[test]
fn noise_of_the_two_forms_is_no_difference() {
    for (roots, inputs, rows, added) in [(64, 64, 64, 24), (16, 64, 64, 6), (64, 128, 64, 17)] {
        let context = context(roots, roots, 64, inputs);
        for _ in 0..TRIES {
            let mut upload = honest(context, rows);
            for (row, feature) in
                (3..rows).step_by(roots).flat_map(|r| (2..inputs).step_by(roots).map(move |f| (r, f)))
            {
                upload.blocks[0].column_form.add(feature, row, added);
            }
            assert_eq!(Warden::new(&context).verdicts(&upload), [true], "n {roots}, {inputs} features");
        }
    }
}

/// Entries of one bound and more in a few places: what admission tolerates, and products have room for.
#[test]
fn admission_has_slack_for_what_it_cannot_tell() {
    let context = context(4, 4, 32, 80);
    assert!(verdict_after(context, 32, |block| block.add(3, 17, BOUND)));
    assert!(verdict_after(context, 32, |block| block.row_form.add(3, 17, 21)));
}

#[test]
fn attack_an_entry_beyond_all_bounds() {
    let context = context(4, 4, 32, 80);
    let (places, groups) = (20, 8);
    for factor in [2, 16, -2, -16] {
        for i in 0..TRIES {
            let value = factor * places * BOUND;
            let (row, feature) = (i % 32, 7 * i);
            let mut upload = honest(context, 32);
            upload.blocks[0].add(row, feature, value);
            let warden = Warden::new(&context);
            assert_eq!(warden.verdicts(&upload), [false]);
            assert_eq!(warden.query_verdicts(&upload), [false]);
            // In the column form alone.
            let of_columns = modulus::from_signed(factor * groups * BOUND);
            assert!(!verdict_after(context, 32, |block| block.column_form.add(feature, row, of_columns)));
        }
    }
}

/// The largest entries that an admission may leave are those that the scales have room for.
#[test]
fn attack_an_entry_within_the_places_bounds_together() {
    let context = context(1, 8, 8, 64);
    // In the row form the tight bound is 4.4 times the root of 64 places: 35.
    assert!(Warden::new(&context).query_verdicts(&with_entry(context, 12 * BOUND))[0]);
    for _ in 0..TRIES {
        let warden = Warden::new(&context);
        assert!(!warden.query_verdicts(&with_entry(context, 37 * BOUND))[0]);
        // In the column form there is one place: what the row form admits, it refuses.
        assert!(!warden.verdicts(&with_entry(context, 2 * BOUND))[0]);
    }
}

/// Eight rows, one with an entry to which this was added, in both forms.
fn with_entry(context: UploadContext, value: i64) -> Upload {
    let mut upload = honest(context, 8);
    upload.blocks[0].add(5, 11, value);
    upload
}

#[test]
fn attack_a_coefficient_where_no_entry_belongs() {
    for _ in 0..TRIES {
        // Features beyond the last: in no place is there one at this contraction entry.
        let few = context(16, 4, 32, 9);
        let mut upload = honest(few, 32);
        upload.blocks[0].row_form.add(4, 12, 1000);
        let warden = Warden::new(&few);
        assert_eq!(warden.query_verdicts(&upload), [false]);
        assert_eq!(warden.verdicts(&upload), [false]);
        // The padding of the last place: other places have entries there, but the column form has none.
        let padded = context(4, 4, 32, 78);
        assert!(!verdict_after(padded, 32, |block| block.row_form.add(4, 79, 5000)));
        // Rows beyond the last, in the column form.
        assert!(!verdict_after(padded, 30, |block| block.column_form.add(70, 31, 5000)));
        assert!(!verdict_after(padded, 1, |block| block.column_form.add(70, 2, 1000)));
    }
}

#[test]
fn attack_uniform_elements() {
    let context = context(4, 4, 32, 80);
    let uniform = |poly: &mut [u64]| {
        Stream::new([9; 32]).uniform_into(0, poly);
    };
    for place in 0..8 {
        assert!(!verdict_after(context, 32, |block| block.row_form.add_element(0, place, uniform)));
        assert!(!verdict_after(context, 32, |block| block.column_form.add_element(0, place, uniform)));
    }
}

#[test]
fn attack_halves_of_the_modulus() {
    // They cancel in every sum with signs: sums over subsets tell.
    let half = Q.div_ceil(2);
    let context = context(4, 4, 32, 80);
    for (one, other) in [(0, 4), (0, 76), (5, 6), (1, 78), (40, 79)] {
        let mut upload = honest(context, 32);
        for feature in [one, other] {
            upload.blocks[0].row_form.add(9, feature, half);
            upload.blocks[0].column_form.add(feature, 9, half);
        }
        let warden = Warden::new(&context);
        assert_eq!(warden.verdicts(&upload), [false]);
        assert_eq!(warden.query_verdicts(&upload), [false]);
    }
    for (one, other) in [(0, 4), (0, 28), (1, 2)] {
        let halves = |block: &mut Block| {
            block.column_form.add(3, one, half);
            block.column_form.add(3, other, half);
        };
        assert!(!verdict_after(context, 32, halves));
    }
}

/// Each entry is far within what the tests of sums allow, their norm is not.
#[test]
fn attack_rows_within_admission_slack_stop_nobody() {
    const SIZE: usize = 256;
    // Many places of one entry each: their sums of either sign stay below the sum of their bounds.
    let context = context(1, 1, SIZE, SIZE);
    let clean = values(SIZE * SIZE, 3);
    let upload = |factor: f32, of: &dyn Fn(usize, usize) -> bool| {
        let enlarged = clean.iter().enumerate().map(|(at, v)| match of(at / SIZE, at % SIZE) {
            true => factor.copysign(*v),
            false => *v,
        });
        Upload::new(&Key::random(), context, &enlarged.collect::<Vec<f32>>())
    };
    let (one_row, one_feature) = (|row, _| row == 20, |_, feature| feature == 20);
    for _ in 0..TRIES {
        let warden = Warden::new(&context);
        let row = upload(3.4, &one_row);
        assert_eq!(warden.query_verdicts(&row), [false]);
        assert_eq!(warden.verdicts(&row), [false]);
        // A feature of all rows: the row form sees one entry of each row.
        let feature = upload(3.4, &one_feature);
        assert_eq!(warden.query_verdicts(&feature), [true]);
        assert_eq!(warden.verdicts(&feature), [false]);
        // The slack, which the scales leave room for.
        assert_eq!(warden.verdicts(&upload(1.2, &one_row)), [true]);
    }
}

/// A row of which each form holds another version would be judged by one and trained on by the other.
#[test]
fn attack_two_forms_of_different_rows() {
    let (inputs, rows) = (80, 32);
    let context = context(4, 4, 32, inputs);
    let clean = values(rows * inputs, 3);
    let verdict = |other: &[f32]| {
        let seed = Key::random();
        let view = View::new(&clean, rows, inputs);
        let key = UploadKey::of_rows(&seed, context, &view, b"", Freshness::Fresh);
        let upload = Upload::of_blocks(&seed, key, &clean, other);
        let warden = Warden::new(&context);
        assert_eq!(warden.query_verdicts(&upload), [true], "the row form is in order");
        warden.verdicts(&upload)[0]
    };
    assert!(verdict(&clean));
    type Change<'a> = (&'a str, Box<dyn Fn(&mut [f32]) + 'a>);
    let row = |r: usize| r * inputs..(r + 1) * inputs;
    let exchanged = |one: usize, other: usize| {
        move |x: &mut [f32]| {
            let (low, high) = x.split_at_mut(other * inputs);
            low[row(one)].swap_with_slice(&mut high[..inputs]);
        }
    };
    let changes: [Change; 8] = [
        ("rows exchanged within a group", Box::new(exchanged(8, 9))),
        ("rows exchanged between groups", Box::new(exchanged(8, 12))),
        ("the first and the last row exchanged", Box::new(exchanged(0, 31))),
        ("features of a row exchanged", Box::new(|x| x[row(5)].swap(3, 40))),
        ("features of a row exchanged within a place", Box::new(|x| x[row(5)].swap(0, 1))),
        ("an entry larger by three percent of the bound", Box::new(|x| x[row(5)][44] += 0.03)),
        ("a row of zeros", Box::new(|x| x[row(17)].fill(0.0))),
        ("a row with the other sign", Box::new(|x| x[row(31)].iter_mut().for_each(|v| *v = -*v))),
    ];
    for (name, change) in changes {
        for _ in 0..TRIES {
            let mut other = clean.clone();
            change(&mut other);
            assert!(!verdict(&other), "{name}: admitted");
        }
    }
}

/// A thief's header over a victim's ciphertext: under the thief's secrets it is nonsense.
#[test]
fn attack_a_victims_ciphertext_under_another_name() {
    let context = context(4, 4, 16, 21);
    let (victim, mut thief) = (honest(context, 40), honest(context, 40));
    std::mem::swap(&mut thief.blocks[1].row_form, &mut { victim }.blocks[1].row_form);
    let warden = Warden::new(&context);
    assert_eq!(warden.verdicts(&thief), [true, false, true]);
    assert_eq!(warden.query_verdicts(&thief), [true, false, true]);
    // Its own blocks in another order.
    let mut moved = honest(context, 40);
    moved.blocks.swap(0, 1);
    assert_eq!(warden.verdicts(&moved), [false, false, true]);
    assert_eq!(warden.query_verdicts(&moved), [false, false, true]);
}

/// The noise of a matrix of zeros as its contributor has it: what is encrypted under masks of zeros. Element by
/// element, strip by strip; private coefficients beyond the matrix are zero.
fn noise_of(encryption: &Encryption<'_>) -> Vec<Vec<i64>> {
    let shape = encryption.shape();
    let (n, m) = (shape.encoding.roots(), shape.encoding.strip());
    let mut residues = vec![0; shape.residues()];
    encryption.places(0, &mut residues);
    let element = |(strip, place): (usize, usize)| {
        let width = m.min(shape.width - strip * m);
        let mut element = Poly::<Mixed>::zero(n * m);
        for (j, block) in element.as_mut_slice().chunks_exact_mut(m).enumerate() {
            let row = &residues[(place * n + j) * shape.stride()..];
            block[..width].copy_from_slice(&row[strip * m..][..width]);
        }
        element.into_coeff(n).as_slice().iter().map(|c| modulus::to_signed(*c)).collect()
    };
    (0..shape.strips()).flat_map(|s| (0..shape.places()).map(move |p| (s, p))).map(element).collect()
}

/// The same noise by entry: private entry after private entry, each with its contraction entries.
fn by_entry(shape: &OperandShape, elements: &[Vec<i64>]) -> Vec<i64> {
    let (n, m) = (shape.encoding.roots(), shape.encoding.strip());
    let entry = |(private, contraction): (usize, usize)| {
        let element = &elements[private / m * shape.places() + contraction / n];
        let (b, i) = (private % m, contraction % n);
        if i == 0 { element[b] } else { -element[(n - i) * m + b] }
    };
    let entries = (0..shape.width).flat_map(|p| (0..shape.contraction).map(move |c| (p, c)));
    entries.map(entry).collect()
}

/// Were the noise of an entry the same in both forms, entries that are known would give both secrets by linear
/// algebra.
#[test]
fn attack_one_noise_in_two_forms() {
    const ROWS: usize = 64;
    let zeros = vec![0.0; ROWS * ROWS];
    let view = || View::new(&zeros, ROWS, ROWS);
    // The last one has equal forms: as many rows as features, in as many strips and places.
    for (n, l) in [(4, 4), (1, 16), (64, 4), (16, 16)] {
        let context = context(n, l, ROWS, ROWS);
        let seed = Key::from_bytes([7; 32]);
        let key = UploadKey::of_rows(&seed, context, &view(), b"", Freshness::Reproducible);
        let [row_shape, column_shape] = [context.row_shape(ROWS), context.column_shape(ROWS)];
        let zero = |shape: &OperandShape| Masks::zero(shape.places(), shape.encoding.dimension()).into();
        let row_form = noise_of(&key.encrypt_rows(0, view(), zero(&row_shape)));
        let columns = Arc::new(column_secrets(&seed, &context));
        let masks = (MaskSeed([0; 32]), zero(&column_shape));
        let column_form = noise_of(&key.encrypt_columns(0, view(), masks, columns));
        // No element of one has the stream of an element of the other.
        for (one, other) in row_form.iter().flat_map(|one| column_form.iter().map(move |other| (one, other)))
        {
            let equal = one.iter().zip(other).filter(|(a, b)| a == b).count();
            assert!(equal < one.len().min(other.len()) / 2, "an equal stream");
        }
        let rows = by_entry(&row_shape, &row_form);
        assert!(rows.iter().all(|v| v.abs() <= 21) && rows.iter().any(|v| v.abs() > 5));
        // At the same entry of the matrix, and at the same place of the ciphertext.
        let columns = by_entry(&column_shape, &column_form);
        let turned: Vec<i64> =
            (0..ROWS).flat_map(|r| columns.iter().skip(r).step_by(ROWS).copied()).collect();
        assert_independent(&rows, &turned);
        assert_independent(&rows, &columns);
    }
}

/// Were the noise of two blocks the same, their difference would be free of it.
#[test]
fn attack_one_noise_in_two_blocks() {
    // Blocks shorter than a place take a whole one.
    for (n, l, rows, inputs) in [(4, 4, 16, 20), (1, 16, 16, 4), (16, 32, 8, 40)] {
        let context = context(n, l, rows, inputs);
        let (seed, zeros) = (Key::from_bytes([7; 32]), vec![0.0; rows * inputs]);
        let view = || View::new(&zeros, rows, inputs);
        let key = UploadKey::of_rows(&seed, context, &view(), b"", Freshness::Reproducible);
        let zero = |shape: OperandShape| Masks::zero(shape.places(), shape.encoding.dimension()).into();
        let columns = Arc::new(column_secrets(&seed, &context));
        let block = |index: usize| {
            let row_form = key.encrypt_rows(index, view(), zero(context.row_shape(rows)));
            let masks = (MaskSeed([0; 32]), zero(context.column_shape(rows)));
            let column_form = key.encrypt_columns(index, view(), masks, columns.clone());
            [noise_of(&row_form), noise_of(&column_form)].concat()
        };
        let elements: Vec<Vec<i64>> = (0..4).flat_map(block).collect();
        for (at, one) in elements.iter().enumerate() {
            // Coefficients beyond the matrix are no noise.
            let drawn = |element: &Vec<i64>| element.iter().filter(|v| **v != 0).count();
            for other in &elements[at + 1..] {
                let equal = one.iter().zip(other).filter(|(a, b)| a == b && **a != 0).count();
                assert!(4 * equal < 3 * drawn(one).min(drawn(other)), "an equal stream");
            }
        }
    }
}

/// Two noises of equal length: equal no more often than chance has it, and without correlation.
fn assert_independent(one: &[i64], other: &[i64]) {
    assert_eq!(one.len(), other.len());
    let count = one.len() as f64;
    let pairs = || one.iter().zip(other);
    for sign in [1, -1] {
        // Two of them are equal with probability 1 / (2 sigma sqrt(pi)).
        let chance = 0.087;
        let equal = pairs().filter(|(a, b)| **a == sign * **b).count() as f64;
        assert!(
            (equal - chance * count).abs() < 7.0 * (chance * count).sqrt(),
            "{equal} of {count} are equal"
        );
    }
    let product: i64 = pairs().map(|(a, b)| a * b).sum();
    assert!(
        (product as f64).abs() < 7.0 * 10.5 * count.sqrt(),
        "correlation {}",
        product as f64 / count / 10.5
    );
}

#[test]
fn blocks_of_another_size_or_with_impossible_residues_are_refused() {
    let context = context(4, 4, 16, 21);
    let upload = honest(context, 16);
    let (warden, own) = (Warden::new(&context), OwnScalars::random(&context));
    let admission = warden.admission(&upload, &own);
    let block = &upload.blocks[0];
    let (rows, columns) = (block.row_form.packed_by_row(), block.column_form.packed());
    let masks = upload.masks_of(0, 16);
    let read = |rows: &[u8], columns: &[u8]| admission.block(0, 16, rows, Some((columns, &masks)));
    assert!(read(&rows, &columns).unwrap().good);
    // The largest values of 50 bits are above the modulus.
    let impossible = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + 13].fill(0xff);
        bytes
    };
    let malformed = |bytes: &[u8]| {
        let shorter = &bytes[..bytes.len() - 50];
        let cuts = [&bytes[..0], &bytes[1..], shorter, &[bytes, &[0]].concat(), &[bytes, &[0; 50]].concat()];
        let ends = [0, bytes.len() / 2, bytes.len() - 13].map(|at| impossible(bytes, at));
        cuts.map(<[u8]>::to_vec).into_iter().chain(ends).collect::<Vec<_>>()
    };
    for bytes in malformed(&rows) {
        assert!(read(&bytes, &columns).is_err());
        assert!(admission.block(0, 16, &bytes, None).is_err());
    }
    for bytes in malformed(&columns) {
        assert!(read(&rows, &bytes).is_err());
    }
    // The bytes of more rows than were announced, and of fewer.
    for count in [1, 15, 17] {
        assert!(admission.block(0, count, &rows, Some((&columns, &masks))).is_err());
    }
}
