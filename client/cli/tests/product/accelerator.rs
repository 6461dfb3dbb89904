//! The encrypted accelerator in one process: the warden's side and the refinery's engine without a socket
//! between them, product by product and step by step beside the twin.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use blindsmith_formats::upload_context;
use blindsmith_keys::{
    Context, Freshness, Key, Projection, Scalars, Secrets, UploadKey, column_secrets, expand,
};
use blindsmith_learn::{
    Accelerator, Activation, Block, Bounds, Labels, Left, Loss, Matrix, Moments, Pass, Recipe, Rule, Sampler,
    Targets, Trainer, gather_labels,
};
use blindsmith_matrix::{MaskSeed, Masks, OperandShape, Section, Security, View};
use blindsmith_plan::{Cloud as Kind, Costs, Machine, Network, plan};
use blindsmith_protocol::{
    BlockRef, Id, Instruction, Layer, Left as LeftOperand, Offload, Progress, ProjectSpec,
    Projection as Kept, Role, Trigger, UploadHeader, block_digest, root_digest,
};
use blindsmith_refinery::{Blocks, Engine, Factors, UploadFiles};
use blindsmith_ring::backend;
use blindsmith_twin::Twin;
use blindsmith_warden::{
    AdmissionKeys, Bytes, Cloud, CloudError, Encrypted, ProductError, ProductRequest, Reading, Round,
    RowKeys, Sink, Ticket, admit, column_scalars, era_scalars, input_scalars, open_projections,
};

/// An engine in this process.
struct InProcess<'a>(Mutex<State<'a>>);

struct State<'a> {
    engine: Engine<'a>,
    requested: u64,
    /// The residues of each product that waits to be collected.
    done: HashMap<u64, Vec<u64>>,
    bytes: HashMap<u64, Vec<u8>>,
}

impl<'a> InProcess<'a> {
    fn new(spec: &'a ProjectSpec, blocks: &'a Blocks) -> Self {
        let engine = Engine::new(spec, blocks);
        InProcess(Mutex::new(State { engine, requested: 0, done: HashMap::new(), bytes: HashMap::new() }))
    }
}

impl InProcess<'_> {
    fn answer(&self, instruction: Instruction) -> Result<Ticket, CloudError> {
        let mut state = self.0.lock().unwrap();
        let stored = state.engine.stored();
        let mut bytes = vec![0; stored.bytes_len(&instruction).map_err(refused)?];
        stored.bytes_into(&instruction, &mut bytes).map_err(refused)?;
        let ticket = state.requested;
        state.requested += 1;
        state.bytes.insert(ticket, bytes);
        Ok(Ticket(ticket))
    }
}

fn refused(e: impl std::fmt::Display) -> CloudError {
    CloudError::Refused(e.to_string())
}

impl Cloud for InProcess<'_> {
    fn begin(&self, operand: u32, shape: &OperandShape, masks: MaskSeed) -> Result<(), CloudError> {
        let begin = Instruction::Begin { operand, shape: *shape, masks, at: None };
        self.0.lock().unwrap().engine.operands().begin(&begin).map_err(refused)
    }

    fn rows(&self, operand: u32, first: usize, residues: &[u64]) -> Result<(), CloudError> {
        let engine = &mut self.0.lock().unwrap().engine;
        let bytes: &[u8] = bytemuck::cast_slice(residues);
        engine.operands().rows(operand, first as u32, bytes.len()).map_err(refused)?.copy_from_slice(bytes);
        Ok(())
    }

    fn free(&self, operands: &[u32]) -> Result<(), CloudError> {
        self.0.lock().unwrap().engine.operands().free(operands);
        Ok(())
    }

    fn request(&self, product: ProductRequest) -> Result<Ticket, CloudError> {
        let mut state = self.0.lock().unwrap();
        let ProductRequest { left, right, section, sum, residues } = product;
        let factors = Factors { left: &left, right, section: &section };
        let made = state.engine.multiply(factors, sum).map_err(refused)?;
        assert_eq!(made.residues.len(), residues, "{left:?}, {section:?}");
        let ticket = state.requested;
        state.requested += 1;
        state.done.insert(ticket, made.residues);
        Ok(Ticket(ticket))
    }

    fn accumulate(
        &self,
        slot: u32,
        left: LeftOperand,
        right: u32,
        section: Section,
    ) -> Result<(), CloudError> {
        let factors = Factors { left: &left, right, section: &section };
        self.0.lock().unwrap().engine.accumulate(slot, factors);
        Ok(())
    }

    fn collect(&self, ticket: Ticket, to: &mut dyn Sink) -> Result<(), CloudError> {
        let residues = self.0.lock().unwrap().done.remove(&ticket.0).expect("collected once");
        to.residues(&residues)
    }

    fn read(&self, upload: u32, first: u32, count: u32, _: usize) -> Result<Ticket, CloudError> {
        self.answer(Instruction::Read { upload, first, count, received: 0 })
    }

    fn keep(&self, block: BlockRef, sealed: &[u8]) -> Result<(), CloudError> {
        self.0.lock().unwrap().engine.stored().keep(&block, sealed).map_err(refused)
    }

    fn projections(&self, blocks: &[BlockRef], which: Kept, _: usize) -> Result<Ticket, CloudError> {
        self.answer(Instruction::Projections { blocks: blocks.to_vec(), which, received: 0 })
    }

    fn bytes(&self, ticket: Ticket) -> Result<Bytes, CloudError> {
        Ok(Bytes::Body(self.0.lock().unwrap().bytes.remove(&ticket.0).expect("collected once")))
    }

    fn labels(&self, blocks: &[BlockRef]) -> Result<Vec<u8>, CloudError> {
        self.0.lock().unwrap().engine.stored().labels(blocks).map_err(refused)
    }

    fn progress(&self, _progress: Progress) -> Result<(), CloudError> {
        Ok(())
    }
}

