//! What whoever runs the refinery sees of a round does not tell how the round went.

use std::sync::{Arc, Mutex};

use blindsmith_attest::open_receipt;
use blindsmith_protocol::{FromWarden, Instruction, Outcome, RoundRecord, ToWarden, from_cbor};
use blindsmith_receipts::Decision;

use serde_json::json;

use super::products::Scene;
use super::proxy::Frame;
use crate::site::Outcome as Ended;
use crate::tables;

/// All that passes between warden and refinery in a round, but for what is random by design: ciphertext, masks,
/// answers. Lengths are kept.
fn observed(frame: &Frame) -> String {
    match frame {
        Frame::ToWarden(ToWarden::Round { round, attempt, epochs, uploads, .. }, body) => {
            format!("round {round} {attempt} {epochs:?} {} {}", uploads.len(), body.len())
        }
        Frame::ToWarden(ToWarden::Stored { round, .. }, _) => format!("stored {round}"),
        Frame::ToWarden(message, body) => format!("{message:?} {}", body.len()),
        Frame::FromWarden(FromWarden::Do(instruction), body) => match instruction {
            Instruction::Begin { operand, shape, .. } => format!("begin {operand} {shape:?}"),
            other => format!("{other:?} {}", body.len()),
        },
        Frame::FromWarden(FromWarden::Finished(Outcome::Round), body) => {
            let record: RoundRecord = from_cbor(body).unwrap();
            let RoundRecord { summary, given, used, state, model, receipt } = record;
            let sealed = [&state, &model, &receipt, &summary.metrics].map(|b| b.0.len());
            format!(
                "{} {} {} {:?} {} {} {:?} {} {} {sealed:?}",
                summary.uploads,
                summary.rows,
                summary.steps,
                summary.decision.reason(),
                summary.current,
                summary.trials,
                summary.quarantined,
                given.len(),
                used.len()
            )
        }
        Frame::FromWarden(message, body) => format!("{message:?} {}", body.len()),
    }
}

struct Seen {
    frames: Vec<String>,
    scene: Scene,
    refined: Ended,
}

/// What is seen of two rounds, at this learning rate. (Neither has a shorter form in CBOR.)
fn first_round(rate: &str, more: &[&str]) -> Seen {
    rounds_of(Scene::waiting(&[plan(rate).as_slice(), more].concat()))
}

fn plan(rate: &str) -> [&str; 6] {
    ["--learning-rate", rate, "--clip-norm", "0", "--optimiser", "sgd"]
}

/// The same of two rounds over the rows that there are.
fn rounds_of(scene: Scene) -> Seen {
    let frames = Arc::new(Mutex::new(vec![]));
    let seen = frames.clone();
    let mut begun = false;
    scene.proxy.attack(move |frame| {
        // Reading the uploads comes before, on all cores, in any order.
        begun |= matches!(frame, Frame::ToWarden(ToWarden::Round { .. }, _));
        // That a round is stored is said whenever the refinery comes to it, perhaps after the client has heard.
        if begun && !matches!(frame, Frame::ToWarden(ToWarden::Stored { .. }, _)) {
            // Each direction in its order; how the two interleave is chance.
            let direction = matches!(frame, Frame::ToWarden(..));
            seen.lock().unwrap().push((direction, observed(&frame)));
        }
        vec![frame]
    });
    let refined = scene.site.on_project("refine", &[]);
    // The round after it as well: which rows it takes in which order tells nothing either.
    scene.site.on_project("refine", &[]);
    scene.proxy.cease();
    let mut frames: Vec<(bool, String)> = frames.lock().unwrap().clone();
    frames.sort_by_key(|(direction, _)| *direction);
    // Rows of an operand are written from all cores, in any order.
    frames
        .chunk_by_mut(|(_, a), (_, b)| a.starts_with("Rows") && b.starts_with("Rows"))
        .for_each(|rows| rows.sort());
    let frames = frames.into_iter().map(|(_, frame)| frame).collect();
    Seen { frames, scene, refined }
}

