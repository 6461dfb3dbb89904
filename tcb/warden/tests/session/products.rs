//! Products that are none: refused with a clear word, the model as it was, and the warden goes on.

use std::collections::HashMap;

use blindsmith_matrix::{ProductKind, ProductShape};
use blindsmith_protocol::{
    AdmittedUpload, FromWarden, GroupRef, Instruction, Left, Outcome, Place, Role, ToWarden,
};
use blindsmith_ring::Q;

use super::owner::{Owner, Upload};
use super::refinery::{Refinery, identity};

/// What a product is to be answered with.
#[derive(Clone)]
struct Product {
    extras: Vec<u64>,
    /// First row, the number of rows announced, and their residues.
    rows: Vec<(u32, u32, Vec<u64>)>,
    /// The number of rows announced beforehand.
    announced: u32,
}

impl Product {
    /// Of the right form, but nothing else.
    fn of(shape: &ProductShape, residue: impl Fn(u64) -> u64) -> Self {
        let rows = shape.grid().0 as u32;
        let residues = |count: usize| (0..count as u64).map(&residue).collect::<Vec<_>>();
        let extras = residues(shape.extras() * shape.tile.degree());
        Product { extras, rows: vec![(0, rows, residues(shape.residues()))], announced: rows }
    }

    fn send(&self, refinery: &mut Refinery) {
        let bytes = |residues: &[u64]| residues.iter().flat_map(|r| r.to_le_bytes()).collect::<Vec<_>>();
        refinery.send(&ToWarden::Extras { rows: self.announced, place: None }, &bytes(&self.extras));
        for (first, count, residues) in &self.rows {
            let message = ToWarden::Rows { first: *first, count: *count, place: None };
            refinery.send(&message, &bytes(residues));
        }
    }
}

/// What is done to a product that would have been right.
type Alter = fn(&mut Product);

/// A released project and its uploads: one for validation, so that nothing of the other is held out by chance.
struct Playing {
    refinery: Refinery,
    owner: Owner,
    uploads: [Upload; 2],
    given: [AdmittedUpload; 2],
}

fn playing() -> Playing {
    linked(false)
}

fn linked(share: bool) -> Playing {
    let (owner, warden) = (Owner::new(), identity());
    let mut refinery = Refinery::linked(warden, share);
    owner.hand_over(&mut refinery);
    let (validation, first) = owner.admitted(&mut refinery, Role::Validation);
    let (training, second) = owner.admitted(&mut refinery, Role::Training);
    Playing { refinery, owner, uploads: [validation, training], given: [first, second] }
}

/// Answers what asks for stored bytes; the others are left.
fn stored(refinery: &mut Refinery, owner: &Owner, uploads: &[Upload], instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Labels { blocks } => {
            let labels = blocks.iter().flat_map(|b| uploads[b.upload as usize].labels(&owner.spec, b.block));
            refinery.send(&ToWarden::Labels, &labels.copied().collect::<Vec<u8>>());
        }
        Instruction::Projections { groups, which, .. } => {
            let of = |g: &GroupRef| uploads[g.upload as usize].projections(&owner.spec, g.group, *which);
            let bytes = groups.iter().flat_map(of).copied().collect::<Vec<u8>>();
            refinery.send(&ToWarden::Bytes { place: None, len: bytes.len() as u64 }, &bytes);
        }
        _ => return false,
    }
    true
}

impl Playing {
    /// Runs the round, labels as they should be, the first product by `answer`.
    fn round(&mut self, mut answer: impl FnMut(&mut Refinery, ProductShape)) -> Outcome {
        let Playing { refinery, owner, uploads, given } = self;
        refinery.send(&owner.round(1, given), &[]);
        let mut operands = HashMap::new();
        refinery.follow(|refinery, instruction| match instruction {
            instruction if stored(refinery, owner, uploads, &instruction) => {}
            Instruction::Begin { operand, rows, .. } => _ = operands.insert(operand, rows as usize),
            Instruction::Strip { .. } | Instruction::Free { .. } | Instruction::Accumulate { .. } => {}
            Instruction::Multiply { kind, layer, left, .. } => {
                let sizes = owner.spec.layers[layer as usize];
                let rows = match left {
                    Left::Blocks(blocks) => blocks.len() * owner.spec.block_rows(),
                    Left::Operand(name) => operands[&name],
                    Left::Operands(names) => names.iter().map(|name| operands[name]).sum(),
                };
                let (inputs, outputs) = (sizes.inputs as usize, sizes.outputs as usize);
                answer(refinery, ProductShape { kind, tile: sizes.tile, rows, inputs, outputs });
            }
            other => panic!("{other:?} in a round"),
        })
    }

