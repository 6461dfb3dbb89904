//! The engine: instructions that do not fit are refused, whatever they name; those that fit give the product that the
//! definition gives.

use std::io::Write;

use blindsmith_matrix::{Encoding, MaskSeed, OperandShape, Section, Side};
use blindsmith_protocol::{
    BlockRef, Id, Instruction, Left, MAX_CONTRACTION, MAX_OPERANDS, MAX_SUMS, ProjectSpec, Projection, Role,
    UploadHeader,
};
use blindsmith_refinery::{Blocks, Engine, Factors, UploadFiles};
use blindsmith_ring::{Q, backend, modulus};
use blindsmith_shared::{Arena, Region};

use super::project::{header_of, numbered_body, spec};

/// Rows, role, contributor and era of each upload.
const UPLOADS: [(u32, Role, u8, u32); 4] = [
    (19, Role::Training, 1, 0),
    (8, Role::Validation, 2, 0),
    (3, Role::Training, 1, 5),
    (9, Role::Query, 0, 0),
];

/// The bytes and the header of one of them.
fn upload(spec: &ProjectSpec, index: u32) -> (Vec<u8>, UploadHeader) {
    let (rows, role, contributor, era) = UPLOADS[index as usize];
    let bytes = numbered_body(spec, role, rows, u64::from(index));
    let (contributor, nonce) = (Id([contributor; 32]), [index as u8; 32]);
    let header = UploadHeader { contributor, era, nonce, ..header_of(spec, role, rows, &bytes) };
    (bytes, header)
}

fn files((bytes, header): (Vec<u8>, UploadHeader)) -> UploadFiles {
    let mut rows = tempfile::tempfile().unwrap();
    rows.write_all(&bytes).unwrap();
    UploadFiles { header, rows, projections: tempfile::tempfile().unwrap() }
}

fn stored(spec: &ProjectSpec) -> Blocks {
    Blocks::new((0..UPLOADS.len() as u32).map(|i| files(upload(spec, i))).collect())
}

fn block(upload: u32, block: u32) -> BlockRef {
    BlockRef { upload, block }
}

fn shape(side: Side, (n, m, r): (usize, usize, usize), contraction: usize, width: usize) -> OperandShape {
    OperandShape { side, encoding: Encoding::new(n, m, r).unwrap(), contraction, width }
}

fn begin(operand: u32, shape: OperandShape) -> Instruction {
    Instruction::Begin { operand, shape, masks: MaskSeed([operand as u8; 32]), at: None }
}

fn all(columns: u32) -> Section {
    Section { columns: (0, columns), left_masks: true, right_masks: true }
}

const RIGHT: (usize, usize, usize) = (8, 16, 16);

/// The weights of the first layer.
fn weights() -> OperandShape {
    shape(Side::Right, RIGHT, 6, 4)
}

/// Errors of the first layer for so many contraction rows.
fn errors(rows: usize) -> OperandShape {
    shape(Side::Right, (4, 16, 32), rows, 4)
}

/// Residues of a sent operand, row by row.
fn residues(operand: u32, shape: &OperandShape) -> Vec<u64> {
    (0..shape.residues() as u64)
        .map(|i| (i + u64::from(operand) * 7919).wrapping_mul(0x5851_f42d_4c95_7f2d) % Q)
        .collect()
}

/// Sends an operand.
fn send(engine: &mut Engine<'_>, operand: u32, shape: OperandShape) {
    engine.operands().begin(&begin(operand, shape)).unwrap();
    let residues = residues(operand, &shape);
    let bytes: &[u8] = bytemuck::cast_slice(&residues);
    // In two pieces.
    let row = 8 * shape.stride();
    let half = shape.padded() / 2;
    for (first, piece) in [(0, &bytes[..half * row]), (half as u32, &bytes[half * row..])] {
        if !piece.is_empty() {
            engine.operands().rows(operand, first, piece.len()).unwrap().copy_from_slice(piece);
        }
    }
}