/// The one contributor, and its era.
const OWNER: (Id, u32) = (Id([6; 32]), 3);

struct Keys {
    spec: ProjectSpec,
    upload: UploadKey,
    seed: Key,
    project: Key,
    admission: AdmissionKeys,
}

impl RowKeys for Keys {
    fn row_secrets(&self, blocks: &[Block]) -> Vec<Secrets> {
        blocks.iter().map(|b| self.upload.block_secrets(b.index as usize, b.rows as usize)).collect()
    }

    fn row_scalars(&self, blocks: &[Block]) -> Scalars {
        self.admission.scalars(blocks.iter().flat_map(|b| b.range(self.spec.block_rows)))
    }

    fn era(&self, _: &Block) -> u32 {
        OWNER.1
    }

    fn era_scalars(&self, era: u32) -> Scalars {
        era_scalars(&self.project, &self.spec, era)
    }

    fn owner(&self, _: &Block) -> (Id, u32) {
        OWNER
    }

    fn column_secrets(&self, owner: &(Id, u32)) -> Arc<Secrets> {
        assert_eq!(*owner, OWNER);
        column_secrets(&self.seed, self.upload.context()).into()
    }

    fn column_scalars(&self, owner: &(Id, u32)) -> Arc<Scalars> {
        column_scalars(&self.project, &self.spec, owner).into()
    }

    fn inputs(&self) -> Arc<Scalars> {
        input_scalars(&self.project, &self.spec).into()
    }

    fn projections(&self, blocks: &[Block], which: Kept, sealed: &mut [u8]) -> Option<Vec<Projection>> {
        open_projections(&self.spec, blocks, which, sealed, |_| Some(&self.admission))
    }
}

/// A project with one upload, in the clear and encrypted.
struct Data {
    spec: ProjectSpec,
    recipe: Recipe,
    rows: Matrix,
    labels: Labels,
    keys: Keys,
    blocks: Blocks,
}

