//! What a refinery computes, by the definition: the augmented product over what was sent and stored, residue by
//! residue.

use std::collections::{BTreeMap, HashMap};

use blindsmith_matrix::{Encoding, MaskSeed, OperandShape, ProductShape, Section, Side};
use blindsmith_protocol::{BlockRef, Id, Left, MAX_SUMS, ProjectSpec};
use blindsmith_ring::{Q, modulus};

use super::upload::Upload;

/// What tells one set of masks from another: an era, or a contributor and an era.
type SetName = (Id, u32);

/// The mask of each place at which a set stands.
type Places = BTreeMap<usize, Vec<u64>>;

/// An operand that the warden sent.
struct Sent {
    shape: OperandShape,
    masks: MaskSeed,
    /// By their numbers, without what fills them up.
    rows: Vec<Option<Vec<u64>>>,
}

/// Either operand of a product.
struct Operand {
    encoding: Encoding,
    /// Private entries of each contraction row.
    rows: Vec<Vec<u64>>,
    sets: Vec<(SetName, Places)>,
}

/// A section of a product, its parts apart.
struct Product {
    encodings: (Encoding, Encoding),
    rows: usize,
    columns: usize,
    right_masks: bool,
    c: Vec<u64>,
    q: Vec<u64>,
    /// P and R of each set, in the order in which they lie.
    sets: Vec<(SetName, Vec<u64>, Vec<u64>)>,
}

/// Operands, stored rows and sums.
pub struct Naive {
    pub spec: ProjectSpec,
    pub uploads: Vec<Upload>,
    operands: HashMap<u32, Sent>,
    sums: HashMap<u32, Product>,
}

impl Naive {
    pub fn new(spec: &ProjectSpec, uploads: Vec<Upload>) -> Self {
        Naive { spec: spec.clone(), uploads, operands: HashMap::new(), sums: HashMap::new() }
    }

    /// Names of operands that were not freed.
    pub fn held(&self) -> usize {
        self.operands.len()
    }

    /// Sums that were not asked for.
    pub fn sums(&self) -> usize {
        self.sums.len()
    }

    pub fn begin(&mut self, operand: u32, shape: OperandShape, masks: MaskSeed) {
        let size = blindsmith_protocol::operand_residues(&shape);
        assert!(size.is_some(), "an operand of impossible size");
        let sent = Sent { shape, masks, rows: vec![None; shape.padded()] };
        assert!(self.operands.insert(operand, sent).is_none(), "a name that is in use");
    }

    pub fn rows(&mut self, operand: u32, first: usize, residues: &[u64]) {
        let Sent { shape, rows, .. } = self.operands.get_mut(&operand).expect("an operand");
        assert!(residues.len().is_multiple_of(shape.stride()) && residues.iter().all(|r| *r < Q));
        for (i, row) in residues.chunks_exact(shape.stride()).enumerate() {
            let old = rows[first + i].replace(row[..shape.width].to_vec());
            assert!(old.is_none(), "a row twice");
        }
    }

    pub fn free(&mut self, operands: &[u32]) {
        for operand in operands {
            assert!(self.operands.remove(operand).is_some(), "no operand {operand}");
        }
    }

    /// A section of a product, with the sum of this number, which ends; its shape and its residues.
    pub fn multiply(
        &mut self,
        (left, right): (&Left, u32),
        section: &Section,
        sum: Option<u32>,
    ) -> (ProductShape, Vec<u64>) {
        let product = self.product(left, right, section);
        match sum {
            None => product.residues(),
            Some(slot) => {
                let mut sum = self.sums.remove(&slot).expect("a sum");
                sum.add(product);
                sum.residues()
            }
        }
    }

    pub fn accumulate(&mut self, slot: u32, (left, right): (&Left, u32), section: &Section) {
        assert!((slot as usize) < MAX_SUMS, "a sum of number {slot}");
        let product = self.product(left, right, section);
        match self.sums.get_mut(&slot) {
            Some(sum) => sum.add(product),
            None => _ = self.sums.insert(slot, product),
        }
    }

