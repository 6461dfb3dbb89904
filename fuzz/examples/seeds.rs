//! Writes a first corpus of each target: small valid inputs, so that fuzzing starts behind the first checks. They are
//! made anew, not kept: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blindsmith_api::Withdrawal;
use blindsmith_api::message::{Ledger, ProjectStatus, Reply, Request, Seen, UploadState, UploadSummary};
use blindsmith_attest::chain::Trust;
use blindsmith_formats::{RoundMetrics, encode_model, write_labels};
use blindsmith_fuzz::{header, network, owner, recipe, release, request, spec, trust};
use blindsmith_identity::{
    Action, Approval, Enrolment, MemberRole, Order, PublicKey, Quota, Roster, SigningKey, Terms, sign_order,
    sign_request,
};
use blindsmith_keys::Key;
use blindsmith_learn::TrainerState;
use blindsmith_matrix::Section;
use blindsmith_protocol::{
    AdmittedUpload, Blob, BlockRef, Decision, Evidence, FromWarden, Id, Instruction, Lane, Left, Outcome,
    Progress, ProjectSpec, Quarantined, Reason, RoundRecord, RoundSummary, ToWarden, to_cbor, write_frame,
};
use blindsmith_receipts::{FaultReport, RECEIPT_VERSION, Receipt, Rules, receipt_signing_key, sign_receipt};
use blindsmith_ring::backend;
use blindsmith_warden::Counter;
use serde::Serialize;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Puts seeds into a target's corpus, numbered.
struct Corpus {
    dir: PathBuf,
    count: usize,
}

impl Corpus {
    fn of(target: &str) -> io::Result<Self> {
        let dir = Path::new(ROOT).join("corpus").join(target);
        fs::create_dir_all(&dir)?;
        Ok(Corpus { dir, count: 0 })
    }

    /// Adds a seed in parts.
    fn add(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let path = self.dir.join(format!("seed-{:02}", self.count));
        self.count += 1;
        fs::write(path, parts.concat())
    }

    /// Adds the files of a folder of the repository, each after these bytes.
    fn add_files(&mut self, first: &[u8], folder: &str) -> io::Result<()> {
        let mut paths: Vec<PathBuf> = fs::read_dir(Path::new(ROOT).join("..").join(folder))?
            .map(|e| Ok(e?.path()))
            .collect::<io::Result<_>>()?;
        paths.sort();
        for path in paths.iter().filter(|path| path.is_file()) {
            let bytes = fs::read(path)?;
            if bytes.len() <= 32 << 10 {
                self.add(&[first, &bytes])?;
            }
        }
        Ok(())
    }
}

fn repository(path: &str) -> io::Result<Vec<u8>> {
    fs::read(Path::new(ROOT).join("..").join(path))
}

fn frame(message: &impl Serialize, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, message, &[body]).expect("a frame in memory");
    bytes
}

/// As the target `session` takes a command: lengths, then what they are of.
fn command(message: &ToWarden, body: &[u8]) -> Vec<u8> {
    let head = to_cbor(message);
    let length = |part: &[u8]| (part.len() as u16).to_le_bytes();
    [&length(&head)[..], &head, &length(body), body].concat()
}

fn evidence() -> Evidence {
    trust().evidence
}

fn orders() -> Vec<Order> {
    let member = SigningKey::from_seed(&[8; 32]).verifying();
    let (role, quota) = (MemberRole::Contributor, Quota::default());
    let actions = [
        Action::Invite { member, name: "somebody".into(), role, quota },
        Action::Readmit { upload: Id([1; 32]) },
        Action::Rollback { version: 0 },
        Action::Forgive,
        Action::Resume { lost: Id([7; 32]) },
        Action::Revoke { member },
    ];
    let mut roster = Roster::default();
    let mut next = |action| {
        let order = roster.next(spec().id(), action);
        roster.apply(&order).expect("the next order");
        order
    };
    actions.into_iter().map(&mut next).collect()
}

fn receipt(round: u64, previous: Option<[u8; 32]>) -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        project: spec().id(),
        tee: "simulated".into(),
        measurement: Blob::default(),
        rules: Rules::default().digest(),
        round,
        attempts: 1,
        faults: 0,
        previous,
        orders: 0,
        orders_digest: Id::default(),
        recipe: Id([6; 32]),
        current: round,
        trials: 1,
        uploads: vec![Id([3; 32])],
        quarantined: vec![Quarantined { upload: Id([4; 32]), reason: Reason::Screened }],
        rows: 20,
        steps: 1,
        before: [round as u8; 32],
        after: [round as u8 + 1; 32],
        decision: Decision::Promoted,
        metrics: [5; 32],
    }
}

