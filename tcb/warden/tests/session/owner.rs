//! A project's owner, who releases it to a warden and uploads rows.

use blindsmith_keys::{Key, Recipient, UploadContext, UploadKey};
use blindsmith_learn::{Loss, Network, Recipe, Targets};
use blindsmith_matrix::{MaskSeed, Scale, Security, Tile};
use blindsmith_protocol::{
    Blob, Id, Layer, Outcome, ProjectSpec, Role, RoundRecord, ToWarden, UploadHeader, from_cbor,
};
use blindsmith_warden::{
    Identity, Release, Tee, decode_model, encode_model, label_bytes, model_context, release_info,
    write_labels,
};

use super::refinery::Refinery;

/// Six inputs, four hidden, three outputs; blocks of eight rows.
pub struct Owner {
    pub spec: ProjectSpec,
    pub recipe: Recipe,
    pub network: Network,
    pub key: Key,
    pub contributor: Key,
}

pub const NAME: Id = Id([5; 32]);
pub const ROWS: u32 = 20;

impl Owner {
    pub fn new() -> Self {
        let mut recipe = Recipe::new(&[6, 4, 3], Loss::SoftmaxCrossEntropy);
        recipe.batch_rows = 32;
        recipe.epochs = 1;
        let layer = |inputs, outputs, (m, n, p)| Layer { inputs, outputs, tile: Tile::new(m, n, p).unwrap() };
        let spec = ProjectSpec {
            name: "for a test".into(),
            salt: [1; 32],
            security: Security::Bits128,
            layers: vec![layer(6, 4, (8, 64, 4)), layer(4, 3, (16, 64, 2))],
            feature_scale: Scale::from_log2(20),
            mask: MaskSeed([2; 32]),
            label_bytes: label_bytes(&recipe),
            group_blocks: 1,
            batch_rows: 32,
            automatic: true,
        };
        spec.validate().unwrap();
        let network = Network::initial(&recipe.widths, &recipe.activations, recipe.input_rms, 1).unwrap();
        Owner { spec, recipe, network, key: Key::from_bytes([3; 32]), contributor: Key::from_bytes([4; 32]) }
    }

    pub fn id(&self) -> Id {
        self.spec.id()
    }

    fn model_key(&self) -> Key {
        self.key.derive("model", &[])
    }

    /// The initial model, sealed.
    pub fn model(&self) -> Vec<u8> {
        self.model_key().seal(&model_context("model", &self.id(), 0), &encode_model(self.network.layers())).0
    }

    /// The release, sealed to `recipient` as a warden of this kind.
    pub fn release(&self, recipient: Recipient, tee: &str) -> ToWarden {
        let release = Release {
            owner: self.key.duplicate(),
            member: Key::random(),
            model: self.model_key(),
            contributors: vec![(NAME, self.contributor.duplicate())],
            recipe: self.recipe.clone(),
        };
        let sealed = recipient.seal(&release_info(&self.id(), tee, &recipient), None, &release.encode());
        ToWarden::Release { spec: self.spec.clone(), release: Blob(sealed.unwrap()) }
    }

    /// Hands the project to a warden; what it would have stored.
    pub fn hand_over(&self, refinery: &mut Refinery, warden: &Identity) -> RoundRecord {
        let release = self.release(warden.key.recipient(), Tee::Simulated.name());
        let (outcome, record) = refinery.command(&release, &self.model());
        assert_eq!(outcome, Outcome::Ready);
        let record: RoundRecord = from_cbor(&record).unwrap();
        assert!(decode_model(&self.opened(&record)).unwrap() == self.network.layers());
        record
    }

    /// The model of a record, opened with the owner's key.
    pub fn opened(&self, record: &RoundRecord) -> Vec<u8> {
        let context = model_context("model", &self.id(), record.summary.round);
        self.key.unseal(&context, &record.model.0).unwrap()
    }

    fn upload_key(&self, seed: &Key, nonce: [u8; 32]) -> UploadKey {
        let Owner { spec, .. } = self;
        let context = UploadContext {
            project: self.id().0,
            mask: spec.mask,
            tile: spec.tile(),
            inputs: spec.inputs(),
            scale: spec.feature_scale,
        };
        UploadKey::from_nonce(seed, context, nonce)
    }

    /// The header of an upload of [`ROWS`] rows.
    pub fn header(&self, nonce: u8, role: Role) -> UploadHeader {
        self.header_by(&self.contributor, nonce, role)
    }

    /// The same by whoever has this seed.
    pub fn header_by(&self, seed: &Key, nonce: u8, role: Role) -> UploadHeader {
        let mut header = UploadHeader {
            project: self.id(),
            contributor: NAME,
            role,
            nonce: [nonce; 32],
            rows: ROWS,
            root: Id([0; 32]),
            tag: [0; 32],
        };
        header.tag = self.upload_key(seed, header.nonce).tag(&header.authenticated());
        header
    }

    /// The sealed labels of a row block: classes 0, 1, 2 in turn.
    pub fn labels(&self, header: &UploadHeader, block: u32) -> Vec<u8> {
        let rows = self.spec.block_rows();
        let classes = Targets::Classes((0..rows as u32).map(|row| row % 3).collect());
        let labels = write_labels(&classes, 0, rows);
        self.upload_key(&self.contributor, header.nonce).seal_labels(u64::from(block), &labels)
    }

    /// The next round over these uploads.
    pub fn round(&self, round: u64, uploads: &[UploadHeader]) -> ToWarden {
        let uploads = uploads.to_vec();
        ToWarden::Round { project: self.id(), round, attempt: 0, epochs: None, uploads }
    }
}
