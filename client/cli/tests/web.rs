//! What the refinery's page must compute as the programs do: `tests/browser/vectors.json`, made from fixed keys. The
//! page's own tests read it; this one compares it with what the code gives, and opens what it seals.

use blindsmith_api::message::{ProjectStatus, Seen, UploadState, UploadSummary};
use blindsmith_api::{Request, content_digest, json_of, sign};
use blindsmith_formats::{ContributorMetrics, RoundMetrics, metrics_key, model_context};
use blindsmith_identity::SigningKey;
use blindsmith_keys::Key;
use blindsmith_learn::Metrics;
use blindsmith_protocol::{Blob, Decision, Id, Quarantined, Reason, Role, RoundSummary, to_cbor};
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/browser/vectors.json");
const PROJECT: Id = Id([0x5a; 32]);
const ROUNDS: u64 = 6;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn root() -> Key {
    Key::from_bytes(std::array::from_fn(|i| i as u8 + 1))
}

fn metrics_are_sealed_to() -> Key {
    metrics_key(&root().derive("owner", &[&PROJECT.0]))
}

fn identity() -> SigningKey {
    SigningKey::from_seed(root().derive("identity", &[]).expose())
}

/// What `Key::seal` makes, with a salt that is told.
fn sealed(key: &Key, context: &str, plaintext: &[u8], salt: [u8; 32]) -> Vec<u8> {
    let once = key.derive("seal", &[&salt]).encrypt_once(context.as_bytes(), plaintext);
    let sealed = [salt.as_slice(), &once].concat();
    assert_eq!(key.unseal(context, &sealed).unwrap(), plaintext);
    sealed
}

fn decision(round: u64) -> Decision {
    match round {
        3 => Decision::RolledBack { reason: "the validation loss rose by more than the rules allow".into() },
        5 => Decision::Restored { version: 2 },
        _ => Decision::Promoted,
    }
}

fn aside(round: u64) -> Vec<Quarantined> {
    let found = Quarantined { upload: Id([0xb2; 32]), reason: Reason::Screened };
    if round == 4 { vec![found] } else { vec![] }
}

/// A round's metrics, with numbers of every width that CBOR has.
fn metrics(round: u64) -> RoundMetrics {
    let n = round as f64;
    let figures = Metrics {
        rows: 359,
        loss: if round == 3 { 1.75 } else { 2.3 / (1.0 + n) },
        accuracy: Some(if round == 3 { 0.5 } else { 0.96 - 0.86 / (1.0 + n * n) }),
        auc: Some(0.5 + n / 16.0),
        auc_error: Some(f64::from(0.01_f32)),
        f1: None,
        f1_macro: Some(0.75),
        confusion: vec![vec![300, 20], vec![0, 39]],
        ..Metrics::default()
    };
    RoundMetrics {
        round,
        training_loss: if matches!(round, 0 | 5) { vec![] } else { vec![2.0 / n, 1.5 / n, 1.1 / n] },
        validation: (round != 5).then_some(figures),
        before: (round > 0).then_some(2.3 / n.max(1.0)),
        contributors: vec![ContributorMetrics {
            contributor: Id([0xc0; 32]),
            rows: 1 << 33,
            validation: None,
        }],
        quarantined: aside(round),
        failure: decision(round).reason().map(str::to_owned),
        gradient_noise: vec![vec![0.1, 0.5]; 3],
    }
}

fn summary(round: u64) -> RoundSummary {
    let context = model_context("metrics", &PROJECT, round);
    let opened = metrics(round).encode(5, 3);
    assert_eq!(RoundMetrics::decode(&opened).unwrap(), metrics(round));
    RoundSummary {
        round,
        uploads: if round == 0 { 0 } else { 3 },
        rows: if matches!(round, 0 | 5) { 0 } else { 1200 + 300 * round },
        steps: 40 * round,
        seconds: 3.25 + round as f64,
        metrics: Blob(sealed(&metrics_are_sealed_to(), &context, &opened, [round as u8; 32])),
        decision: decision(round),
        current: [0, 1, 2, 2, 4, 2][round as usize],
        quarantined: aside(round),
        trials: 1,
        at: 1_800_000_000 + 600 * round,
        ..RoundSummary::default()
    }
}