fn fault() -> FaultReport {
    FaultReport {
        version: RECEIPT_VERSION,
        project: spec().id(),
        tee: "simulated".into(),
        round: 1,
        attempt: 1,
        fault: 1,
        instruction: "multiply".into(),
        previous: None,
    }
}

fn record() -> RoundRecord {
    RoundRecord {
        summary: RoundSummary { metrics: Blob(vec![1; 40]), ..RoundSummary::default() },
        given: vec![Id([1; 32])],
        used: vec![Id([1; 32])],
        state: Blob(vec![2; 40]),
        model: Blob(vec![3; 40]),
        receipt: Blob(vec![4; 40]),
    }
}

fn status() -> ProjectStatus {
    ProjectStatus {
        project: spec().id(),
        name: "p".into(),
        ready: true,
        warden: Some("simulated".into()),
        busy: false,
        queued: 1,
        failure: None,
        uploads: vec![UploadSummary {
            upload: Id([1; 32]),
            place: 0,
            role: header().role,
            rows: 20,
            bytes: 1000,
            contributor: Id([2; 32]),
            state: UploadState::Used,
            reason: None,
            used_in: vec![(1, 2)],
        }],
        rounds: vec![RoundSummary::default()],
        seen: Seen { run: 1, change: 2, rounds: 1 },
        more: false,
    }
}

fn requests() -> Vec<Request> {
    let project = spec().id();
    vec![
        Request::Create { spec: spec() },
        Request::Attest {
            asker: owner().verifying().into(),
            request: Blob(sign_request(&request(), &owner())),
        },
        Request::Push { project, role: header().role, rows: header().rows },
        Request::Blocks { first: 0 },
        Request::Commit { header: header() },
        Request::Refine { project, epochs: Some(3) },
        Request::Pull { project, version: None },
        Request::Order { project, order: Blob(sign_order(&orders()[0], &owner())) },
        Request::Ping,
    ]
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Done,
        Reply::Spec(spec()),
        Reply::Evidence(evidence()),
        Reply::Accepted { upload: Id([1; 32]), new: true },
        Reply::StatusFollows,
        Reply::Orders(vec![Blob(sign_order(&orders()[0], &owner()))]),
        Reply::Failed { message: "no".into() },
    ]
}

/// The owner's order that approves of the warden that takes over; of its vault's receipts.
fn take_over(spec: &ProjectSpec) -> ToWarden {
    let approval = Approval {
        wardens: vec![("simulated".into(), Blob(vec![7; 32]))],
        receipts: receipt_signing_key(&Key::from_bytes([14; 32])).verifying(),
        policy: "accept_simulated = true".into(),
        since: 1,
    };
    let order = Roster::default().next(spec.id(), Action::Approve(approval));
    let (from, session) = (Id([1; 32]), Id([2; 32]));
    ToWarden::TakeOver { spec: spec.clone(), from, session, order: Blob(to_cbor(&order)) }
}

/// What one warden hands to another, in the clear, after its length; then the beginning of a state.
fn handed() -> Vec<u8> {
    let counter = to_cbor(&Counter::at(0, [3; 32]));
    let terms = to_cbor(&Terms::without_minima(owner().verifying(), "simulated", &[]));
    let length = |part: &[u8]| (part.len() as u32).to_le_bytes();
    let vault = [14; 32];
    let member = [&[8; 32][..], &[9; 32], &length(&terms), &terms].concat();
    let clear = [b"BSHANDO1", &vault[..], &length(&counter), &counter, &member].concat();
    [&(clear.len() as u16).to_le_bytes()[..], &clear, b"BSSTATE4"].concat()
}