/// The product by its definition, from the operands as plain matrices.
struct Plain {
    roots: usize,
    /// By row and contraction row.
    left: Vec<Vec<u64>>,
    /// By contraction row and column.
    right: Vec<Vec<u64>>,
    left_masks: Vec<Set>,
    /// By place.
    right_masks: Vec<Vec<u64>>,
}

fn sum_of(products: impl Iterator<Item = (u64, u64)>) -> u64 {
    products.fold(0, |sum, (a, b)| modulus::add(sum, modulus::mul(a, b)))
}

impl Plain {
    fn product(&self, section: &Section) -> Vec<u64> {
        let Plain { roots, left, right, left_masks, right_masks } = self;
        let (places, n) = (right.len() / roots, *roots);
        let columns = section.columns.0 as usize..section.columns.1 as usize;
        let sets = if section.left_masks { left_masks.as_slice() } else { &[] };
        let masks = if section.right_masks { right_masks[0].len() / n } else { 0 };
        let mut out = Vec::new();
        for row in left {
            out.extend(columns.clone().map(|j| sum_of((0..right.len()).map(|k| (row[k], right[k][j])))));
        }
        for set in sets {
            let per_root = set.iter().flatten().next().unwrap().len() / n;
            for j in columns.clone() {
                for x in 0..n * per_root {
                    let there = (0..places).filter_map(|k| Some((k, set[k].as_ref()?)));
                    out.push(sum_of(there.map(|(k, mask)| (mask[x], right[k * n + x / per_root][j]))));
                }
            }
        }
        for row in left {
            for y in 0..n * masks {
                out.push(sum_of((0..places).map(|k| (row[k * n + y / masks], right_masks[k][y]))));
            }
        }
        for set in sets {
            let per_root = set.iter().flatten().next().unwrap().len() / n;
            for x in 0..n * per_root {
                for y in 0..masks {
                    let there = (0..places).filter_map(|k| Some((k, set[k].as_ref()?)));
                    let y = x / per_root * masks + y;
                    out.push(sum_of(there.map(|(k, mask)| (mask[x], right_masks[k][y]))));
                }
            }
        }
        out
    }
}

fn masks(seed: &MaskSeed, shape: &OperandShape) -> Vec<Vec<u64>> {
    let (places, dimension) = (shape.places(), shape.encoding.dimension());
    let masks = seed.expand(places, dimension);
    (0..places).map(|k| masks.place(k).to_vec()).collect()
}

/// The contraction rows of a sent operand.
fn plain(operand: u32, shape: &OperandShape) -> Vec<Vec<u64>> {
    residues(operand, shape).chunks(shape.stride()).map(|row| row[..shape.width].to_vec()).collect()
}

fn transposed(rows: &[Vec<u64>]) -> Vec<Vec<u64>> {
    (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i]).collect()).collect()
}

/// Packed rows, each cut to `width` residues.
fn unpacked(bytes: &[u8], row: usize, width: usize) -> Vec<Vec<u64>> {
    let unpack = |packed: &[u8]| {
        let mut residues = vec![0; packed.len() / 50 * 8];
        assert!(backend::active().unpack(&mut residues, packed));
        residues.truncate(width);
        residues
    };
    bytes.chunks(row).map(unpack).collect()
}

/// The masks of a set by place, if it stands there.
type Set = Vec<Option<Vec<u64>>>;