    fn assert_refused(&mut self, words: &str, answer: impl FnMut(&mut Refinery, ProductShape)) {
        match self.round(answer) {
            Outcome::Fault { instruction: message, .. } | Outcome::Refused { message } => {
                assert!(message.contains(words), "{words:?} is not in: {message}");
            }
            other => panic!("{other:?} where a refusal is due"),
        }
        self.refinery.assert_serves();
    }
}

#[test]
fn products_of_the_wrong_form_are_refused_and_named() {
    let mut playing = playing();
    let altered = |change: Alter| {
        move |refinery: &mut Refinery, shape: ProductShape| {
            let mut product = Product::of(&shape, |_| 0);
            change(&mut product);
            product.send(refinery);
        }
    };
    let cases: [(&str, Alter); 13] = [
        ("wrong number of extra polynomials", |p| p.extras.clear()),
        ("wrong number of extra polynomials", |p| _ = p.extras.pop()),
        ("wrong number of extra polynomials", |p| p.extras.push(0)),
        ("not below the modulus", |p| p.extras[7] = Q),
        ("not below the modulus", |p| *p.extras.last_mut().unwrap() = u64::MAX),
        ("not below the modulus", |p| p.rows[0].2[0] = Q),
        ("not below the modulus", |p| *p.rows[0].2.last_mut().unwrap() = 1 << 63),
        ("not a whole number of rows", |p| _ = p.rows[0].2.pop()),
        ("not a whole number of rows", |p| p.rows[0].2.clear()),
        ("rows that do not exist", |p| {
            let twice = p.rows[0].2.repeat(2);
            p.rows[0].2 = twice;
        }),
        ("rows out of order", |p| p.rows[0].0 = 1),
        ("rows out of order", |p| p.rows[0].0 = u32::MAX),
        // What an older product left in the warden's memory must not stand in for rows that did not come.
        ("rows are missing", |p| {
            p.rows.clear();
            p.announced = 0;
        }),
    ];
    for (words, change) in cases {
        playing.assert_refused(words, altered(change));
    }
    // Fewer residues than the rows that were announced with them.
    playing.assert_refused("rows are missing", |refinery, shape| {
        let mut product = Product::of(&shape, |_| 0);
        let rows = shape.grid().0;
        assert!(rows > 1);
        product.rows[0].2.truncate(shape.residues() / rows);
        product.send(refinery);
    });
}

#[test]
fn products_of_the_right_form_that_are_wrong_are_never_opened() {
    let mut playing = playing();
    for residue in [|_| 0, |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % Q, |_| Q - 1] {
        playing.assert_refused("a wrong product: forward product of layer 0", |refinery, shape| {
            Product::of(&shape, residue).send(refinery);
        });
    }
}

#[test]
fn an_instruction_that_fails_is_told() {
    let mut playing = playing();
    playing.assert_refused("could not carry out an instruction: out of disk", |refinery, shape| {
        assert_eq!(shape.kind, ProductKind::Forward);
        refinery.send(&ToWarden::Failed { message: "out of disk".into() }, &[]);
    });
}

#[test]
fn labels_that_are_none_are_refused() {
    let mut playing = playing();
    let block = playing.owner.spec.sealed_label_bytes();
    let alterations: [fn(&mut Vec<u8>, usize); 5] = [
        |labels, _| labels.clear(),
        |labels, _| _ = labels.pop(),
        |labels, _| labels.fill(0),
        |labels, block| labels[block + 3] ^= 1,
        // Another block's in its place.
        |labels, block| labels.rotate_left(block),
    ];
    for alter in alterations {
        let Playing { refinery, owner, uploads, given } = &mut playing;
        refinery.send(&owner.round(1, given), &[]);
        let outcome = refinery.follow(|refinery, instruction| {
            // Weights are on their way before.
            let Instruction::Labels { blocks } = instruction else { return };
            assert_eq!(blocks.len(), 3);
            let labels = blocks.iter().flat_map(|b| uploads[b.upload as usize].labels(&owner.spec, b.block));
            let mut labels = labels.copied().collect();
            alter(&mut labels, block);
            refinery.send(&ToWarden::Labels, &labels);
        });
        let Outcome::Fault { instruction: message, .. } = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("labels that do not open"), "{message}");
        refinery.assert_serves();
    }
}