/// Uniform in -1 to 1, from a splitmix generator.
fn uniform(seed: u64, len: usize) -> Vec<f32> {
    let number = |i: u64| {
        let mut x = (seed << 32 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (1..=len as u64).map(number).collect()
}

impl Data {
    /// Rows of unit variance divided by 8, with the class of the largest of sums of features.
    fn new(widths: &[usize], count: usize, security: Security) -> Self {
        Data::with_batches(widths, count, security, 64)
    }

    fn with_batches(widths: &[usize], count: usize, security: Security, batch_rows: usize) -> Self {
        let mut recipe = Recipe::new(widths, Loss::SoftmaxCrossEntropy);
        recipe.batch_rows = batch_rows;
        recipe.activations.fill(Activation::Tanh);
        let (inputs, outputs) = (widths[0], recipe.outputs());
        let values: Vec<f32> = uniform(1, count * inputs).iter().map(|v| v * 3f32.sqrt() / 8.0).collect();
        let class = |row: &[f32]| {
            let sum = |class: usize| row.iter().skip(class).step_by(outputs).sum::<f32>();
            (0..outputs).fold(0, |best, c| if sum(c) > sum(best) { c } else { best }) as u32
        };
        let labels = Labels::new(Targets::Classes(values.chunks_exact(inputs).map(class).collect()));
        let rows = Matrix::from_rows(count, inputs, values).unwrap();

        let network = Network {
            widths: widths.to_vec(),
            batch_rows,
            micro_batch_rows: batch_rows,
            input_rms: 0.125,
            security,
        };
        let planned = plan(&network, &Costs::reference(Kind::Cpu), &Machine::reference(Kind::Cpu)).unwrap();
        // Small layers pay nowhere: here all but the last are multiplied encrypted all the same.
        let last = planned.layers.len() - 1;
        let hidden = Offload { forward: 4, gradient: 8, input: 2 };
        let layer = |(i, layer): (usize, Layer)| match i {
            0 => layer,
            i if i == last && i > 1 => Layer { offload: None, ..layer },
            _ => Layer { offload: Some(hidden), ..layer },
        };
        let layers = planned.layers.iter().copied().enumerate().map(layer).collect();
        let spec = ProjectSpec {
            name: "in one process".into(),
            salt: [1; 32],
            owner: Id([7; 32]),
            security,
            layers,
            feature_scale: planned.feature_scale,
            mask: MaskSeed([2; 32]),
            label_bytes: 4,
            block_rows: planned.block_rows,
            row_form: planned.row_form,
            column_form: planned.column_form,
            batch_rows: recipe.batch_rows as u32,
            trigger: Trigger::AT_ONCE,
        };
        spec.validate().unwrap();
        let (keys, blocks) = upload(&spec, &rows);
        Data { spec, recipe, rows, labels, keys, blocks }
    }

    fn sampler(&self) -> Sampler {
        let Recipe { batch_rows, order_seed, .. } = self.recipe;
        let blocks = Block::of_upload(0, self.rows.rows() as u32, self.spec.block_rows);
        Sampler::new(blocks.collect(), batch_rows, order_seed).unwrap()
    }

    fn encrypted<'a>(
        &'a self,
        cloud: &'a InProcess<'a>,
        key: &'a Key,
        freshness: Freshness,
    ) -> Encrypted<'a, InProcess<'a>, Keys> {
        Encrypted::new(Round {
            cloud,
            spec: &self.spec,
            key,
            rows: &self.keys,
            context: Context::of_round(self.spec.id().0, 1),
            input_rms: self.recipe.input_rms,
            freshness,
        })
    }

    fn twin(&self) -> Twin {
        let mut twin = Twin::new(self.spec.block_rows, 1);
        twin.push(self.rows.clone()).unwrap();
        twin
    }

    /// Trains for `epochs`; the network's parameters and each step's predicted noise.
    fn train<A: Accelerator>(&self, accelerator: &mut A, epochs: u32) -> (Vec<f32>, Vec<Vec<f32>>) {
        let (sampler, block_rows) = (self.sampler(), self.spec.block_rows);
        let labels = [self.labels.clone()];
        let mut trainer = Trainer::new(self.recipe.clone()).unwrap();
        trainer.begin_round(&sampler, epochs);
        let mut noise = Vec::new();
        for _ in 0..epochs {
            let load = |_: &mut A, blocks: &[Block]| Ok(gather_labels(blocks, block_rows, &labels)?);
            noise.extend(trainer.train_epoch(accelerator, &sampler, load).unwrap().gradient_noise);
        }
        let layers = trainer.network().layers().iter();
        (layers.flat_map(|l| l.weights.as_slice().iter().chain(&l.bias).copied()).collect(), noise)
    }
}

/// Packed residues, each of whose rows is filled up with zeros.
fn pack(residues: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; residues.len() / 8 * 50];
    backend::active().pack(&mut bytes, residues);
    bytes
}