/// What a refinery says, with its body; what is sealed is in the clear, as the target `session` takes it.
fn commands() -> Vec<(ToWarden, Vec<u8>)> {
    let (spec, project) = (spec(), spec().id());
    let upload = AdmittedUpload { header: header(), admission: Blob(vec![1; 80]) };
    let clear = Blob(release().encode().to_vec());
    let model = encode_model(network().layers());
    let plain = |message| (message, Vec::new());
    vec![
        (ToWarden::Release { spec: spec.clone(), release: clear }, model),
        plain(ToWarden::Attest {
            asker: owner().verifying().into(),
            request: Blob(sign_request(&request(), &owner())),
        }),
        plain(ToWarden::Order { project, order: Blob(to_cbor(&orders()[0])) }),
        plain(ToWarden::Enrol { project, contributor: Id([8; 32]), enrolment: Blob(vec![1; 80]) }),
        plain(ToWarden::Enrolled { project, contributor: Id([8; 32]), token: Blob(vec![1; 80]) }),
        plain(ToWarden::Admit { project, header: header() }),
        (ToWarden::Bytes { place: None, len: 3 }, vec![1, 2, 3]),
        plain(ToWarden::Round { project, round: 1, attempt: 0, epochs: None, uploads: vec![upload] }),
        plain(ToWarden::Query { project, header: header(), envelope: Blob(vec![1; 80]) }),
        plain(ToWarden::Rollback { project, round: 1, version: 0 }),
        (take_over(&spec), handed()),
        (ToWarden::Restore { spec, holding: Blob(vec![]) }, b"BSSTATE4".to_vec()),
        plain(ToWarden::Stored { project, round: 0 }),
        plain(ToWarden::Failed { message: "no".into() }),
        plain(ToWarden::Labels),
        plain(ToWarden::Product { residues: 1, place: None }),
        (ToWarden::Residues { count: 1 }, vec![0; 8]),
    ]
}

fn answers() -> Vec<FromWarden> {
    let block = BlockRef { upload: 0, block: 0 };
    let labels = Instruction::Labels { blocks: vec![block] };
    let section = Section { columns: (0, 4), left_masks: true, right_masks: true };
    let (left, seed) = (Left::Columns(vec![block]), spec().row_mask(0));
    let accumulate = Instruction::Accumulate { slot: 0, left, right: 1, section: section.clone() };
    let left = Left::Rows(vec![block]);
    let multiply = Instruction::Multiply { left, right: 1, section, sum: Some(0), received: 2 };
    let begin = Instruction::Begin { operand: 1, shape: spec().row_shape(8), masks: seed, at: Some(8) };
    vec![
        FromWarden::Hello {
            tee: "simulated".into(),
            version: "0.1.0".into(),
            holder: Id([1; 32]),
            start: Id([2; 32]),
            lane: Lane::Rounds,
            take_over: false,
            shared: false,
        },
        FromWarden::Evidence(evidence()),
        FromWarden::Do(labels),
        FromWarden::Do(begin),
        FromWarden::Do(Instruction::Rows { operand: 1, first: 0 }),
        FromWarden::Do(accumulate),
        FromWarden::Do(multiply),
        FromWarden::Do(Instruction::Free { operands: vec![1, 2] }),
        FromWarden::Progress(Progress { round: 1, step: 2, steps: 3 }),
        FromWarden::Finished(Outcome::Ready {
            holding: Blob(vec![1; 80]),
            confirmation: trust().confirmation,
            retired: None,
        }),
        FromWarden::Finished(Outcome::Fault { instruction: "labels".into(), report: Blob(vec![1; 20]) }),
        FromWarden::Finished(Outcome::Refused { message: "no".into() }),
    ]
}

fn protocol() -> io::Result<()> {
    let (mut frames, mut messages) = (Corpus::of("frames")?, Corpus::of("messages")?);
    let mut both = |kind: u8, message: &dyn Fn() -> (Vec<u8>, Vec<u8>)| -> io::Result<()> {
        let (framed, bare) = message();
        frames.add(&[&[kind], &framed])?;
        messages.add(&[&[kind], &bare])
    };
    for message in requests() {
        both(0, &|| (frame(&message, b"body"), to_cbor(&message)))?;
    }
    for message in replies() {
        both(1, &|| (frame(&message, b"body"), to_cbor(&message)))?;
    }
    for (message, body) in commands() {
        both(2, &|| (frame(&message, &body), to_cbor(&message)))?;
    }
    for message in answers() {
        both(3, &|| (frame(&message, b""), to_cbor(&message)))?;
    }
    let ledger = Ledger { receipts: vec![Blob(vec![1; 20])], faults: vec![Blob(vec![2; 20])], more: true };
    let admitted = AdmittedUpload { header: header(), admission: Blob(vec![1; 80]) };
    let decision = Decision::RolledBack { reason: "worse".into() };
    let progress = Progress { round: 1, step: 2, steps: 3 };
    for (kind, bytes) in [
        (4, to_cbor(&record())),
        (5, to_cbor(&record().summary)),
        (6, to_cbor(&status())),
        (7, to_cbor(&ledger)),
        (8, to_cbor(&evidence())),
        (9, to_cbor(&admitted)),
        (10, to_cbor(&header())),
        (11, to_cbor(&decision)),
        (12, to_cbor(&progress)),
        (13, to_cbor(&Rules::default())),
    ] {
        messages.add(&[&[kind], &bytes])?;
    }
    Corpus::of("specification")?.add(&[&to_cbor(&(spec(), header()))])?;
    let mut session = Corpus::of("session")?;
    let first = command(&commands()[0].0, &commands()[0].1);
    for (message, body) in commands() {
        // Alone, and to a warden that holds the project.
        session.add(&[&[1], &command(&message, &body)])?;
        session.add(&[&[1], &first, &command(&message, &body)])?;
    }
    session.add(&[&[0], &command(&commands()[8].0, &[])])
}

