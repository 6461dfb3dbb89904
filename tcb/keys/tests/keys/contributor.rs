//! A contributor that knows its own secrets, and so can add anything to what its ciphertexts encrypt; and a warden
//! that reads its uploads.

use std::sync::Arc;

use blindsmith_keys::{
    Admission, AdmittedBlock, Encryption, Freshness, Key, Malformed, RowTests, Scalars, Secrets,
    UploadContext, UploadKey, UploadScalars, column_secrets, expand,
};
use blindsmith_matrix::{Encoding, MaskSeed, Masks, OperandShape, Scale, Security, View};
use blindsmith_ring::{Coeff, PACKED_BYTES_PER_LANES, Poly, backend, modulus};

/// An entry at its bound, 1, as an integer.
pub const BOUND: i64 = 1 << 18;

/// The context of a project; encodings have so many roots and fit the sizes.
pub fn context(row_roots: usize, column_roots: usize, block_rows: usize, inputs: usize) -> UploadContext {
    let fit = |roots, width| Encoding::fit(Security::Bits128, roots, width).unwrap();
    UploadContext {
        project: [3; 32],
        mask: MaskSeed([4; 32]),
        era: 0,
        row_form: fit(row_roots, block_rows),
        column_form: fit(column_roots, inputs),
        block_rows,
        inputs,
        scale: Scale::from_log2(BOUND.ilog2() as i8),
    }
}

/// The masks of the row form.
pub fn row_masks(context: &UploadContext) -> Arc<Masks> {
    let shape = context.row_shape(1);
    context.mask.expand(shape.places(), shape.encoding.dimension()).into()
}

/// One form of a block.
pub struct Form {
    pub shape: OperandShape,
    /// Contraction rows of `stride` residues.
    pub residues: Vec<u64>,
}

impl Form {
    fn of(encryption: &Encryption<'_>) -> Self {
        let shape = *encryption.shape();
        let mut residues = vec![0; shape.residues()];
        encryption.places(0, &mut residues);
        Form { shape, residues }
    }

    /// Adds a polynomial to what the element of a strip at a place encrypts.
    pub fn add_element(&mut self, strip: usize, place: usize, change: impl FnOnce(&mut [u64])) {
        let (n, m) = (self.shape.encoding.roots(), self.shape.encoding.strip());
        let mut poly = Poly::<Coeff>::zero(self.shape.encoding.degree());
        change(poly.as_mut_slice());
        let mixed = poly.into_mixed(n);
        let stride = self.shape.stride();
        let columns = strip * m..self.shape.width.min((strip + 1) * m);
        for (j, block) in mixed.as_slice().chunks_exact(m).enumerate() {
            let row = &mut self.residues[(place * n + j) * stride..][..stride][columns.clone()];
            row.iter_mut().zip(block).for_each(|(r, c)| *r = modulus::add(*r, *c));
        }
    }

    /// Adds a residue to an entry, which may be one of the padding along the contraction.
    pub fn add(&mut self, private: usize, contraction: usize, value: u64) {
        let (n, m) = (self.shape.encoding.roots(), self.shape.encoding.strip());
        let (strip, place, b, i) = (private / m, contraction / n, private % m, contraction % n);
        self.add_element(strip, place, |poly| match i {
            0 => poly[b] = value,
            _ => poly[(n - i) * m + b] = modulus::sub(0, value),
        });
    }

    /// Packed as they lie.
    pub fn packed(&self) -> Vec<u8> {
        pack(&self.residues)
    }

    /// Packed row by row, a row for each private entry.
    pub fn packed_by_row(&self) -> Vec<u8> {
        let (padded, stride) = (self.shape.padded(), self.shape.stride());
        let row_stride = padded.next_multiple_of(8);
        let mut rows = vec![0; self.shape.width * row_stride];
        for (b, row) in rows.chunks_exact_mut(row_stride).enumerate() {
            (0..padded).for_each(|k| row[k] = self.residues[k * stride + b]);
        }
        pack(&rows)
    }
}

fn pack(residues: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; residues.len() / 8 * PACKED_BYTES_PER_LANES];
    backend::active().pack(&mut bytes, residues);
    bytes
}

/// Both forms of consecutive rows.
pub struct Block {
    pub rows: usize,
    pub row_form: Form,
    pub column_form: Form,
}

impl Block {
    /// Adds to an entry in both forms.
    pub fn add(&mut self, row: usize, feature: usize, value: i64) {
        self.row_form.add(row, feature, modulus::from_signed(value));
        self.column_form.add(feature, row, modulus::from_signed(value));
    }
}

