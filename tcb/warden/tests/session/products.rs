//! Products that are none: refused with a clear word, the model as it was, and the warden goes on.

use blindsmith_matrix::ProductShape;
use blindsmith_protocol::{Instruction, Outcome, Place, ToWarden};
use blindsmith_ring::{Q, modulus};

use super::play::{Due, Playing};
use super::refinery::Refinery;

/// What is done to a product that would have been right.
type Alter = fn(&mut Vec<u64>);

#[test]
fn products_of_the_wrong_form_are_refused_and_named() {
    let mut playing = Playing::new(false);
    let cases: [(&str, Alter); 8] = [
        // What an older product left in the warden's memory must not stand in for residues that did not come.
        ("residues are missing", |residues| residues.clear()),
        ("residues are missing", |residues| _ = residues.pop()),
        ("residues are missing", |residues| residues.truncate(60)),
        ("residues that do not exist", |residues| residues.push(0)),
        ("residues that do not exist", |residues| *residues = residues.repeat(2)),
        ("not below the modulus", |residues| residues[7] = Q),
        ("not below the modulus", |residues| residues[0] = 1 << 63),
        ("not below the modulus", |residues| *residues.last_mut().unwrap() = u64::MAX),
    ];
    for (words, alter) in cases {
        playing.assert_refused(words, |playing, _, mut residues| {
            alter(&mut residues);
            playing.send_product(&residues);
        });
    }
    // Fewer residues than were announced with them.
    playing.assert_refused("residues are missing", |playing, shape, _| {
        let count = shape.residues() as u64;
        playing.refinery.send(&ToWarden::Product { residues: count, place: None }, &[]);
        playing.refinery.send(&ToWarden::Residues { count }, &[0; 80]);
    });
}

#[test]
fn products_of_the_right_form_that_are_wrong_are_never_opened() {
    let mut playing = Playing::new(false);
    let residues: [fn(u64, u64) -> u64; 4] = [
        |_, _| 0,
        |i, _| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % Q,
        |_, _| Q - 1,
        |i, right| if i == 77 { modulus::add(right, 1) } else { right },
    ];
    for residue in residues {
        playing.assert_refused("a wrong product: forward product of layer 0", |playing, _, right| {
            let wrong: Vec<u64> = (0..).zip(right).map(|(i, right)| residue(i, right)).collect();
            playing.send_product(&wrong);
        });
    }
}

#[test]
fn the_product_that_is_wrong_is_named() {
    // In the order of a round of two layers: the model judged, the training upload screened, then a step.
    for (right, name) in [
        (1, "forward product of layer 1"),
        (2, "forward product of layer 0"),
        (4, "forward product of layer 0"),
        (6, "input gradient of layer 1"),
        (7, "weight gradient of layer 1"),
        (8, "weight gradient of layer 0"),
    ] {
        let mut playing = Playing::new(false);
        let mut count = 0;
        playing.assert_refused(&format!("a wrong product: {name}"), |playing, _, mut residues| {
            if count == right {
                let last = residues.last_mut().unwrap();
                *last = modulus::add(*last, 1);
            }
            count += 1;
            playing.send_product(&residues);
        });
    }
}

#[test]
fn an_instruction_that_fails_is_told() {
    let mut playing = Playing::new(false);
    playing.assert_refused("could not carry out an instruction: out of disk", |playing, shape, _| {
        // Three blocks of validation rows times the first layer.
        assert_eq!((shape.rows, shape.columns, shape.mask_sets), (20, 4, 1));
        playing.refinery.send(&ToWarden::Failed { message: "out of disk".into() }, &[]);
    });
}

#[test]
fn labels_that_are_none_are_refused() {
    let mut playing = Playing::new(false);
    let block = playing.owner.spec.sealed_label_bytes(playing.owner.spec.block_rows);
    let alterations: [fn(&mut Vec<u8>, usize); 5] = [
        |labels, _| labels.clear(),
        |labels, _| _ = labels.pop(),
        |labels, _| labels.fill(0),
        |labels, block| labels[block + 3] ^= 1,
        // Another block's in its place.
        |labels, block| labels.rotate_left(block),
    ];
    for alter in alterations {
        playing.begin();
        let outcome = loop {
            let (instruction, body) = match playing.next() {
                Ok(next) => next,
                Err((outcome, _)) => break outcome,
            };
            // Weights are on their way before.
            if let Due::Labels(mut labels) = playing.carry_out(instruction, &body) {
                assert_eq!(labels.len(), 2 * block + playing.owner.spec.sealed_label_bytes(4));
                alter(&mut labels, block);
                playing.refinery.send(&ToWarden::Labels, &labels);
            }
        };
        let Outcome::Fault { instruction: message, .. } = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("labels that do not open"), "{message}");
        playing.forget();
        playing.refinery.assert_serves();
    }
}

