//! A project's owner, who releases it to a warden and uploads rows.

use std::collections::HashMap;

use blindsmith_evidence::{Claims, SimulatedReport, report_data};
use blindsmith_identity::{
    AttestRequest, PublicKey, Purpose, SignedRelease, SigningKey, open_confirmed, sign_release, sign_request,
};
use blindsmith_keys::{Confirmation, Freshness, Key, Recipient, Suite, UploadContext, UploadKey};
use blindsmith_learn::{Loss, Network, Recipe, Targets};
use blindsmith_matrix::{MaskSeed, Scale, Security, Tile, View};
use blindsmith_protocol::{
    AdmittedUpload, Blob, FromWarden, Id, Instruction, Layer, Outcome, ProjectSpec, Projection, Role,
    RoundRecord, ToWarden, Trigger, UploadHeader, block_digest, from_cbor, root_digest,
};
use blindsmith_receipts::{Rules, commit, open_receipt};
use blindsmith_warden::{
    Release, decode_model, encode_model, label_bytes, model_context, session_info, write_labels,
};

use super::refinery::Refinery;

/// Six inputs, four hidden, three outputs; blocks of eight rows.
pub struct Owner {
    pub spec: ProjectSpec,
    pub recipe: Recipe,
    pub rules: Rules,
    pub network: Network,
    pub key: Key,
    pub contributor: Key,
}

/// The owner's key.
pub fn signing() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

