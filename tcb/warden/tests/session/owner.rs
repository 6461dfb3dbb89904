//! A project's owner, who releases it to a warden and uploads rows.

use std::sync::atomic::{AtomicU64, Ordering};

use blindsmith_appraisal::SimulatedReport;
use blindsmith_evidence::{Claims, report_data};
use blindsmith_formats::{
    Release, decode_model, encode_model, label_bytes, model_context, query_info, session_info,
};
use blindsmith_identity::{
    AttestRequest, Inquiry, Origin, PublicKey, Purpose, SignedRelease, SigningKey, open, open_confirmed,
    sign_inquiry, sign_release, sign_request,
};
use blindsmith_keys::{Confirmation, Freshness, Key, Recipient, Suite};
use blindsmith_learn::{Loss, Matrix, Network, Recipe};
use blindsmith_matrix::Security;
use blindsmith_protocol::{
    AdmittedUpload, Blob, FromWarden, Id, Instruction, Outcome, ProjectSpec, Role, RoundRecord, ToWarden,
    UploadHeader, from_cbor,
};
use blindsmith_receipts::{RECEIPT, Receipt, Rules, commit};

use super::refinery::Refinery;
use super::stock;
use super::upload::{Contribution, Upload};

/// Six inputs, four hidden, three outputs; blocks of eight rows.
pub struct Owner {
    pub spec: ProjectSpec,
    pub recipe: Recipe,
    pub rules: Rules,
    pub network: Network,
    /// Of every upload, unless it is said otherwise.
    pub rows: Matrix,
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

/// The number of the next query, greater than those before.
pub fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub const ROWS: u32 = 20;

impl Owner {
    pub fn new() -> Self {
        let mut recipe = Recipe::new(&[6, 4, 3], Loss::SoftmaxCrossEntropy);
        recipe.batch_rows = 32;
        recipe.epochs = 1;
        let layers = [Some([8, 8, 1]), Some([16, 8, 16])];
        let spec = ProjectSpec {
            owner: name(),
            label_bytes: label_bytes(&recipe),
            batch_rows: 32,
            ..stock::spec(&recipe.widths, Security::Bits128, &layers, 8)
        };
        spec.validate().unwrap();
        let network = Network::initial(&recipe.widths, &recipe.activations, recipe.input_rms, 1).unwrap();
        let values = (0..ROWS * 6).map(|i| (i % 7) as f32 / 16.0 - 0.2);
        let rows = Matrix::from_rows(ROWS as usize, 6, values.collect()).unwrap();
        // Tests try a round again and again.
        let rules = Rules { faults: 900, attempts: 1000, ..Rules::default() };
        Owner {
            spec,
            recipe,
            rules,
            network,
            rows,
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

    /// A session with a warden: its claims, which the simulated report vouches for.
    pub fn session(&self, refinery: &mut Refinery, suite: Suite) -> Claims {
        self.session_for(refinery, suite, Purpose::Release)
    }

    fn session_for(&self, refinery: &mut Refinery, suite: Suite, purpose: Purpose) -> Claims {
        let (project, nonce, policy) = (self.id(), *Key::random().expose(), [8; 32]);
        let request = AttestRequest { project, nonce, policy, kem: suite.number(), purpose };
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

    /// What the project began with, as the record of round 0 has it.
    pub fn origin(&self, record: &RoundRecord, receipts: &PublicKey) -> Origin {
        let receipt: Receipt = open(&record.receipt.0, &RECEIPT, receipts).unwrap();
        Origin { recipe: receipt.recipe, model: Id(receipt.after) }
    }

    /// The model of a record, opened with the owner's key; the commitment in its receipt is to it.
    pub fn opened(&self, record: &RoundRecord, receipts: &PublicKey) -> Vec<u8> {
        let context = model_context("model", &self.id(), record.summary.round);
        let opened = self.key.unseal(&context, &record.model.0).unwrap();
        let (opening, model) = opened.split_first_chunk::<32>().unwrap();
        let receipt: Receipt = open(&record.receipt.0, &RECEIPT, receipts).unwrap();
        assert_eq!(receipt.after, commit(opening, model));
        model.to_vec()
    }

    /// An upload of the project's rows, [`ROWS`] of them.
    pub fn upload(&self, role: Role) -> Upload {
        self.upload_by(&self.contributor, role)
    }

    /// The same by whoever has this seed.
    pub fn upload_by(&self, seed: &Key, role: Role) -> Upload {
        self.upload_of(seed, role, &self.rows)
    }

    /// An upload of other rows in the owner's name: classes 0, 1, 2 in turn.
    pub fn upload_of(&self, seed: &Key, role: Role, rows: &Matrix) -> Upload {
        let classes = (0..rows.rows() as u32).map(|row| row % 3).collect();
        let (spec, contributor) = (&self.spec, name());
        let contribution = Contribution { spec, seed, contributor, role, era: 0, rows, classes };
        contribution.upload(Freshness::Fresh).0
    }

    /// Has an upload read by the warden, the refinery playing along.
    pub fn admit(&self, refinery: &mut Refinery, upload: &mut Upload) -> Outcome {
        refinery.send(&ToWarden::Admit { project: self.id(), header: upload.header.clone() }, &[]);
        let (spec, read, kept) = (&self.spec, upload.clone(), &mut upload.kept);
        refinery.follow(|refinery, instruction, body| match instruction {
            Instruction::Read { upload: 0, first, count, .. } => {
                let bytes = read.read(spec, first, count);
                refinery.send(&ToWarden::Bytes { place: None, len: bytes.len() as u64 }, bytes);
            }
            Instruction::Keep { block } => _ = kept.insert(block.block, body),
            other => panic!("{other:?} in an admission"),
        })
    }

    /// An upload that the warden admits.
    pub fn admitted(&self, refinery: &mut Refinery, role: Role) -> (Upload, AdmittedUpload) {
        self.admitted_of(refinery, self.upload(role))
    }

    /// An upload that is there.
    pub fn admitted_of(&self, refinery: &mut Refinery, mut upload: Upload) -> (Upload, AdmittedUpload) {
        let outcome = self.admit(refinery, &mut upload);
        let Outcome::Admitted { admission } = outcome else { panic!("{outcome:?}") };
        let given = AdmittedUpload { header: upload.header.clone(), admission };
        (upload, given)
    }

    /// The owner asks for predictions of an upload's rows, whose seed this is.
    pub fn query(&self, refinery: &mut Refinery, seed: &Key, header: &UploadHeader) -> ToWarden {
        let (project, query) = (self.id(), header.id());
        let claims = self.session_for(refinery, Suite::X25519, Purpose::Query);
        let recipient = Recipient::new(Suite::X25519, &claims.recipient).unwrap();
        let info = query_info(&project, &query, &header.contributor);
        let (envelope, _) = recipient.seal(&info, seed.expose()).unwrap();
        let inquiry = Inquiry { project, query, number: number(), kem: claims.kem, envelope: Blob(envelope) };
        let envelope = Blob(sign_inquiry(&inquiry, &signing()));
        ToWarden::Query { project, header: header.clone(), envelope }
    }

    /// The next round over these uploads.
    pub fn round(&self, round: u64, uploads: &[AdmittedUpload]) -> ToWarden {
        let uploads = uploads.to_vec();
        ToWarden::Round { project: self.id(), round, attempt: 0, epochs: None, uploads }
    }
}