/// The left operand of stored rows as it is defined, and the masks of its sets: contributor and era, in order of first
/// appearance; for the row form the era alone.
fn stored_left(spec: &ProjectSpec, left: &Left) -> (Vec<Vec<u64>>, Vec<Set>) {
    let (Left::Rows(blocks) | Left::Columns(blocks)) = left else { panic!("not stored rows") };
    let (mut rows, mut standing) = (Vec::new(), Vec::new());
    for block in blocks {
        let (bytes, header) = upload(spec, block.upload);
        let count = header.rows_of_block(spec, block.block);
        let bytes = &bytes[header.block_offset(spec, block.block) as usize..];
        let layout = spec.block_layout(header.role, count);
        match left {
            Left::Rows(_) => {
                rows.extend(unpacked(&bytes[layout.row_form], spec.row_bytes(), spec.row_shape(1).padded()));
                standing
                    .push(((Id([0; 32]), header.era), masks(&spec.row_mask(header.era), &spec.row_shape(1))));
            }
            _ => {
                let row = spec.contraction_row_bytes();
                rows.extend(unpacked(&bytes[layout.column_form], row, spec.inputs()));
                // All masks of the upload; this block's are those of its rows.
                let seed = spec.column_mask(&header.nonce, header.era);
                let all = masks(&seed, &spec.column_shape(header.rows));
                let n = spec.column_form.roots();
                let first = block.block as usize * spec.block_rows() / n;
                let own = all[first..first + (count as usize).div_ceil(n)].to_vec();
                standing.push(((header.contributor, header.era), own));
            }
        }
    }
    let mut origins: Vec<(Id, u32)> = Vec::new();
    for (origin, _) in &standing {
        if !origins.contains(origin) {
            origins.push(*origin);
        }
    }
    let set = |origin: &(Id, u32)| -> Set {
        match left {
            Left::Rows(_) => {
                let (_, masks) = standing.iter().find(|(of, _)| of == origin).unwrap();
                masks.iter().cloned().map(Some).collect()
            }
            _ => {
                let places = standing.iter().flat_map(|(of, own)| own.iter().map(move |mask| (of, mask)));
                places.map(|(of, mask)| (of == origin).then(|| mask.clone())).collect()
            }
        }
    };
    let sets = origins.iter().map(set).collect();
    (if matches!(left, Left::Rows(_)) { rows } else { transposed(&rows) }, sets)
}

/// A product of stored rows, by its definition.
fn expected(spec: &ProjectSpec, left: &Left, right: (u32, OperandShape), section: &Section) -> Vec<u64> {
    let ((name, shape), (left, left_masks)) = (right, stored_left(spec, left));
    let right_masks = masks(&MaskSeed([name as u8; 32]), &shape);
    let right = plain(name, &shape);
    Plain { roots: shape.encoding.roots(), left, right, left_masks, right_masks }.product(section)
}

#[test]
fn operands_are_those_of_a_layer() {
    let spec = spec();
    let stored = stored(&spec);
    let mut engine = Engine::new(&spec, &stored);
    let operands = engine.operands();
    use Side::{Left as L, Right as R};
    let (n8, n4, n2) = ((8, 16, 16), (4, 16, 32), (2, 32, 32));
    for refused in [
        // Of layer 0: Z over 6 inputs with n = 8, G over rows with n = 4.
        shape(R, n8, 7, 4),
        shape(R, n8, 6, 5),
        shape(R, n2, 6, 4),
        shape(R, n4, 20, 5),
        shape(R, (8, 16, 32), 6, 4),
        shape(R, n8, 0, 4),
        shape(R, n8, 6, 0),
        shape(R, n4, 0, 4),
        shape(R, n4, MAX_CONTRACTION + 1, 4),
        shape(R, n4, usize::MAX, 4),
        shape(L, n8, 6, MAX_CONTRACTION + 1),
        shape(L, n8, 6, usize::MAX),
        shape(L, n8, usize::MAX - 3, 8),
        shape(L, n4, 20, 5),
        shape(L, n2, 5, 9),
    ] {
        assert!(operands.begin(&begin(0, refused)).is_err(), "{refused:?}");
    }
    let elsewhere = |at| Instruction::Begin { operand: 0, shape: weights(), masks: MaskSeed([8; 32]), at };
    assert!(operands.begin(&elsewhere(Some(0))).is_err(), "there is no shared memory");
    assert!(operands.begin(&Instruction::Free { operands: vec![] }).is_err());
    // Of both layers: weights and errors, activations in both forms, errors by weights.
    for (name, good) in [
        weights(),
        errors(20),
        shape(R, n2, 4, 3),
        shape(L, n2, 4, 9),
        shape(R, n8, 9, 3),
        shape(L, n8, 9, 4),
        shape(R, n4, 3, 4),
        shape(L, n4, 3, 9),
    ]
    .into_iter()
    .enumerate()
    {
        operands.begin(&begin(name as u32, good)).unwrap();
    }
    for operand in 8..MAX_OPERANDS as u32 {
        operands.begin(&begin(operand, errors(1))).unwrap();
    }
    assert!(operands.begin(&begin(u32::MAX, errors(1))).is_err(), "too many");
    // One of the same name takes the place of the other.
    operands.begin(&begin(0, errors(4))).unwrap();
    operands.free(&[1, 1, 7_000_000]);
    operands.begin(&begin(u32::MAX, errors(1))).unwrap();
}