/// A block as the refinery stores it, without labels.
fn block(spec: &ProjectSpec, key: &UploadKey, seed: &Key, index: u32, view: View<'_>) -> Vec<u8> {
    let (era, rows) = (key.context().era, view.rows as u32);
    let mut bytes = key.seal_labels(u64::from(index), &vec![0; view.rows * spec.label_bytes as usize]);
    let mut masks = Masks::zero(spec.row_shape(1).places(), spec.row_form.dimension());
    expand(spec.row_mask(era), 0, &mut masks);
    let encryption = key.encrypt_rows(index as usize, view, masks.into());
    let shape = *encryption.shape();
    let mut contraction = vec![0; shape.residues()];
    encryption.places(0, &mut contraction);
    for row in 0..view.rows {
        let column = contraction.iter().skip(row).step_by(shape.stride()).copied();
        let mut row: Vec<u64> = column.collect();
        row.resize(shape.padded().next_multiple_of(8), 0);
        bytes.extend(pack(&row));
    }
    let seed_of_masks = spec.column_mask(key.nonce(), era);
    let mut masks = Masks::zero(spec.column_shape(rows).places(), spec.column_form.dimension());
    expand(seed_of_masks, spec.first_place(index), &mut masks);
    let secrets = column_secrets(seed, key.context()).into();
    let encryption = key.encrypt_columns(index as usize, view, (seed_of_masks, masks.into()), secrets);
    let mut residues = vec![0; encryption.shape().residues()];
    encryption.places(0, &mut residues);
    bytes.extend(pack(&residues));
    assert_eq!(bytes.len(), spec.block_bytes(Role::Training, rows));
    bytes
}

/// Encrypts the rows into a file as the refinery stores them; their labels are not asked for here.
fn upload(spec: &ProjectSpec, rows: &Matrix) -> (Keys, Blocks) {
    let (seed, project) = (Key::from_bytes([3; 32]), Key::from_bytes([4; 32]));
    let context = upload_context(spec, &spec.id(), OWNER.1);
    let view = View::new(rows.as_slice(), rows.rows(), rows.cols());
    let key = UploadKey::of_rows(&seed, context, &view, b"", Freshness::Reproducible);
    let mut file = tempfile::tempfile().unwrap();
    let mut digests = vec![];
    for Block { index, rows: count, .. } in Block::of_upload(0, rows.rows() as u32, spec.block_rows) {
        let from = index as usize * spec.block_rows();
        let view = View::new(rows.values_of(from..from + count as usize), count as usize, rows.cols());
        let bytes = block(spec, &key, &seed, index, view);
        file.write_all(&bytes).unwrap();
        digests.push(block_digest(index, &bytes));
    }
    let header = UploadHeader {
        project: spec.id(),
        contributor: OWNER.0,
        terms: [0; 32],
        role: Role::Training,
        nonce: *key.nonce(),
        era: OWNER.1,
        rows: rows.rows() as u32,
        root: root_digest(&digests),
        tag: [0; 32],
    };
    let files =
        UploadFiles { header: header.clone(), rows: file, projections: tempfile::tempfile().unwrap() };
    let blocks = Blocks::new(vec![files]);
    let cloud = InProcess::new(spec, &blocks);
    let reading = Reading { spec, project: &project, index: 0, header: &header, key: &key, seed: &seed };
    let nonce = admit(&cloud, &reading, |_, _| true).unwrap();
    drop(cloud);
    let admission = AdmissionKeys::new(&project, &header.id(), &nonce);
    (Keys { spec: spec.clone(), upload: key, seed, project, admission }, blocks)
}

fn rms(values: impl Iterator<Item = f32>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(s, n), v| (s + f64::from(v).powi(2), n + 1));
    (sum / f64::from(count.max(1))).sqrt()
}

/// Has every product computed twice from the same operands, and compares. Training goes on with the
/// encrypted results.
struct Compared<'a> {
    encrypted: Encrypted<'a, InProcess<'a>, Keys>,
    twin: Twin,
    /// Largest error of Z and D, relative to their root mean squares.
    relative: f64,
    /// Of each gradient: the error's root mean square over the predicted noise, and its largest entry over it.
    gradients: Vec<(f64, f64)>,
    /// Weights for the next pass.
    ahead: Vec<(usize, Matrix)>,
    /// Gradients with bounds.
    bounded: usize,
}

impl Compared<'_> {
    fn compare(&mut self, encrypted: &[f32], plain: &[f32]) {
        assert_eq!(encrypted.len(), plain.len());
        let error = encrypted.iter().zip(plain).map(|(a, b)| a - b);
        let relative = rms(error) / rms(plain.iter().copied());
        self.relative = self.relative.max(relative);
    }
}