/// What a contributor uploads.
pub struct Upload {
    pub key: UploadKey,
    /// The secrets of its column forms.
    pub columns: Arc<Secrets>,
    /// The seed of this upload's masks of the column form.
    pub column_mask: MaskSeed,
    pub blocks: Vec<Block>,
}

impl Upload {
    /// Encrypts rows as they are due.
    pub fn new(seed: &Key, context: UploadContext, data: &[f32]) -> Self {
        let view = View::new(data, data.len() / context.inputs, context.inputs);
        let key = UploadKey::of_rows(seed, context, &view, b"labels", Freshness::Fresh);
        Upload::of_blocks(seed, key, data, data)
    }

    /// Encrypts rows of which the two forms may differ.
    pub fn of_blocks(seed: &Key, key: UploadKey, in_rows: &[f32], in_columns: &[f32]) -> Self {
        let context = *key.context();
        let masks = row_masks(&context);
        let columns = Arc::new(column_secrets(seed, &context));
        let column_mask = MaskSeed(*key.nonce());
        let mut upload = Upload { key, columns, column_mask, blocks: Vec::new() };
        let each = context.block_rows * context.inputs;
        for (index, (rows, columns)) in in_rows.chunks(each).zip(in_columns.chunks(each)).enumerate() {
            let view = |data| View::new(data, rows.len() / context.inputs, context.inputs);
            let row_form = upload.key.encrypt_rows(index, view(rows), masks.clone());
            let of_block = (column_mask, upload.masks_of(index, view(rows).rows).into());
            let secrets = upload.columns.clone();
            let column_form = upload.key.encrypt_columns(index, view(columns), of_block, secrets);
            let rows = view(rows).rows;
            let (row_form, column_form) = (Form::of(&row_form), Form::of(&column_form));
            upload.blocks.push(Block { rows, row_form, column_form });
        }
        upload
    }

    /// The masks of a block's column form.
    pub fn masks_of(&self, index: usize, rows: usize) -> Masks {
        let context = self.key.context();
        let shape = context.column_shape(rows);
        let mut masks = Masks::zero(shape.places(), shape.encoding.dimension());
        expand(self.column_mask, context.first_place(index), &mut masks);
        masks
    }
}

/// What a warden reads uploads of a project with.
pub struct Warden {
    pub tests: RowTests,
    pub inputs: Arc<Scalars>,
    pub subsets: Key,
}

/// The scalars of one upload that are its own.
pub struct OwnScalars {
    pub rows: Key,
    pub masks: Arc<Scalars>,
}

impl OwnScalars {
    pub fn random(context: &UploadContext) -> Self {
        let masks = Scalars::random(context.column_form.dimension()).into();
        OwnScalars { rows: Key::random(), masks }
    }
}

impl Warden {
    pub fn new(context: &UploadContext) -> Self {
        let tests = RowTests::new(&Key::random(), &row_masks(context));
        let inputs = Scalars::random(context.inputs).into();
        Warden { tests, inputs, subsets: Key::random() }
    }

    pub fn admission<'a>(&'a self, upload: &'a Upload, own: &OwnScalars) -> Admission<'a> {
        let scalars = UploadScalars {
            rows: own.rows.duplicate(),
            inputs: self.inputs.clone(),
            masks: own.masks.clone(),
        };
        let columns = Some(upload.columns.clone());
        Admission::new(&upload.key, &self.tests, scalars, self.subsets.duplicate(), columns)
    }

    /// Reads a block in both forms.
    pub fn read(&self, upload: &Upload, index: usize, own: &OwnScalars) -> Result<AdmittedBlock, Malformed> {
        let Block { rows, row_form, column_form } = &upload.blocks[index];
        let masks = upload.masks_of(index, *rows);
        let packed = column_form.packed();
        let admission = self.admission(upload, own);
        admission.block(index, *rows, &row_form.packed_by_row(), Some((&packed, &masks)))
    }

    /// The verdict on each block.
    pub fn verdicts(&self, upload: &Upload) -> Vec<bool> {
        let own = OwnScalars::random(upload.key.context());
        (0..upload.blocks.len()).map(|b| self.read(upload, b, &own).unwrap().good).collect()
    }

    /// The verdict on each block's row form alone, as of a query.
    pub fn query_verdicts(&self, upload: &Upload) -> Vec<bool> {
        let own = OwnScalars::random(upload.key.context());
        let admission = self.admission(upload, &own);
        let block = |(index, block): (usize, &Block)| {
            admission.block(index, block.rows, &block.row_form.packed_by_row(), None).unwrap()
        };
        let read: Vec<AdmittedBlock> = upload.blocks.iter().enumerate().map(block).collect();
        assert!(read.iter().all(|block| block.columns.is_none()));
        read.iter().map(|block| block.good).collect()
    }
}