#[test]
fn products_have_operands_that_fit() {
    let spec = spec();
    let stored = stored(&spec);
    let mut engine = Engine::new(&spec, &stored);
    send(&mut engine, 0, weights());
    send(&mut engine, 1, errors(16));
    send(&mut engine, 2, shape(Side::Left, (2, 32, 32), 4, 9));
    send(&mut engine, 3, shape(Side::Right, (2, 32, 32), 4, 3));
    send(&mut engine, 4, errors(12));
    let rows = |blocks: &[BlockRef]| Left::Rows(blocks.to_vec());
    let columns = |blocks: &[BlockRef]| Left::Columns(blocks.to_vec());
    let both = [block(0, 0), block(1, 0)];
    let none = |columns| Section { columns, left_masks: false, right_masks: false };
    for (left, right, section) in [
        (rows(&both), 9, all(4)),
        (rows(&both), 1, all(4)),
        (rows(&both), 2, all(4)),
        (rows(&[]), 0, all(4)),
        (rows(&[block(4, 0)]), 0, all(4)),
        (rows(&[block(0, 3)]), 0, all(4)),
        (rows(&[block(u32::MAX, u32::MAX)]), 0, all(4)),
        (rows(&vec![block(0, 0); 100_000]), 0, all(4)),
        (rows(&both), 0, all(5)),
        (rows(&both), 0, none((0, 0))),
        (rows(&both), 0, none((3, 2))),
        (rows(&both), 0, none((0, u32::MAX))),
        (columns(&both), 0, all(4)),
        (columns(&both), 4, all(4)),
        (columns(&both[..1]), 1, all(4)),
        (columns(&[]), 1, all(4)),
        (columns(&[block(3, 0), block(3, 0)]), 1, all(4)),
        (columns(&vec![block(0, 0); 10_000]), 1, all(4)),
        (Left::Operand(9), 3, all(3)),
        (Left::Operand(3), 3, all(3)),
        (Left::Operand(2), 1, all(3)),
        (Left::Operand(2), 2, all(3)),
    ] {
        let factors = Factors { left: &left, right, section: &section };
        assert!(engine.multiply(factors, None).is_err(), "{left:?} {right} {section:?}");
        engine.accumulate(0, factors);
        assert!(engine.multiply(factors, Some(0)).is_err(), "{left:?} {right} {section:?}");
    }
    for (left, right, section) in [
        (rows(&both), 0, all(4)),
        (rows(&[both[1], both[1]]), 0, none((1, 2))),
        (columns(&both), 1, all(4)),
        // 3 rows are one place of four: 8 + 4 contraction rows.
        (columns(&[block(1, 0), block(2, 0)]), 4, all(4)),
        (Left::Operand(2), 3, all(3)),
    ] {
        let factors = Factors { left: &left, right, section: &section };
        let product = engine.multiply(factors, None).unwrap();
        assert_eq!(product.residues.len(), product.shape.residues());
    }
}