/// A warden that waits for its first product.
fn waiting(share: bool) -> Refinery {
    let Playing { mut refinery, owner, uploads, given } = linked(share);
    refinery.send(&owner.round(1, &given), &[]);
    loop {
        match refinery.receive() {
            (FromWarden::Do(Instruction::Multiply { .. }), _) => return refinery,
            (FromWarden::Do(instruction), _) => _ = stored(&mut refinery, &owner, &uploads, &instruction),
            _ => {}
        }
    }
}

#[test]
fn answers_that_break_the_order_end_the_link() {
    let rows = |first, count| ToWarden::Rows { first, count, place: None };
    let extras = |rows| ToWarden::Extras { rows, place: None };
    let place = Some(Place { start: 0, len: 8 });
    for (words, answers) in [
        ("a product begins with its extra polynomials", vec![ToWarden::Labels]),
        ("a product begins with its extra polynomials", vec![rows(0, 1)]),
        ("rows of a product are due", vec![extras(1), extras(1)]),
        ("a product of too many rows", vec![extras(1), rows(0, 2)]),
        ("a product of too many rows", vec![extras(1), rows(0, 0)]),
        // There is no shared memory in this link.
        ("a body that is not residues", vec![ToWarden::Extras { rows: 0, place }]),
    ] {
        let mut refinery = waiting(false);
        answers.iter().for_each(|answer| refinery.send(answer, &[]));
        refinery.assert_ended(words);
    }
    let mut refinery = waiting(false);
    refinery.send(&extras(0), &[0; 9]);
    refinery.assert_ended("a body that is not residues");
}

#[test]
fn places_outside_the_shared_memory_end_the_link() {
    let most = blindsmith_protocol::MAX_BODY as u64 / 8;
    for (start, len) in
        [(u64::MAX, 8), (u64::MAX - 7, 8), (1 << 32, 1), ((1 << 32) - 7, 8), (0, most + 1), (0, u64::MAX)]
    {
        let mut refinery = waiting(true);
        refinery.send(&ToWarden::Extras { rows: 0, place: Some(Place { start, len }) }, &[]);
        refinery.assert_ended("residues outside the shared memory");
    }
    let mut refinery = waiting(true);
    refinery.send(&ToWarden::Extras { rows: 0, place: Some(Place { start: 0, len: 8 }) }, &[0; 64]);
    refinery.assert_ended("a body that is not residues");
}

#[test]
fn residues_in_shared_memory_are_checked_alike() {
    for (len, words) in [(8, "wrong number of extra polynomials"), (0, "wrong number of extra polynomials")] {
        linked(true).assert_refused(words, |refinery, _| {
            refinery.send(&ToWarden::Extras { rows: 0, place: Some(Place { start: 3, len }) }, &[]);
        });
    }
    // The regions are zero where nobody wrote.
    linked(true).assert_refused("a wrong product", |refinery, shape| {
        let (rows, extras) = (shape.grid().0 as u32, (shape.extras() * shape.tile.degree()) as u64);
        let place = |len| Some(Place { start: 16, len });
        refinery.send(&ToWarden::Extras { rows, place: place(extras) }, &[]);
        let place = place(shape.residues() as u64);
        refinery.send(&ToWarden::Rows { first: 0, count: rows, place }, &[]);
    });
}

#[test]
fn an_answer_much_longer_than_what_was_asked_for_ends_the_link_instead_of_filling_memory() {
    // Of frames with bodies, and of frames without.
    for (body, frames) in [(vec![0; 64 << 10], 100), (vec![], 100_000)] {
        let Playing { mut refinery, owner, uploads, given } = playing();
        refinery.send(&owner.round(1, &given), &[]);
        loop {
            match refinery.receive() {
                (FromWarden::Do(Instruction::Multiply { .. }), _) => break,
                (FromWarden::Do(instruction), _) => _ = stored(&mut refinery, &owner, &uploads, &instruction),
                (FromWarden::Progress(_), _) => {}
                other => panic!("{other:?} where an instruction is due"),
            }
        }
        refinery.send(&ToWarden::Extras { rows: u32::MAX, place: None }, &[]);
        let row = ToWarden::Rows { first: 0, count: 1, place: None };
        assert!(!(0..frames).all(|_| refinery.try_send(&row, &body)), "all of them were taken");
        refinery.assert_ended("much longer than what was asked for");
    }
}