fn messages_that_are_signed() -> io::Result<()> {
    let mut signed = Corpus::of("signed")?;
    for order in orders() {
        signed.add(&[&[0], &sign_order(&order, &owner())])?;
        signed.add(&[&[1], &to_cbor(&order)])?;
    }
    let terms = Terms::without_minima(PublicKey([3; 32]), "simulated", &[]);
    let enrolment = Enrolment {
        project: spec().id(),
        terms: terms.clone(),
        session: [4; 32],
        envelope: Blob(vec![5; 80]),
    };
    signed.add(&[&[2], &to_cbor(&enrolment)])?;
    signed.add(&[&[3], &to_cbor(&Withdrawal { project: spec().id(), upload: Id([1; 32]) })])?;
    signed.add(&[&[4], &to_cbor(&orders())])?;
    signed.add(&[&[5], &to_cbor(&terms)])?;
    signed.add(&[&[6], &to_cbor(&request())])?;

    let mut claims = Corpus::of("claims")?;
    let Trust { evidence, confirmation } = trust();
    signed.add(&[&[0], &confirmation.0])?;
    claims.add(&[&[0], &evidence.claims.0])?;
    claims.add(&[&[1], &evidence.report.0])?;
    claims.add(&[&[2], &to_cbor(&evidence)])?;
    claims.add(&[&[3], &evidence.claims.0])?;

    let mut receipts = Corpus::of("receipts")?;
    receipts.add(&[&[0], &sign_receipt(&receipt(0, None), &owner())])?;
    receipts.add(&[&[1], &to_cbor(&receipt(0, None))])?;
    receipts.add(&[&[1], &to_cbor(&receipt(1, Some([9; 32])))])?;
    receipts.add(&[&[2], &to_cbor(&fault())])?;

    let mut chain = Corpus::of("chain")?;
    let first = receipt(0, None);
    let digest = blindsmith_receipts::receipt_digest(&sign_receipt(&first, &owner()));
    chain.add(&[&[1], &to_cbor(&(vec![first.clone()], Vec::<FaultReport>::new()))])?;
    chain.add(&[&[1], &to_cbor(&(vec![first, receipt(1, Some(digest))], vec![fault()]))])
}

fn texts() -> io::Result<()> {
    let receipts = String::from_utf8_lossy(&repository("docs/receipts.md")?).into_owned();
    let example =
        receipts.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    Corpus::of("owner_policy")?.add(&[example.as_bytes()])?;

    let service = String::from_utf8_lossy(&repository("docs/service.md")?).into_owned();
    let value = |name: &str| {
        let line = service.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned() + "\n"
    };
    let signed = value("Signature-Input:") + &value("Signature:") + &value("Content-Digest:");
    let place = "refinery.example:8443\n/v1/projects/ab/uploads/cd\n?offset=4096";
    let mut http = Corpus::of("http")?;
    http.add(&[&[11], signed.as_bytes(), place.as_bytes()])?;
    for kind in 0..11 {
        let answer = br#"{"upload":"ab","new":true,"offset":1,"session":"cd","title":"t","status":400,"detail":"d","projects":[]}"#;
        http.add(&[&[kind], answer])?;
    }

    let mut config = Corpus::of("refinery_config")?;
    config.add(&[&repository("docs/refinery.toml")?])?;
    config.add_files(b"", "deploy/etc")?;
    let mut config = Corpus::of("warden_config")?;
    config.add(&[b"# a warden\nrefinery = warden.sock\ntee = simulated\nstate = warden\nonce = true\n"])?;
    config.add_files(b"", "deploy/etc")?;
    Corpus::of("policy")?.add(&[blindsmith_attest::appraisal::EXAMPLE.as_bytes()])
}