#[test]
fn products_of_stored_rows_are_those_of_the_definition() {
    let spec = spec();
    let stored = stored(&spec);
    let mut engine = Engine::new(&spec, &stored).with_row_bytes(1);
    send(&mut engine, 7, weights());
    send(&mut engine, 8, errors(16));
    let part = Section { columns: (1, 3), left_masks: true, right_masks: false };
    let bare = Section { columns: (0, 4), left_masks: false, right_masks: true };
    // The last blocks have three rows; of two eras and two contributors.
    let rows = Left::Rows(vec![block(0, 2), block(2, 0), block(1, 0), block(0, 0)]);
    let query = Left::Rows(vec![block(3, 1), block(3, 0)]);
    for (left, section) in [(&rows, &all(4)), (&rows, &part), (&rows, &bare), (&query, &all(4))] {
        let product = engine.multiply(Factors { left, right: 7, section }, None).unwrap();
        assert!(product.residues == expected(&spec, left, (7, weights()), section), "{left:?} {section:?}");
    }
    let columns = Left::Columns(vec![block(0, 2), block(1, 0), block(2, 0)]);
    for section in [&all(4), &part, &bare] {
        let product = engine.multiply(Factors { left: &columns, right: 8, section }, None).unwrap();
        assert_eq!(product.shape.mask_sets, if section.left_masks { 3 } else { 0 });
        assert!(product.residues == expected(&spec, &columns, (8, errors(16)), section), "{section:?}");
    }
    // Contributor 1 twice in one era: one set, at two ranges of places.
    let twice = Left::Columns(vec![block(0, 1), block(2, 0), block(0, 2)]);
    let product = engine.multiply(Factors { left: &twice, right: 8, section: &all(4) }, None).unwrap();
    assert_eq!(product.shape.mask_sets, 2);
    assert!(product.residues == expected(&spec, &twice, (8, errors(16)), &all(4)));
}

#[test]
fn products_of_sent_operands_are_those_of_the_definition() {
    let spec = spec();
    let stored = stored(&spec);
    let mut engine = Engine::new(&spec, &stored);
    let (left, right) = (shape(Side::Left, (2, 32, 32), 4, 9), shape(Side::Right, (2, 32, 32), 4, 3));
    send(&mut engine, 2, left);
    send(&mut engine, 3, right);
    let product =
        engine.multiply(Factors { left: &Left::Operand(2), right: 3, section: &all(3) }, None).unwrap();
    let set = masks(&MaskSeed([2; 32]), &left).into_iter().map(Some).collect();
    let plain = Plain {
        roots: 2,
        left: transposed(&plain(2, &left)),
        right: plain(3, &right),
        left_masks: vec![set],
        right_masks: masks(&MaskSeed([3; 32]), &right),
    };
    assert!(product.residues == plain.product(&all(3)));
}

#[test]
fn sums_are_added_up_and_end() {
    let spec = spec();
    let stored = stored(&spec);
    let mut engine = Engine::new(&spec, &stored);
    send(&mut engine, 5, errors(8));
    send(&mut engine, 6, errors(8));
    let (one, other) = (Left::Columns(vec![block(0, 0)]), Left::Columns(vec![block(0, 1)]));
    let (section, narrow) = (all(4), all(2));
    let first = Factors { left: &one, right: 5, section: &section };
    let second = Factors { left: &other, right: 6, section: &section };
    let [a, b] = [first, second].map(|factors| engine.multiply(factors, None).unwrap().residues);
    let total = |parts: &[&[u64]]| -> Vec<u64> {
        (0..a.len()).map(|i| parts.iter().fold(0, |sum, part| modulus::add(sum, part[i]))).collect()
    };
    for _ in 0..2 {
        engine.accumulate(1, first);
        engine.accumulate(2, second);
        engine.accumulate(1, second);
        assert!(engine.multiply(first, Some(1)).unwrap().residues == total(&[&a, &b, &a]));
        assert!(engine.multiply(first, Some(1)).is_err(), "it ended");
        assert!(engine.multiply(second, Some(2)).unwrap().residues == total(&[&b, &b]));
    }
    // What does not fit a sum is told when it is asked for.
    engine.accumulate(1, first);
    engine.accumulate(1, Factors { section: &narrow, ..second });
    engine.accumulate(1, second);
    assert!(engine.multiply(first, Some(1)).unwrap_err().to_string().contains("another shape"));
    engine.accumulate(1, first);
    assert!(engine.multiply(Factors { section: &narrow, ..second }, Some(1)).is_err());
    engine.accumulate(MAX_SUMS as u32, first);
    assert!(engine.multiply(first, Some(MAX_SUMS as u32)).is_err());
}