/// A warden that waits for its first product, of this shape.
fn waiting(share: bool) -> (Refinery, ProductShape) {
    let mut playing = Playing::new(share);
    playing.begin();
    loop {
        let (instruction, body) = playing.next().unwrap();
        let multiplies = matches!(instruction, Instruction::Multiply { .. });
        match playing.carry_out(instruction, &body) {
            Due::Product(shape, _) if multiplies => return (playing.refinery, shape),
            Due::Labels(labels) => playing.refinery.send(&ToWarden::Labels, &labels),
            _ => {}
        }
    }
}

#[test]
fn answers_that_break_the_order_end_the_link() {
    let product = |residues| (ToWarden::Product { residues, place: None }, vec![]);
    let residues = |count: usize| (ToWarden::Residues { count: count as u64 }, vec![0; 8 * count]);
    let place = Some(Place { start: 0, len: 8 });
    for (words, answers) in [
        ("a product is due", vec![(ToWarden::Labels, vec![])]),
        ("a product is due", vec![residues(1)]),
        ("residues of a product are due", vec![product(1), product(1)]),
        ("residues of a product are due", vec![product(1), (ToWarden::Labels, vec![])]),
        ("a product of too many residues", vec![product(1), residues(2)]),
        ("a product of too many residues", vec![product(2), residues(1), residues(2)]),
        ("a product of too many residues", vec![product(1), residues(0)]),
        ("a body that is not residues", vec![product(1), (ToWarden::Residues { count: 1 }, vec![0; 9])]),
        ("a body that is not residues", vec![(ToWarden::Product { residues: 0, place: None }, vec![0; 9])]),
        // There is no shared memory in this link.
        ("a body that is not residues", vec![(ToWarden::Product { residues: 8, place }, vec![])]),
    ] {
        let (mut refinery, _) = waiting(false);
        answers.iter().for_each(|(answer, body)| refinery.send(answer, body));
        refinery.assert_ended(words);
    }
}

#[test]
fn places_outside_the_shared_memory_end_the_link() {
    let outside = "residues outside the shared memory";
    let long = "much longer than what was asked for";
    for (start, len, words) in [
        (u64::MAX, 8, outside),
        (u64::MAX - 7, 8, outside),
        (1 << 32, 1, outside),
        ((1 << 32) - 7, 8, outside),
        (0, 1 << 32, long),
        (0, u64::MAX, long),
    ] {
        let (mut refinery, _) = waiting(true);
        let place = Some(Place { start, len });
        refinery.send(&ToWarden::Product { residues: len, place }, &[]);
        refinery.assert_ended(words);
    }
    let (mut refinery, _) = waiting(true);
    let place = Some(Place { start: 0, len: 8 });
    refinery.send(&ToWarden::Product { residues: 8, place }, &[0; 64]);
    refinery.assert_ended("a body that is not residues");
}

#[test]
fn residues_in_shared_memory_are_checked_alike() {
    for (less, words) in [(1, "residues are missing"), (usize::MAX, "residues are missing")] {
        Playing::new(true).assert_refused(words, |playing, shape, _| {
            let len = shape.residues().saturating_sub(less) as u64;
            let place = Some(Place { start: (1 << 31) + 3, len });
            playing.refinery.send(&ToWarden::Product { residues: len, place }, &[]);
        });
    }
    Playing::new(true).assert_refused("residues that do not exist", |playing, _, mut residues| {
        residues.push(0);
        playing.send_product(&residues);
    });
    // The regions are zero where nobody wrote.
    Playing::new(true).assert_refused("a wrong product", |playing, shape, _| {
        let len = shape.residues() as u64;
        let place = Some(Place { start: 1 << 31, len });
        playing.refinery.send(&ToWarden::Product { residues: len, place }, &[]);
    });
}

#[test]
fn an_answer_much_longer_than_what_was_asked_for_ends_the_link_instead_of_filling_memory() {
    // Of frames with large bodies, and of frames with small ones.
    for size in [64 << 10, 8] {
        let (mut refinery, shape) = waiting(false);
        refinery.send(&ToWarden::Product { residues: u64::MAX, place: None }, &[]);
        let frames = 4 * 8 * shape.residues() / size.max(256) + 2000;
        let body = vec![0; size];
        let all = (0..frames).all(|_| refinery.try_send(&ToWarden::Residues { count: 1 }, &body));
        assert!(!all, "all of them were taken");
        refinery.assert_ended("much longer than what was asked for");
    }
}