/// What it is known by.
pub fn name() -> Id {
    signing().verifying().into()
}

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
            owner: name(),
            security: Security::Bits128,
            layers: vec![layer(6, 4, (8, 64, 4)), layer(4, 3, (16, 64, 2))],
            feature_scale: Scale::from_log2(20),
            mask: MaskSeed([2; 32]),
            label_bytes: label_bytes(&recipe),
            group_blocks: 1,
            batch_rows: 32,
            trigger: Trigger::AT_ONCE,
        };
        spec.validate().unwrap();
        let network = Network::initial(&recipe.widths, &recipe.activations, recipe.input_rms, 1).unwrap();
        // Tests try a round again and again.
        let rules = Rules { faults: 900, attempts: 1000, ..Rules::default() };
        Owner {
            spec,
            recipe,
            rules,
            network,
            key: Key::from_bytes([3; 32]),
            contributor: Key::from_bytes([4; 32]),
        }
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

    /// What the owner asks a warden by.
    fn request(&self, nonce: [u8; 32], suite: Suite) -> AttestRequest {
        let (project, policy) = (self.id(), [8; 32]);
        AttestRequest { project, nonce, policy, kem: suite.number(), purpose: Purpose::Release }
    }

    /// A session with a warden: its claims, which the simulated report vouches for.
    pub fn session(&self, refinery: &mut Refinery, suite: Suite) -> Claims {
        let request = self.request(*Key::random().expose(), suite);
        let request = Blob(sign_request(&request, &signing()));
        refinery.send(&ToWarden::Attest { asker: self.spec.owner, request }, &[]);
        let (FromWarden::Evidence(evidence), _) = refinery.receive() else { panic!("evidence is due") };
        let report = SimulatedReport::decode(&evidence.report.0).unwrap();
        assert_eq!(report.data, report_data(&evidence.claims.0));
        Claims::decode(&evidence.claims.0).unwrap()
    }

    /// The release, sealed in a session, and what the warden has to show for it.
    pub fn release(&self, claims: &Claims) -> (SignedRelease, Confirmation) {
        let release = Release {
            owner: self.key.duplicate(),
            model: self.model_key(),
            rows: self.contributor.duplicate(),
            rules: self.rules.clone(),
            recipe: self.recipe.clone(),
        };
        let recipient = Recipient::new(Suite::numbered(claims.kem).unwrap(), &claims.recipient).unwrap();
        let session = claims.session();
        let sealed = recipient.seal(&session_info("release", &session), &release.encode());
        let (envelope, confirmation) = sealed.unwrap();
        (SignedRelease { project: self.id(), session, envelope: Blob(envelope) }, confirmation)
    }

    /// The command that hands it over.
    pub fn signed(&self, release: &SignedRelease) -> ToWarden {
        ToWarden::Release { spec: self.spec.clone(), release: Blob(sign_release(release, &signing())) }
    }

    /// Hands the project to a warden; what it would have stored, and what the warden keeps for itself.
    pub fn hand_over(&self, refinery: &mut Refinery) -> (RoundRecord, Blob) {
        let (record, _, holding) = self.hand_over_keyed(refinery);
        (record, holding)
    }

    /// The same, and what verifies the project's receipts.
    pub fn hand_over_keyed(&self, refinery: &mut Refinery) -> (RoundRecord, PublicKey, Blob) {
        let claims = self.session(refinery, Suite::XWing);
        let (release, confirmation) = self.release(&claims);
        let (outcome, record) = refinery.command(&self.signed(&release), &self.model());
        let Outcome::Ready { holding, confirmation: signed, .. } = outcome else { panic!("{outcome:?}") };
        let confirmed = open_confirmed(&signed.0, &claims.signing).unwrap();
        assert_eq!((confirmed.project, confirmed.session), (self.id(), claims.session()));
        assert!(confirmation.is(&confirmed.confirmation));
        let record: RoundRecord = from_cbor(&record).unwrap();
        let model = self.opened(&record, &confirmed.receipts);
        assert!(decode_model(&model).unwrap() == self.network.layers());
        (record, confirmed.receipts, holding)
    }

    /// The model of a record, opened with the owner's key; the commitment in its receipt is to it.
    fn opened(&self, record: &RoundRecord, receipts: &PublicKey) -> Vec<u8> {
        let context = model_context("model", &self.id(), record.summary.round);
        let opened = self.key.unseal(&context, &record.model.0).unwrap();
        let (opening, model) = opened.split_first_chunk::<32>().unwrap();
        let receipt = open_receipt(&record.receipt.0, receipts).unwrap();
        assert_eq!(receipt.after, commit(opening, model));
        model.to_vec()
    }

    fn context(&self) -> UploadContext {
        let Owner { spec, .. } = self;
        UploadContext {
            project: self.id().0,
            mask: spec.mask,
            tile: spec.tile(),
            inputs: spec.inputs(),
            scale: spec.feature_scale,
        }
    }

    /// An upload of [`ROWS`] rows of this project.
    pub fn upload(&self, role: Role) -> Upload {
        self.upload_by(&self.contributor, role)
    }

    /// The same by whoever has this seed.
    pub fn upload_by(&self, seed: &Key, role: Role) -> Upload {
        let Owner { spec, .. } = self;
        let rows: Vec<f32> = (0..ROWS * spec.inputs() as u32).map(|i| (i % 7) as f32 / 16.0 - 0.2).collect();
        let masks = spec.mask.expand(spec.input_blocks(), spec.security.degree());
        let view = View::new(&rows, ROWS as usize, spec.inputs());
        let (key, encryption) = UploadKey::encrypt(seed, self.context(), view, b"", masks, Freshness::Fresh);
        let (mut blocks, mut digests) = (Vec::new(), Vec::new());
        for block in 0..encryption.shape().strips() {
            let mut bytes = vec![0; spec.block_bytes()];
            let (labels, packed) = bytes.split_at_mut(spec.sealed_label_bytes());
            labels.copy_from_slice(&self.labels(&key, block as u64));
            encryption.packed_strip(block, &mut encryption.scratch(), packed);
            digests.push(block_digest(block as u32, &bytes));
            blocks.extend(bytes);
        }
        let header = UploadHeader {
            project: self.id(),
            contributor: name(),
            terms: [0; 32],
            role,
            nonce: *key.nonce(),
            rows: ROWS,
            root: root_digest(&digests),
            tag: [0; 32],
        };
        let mut upload = Upload { header, blocks, kept: HashMap::new() };
        upload.sign(self, seed);
        upload
    }

    /// The sealed labels of a row block: classes 0, 1, 2 in turn.
    fn labels(&self, key: &UploadKey, block: u64) -> Vec<u8> {
        let rows = self.spec.block_rows();
        let classes = Targets::Classes((0..rows as u32).map(|row| row % 3).collect());
        key.seal_labels(block, &write_labels(&classes, 0, rows))
    }

    /// Has an upload read by the warden, the refinery playing along.
    pub fn admit(&self, refinery: &mut Refinery, upload: &mut Upload) -> Outcome {
        refinery.send(&ToWarden::Admit { project: self.id(), header: upload.header.clone() }, &[]);
        let spec = self.spec.clone();
        let kept = &mut upload.kept;
        let blocks = &upload.blocks;
        refinery.follow_with(|refinery, instruction, body| match instruction {
            Instruction::Read { upload: 0, first, count, .. } => {
                let size = spec.block_bytes();
                let from = (first as usize * size).min(blocks.len());
                let bytes = &blocks[from..(from + count as usize * size).min(blocks.len())];
                refinery.send(&ToWarden::Bytes { place: None, len: bytes.len() as u64 }, bytes);
            }
            Instruction::Keep { group } => _ = kept.insert(group.group, body),
            other => panic!("{other:?} in an admission"),
        })
    }

    /// An upload that the warden admits.
    pub fn admitted(&self, refinery: &mut Refinery, role: Role) -> (Upload, AdmittedUpload) {
        let mut upload = self.upload(role);
        let outcome = self.admit(refinery, &mut upload);
        let Outcome::Admitted { admission } = outcome else { panic!("{outcome:?}") };
        let given = AdmittedUpload { header: upload.header.clone(), admission };
        (upload, given)
    }

    /// The next round over these uploads.
    pub fn round(&self, round: u64, uploads: &[AdmittedUpload]) -> ToWarden {
        let uploads = uploads.to_vec();
        ToWarden::Round { project: self.id(), round, attempt: 0, epochs: None, uploads }
    }
}

/// An upload, and what the warden had kept of it.
#[derive(Clone)]
pub struct Upload {
    pub header: UploadHeader,
    pub blocks: Vec<u8>,
    pub kept: HashMap<u32, Vec<u8>>,
}

impl Upload {
    /// The header's tag, by whoever has this seed.
    pub fn sign(&mut self, owner: &Owner, seed: &Key) {
        let key = UploadKey::from_nonce(seed, owner.context(), self.header.nonce);
        self.header.tag = key.tag(&self.header.authenticated());
    }

    /// The sealed labels of a row block.
    pub fn labels(&self, spec: &ProjectSpec, block: u32) -> &[u8] {
        &self.blocks[block as usize * spec.block_bytes()..][..spec.sealed_label_bytes()]
    }

    /// Kept projections of a group.
    pub fn projections(&self, spec: &ProjectSpec, group: u32, which: Projection) -> &[u8] {
        let (of_group, of_rows) = self.kept[&group].split_at(spec.projection_bytes(spec.input_blocks()));
        if which == Projection::Group { of_group } else { of_rows }
    }
}