impl Accelerator for Compared<'_> {
    type Error = ProductError;

    fn begin(&mut self, pass: Pass) -> Result<(), ProductError> {
        self.twin.begin(pass).unwrap();
        for (layer, weights) in self.ahead.drain(..) {
            self.twin.load_weights(layer, &weights).unwrap();
        }
        self.encrypted.begin(pass)
    }

    fn load_weights(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        self.twin.load_weights(layer, weights).unwrap();
        self.encrypted.load_weights(layer, weights)
    }

    fn load_ahead(&mut self, layer: usize, weights: &Matrix) -> Result<(), ProductError> {
        self.ahead.push((layer, weights.clone()));
        self.encrypted.load_ahead(layer, weights)
    }

    fn loaded_ahead(&self, layer: usize) -> bool {
        self.encrypted.loaded_ahead(layer)
    }

    fn start_forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        self.encrypted.start_forward(layer, left, rows)
    }

    fn forward(
        &mut self,
        layer: usize,
        left: Left<'_>,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        let mut plain = Matrix::zeros(out.rows(), out.cols());
        self.twin.forward(layer, left, rows.clone(), &mut plain).unwrap();
        self.encrypted.forward(layer, left, rows.clone(), out)?;
        self.compare(out.values_of(rows.clone()), plain.values_of(rows));
        Ok(())
    }

    fn add_gradient(
        &mut self,
        layer: usize,
        left: Left<'_>,
        error: &Matrix,
        bounds: Option<Bounds>,
    ) -> Result<(), ProductError> {
        self.bounded += usize::from(bounds.is_some());
        self.twin.add_gradient(layer, left, error, bounds).unwrap();
        self.encrypted.add_gradient(layer, left, error, bounds)
    }

    fn start_input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
    ) -> Result<(), ProductError> {
        self.encrypted.start_input_gradient(layer, error, rows)
    }

    fn input_gradient(
        &mut self,
        layer: usize,
        error: &Matrix,
        rows: Range<usize>,
        out: &mut Matrix,
    ) -> Result<(), ProductError> {
        let mut plain = Matrix::zeros(out.rows(), out.cols());
        self.twin.input_gradient(layer, error, rows.clone(), &mut plain).unwrap();
        self.encrypted.input_gradient(layer, error, rows.clone(), out)?;
        self.compare(out.values_of(rows.clone()), plain.values_of(rows));
        Ok(())
    }

    fn take_gradient(&mut self, layer: usize, out: &mut Matrix) -> Result<(), ProductError> {
        let mut plain = Matrix::default();
        self.twin.take_gradient(layer, &mut plain).unwrap();
        self.encrypted.take_gradient(layer, out)?;
        let predicted = f64::from(self.encrypted.gradient_noise(layer));
        let errors: Vec<f32> = out.as_slice().iter().zip(plain.as_slice()).map(|(a, b)| a - b).collect();
        let largest = errors.iter().fold(0f32, |m, e| m.max(e.abs()));
        if predicted == 0.0 {
            // The warden's own layer.
            assert!(f64::from(largest) < 1e-4 * rms(plain.as_slice().iter().copied()), "{largest}");
            return Ok(());
        }
        self.gradients.push((rms(errors.into_iter()) / predicted, f64::from(largest) / predicted));
        Ok(())
    }

    fn gradient_noise(&self, layer: usize) -> f32 {
        self.encrypted.gradient_noise(layer)
    }
}

fn compared(data: Data, change: impl FnOnce(&mut Recipe)) -> (f64, Vec<(f64, f64)>, usize) {
    let mut data = data;
    change(&mut data.recipe);
    let cloud = InProcess::new(&data.spec, &data.blocks);
    let key = Key::from_bytes([4; 32]);
    let encrypted = data.encrypted(&cloud, &key, Freshness::Reproducible);
    let mut both = Compared {
        encrypted,
        twin: data.twin(),
        relative: 0.0,
        gradients: vec![],
        ahead: vec![],
        bounded: 0,
    };
    let (_, noise) = data.train(&mut both, 3);
    let offloaded = data.spec.layers.iter().filter(|layer| layer.offload.is_some()).count();
    assert_eq!(both.gradients.len(), noise.len() * offloaded);
    assert!(noise.len() >= 6, "several steps an epoch");
    (both.relative, both.gradients, both.bounded)
}