/// A project with an upload in every state, as its owner is told of it.
fn status() -> ProjectStatus {
    let upload = |byte: u8, rows, state, reason: Option<&str>| UploadSummary {
        upload: Id([byte; 32]),
        place: [0xa1, 0xa2, 0xb2, 0xb3, 0xa3, 0xa4, 0xa6].iter().position(|b| *b == byte).unwrap() as u32,
        role: Role::Training,
        rows,
        bytes: u64::from(rows) * 4096,
        contributor: Id([0xc0; 32]),
        state,
        reason: reason.map(str::to_owned),
        used_in: if state == UploadState::Withdrawn { vec![(1, 2)] } else { vec![] },
    };
    let reason = Reason::Screened.to_string();
    ProjectStatus {
        project: PROJECT,
        name: "Handwritten digits".into(),
        ready: true,
        warden: Some("simulated".into()),
        busy: true,
        queued: 2,
        failure: None,
        uploads: vec![
            upload(0xa1, 1200, UploadState::Used, None),
            upload(0xa2, 300, UploadState::Used, None),
            upload(0xb2, 120, UploadState::Quarantined, Some(&reason)),
            upload(0xb3, 80, UploadState::Refused, Some("it is not what its contributor authenticated")),
            upload(0xa3, 600, UploadState::Admitted, None),
            upload(0xa4, 250, UploadState::Stored, None),
            upload(0xa6, 90, UploadState::Withdrawn, None),
        ],
        rounds: (0..ROUNDS).map(summary).collect(),
        seen: Seen { run: 1, change: 7, rounds: ROUNDS },
        more: false,
    }
}

fn request(method: &str, authority: &str, path: &str, query: &str, nonce: [u8; 16]) -> Value {
    let digest = content_digest(b"");
    let request = Request { method, authority, path, query, digest: &digest };
    let created = 1_800_000_000;
    let headers = sign(&request, created, nonce, &identity());
    let parameters = blindsmith_api::Parameters { created, nonce, key: identity().verifying() };
    json!({
        "method": method, "url": format!("https://{authority}{path}{}", if query == "?" { "" } else { query }),
        "created": created, "nonce": hex(&nonce), "base": parameters.base(&request),
        "content_digest": headers.content_digest, "signature_input": headers.signature_input,
        "signature": headers.signature,
    })
}

fn vectors() -> Value {
    // What CBOR writes in two, four and eight bytes.
    let floats = [0.0, -0.0, 1.0, 1.5, 65504.0, 5.960_464_477_539_063e-8, 1e-7, 0.1, 3.4e38, 1e300, -2.5];
    let derived = |label: &str, parts: &[&[u8]]| {
        json!({
            "label": label, "parts": parts.iter().map(|part| hex(part)).collect::<Vec<_>>(),
            "key": hex(root().derive(label, parts).expose()),
        })
    };
    json!({
        "root": hex(root().expose()),
        "project": PROJECT.to_string(),
        "viewer": hex(metrics_are_sealed_to().expose()),
        "derived": [derived("owner", &[&PROJECT.0]), derived("identity", &[]), derived("a", &[b"", b"bc", &[0; 300]])],
        "identity": identity().verifying().to_string(),
        "sealed": {
            "context": "metrics of nothing", "plaintext": hex(b"opened"),
            "sealed": hex(&sealed(&root(), "metrics of nothing", b"opened", [9; 32])),
        },
        "requests": [
            request("GET", "refinery.example", "/v1/projects", "?", [1; 16]),
            request("GET", "127.0.0.1:8443", &format!("/v1/projects/{PROJECT}"), "?a=b%20c", [0xfe; 16]),
        ],
        "cbor": floats.map(|f: f64| json!({ "value": f, "cbor": hex(&to_cbor(&f)) })),
        // Values as the page names them.
        "metrics": (0..ROUNDS).map(|round| {
            let m = metrics(round);
            json!({
                "round": round, "trainingLoss": m.training_loss, "validation": m.validation, "before": m.before,
                "failure": m.failure,
                "quarantined": m.quarantined.iter()
                    .map(|q| json!({ "upload": q.upload.to_string(), "reason": q.reason })).collect::<Vec<_>>(),
                "contributors": m.contributors.iter().map(|c| json!({
                    "contributor": c.contributor.to_string(), "rows": c.rows, "validation": c.validation,
                })).collect::<Vec<_>>(),
            })
        }).collect::<Vec<_>>(),
        "status": json_of(&status()),
    })
}

/// `BLINDSMITH_WRITE_VECTORS=1` writes the file anew, for a change that is meant.
#[test]
fn the_vectors_of_the_page_are_what_the_code_gives() {
    let made = vectors();
    if std::env::var_os("BLINDSMITH_WRITE_VECTORS").is_some() {
        std::fs::write(FILE, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    // As text: -0 equals 0, and is written otherwise. Maps come in the order in which they were made, or sorted.
    let (mut kept, mut made) = (kept, made);
    kept.sort_all_objects();
    made.sort_all_objects();
    let (kept, made) = (kept.to_string(), made.to_string());
    assert!(kept == made, "BLINDSMITH_WRITE_VECTORS=1 writes the file anew");
}