fn evidence_of_hardware() -> io::Result<()> {
    let mut corpus = Corpus::of("appraisal")?;
    let folder = "tcb/appraisal/tests/evidence";
    for (which, evidence, collateral) in [
        (0, "sgx/sgx-v3.quote", &["sgx/sgx-v3.collateral.json"][..]),
        (1, "tdx/tdx-v4.quote", &["tdx/tdx-v4.collateral.json"]),
        (2, "tdx/tdx-v5-td15.quote", &["tdx/tdx-v5-td15.collateral.json"]),
        (3, "snp/milan-v2.report", &["snp/milan-v2.vcek.der", "amd-ca/milan-ask-ark-asvk.pem"]),
        (4, "snp/milan-v3-vlek.report", &["snp/milan-v3-vlek.vlek.der", "amd-ca/milan-ask-ark-asvk.pem"]),
    ] {
        for (part, name) in std::iter::once(&evidence).chain(collateral).enumerate() {
            corpus.add(&[&[which, part as u8], &repository(&format!("{folder}/{name}"))?])?;
        }
    }
    Ok(())
}

fn rows_and_models() -> io::Result<()> {
    let mut models = Corpus::of("models")?;
    models.add(&[&encode_model(network().layers())])?;
    for name in ["mlp", "mlp_f16", "mlp_f64"] {
        models.add(&[&repository(&format!("client/data/tests/data/{name}.safetensors"))?])?;
    }
    let mut tables = Corpus::of("tables")?;
    for kind in 4..8 {
        tables.add(&[&[kind, 0], b"a,b,label\n1,2.5,x\n-3e4,0,y\n\"7\",8,z\n"])?;
        tables.add_files(&[kind, 0], "client/data/tests/data")?;
    }
    tables.add(&[&[0, 128], b"1,2\n3,4\nx\ny\n"])?;

    let mut blocks = Corpus::of("blocks")?;
    let residues: Vec<u64> = (0..64).map(|i| i << 40).collect();
    let mut packed = vec![0; 400];
    backend::active().pack(&mut packed, &residues);
    blocks.add(&[&packed])?;
    blocks.add(&[&[0xff; 50]])
}

fn files_and_seals() -> io::Result<()> {
    let mut sealed = Corpus::of("sealed")?;
    sealed.add(&[&[0, 0], &release().encode()])?;
    let metrics =
        RoundMetrics { training_loss: vec![0.5], failure: Some("why".into()), ..RoundMetrics::of(1) };
    sealed.add(&[&[1, 0], &metrics.encode(1, 2)])?;
    let state = TrainerState {
        parameters: vec![vec![0.5; 24], vec![0.0; 4]],
        moments: vec![vec![]],
        steps: 1,
        epochs: 1,
        round_step: 0,
        round_steps: 1,
        steps_per_epoch: 1,
    };
    sealed.add(&[&[2, 0], &to_cbor(&state)])?;
    let classes = blindsmith_learn::Targets::Classes((0..8).map(|row| row % 3).collect());
    sealed.add(&[&[3, 5], &write_labels(&classes, 0, 8)])?;
    sealed.add(&[&[4, 0], &[7; 80]])?;
    sealed.add(&[&[5, 0], &[7; 80]])?;

    let mut project = Corpus::of("project")?;
    let ranges = blindsmith_data::Standardiser::from_ranges(
        Some((0..6).map(|i| format!("c{i}")).collect()),
        &[(0.0, 1.0); 6],
        blindsmith_data::Beyond::Clip,
    )
    .expect("possible ranges");
    let json = serde_json::json!({
        "format": 3,
        "refinery": "refinery.sock",
        "spec": spec(),
        "recipe": recipe(),
        "standardiser": ranges,
        "labelling": {"task": "classify", "columns": ["label"], "classes": ["a", "b", "c"], "targets": null},
        "policy": {"accept_simulated": true},
        "rules": Rules::default(),
    });
    project.add(&[&[0], json.to_string().as_bytes()])?;
    let terms = "tees = [\"simulated\"]\nmeasurements = [\"0a0b\"]\nrecipients = [\"KEY\"]\nstep_rows = 0\n\
                 step_contributors = 0\nversion_rows = 0\nversion_contributors = 0\nversions = 5\nmetrics_rows = 0\n";
    project.add(&[&[1], terms.replace("KEY", &"07".repeat(32)).as_bytes()])?;
    project.add(&[&[2], serde_json::json!(ranges).to_string().as_bytes()])?;

    let mut store = Corpus::of("store")?;
    let header = to_cbor(&header());
    for column in 0..30 {
        let value = match column {
            1 => to_cbor(&spec()),
            5 => header.clone(),
            12 => b"withdrawn".to_vec(),
            14 => to_cbor(&record().summary),
            15 => to_cbor(&(&record().given, &record().used)),
            _ => vec![1; 32],
        };
        store.add(&[&[column], &value])?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    protocol()?;
    messages_that_are_signed()?;
    texts()?;
    evidence_of_hardware()?;
    rows_and_models()?;
    files_and_seals()
}
