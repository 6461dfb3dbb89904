//! Uploads as contributors make them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use blindsmith_formats::write_labels;
use blindsmith_keys::{Encryption, Freshness, Key, UploadContext, UploadKey, column_secrets};
use blindsmith_learn::{Matrix, Targets};
use blindsmith_matrix::{Masks, View};
use blindsmith_protocol::{
    BlockRef, Id, ProjectSpec, Projection, Role, UploadHeader, block_digest, root_digest,
};
use blindsmith_ring::backend;

/// An upload, and what the warden had kept of it.
#[derive(Clone)]
pub struct Upload {
    pub header: UploadHeader,
    pub blocks: Vec<u8>,
    pub kept: HashMap<u32, Vec<u8>>,
}

/// Who uploads rows, and what they are.
pub struct Contribution<'a> {
    pub spec: &'a ProjectSpec,
    pub seed: &'a Key,
    pub contributor: Id,
    pub role: Role,
    pub era: u32,
    pub rows: &'a Matrix,
    pub classes: Vec<u32>,
}

/// What uploads of an era are encrypted for.
pub fn context(spec: &ProjectSpec, era: u32) -> UploadContext {
    UploadContext {
        project: spec.id().0,
        mask: spec.row_mask(era),
        era,
        row_form: spec.row_form,
        column_form: spec.column_form,
        block_rows: spec.block_rows(),
        inputs: spec.inputs(),
        scale: spec.feature_scale,
    }
}

impl Contribution<'_> {
    /// The upload, and its key.
    pub fn upload(&self, fresh: Freshness) -> (Upload, UploadKey) {
        let Contribution { spec, seed, contributor, role, era, rows, .. } = *self;
        let view = View::new(rows.as_slice(), rows.rows(), rows.cols());
        let key = UploadKey::of_rows(seed, context(spec, era), &view, b"", fresh);
        let (mut blocks, mut digests) = (Vec::new(), Vec::new());
        for block in 0..spec.blocks(rows.rows() as u32) {
            let bytes = self.block(&key, block);
            digests.push(block_digest(block, &bytes));
            blocks.extend(bytes);
        }
        let header = UploadHeader {
            project: spec.id(),
            contributor,
            terms: [0; 32],
            role,
            nonce: *key.nonce(),
            era,
            rows: rows.rows() as u32,
            root: root_digest(&digests),
            tag: [0; 32],
        };
        let mut upload = Upload { header, blocks, kept: HashMap::new() };
        upload.sign(spec, seed);
        (upload, key)
    }

    /// Sealed labels, row form, column form.
    fn block(&self, key: &UploadKey, block: u32) -> Vec<u8> {
        let Contribution { spec, era, rows, .. } = *self;
        let range = rows_of(spec, rows.rows(), block);
        let view = View::new(rows.values_of(range.clone()), range.len(), rows.cols());
        let masks = spec.row_mask(era).expand(spec.row_shape(1).places(), spec.row_form.dimension());
        let row_form = packed_rows(&key.encrypt_rows(block as usize, view, Arc::new(masks)));
        if self.role == Role::Query {
            return row_form;
        }
        let classes = Targets::Classes(self.classes.clone());
        let mut bytes = key.seal_labels(u64::from(block), &write_labels(&classes, range.start, range.end));
        bytes.extend(row_form);
        let (seed, dimension) = (spec.column_mask(key.nonce(), era), spec.column_form.dimension());
        let mut masks = Masks::zero(spec.column_shape(range.len() as u32).places(), dimension);
        seed.expand_into(spec.first_place(block), dimension, masks.as_mut_slice());
        let secrets = column_secrets(self.seed, key.context());
        let columns = key.encrypt_columns(block as usize, view, (seed, Arc::new(masks)), Arc::new(secrets));
        bytes.extend(pack(&contraction_rows(&columns)));
        assert_eq!(bytes.len(), spec.block_bytes(self.role, range.len() as u32));
        bytes
    }
}

fn rows_of(spec: &ProjectSpec, rows: usize, block: u32) -> Range<usize> {
    let first = block as usize * spec.block_rows();
    first..rows.min(first + spec.block_rows())
}

fn contraction_rows(encryption: &Encryption<'_>) -> Vec<u64> {
    let mut residues = vec![0; encryption.shape().residues()];
    encryption.places(0, &mut residues);
    residues
}

/// The row form: private rows one after the other, each filled up to whole groups of eight.
fn packed_rows(encryption: &Encryption<'_>) -> Vec<u8> {
    let (shape, residues) = (encryption.shape(), contraction_rows(encryption));
    let row = |b: usize| {
        let mut row: Vec<u64> = (0..shape.padded()).map(|k| residues[k * shape.stride() + b]).collect();
        row.resize(row.len().next_multiple_of(8), 0);
        row
    };
    pack(&(0..shape.width).flat_map(row).collect::<Vec<u64>>())
}

fn pack(residues: &[u64]) -> Vec<u8> {
    let mut packed = vec![0; residues.len() / 8 * 50];
    backend::active().pack(&mut packed, residues);
    packed
}

impl Upload {
    /// The header's tag, by whoever has this seed.
    pub fn sign(&mut self, spec: &ProjectSpec, seed: &Key) {
        let key = UploadKey::from_nonce(seed, context(spec, self.header.era), self.header.nonce);
        self.header.tag = key.tag(&self.header.authenticated());
    }

    /// The digests of its blocks as they are now, in the header.
    pub fn digest(&mut self, spec: &ProjectSpec) {
        let digests: Vec<Id> = (0..self.header.blocks(spec))
            .map(|block| block_digest(block, &self.blocks[self.range(spec, block)]))
            .collect();
        self.header.root = root_digest(&digests);
    }

    /// Where a block lies.
    pub fn range(&self, spec: &ProjectSpec, block: u32) -> Range<usize> {
        let start = self.header.block_offset(spec, block) as usize;
        start..start + spec.block_bytes(self.header.role, self.header.rows_of_block(spec, block))
    }

    /// Consecutive blocks, as far as they are there.
    pub fn read(&self, spec: &ProjectSpec, first: u32, count: u32) -> &[u8] {
        let end = self.range(spec, first + count - 1).end.min(self.blocks.len());
        &self.blocks[(self.range(spec, first).start).min(end)..end]
    }

    /// The sealed labels of a block.
    pub fn labels(&self, spec: &ProjectSpec, block: u32) -> &[u8] {
        let layout = spec.block_layout(self.header.role, self.header.rows_of_block(spec, block));
        &self.blocks[self.range(spec, block)][layout.labels]
    }

    /// A kept projection of a block.
    pub fn projection(&self, spec: &ProjectSpec, block: u32, which: Projection) -> &[u8] {
        let (rows, columns) = self.kept[&block].split_at(spec.kept_row_bytes());
        if which == Projection::Rows { rows } else { columns }
    }
}

/// The sealed labels of blocks of several uploads.
pub fn labels(spec: &ProjectSpec, uploads: &[Upload], blocks: &[BlockRef]) -> Vec<u8> {
    let of = |b: &BlockRef| uploads[b.upload as usize].labels(spec, b.block);
    blocks.iter().flat_map(of).copied().collect()
}

/// Kept projections of blocks of several uploads.
pub fn projections(
    spec: &ProjectSpec,
    uploads: &[Upload],
    blocks: &[BlockRef],
    which: Projection,
) -> Vec<u8> {
    let of = |b: &BlockRef| uploads[b.upload as usize].projection(spec, b.block, which);
    blocks.iter().flat_map(of).copied().collect()
}
