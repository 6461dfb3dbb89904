//! What the trusted side does per entry of a matrix, on one core: `cargo bench -p blindsmith-keys`. Criterion prints
//! entries a second; the product is Z = X W with 1024 rows, 784 features and 512 outputs.

use std::sync::Arc;
use std::time::Duration;

use blindsmith_keys::{
    Admission, Check, Checked, Context, Contraction, Encryption, Freshness, Key, MaskTerms, Opener,
    ProductKind, ProjectionScalars, RowStrip, RowTests, Scalars, Secrets, Share, UploadContext, UploadKey,
    UploadScalars, column_secrets, expand,
};
use blindsmith_matrix::{Encoding, MaskSeed, Masks, OperandShape, ProductShape, Scale, Security, Side, View};
use blindsmith_ring::{PACKED_BYTES_PER_LANES, backend};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 1024;
const INPUTS: usize = 784;
const OUTPUTS: usize = 512;
const BLOCK_ROWS: usize = 256;
const CONTEXT: Context = Context {
    project: [0; 32],
    round: 0,
    attempt: 0,
    step: 0,
    layer: 0,
    part: 0,
    product: ProductKind::Forward,
};

fn encoding(roots: usize, width: usize) -> Encoding {
    Encoding::fit(Security::Bits128, roots, width).expect("an encoding")
}

fn entries(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 255) as f32 / 255.0 - 0.5).collect()
}

/// Weights: keys, masks and secrets of an operand, and its ciphertext with the projections of its checks.
fn encrypt(c: &mut Criterion) {
    let mut group = c.benchmark_group("encrypt weights");
    group.throughput(Throughput::Elements((INPUTS * OUTPUTS) as u64));
    let (data, key) = (entries(INPUTS * OUTPUTS), Key::from_bytes([7; 32]));
    for roots in [4, 16] {
        let encoding = encoding(roots, OUTPUTS);
        let shape = OperandShape { side: Side::Right, encoding, contraction: INPUTS, width: OUTPUTS };
        let operand = || {
            let view = View::new(&data, INPUTS, OUTPUTS);
            let (of, scale) = ((view, Contraction::Rows), (shape, Scale::from_log2(20)));
            Encryption::operand(&key, &CONTEXT, of, scale, Freshness::Fresh, Share::Nothing)
        };
        group.bench_function(BenchmarkId::new("operand", roots), |b| b.iter(operand));
        let (encryption, scalars) = (operand(), ProjectionScalars::random(&shape));
        let whole = 0..OUTPUTS;
        group.bench_function(BenchmarkId::new("pieces", roots), |b| {
            b.iter(|| encryption.pieces(&scalars, std::slice::from_ref(&whole), |_, _| Ok::<(), ()>(())))
        });
    }
}

fn shape(roots: usize) -> ProductShape {
    let (left, right) = (encoding(roots, BLOCK_ROWS), encoding(roots, OUTPUTS));
    ProductShape { left, right, rows: ROWS, columns: OUTPUTS, mask_sets: 1, right_masks: true }
}

/// A product of zeros, received and checked: what is done with one does not depend on its residues.
fn checked(shape: ProductShape, zeros: &[u64], memory: Vec<u64>) -> Checked {
    let random = |count| Scalars::derive(&Key::from_bytes([8; 32]), 0..count);
    let (rows, columns) = (random(shape.rows), random(shape.columns));
    let (left, right) = (random(shape.left.dimension()), random(shape.right.dimension()));
    let check = Check {
        rows: &rows,
        left_masks: &[&left],
        columns: &columns,
        stripe: 0..shape.columns,
        right_masks: &right,
        expected: 0,
    };
    let mut product = check.receive(shape, memory);
    product.take(zeros).expect("canonical residues");
    product.verify().expect("a whole product").expect("a right product")
}

fn check(c: &mut Criterion) {
    let mut group = c.benchmark_group("receive and check a product");
    group.throughput(Throughput::Elements((ROWS * OUTPUTS) as u64));
    for roots in [4, 16] {
        let shape = shape(roots);
        let zeros = vec![0; shape.residues()];
        let mut memory = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(roots), |b| {
            b.iter(|| memory = checked(shape, &zeros, std::mem::take(&mut memory)).into_memory())
        });
    }
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open a product");
    group.throughput(Throughput::Elements((ROWS * OUTPUTS) as u64));
    for roots in [4, 16] {
        let shape = shape(roots);
        let product = checked(shape, &vec![0; shape.residues()], Vec::new());
        let secrets = |encoding: Encoding, width: usize| {
            Secrets::derive(&Key::from_bytes([9; 32]), encoding, 0..width.div_ceil(encoding.strip()))
        };
        let (left, right) = (secrets(shape.left, ROWS), secrets(shape.right, OUTPUTS));
        group.bench_function(BenchmarkId::new("mask terms", roots), |b| {
            b.iter(|| MaskTerms::new(&product, product.shape().columns, (&right, 0)))
        });
        let terms = MaskTerms::new(&product, product.shape().columns, (&right, 0));
        let strip = |s| RowStrip { rows: shape.left.strip(), secrets: vec![(0, left.reference(s))] };
        let strips: Vec<RowStrip<'_>> = (0..left.len()).map(strip).collect();
        let opener = Opener {
            product: &product,
            of_left_masks: &product,
            terms: &terms,
            of_right_masks: &product,
            strips: &strips,
            right: &right,
            first: 0,
            scales: [Scale::from_log2(18); 2],
        };
        let mut out = vec![0.0; ROWS * OUTPUTS];
        group.bench_function(BenchmarkId::new("rows", roots), |b| {
            b.iter(|| opener.open(&mut out, OUTPUTS, 0).expect("zeros are in range"))
        });
    }
}