/// A round that diverges and one that does not look alike under a fixed schedule, message by message and byte by
/// byte; the owner alone learns which is which.
#[test]
fn attack_watching_a_fixed_schedule_tells_nothing() {
    let good = first_round("0.1", &["--fixed-schedule"]);
    let bad = first_round("999.9", &["--fixed-schedule"]);
    assert!(good.frames.len() > 50);
    for (good, bad) in good.frames.iter().zip(&bad.frames) {
        assert_eq!(good, bad);
    }
    assert_eq!(good.frames.len(), bad.frames.len());
    good.refined.ok();
    bad.refined.refused(5, &["round 1 failed, and the model is the one before it"]);
    // What the refinery says to whoever has no key.
    let status = |scene: &Scene| {
        std::fs::rename(scene.site.path("p/owner.key"), scene.site.path("owner.key")).unwrap();
        let status = scene.site.status();
        std::fs::rename(scene.site.path("owner.key"), scene.site.path("p/owner.key")).unwrap();
        (
            status["failure"].clone(),
            status["rounds"][1]["failure"].clone(),
            status["rounds"][1]["steps"].clone(),
        )
    };
    assert_eq!(status(&good.scene), status(&bad.scene));
    for scene in [&good.scene, &bad.scene] {
        let (verdict, bundle) = scene.verify();
        assert_eq!((&verdict["valid"], &verdict["rounds"]), (&true.into(), &2.into()));
        let policy = std::fs::read_to_string(scene.site.path("p/policy.toml")).unwrap();
        let key = blindsmith_attest::chain::OwnerPolicy::parse(&policy).unwrap().receipts;
        let receipt = open_receipt(&bundle.receipts[1].0, &key).unwrap();
        assert!(matches!(receipt.decision, Decision::Sealed(_)));
        // A commitment that hides: it changes even where the model does not.
        assert_ne!(receipt.before, receipt.after);
    }
}

/// Nor where the owner gave no rows that judge: then some of its own are held out, others in each project, so that what
/// can be compared is what is said of the rounds.
#[test]
fn attack_watching_a_fixed_schedule_without_rows_that_judge_tells_nothing() {
    let records = |rate: &str| {
        let scene = Scene::empty(&[plan(rate).as_slice(), &["--fixed-schedule"]].concat());
        // Blocks of rows that are held out are of one size.
        scene.push(76..396, "--keep-order");
        let seen = rounds_of(scene);
        let records: Vec<String> = seen.frames.into_iter().filter(|f| f.starts_with("1 ")).collect();
        assert_eq!(records.len(), 2, "a record a round");
        (records, seen.refined)
    };
    let ((good, refined), (bad, failed)) = (records("0.1"), records("999.9"));
    refined.ok();
    failed.refused(5, &["round 1 failed, and the model is the one before it"]);
    // Which rows are held out differs, and with it how many are trained on.
    let without_rows = |records: &[String]| -> Vec<String> {
        let fields = |r: &String| -> Vec<String> { r.split(' ').map(str::to_owned).collect() };
        records.iter().map(fields).map(|f| [&f[..1], &f[3..9]].concat().join(" ")).collect()
    };
    assert_eq!(without_rows(&good), without_rows(&bad));
    for records in [&good, &bad] {
        let rows = |r: &String| r.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
        assert!(records.iter().all(|r| rows(r) >= 100), "{records:?}");
    }
}

/// Nor which uploads were set aside: those are asked for, in the same order, in this round and in the next.
#[test]
fn attack_watching_a_fixed_schedule_does_not_tell_what_was_set_aside() {
    let watched = |labels: fn(std::ops::Range<usize>) -> String| {
        let scene = Scene::waiting(&[plan("0.5").as_slice(), &["--fixed-schedule"]].concat());
        for _ in 0..6 {
            scene.site.on_project("refine", &[]).ok();
        }
        scene.site.write("rows.csv", labels(236..300));
        scene.site.on_project("push", &["--data", "rows.csv", "--keep-order"]).ok();
        let seen = rounds_of(scene);
        let history = seen.scene.site.on_project("history", &[]).ok().json();
        let aside =
            history["rounds"].as_array().unwrap().iter().any(|round| round["quarantined"] != json!([]));
        (seen.frames, aside)
    };
    let (right, wrong) = (watched(tables::largest), watched(tables::shuffled));
    assert_eq!((right.1, wrong.1), (false, true));
    for (right, wrong) in right.0.iter().zip(&wrong.0) {
        assert_eq!(right, wrong);
    }
    assert_eq!(right.0.len(), wrong.0.len());
}

/// Without a fixed schedule a round that fails stops, and says so in the same words whatever happened.
#[test]
fn a_round_that_fails_says_no_more_than_that() {
    let mut said = vec![];
    for rate in ["999.9", "999.8"] {
        let bad = first_round(rate, &[]);
        bad.refined.refused(5, &["training stopped: values left their range"]);
        let last = bad.frames.iter().rfind(|f| f.contains("values left")).unwrap().clone();
        said.push(last.split("Some").nth(1).unwrap().split(')').next().unwrap().to_owned());
        let (verdict, _) = bad.scene.verify();
        assert_eq!(verdict["valid"], true);
        let status = bad.scene.site.status();
        assert!(status["rounds"][1]["failure"].is_string());
    }
    assert_eq!(said[0], said[1]);
}