#[test]
fn every_product_of_a_training_is_the_plain_one_within_the_predicted_noise() {
    for (widths, security) in [
        ([40, 24, 12, 5].as_slice(), Security::Bits128),
        (&[40, 24, 5], Security::Bits256),
        (&[70, 3], Security::Bits128),
    ] {
        let (relative, gradients, _) = compared(Data::new(widths, 200, security), |_| {});
        assert!(relative < 5e-4, "{widths:?}: Z or D is off by {relative} of its size");
        for (i, (rms, largest)) in gradients.into_iter().enumerate() {
            // The prediction is for what encryption adds; the twin's own rounding to f32 is far smaller.
            assert!(
                rms < 1.5 && largest < 8.0,
                "{widths:?}, gradient {i}: {rms} times the noise, {largest} at most"
            );
            assert!(
                rms > 0.3,
                "{widths:?}, gradient {i}: the predicted noise is {} times too large",
                1.0 / rms
            );
        }
    }
}

#[test]
fn batches_in_parts_are_summed() {
    // Of four layers only the last one's operands are bounded beforehand, and a squared error's never.
    let widths: [&[usize]; 2] = [&[40, 24, 5], &[40, 24, 12, 12, 5]];
    for (widths, bounded) in widths.into_iter().zip([2, 2]) {
        let data = Data::new(widths, 200, Security::Bits128);
        let steps = 3 * data.sampler().batches_per_epoch();
        let (relative, gradients, count) = compared(data, |recipe| recipe.micro_batch_rows = Some(32));
        assert!(relative < 5e-4, "{relative}");
        assert!(count >= steps * 2 * bounded, "{count} in {steps} steps");
        for (rms, largest) in gradients {
            assert!((0.3..1.5).contains(&rms) && largest < 8.0, "{rms} times the noise, {largest} at most");
        }
    }
}

#[test]
fn parts_in_flight_and_weights_loaded_ahead_give_the_plain_products() {
    let data = || Data::with_batches(&[40, 24, 12, 5], 1200, Security::Bits128, 600);
    let plain = |recipe: &mut Recipe| recipe.clip_norm = None;
    for micro_batch_rows in [None, Some(520)] {
        let (relative, gradients, _) = compared(data(), |recipe| {
            plain(recipe);
            recipe.micro_batch_rows = micro_batch_rows;
        });
        assert!(relative < 5e-4, "{relative}");
        for (rms, largest) in gradients {
            assert!((0.3..1.5).contains(&rms) && largest < 8.0, "{rms} times the noise, {largest} at most");
        }
    }
}

/// Largest difference.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn whole_trainings_end_where_the_twin_ends() {
    for rule in [
        Rule::Sgd,
        Rule::Momentum { momentum: 0.9 },
        Rule::Nesterov { momentum: 0.9 },
        Rule::Adam(Moments::default()),
        Rule::AdamW(Moments::default()),
    ] {
        let mut data = Data::new(&[40, 16, 5], 200, Security::Bits128);
        data.recipe.rule = rule;
        let adaptive = matches!(rule, Rule::Adam(_) | Rule::AdamW(_));
        data.recipe.learning_rate = if adaptive { 5e-3 } else { 0.2 };
        let cloud = InProcess::new(&data.spec, &data.blocks);
        let key = Key::from_bytes([4; 32]);
        let (encrypted, noise) = data.train(&mut data.encrypted(&cloud, &key, Freshness::Reproducible), 10);
        assert_eq!(noise.len(), 10 * data.sampler().batches_per_epoch());

        // Adam's epsilon follows the noise, so the twin takes the same steps only if it replays it.
        let mut twin = data.twin();
        twin.replay_noise(noise);
        let (plain, _) = data.train(&mut twin, 10);
        let off = difference(&encrypted, &plain);
        assert!(off < 3e-4, "{rule:?}: a weight differs by {off}");
        let (start, _) = data.train(&mut data.twin(), 0);
        assert!(difference(&start, &plain) > 0.05, "{rule:?}: nothing was learnt");
    }
}

#[test]
fn a_reproducible_run_repeats_bit_for_bit_and_a_fresh_one_does_not() {
    let data = Data::new(&[40, 16, 5], 100, Security::Bits128);
    let key = Key::from_bytes([4; 32]);
    let run = |freshness| {
        let cloud = InProcess::new(&data.spec, &data.blocks);
        data.train(&mut data.encrypted(&cloud, &key, freshness), 2).0
    };
    let first = run(Freshness::Reproducible);
    assert_eq!(first, run(Freshness::Reproducible));
    let fresh = run(Freshness::Fresh);
    assert!(first != fresh && difference(&first, &fresh) < 1e-3);
}