/// Micro-batches of different contributors: each keeps its masks' parts, and those that are new come last.
#[test]
fn sums_have_the_mask_sets_of_all_their_products() {
    let spec = spec();
    let stored = stored(&spec);
    let mut engine = Engine::new(&spec, &stored);
    send(&mut engine, 5, errors(8));
    send(&mut engine, 6, errors(8));
    let (one, other) = (Left::Columns(vec![block(0, 0)]), Left::Columns(vec![block(1, 0)]));
    let section = all(4);
    let first = Factors { left: &one, right: 5, section: &section };
    let second = Factors { left: &other, right: 6, section: &section };
    let (a, b) = (engine.multiply(first, None).unwrap(), engine.multiply(second, None).unwrap());
    let part = |i: usize| {
        let [a, b] = [&a, &b].map(|product| &product.residues[product.shape.ranges()[i].clone()]);
        match i {
            0 | 2 => a.iter().zip(b).map(|(a, b)| modulus::add(*a, *b)).collect(),
            _ => [a, b].concat(),
        }
    };
    let union: Vec<u64> = (0..4).flat_map(part).collect();
    engine.accumulate(3, first);
    let sum = engine.multiply(second, Some(3)).unwrap();
    assert_eq!((a.shape.mask_sets, sum.shape.mask_sets), (1, 2));
    assert!(sum.residues == union);
    // What is there already stays where it is.
    engine.accumulate(3, first);
    engine.accumulate(3, second);
    let sum = engine.multiply(first, Some(3)).unwrap();
    let [c, p, ..] = sum.shape.ranges();
    let twice = |x: &[u64]| x.iter().map(|x| modulus::add(*x, *x)).collect::<Vec<_>>();
    let p_of = |product: &blindsmith_refinery::Multiplied| {
        product.residues[product.shape.ranges()[1].clone()].to_vec()
    };
    assert_eq!(c.len(), a.shape.parts()[0]);
    assert!(sum.residues[p] == [twice(&p_of(&a)), p_of(&b)].concat());
}

#[test]
fn operands_may_lie_in_shared_memory() {
    let spec = spec();
    let stored = stored(&spec);
    let region = Region::create(64).unwrap();
    let range = Arena::new(64).take(64).unwrap();
    let shape = weights();
    region.write(&range, 3, &residues(7, &shape)).unwrap();
    let mut engine = Engine::new(&spec, &stored).with_shared(Some(&region));
    let begin = |at| Instruction::Begin { operand: 7, shape, masks: MaskSeed([7; 32]), at };
    for at in [1, 4, 8 * 57, 8 * 64, u64::MAX - 7] {
        assert!(engine.operands().begin(&begin(Some(at))).is_err(), "{at}");
    }
    engine.operands().begin(&begin(Some(3 * 8))).unwrap();
    assert!(engine.operands().rows(7, 0, 64).is_err(), "its rows are elsewhere");
    let left = Left::Rows(vec![block(0, 0)]);
    let product = engine.multiply(Factors { left: &left, right: 7, section: &all(4) }, None).unwrap();
    assert!(product.residues == expected(&spec, &left, (7, shape), &all(4)));
}

#[test]
fn rows_of_operands_exist_and_are_whole_or_are_refused() {
    let spec = spec();
    let stored = stored(&spec);
    let mut engine = Engine::new(&spec, &stored);
    let operands = engine.operands();
    // 20 contraction rows of 8 residues.
    operands.begin(&begin(5, errors(17))).unwrap();
    for (operand, first, bytes) in [
        (4, 0, 64),
        (5, 20, 64),
        (5, 19, 128),
        (5, 0, 0),
        (5, 0, 63),
        (5, u32::MAX, 64),
        (5, 0, usize::MAX - 63),
    ] {
        assert!(operands.rows(operand, first, bytes).is_err(), "{operand} {first} {bytes}");
    }
    assert_eq!(operands.rows(5, 18, 128).unwrap().len(), 128);
    assert_eq!(operands.rows(5, 0, 20 * 64).unwrap().len(), 20 * 64);
}