    fn product(&self, left: &Left, right: u32, section: &Section) -> Product {
        let left = match left {
            Left::Operand(name) => self.sent(*name, Side::Left),
            Left::Rows(blocks) => self.stored_rows(blocks),
            Left::Columns(blocks) => self.stored_columns(blocks),
        };
        Product::of(&left, &self.sent(right, Side::Right), section)
    }

    fn sent(&self, name: u32, side: Side) -> Operand {
        let Sent { shape, masks, rows } = &self.operands[&name];
        assert_eq!(shape.side, side);
        let encoding = shape.encoding;
        let places = (0..shape.places()).map(|k| (k, mask(masks, k, encoding))).collect();
        let rows = rows.iter().map(|row| row.clone().expect("every row was sent")).collect();
        Operand { encoding, rows, sets: vec![((Id([0; 32]), 0), places)] }
    }

    fn stored_rows(&self, blocks: &[BlockRef]) -> Operand {
        let (spec, encoding) = (&self.spec, self.spec.row_form);
        let shape = spec.row_shape(1);
        let (mut rows, mut sets) = (vec![Vec::new(); shape.padded()], Vec::<(SetName, Places)>::new());
        for b in blocks {
            let upload = &self.uploads[b.upload as usize];
            let layout = spec.block_layout(upload.header.role, upload.header.rows_of_block(spec, b.block));
            let packed = &upload.blocks[upload.range(spec, b.block)][layout.row_form];
            for row in unpacked(packed).chunks_exact(shape.padded().next_multiple_of(8)) {
                rows.iter_mut().zip(row).for_each(|(out, residue)| out.push(*residue));
            }
            let name = (Id([0; 32]), upload.header.era);
            if !sets.iter().any(|(known, _)| *known == name) {
                let seed = spec.row_mask(upload.header.era);
                sets.push((name, (0..shape.places()).map(|k| (k, mask(&seed, k, encoding))).collect()));
            }
        }
        Operand { encoding, rows, sets }
    }

    fn stored_columns(&self, blocks: &[BlockRef]) -> Operand {
        let (spec, encoding) = (&self.spec, self.spec.column_form);
        let (mut rows, mut sets) = (Vec::<Vec<u64>>::new(), Vec::<(SetName, Places)>::new());
        for b in blocks {
            let upload = &self.uploads[b.upload as usize];
            let header = &upload.header;
            let count = header.rows_of_block(spec, b.block);
            let packed = &upload.blocks[upload.range(spec, b.block)];
            let packed = &packed[spec.block_layout(header.role, count).column_form];
            let place = rows.len() / encoding.roots();
            let stride = spec.inputs().next_multiple_of(8);
            rows.extend(unpacked(packed).chunks_exact(stride).map(|row| row[..spec.inputs()].to_vec()));
            let (name, seed) =
                ((header.contributor, header.era), spec.column_mask(&header.nonce, header.era));
            let first = spec.first_place(b.block);
            let masks =
                (0..spec.column_shape(count).places()).map(|k| (place + k, mask(&seed, first + k, encoding)));
            match sets.iter_mut().find(|(known, _)| *known == name) {
                Some((_, places)) => places.extend(masks),
                None => sets.push((name, masks.collect())),
            }
        }
        Operand { encoding, rows, sets }
    }
}

fn mask(seed: &MaskSeed, place: usize, encoding: Encoding) -> Vec<u64> {
    let mut mask = vec![0; encoding.dimension()];
    seed.expand_into(place, encoding.dimension(), &mut mask);
    mask
}

/// Residues of fifty bits each, the lowest first.
fn unpacked(bytes: &[u8]) -> Vec<u64> {
    let bit = |i: usize| u64::from(bytes[i / 8] >> (i % 8) & 1);
    (0..bytes.len() * 8 / 50).map(|r| (0..50).map(|i| bit(50 * r + i) << i).sum()).collect()
}