fn context(roots: usize) -> UploadContext {
    UploadContext {
        project: [3; 32],
        mask: MaskSeed([4; 32]),
        era: 0,
        row_form: encoding(roots, BLOCK_ROWS),
        column_form: encoding(roots, INPUTS),
        block_rows: BLOCK_ROWS,
        inputs: INPUTS,
        scale: Scale::from_log2(18),
    }
}

/// One block of an upload, with what its contributor has for all of them.
struct Block {
    key: UploadKey,
    data: Vec<f32>,
    columns: Arc<Secrets>,
    row_masks: Arc<Masks>,
    column_masks: Arc<Masks>,
}

impl Block {
    fn new(roots: usize) -> Self {
        let (context, seed) = (context(roots), Key::from_bytes([6; 32]));
        let data = entries(BLOCK_ROWS * INPUTS);
        let view = View::new(&data, BLOCK_ROWS, INPUTS);
        let key = UploadKey::of_rows(&seed, context, &view, b"", Freshness::Fresh);
        let masks = |seed: MaskSeed, shape: OperandShape| {
            let mut masks = Masks::zero(shape.places(), shape.encoding.dimension());
            expand(seed, 0, &mut masks);
            Arc::new(masks)
        };
        let columns = column_secrets(&seed, &context).into();
        let row_masks = masks(context.mask, context.row_shape(BLOCK_ROWS));
        let column_masks = masks(MaskSeed(*key.nonce()), context.column_shape(BLOCK_ROWS));
        Block { key, data, columns, row_masks, column_masks }
    }

    /// Encrypts one form into contraction rows.
    fn encrypt(&self, in_rows: bool, out: &mut Vec<u64>) {
        let view = View::new(&self.data, BLOCK_ROWS, INPUTS);
        let encryption = if in_rows {
            self.key.encrypt_rows(0, view, self.row_masks.clone())
        } else {
            let masks = (MaskSeed(*self.key.nonce()), self.column_masks.clone());
            self.key.encrypt_columns(0, view, masks, self.columns.clone())
        };
        out.resize(encryption.shape().residues(), 0);
        encryption.places(0, out);
    }

    /// The packed forms.
    fn packed(&self) -> [Vec<u8>; 2] {
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        self.encrypt(true, &mut rows);
        self.encrypt(false, &mut columns);
        let stride = rows.len() / BLOCK_ROWS;
        let mut turned = vec![0; rows.len()];
        backend::active().transpose(&mut turned, stride, &rows, stride, BLOCK_ROWS);
        [turned, columns].map(|residues| {
            let mut bytes = vec![0; residues.len() / 8 * PACKED_BYTES_PER_LANES];
            backend::active().pack(&mut bytes, &residues);
            bytes
        })
    }
}

/// An entry counts once, whether it is treated in one form or in both.
fn uploads(c: &mut Criterion) {
    let mut group = c.benchmark_group("uploads");
    group.throughput(Throughput::Elements((BLOCK_ROWS * INPUTS) as u64));
    for roots in [4, 16] {
        let block = Block::new(roots);
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("encrypt the row form", roots), |b| {
            b.iter(|| block.encrypt(true, &mut out))
        });
        group.bench_function(BenchmarkId::new("encrypt the column form", roots), |b| {
            b.iter(|| block.encrypt(false, &mut out))
        });
        let tests = RowTests::new(&Key::random(), &block.row_masks);
        let scalars = UploadScalars {
            rows: Key::random(),
            inputs: Scalars::random(INPUTS).into(),
            masks: Scalars::random(block.column_masks.dimension()).into(),
        };
        let columns = Some(block.columns.clone());
        let admission = Admission::new(&block.key, &tests, scalars, Key::random(), columns);
        let [rows, columns] = block.packed();
        let forms = || Some((columns.as_slice(), &*block.column_masks));
        assert!(admission.block(0, BLOCK_ROWS, &rows, forms()).expect("residues").good);
        group.bench_function(BenchmarkId::new("admit both forms", roots), |b| {
            b.iter(|| admission.block(0, BLOCK_ROWS, &rows, forms()))
        });
        group.bench_function(BenchmarkId::new("admit the row form", roots), |b| {
            b.iter(|| admission.block(0, BLOCK_ROWS, &rows, None))
        });
    }
}

fn on_one_core(c: &mut Criterion) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the first pool");
    encrypt(c);
    check(c);
    open(c);
    uploads(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots();
    targets = on_one_core
}
criterion_main!(benches);
