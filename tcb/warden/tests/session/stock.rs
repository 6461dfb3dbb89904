//! A project's rows: in the clear, encrypted by their contributors, and admitted.

use std::sync::Arc;

use blindsmith_keys::{Context, Freshness, Key, Projection, Scalars, Secrets, UploadKey, column_secrets};
use blindsmith_learn::{Block, Matrix};
use blindsmith_matrix::{Encoding, MaskSeed, Scale, Security};
use blindsmith_protocol::{Id, Layer, Offload, ProjectSpec, Projection as Kept, Role, Trigger, UploadHeader};
use blindsmith_warden::{
    AdmissionKeys, Encrypted, Reading, Round, RowKeys, admit, column_scalars, era_scalars, input_scalars,
    open_projections,
};

use super::compared::Plain;
use super::local::Local;
use super::naive::Naive;
use super::upload::{Contribution, Upload};

/// The root mean square of rows as [`rows`] makes them.
pub const RMS: f32 = 0.125;

/// Uniform numbers from -1 to 1, from a splitmix generator.
pub fn uniform(seed: u64, len: usize) -> Vec<f32> {
    let number = |i: u64| {
        let mut x = (seed << 32 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (1..=len as u64).map(number).collect()
}

/// A matrix of uniform entries of this root mean square.
pub fn matrix(seed: u64, (rows, cols): (usize, usize), rms: f32) -> Matrix {
    let values = uniform(seed, rows * cols).into_iter().map(|v| v * 3f32.sqrt() * rms).collect();
    Matrix::from_rows(rows, cols, values).unwrap()
}

/// A project of these widths; `roots` for the products of each layer, none where the warden computes itself.
pub fn spec(
    widths: &[usize],
    security: Security,
    layers: &[Option<[u16; 3]>],
    block_rows: u32,
) -> ProjectSpec {
    let layer = |(width, roots): (&[usize], &Option<[u16; 3]>)| Layer {
        inputs: width[0] as u32,
        outputs: width[1] as u32,
        offload: roots.map(|[forward, gradient, input]| Offload { forward, gradient, input }),
    };
    let [forward, gradient, _] = layers[0].unwrap().map(usize::from);
    let strips = (block_rows as usize).min(security.degree() / forward);
    let spec = ProjectSpec {
        name: "for a test".into(),
        salt: [1; 32],
        owner: Id([7; 32]),
        security,
        layers: widths.windows(2).zip(layers).map(layer).collect(),
        feature_scale: Scale::from_log2(20),
        mask: MaskSeed([2; 32]),
        label_bytes: 4,
        block_rows,
        row_form: Encoding::new(forward, strips, security.degree() / forward / strips).unwrap(),
        column_form: Encoding::fit(security, gradient, widths[0]).unwrap(),
        batch_rows: 64,
        trigger: Trigger::AT_ONCE,
    };
    spec.validate().unwrap();
    spec
}

/// Rows of one upload: whose they are, in which era, and how many.
#[derive(Clone, Copy)]
pub struct Lot {
    pub contributor: u8,
    pub era: u32,
    pub rows: usize,
}

/// Uploads of a project, and the keys to them.
pub struct Stock {
    pub spec: ProjectSpec,
    pub rows: Vec<Matrix>,
    pub classes: Vec<Vec<u32>>,
    project: Key,
    headers: Vec<UploadHeader>,
    seeds: Vec<Key>,
    keys: Vec<UploadKey>,
    admissions: Vec<AdmissionKeys>,
    /// With what was kept.
    pub uploads: Vec<Upload>,
}

impl Stock {
    /// Uploads of rows with the class of the largest of sums of their features.
    pub fn new(spec: ProjectSpec, lots: &[Lot]) -> Self {
        let outputs = spec.layers.last().unwrap().outputs as usize;
        let class = |row: &[f32]| {
            let sum = |class: usize| row.iter().skip(class).step_by(outputs).sum::<f32>();
            (0..outputs).fold(0, |best, c| if sum(c) > sum(best) { c } else { best }) as u32
        };
        let rows: Vec<Matrix> = lots
            .iter()
            .enumerate()
            .map(|(i, lot)| matrix(100 + i as u64, (lot.rows, spec.inputs()), RMS))
            .collect();
        let classes: Vec<Vec<u32>> = rows.iter().map(|m| m.iter_rows().map(class).collect()).collect();
        let seeds: Vec<Key> = lots.iter().map(|lot| Key::from_bytes([lot.contributor; 32])).collect();
        let made = lots.iter().enumerate().map(|(i, lot)| {
            let contribution = Contribution {
                spec: &spec,
                seed: &seeds[i],
                contributor: Id([lot.contributor; 32]),
                role: Role::Training,
                era: lot.era,
                rows: &rows[i],
                classes: classes[i].clone(),
            };
            contribution.upload(Freshness::Reproducible)
        });
        let (uploads, keys): (Vec<Upload>, Vec<UploadKey>) = made.unzip();
        let headers = uploads.iter().map(|u| u.header.clone()).collect();
        let project = Key::from_bytes([4; 32]);
        let mut stock =
            Stock { spec, rows, classes, project, headers, seeds, keys, admissions: vec![], uploads };
        stock.admit();
        stock
    }

    fn admit(&mut self) {
        let cloud = self.cloud();
        for (i, header) in self.headers.iter().enumerate() {
            let (spec, project) = (&self.spec, &self.project);
            let (key, seed) = (&self.keys[i], &self.seeds[i]);
            let reading = Reading { spec, project, index: i as u32, header, key, seed };
            let nonce = admit(&cloud, &reading, |_, _| true).unwrap();
            self.admissions.push(AdmissionKeys::new(&self.project, &header.id(), &nonce));
        }
        self.uploads = cloud.into_uploads();
    }

    /// A cloud that has the uploads.
    pub fn cloud(&self) -> Local {
        Local::new(Naive::new(&self.spec, self.uploads.clone()))
    }

    /// Blocks of an upload.
    pub fn blocks(&self, upload: usize) -> Vec<Block> {
        Block::of_upload(upload as u32, self.headers[upload].rows, self.spec.block_rows).collect()
    }

    /// An accelerator that has the rows in the clear.
    pub fn plain(&self) -> Plain {
        Plain::new(&self.rows, self.spec.block_rows)
    }

    /// An accelerator of which the noise is the same each time.
    pub fn encrypted<'a>(&'a self, cloud: &'a Local) -> Encrypted<'a, Local, Stock> {
        Encrypted::new(Round {
            cloud,
            spec: &self.spec,
            key: &self.project,
            rows: self,
            context: Context::of_round(self.spec.id().0, 1),
            input_rms: RMS,
            freshness: Freshness::Reproducible,
        })
    }
}

impl RowKeys for Stock {
    fn row_secrets(&self, blocks: &[Block]) -> Vec<Secrets> {
        let of = |b: &Block| self.keys[b.upload as usize].block_secrets(b.index as usize, b.rows as usize);
        blocks.iter().map(of).collect()
    }

    fn row_scalars(&self, blocks: &[Block]) -> Scalars {
        let of = |b: &Block| self.admissions[b.upload as usize].scalars(b.range(self.spec.block_rows));
        Scalars::join(&blocks.iter().map(of).collect::<Vec<_>>())
    }

    fn era(&self, block: &Block) -> u32 {
        self.headers[block.upload as usize].era
    }

    fn era_scalars(&self, era: u32) -> Scalars {
        era_scalars(&self.project, &self.spec, era)
    }

    fn owner(&self, block: &Block) -> (Id, u32) {
        let header = &self.headers[block.upload as usize];
        (header.contributor, header.era)
    }

    fn column_secrets(&self, owner: &(Id, u32)) -> Arc<Secrets> {
        let is = |h: &UploadHeader| (h.contributor, h.era) == *owner;
        let upload = self.headers.iter().position(is).unwrap();
        column_secrets(&self.seeds[upload], self.keys[upload].context()).into()
    }

    fn column_scalars(&self, owner: &(Id, u32)) -> Arc<Scalars> {
        column_scalars(&self.project, &self.spec, owner).into()
    }

    fn inputs(&self) -> Arc<Scalars> {
        input_scalars(&self.project, &self.spec).into()
    }

    fn projections(&self, blocks: &[Block], which: Kept, sealed: &mut [u8]) -> Option<Vec<Projection>> {
        open_projections(&self.spec, blocks, which, sealed, |upload| self.admissions.get(upload as usize))
    }
}