fn add(out: &mut u64, a: u64, b: u64) {
    *out = modulus::add(*out, modulus::mul(a, b));
}

impl Product {
    fn of(left: &Operand, right: &Operand, section: &Section) -> Self {
        let (n, encodings) = (left.encoding.roots(), (left.encoding, right.encoding));
        assert_eq!((n, left.rows.len()), (right.encoding.roots(), right.rows.len()), "another contraction");
        let columns = section.columns.0 as usize..section.columns.1 as usize;
        let (rows, width) = (left.rows[0].len(), columns.len());
        let (of_left, of_right) = (left.encoding.per_root(), right.encoding.per_root());
        let masked = usize::from(section.right_masks);
        let (mut c, mut q) = (vec![0; rows * width], vec![0; masked * rows * n * of_right]);
        let empty = |(name, _): &(SetName, Places)| {
            let r = vec![0; masked * n * of_left * of_right];
            (*name, vec![0; width * n * of_left], r)
        };
        let mut sets: Vec<_> = left.sets.iter().filter(|_| section.left_masks).map(empty).collect();
        for (k, (a, b)) in left.rows.iter().zip(&right.rows).enumerate() {
            let (place, root, b) = (k / n, k % n, &b[columns.clone()]);
            let bm = &right.sets[0].1[&place][root * of_right..][..of_right];
            for (i, a) in a.iter().enumerate() {
                b.iter().enumerate().for_each(|(j, b)| add(&mut c[i * width + j], *a, *b));
                if section.right_masks {
                    let q = &mut q[(i * n + root) * of_right..][..of_right];
                    q.iter_mut().zip(bm).for_each(|(q, b)| add(q, *a, *b));
                }
            }
            for ((_, p, r), (_, places)) in sets.iter_mut().zip(&left.sets) {
                let Some(mask) = places.get(&place) else { continue };
                let am = &mask[root * of_left..][..of_left];
                for (j, b) in b.iter().enumerate() {
                    let p = &mut p[(j * n + root) * of_left..][..of_left];
                    p.iter_mut().zip(am).for_each(|(p, a)| add(p, *a, *b));
                }
                for (x, a) in am.iter().enumerate().filter(|_| section.right_masks) {
                    let r = &mut r[(root * of_left + x) * of_right..][..of_right];
                    r.iter_mut().zip(bm).for_each(|(r, b)| add(r, *a, *b));
                }
            }
        }
        Product { encodings, rows, columns: width, right_masks: section.right_masks, c, q, sets }
    }

    /// self + other. Sets that are new come last.
    fn add(&mut self, other: Product) {
        let sum = |out: &mut Vec<u64>, more: &[u64]| {
            assert_eq!(out.len(), more.len(), "a sum of another shape");
            out.iter_mut().zip(more).for_each(|(a, b)| *a = modulus::add(*a, *b));
        };
        assert_eq!(self.encodings, other.encodings, "a sum of another encoding");
        sum(&mut self.c, &other.c);
        sum(&mut self.q, &other.q);
        for (name, p, r) in other.sets {
            match self.sets.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, into_p, into_r)) => {
                    sum(into_p, &p);
                    sum(into_r, &r);
                }
                None => self.sets.push((name, p, r)),
            }
        }
    }

    fn residues(self) -> (ProductShape, Vec<u64>) {
        let shape = ProductShape {
            left: self.encodings.0,
            right: self.encodings.1,
            rows: self.rows,
            columns: self.columns,
            mask_sets: self.sets.len(),
            right_masks: self.right_masks,
        };
        let parts = [self.c].into_iter().chain(self.sets.iter().map(|(_, p, _)| p.clone()));
        let parts = parts.chain([self.q]).chain(self.sets.iter().map(|(.., r)| r.clone()));
        let residues = parts.flatten().collect::<Vec<u64>>();
        assert_eq!(residues.len(), shape.residues());
        (shape, residues)
    }
}