#[test]
fn labels_and_blocks_are_read_as_they_were_uploaded() {
    let spec = spec();
    let stored = stored(&spec);
    let engine = Engine::new(&spec, &stored);
    let rows = engine.stored();
    let labels = rows.labels(&[block(0, 2), block(0, 0)]).unwrap();
    assert_eq!(labels, [vec![2; 3 * 8 + 16], vec![0; 8 * 8 + 16]].concat());
    for refused in [block(0, 3), block(4, 0), block(3, 0)] {
        assert!(rows.labels(&[refused]).is_err(), "{refused:?}");
    }
    assert!(rows.labels(&[]).is_err());
    assert!(rows.labels(&vec![block(0, 0); 100_000]).is_err(), "more rows than any batch has");

    let read = |upload, first, count| Instruction::Read { upload, first, count, received: 0 };
    for (upload, first, count) in
        [(0, 0, 0), (0, 0, 4), (0, 3, 1), (0, u32::MAX, 2), (0, 1, u32::MAX), (4, 0, 1)]
    {
        assert!(rows.bytes_len(&read(upload, first, count)).is_err(), "{upload} {first} {count}");
    }
    for (index, blocks) in [(0, 3), (1, 1), (2, 1), (3, 2)] {
        let (bytes, header) = upload(&spec, index);
        for first in 0..blocks {
            let instruction = read(index, first, blocks - first);
            let mut out = vec![0; rows.bytes_len(&instruction).unwrap()];
            rows.bytes_into(&instruction, &mut out).unwrap();
            assert_eq!(out, bytes[header.block_offset(&spec, first) as usize..]);
        }
    }
    let size = rows.bytes_len(&read(0, 0, 1)).unwrap();
    for len in [size - 1, size + 1] {
        assert!(rows.bytes_into(&read(0, 0, 1), &mut vec![0; len]).is_err());
    }
}

#[test]
fn projections_are_kept_with_their_blocks() {
    let spec = spec();
    let stored = stored(&spec);
    let engine = Engine::new(&spec, &stored);
    let rows = engine.stored();
    let sealed = |index: u32| -> Vec<u8> {
        let len = spec.kept_bytes(if index == 2 { 3 } else { 8 });
        (0..len).map(|i| (i + 100 * index as usize) as u8).collect()
    };
    for index in [2, 0, 1] {
        rows.keep(&block(0, index), &sealed(index)).unwrap();
    }
    assert!(
        rows.keep(&block(0, 2), &sealed(2)[1..]).is_err() && rows.keep(&block(0, 3), &sealed(0)).is_err()
    );
    // A residue for each of 8 contraction rows of the row form; of the column form for 8 or 4.
    let wanted = vec![block(0, 2), block(0, 0)];
    for (which, skip, lens) in [(Projection::Rows, 0, [66, 66]), (Projection::Columns, 66, [66, 66])] {
        let instruction = Instruction::Projections { blocks: wanted.clone(), which, received: 0 };
        let mut out = vec![0; rows.bytes_len(&instruction).unwrap()];
        rows.bytes_into(&instruction, &mut out).unwrap();
        let expected = [&sealed(2)[skip..skip + lens[0]], &sealed(0)[skip..skip + lens[1]]].concat();
        assert_eq!(out, expected);
    }
    let none = Instruction::Projections { blocks: vec![], which: Projection::Rows, received: 0 };
    assert!(rows.bytes_len(&none).is_err());
}

#[test]
fn rows_cut_short_on_disk_are_an_error() {
    let spec = spec();
    let (mut bytes, header) = upload(&spec, 0);
    bytes.pop();
    let stored = Blocks::new(vec![files((bytes, header))]);
    let mut engine = Engine::new(&spec, &stored);
    send(&mut engine, 0, errors(8));
    send(&mut engine, 1, errors(4));
    let mut gradient = |index, right| {
        let left = Left::Columns(vec![block(0, index)]);
        let product = engine.multiply(Factors { left: &left, right, section: &all(4) }, None);
        product.map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(gradient(0, 0), Ok(()));
    assert!(gradient(2, 1).unwrap_err().contains("stored rows cannot be read"));
    // What failed is not remembered as read.
    assert!(gradient(2, 1).is_err());
    assert_eq!(gradient(0, 0), Ok(()));
}
