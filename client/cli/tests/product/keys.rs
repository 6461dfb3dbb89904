//! Wrong keys, lost keys, and a warden that nobody said to trust.

use std::fs;

use serde_json::Value;

use crate::site::{Outcome, Site};
use crate::tables;

const PLAN: [&str; 6] = ["--label", "largest", "--hidden", "4", "--epochs", "1"];

fn created() -> Site {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.write("rows.csv", tables::largest(60..80));
    site.init("first.csv", &PLAN).ok();
    site
}

/// The same with rows for validation: without any, the warden would hold out some of the others by chance.
fn validated() -> Site {
    let site = created();
    site.write("held-out.csv", tables::largest(500..510));
    site.push("held-out.csv", &["--validation"]).ok();
    site
}

fn of_another_project(outcome: Outcome, what: &str) {
    outcome.refused(7, &[what, "does not open with this project's keys", "another project"]);
}

#[test]
fn keys_of_another_project_open_nothing() {
    let site = created();
    site.push("rows.csv", &[]).ok();
    site.wait();
    site.init_as("q", "first.csv", &PLAN).ok();
    fs::copy(site.path("q/owner.key"), site.path("p/owner.key")).unwrap();
    of_another_project(site.on_project("status", &[]), "a round's metrics");
    of_another_project(site.on_project("refine", &["--wait-only"]), "a round's metrics");
    of_another_project(site.on_project("pull", &["--out", "model.safetensors"]), "the model");
    assert!(!site.path("model.safetensors").exists());
    // Who holds no member's key is no querier; one refusal for every fault.
    site.on_project("predict", &["--data", "rows.csv"]).refused(5, &["the query was refused"]);
}

#[test]
fn files_that_are_no_keys_are_named() {
    let site = created();
    let not_hexadecimal = "0123456789abcdef".repeat(3) + "0123456789abcdeg";
    for text in [b"".as_slice(), b"0123", &[0xff; 64], not_hexadecimal.as_bytes()] {
        fs::write(site.path("p/owner.key"), text).unwrap();
        for (command, more) in [
            ("push", ["--data", "rows.csv"].as_slice()),
            ("pull", &["--out", "model.safetensors"]),
            ("predict", &["--data", "rows.csv"]),
            ("status", &[]),
        ] {
            site.on_project(command, more).refused(8, &["owner.key", "it is not a key file"]);
        }
    }
    // Without keys, what everybody may see stays visible.
    fs::remove_file(site.path("p/owner.key")).unwrap();
    assert_eq!(site.status()["rounds"][0]["training_loss"], Value::Null);
    site.on_project("pull", &["--out", "model.safetensors"]).refused(8, &["owner.key", "No such file"]);
}

#[test]
fn rows_of_a_stranger_are_never_trained_on_and_stop_nobody() {
    let site = validated();
    site.push("rows.csv", &[]).ok();
    let trained = site.wait();
    // The refinery knows no contributor, so it takes the stranger's rows; the warden does not.
    let key = fs::read(site.path("p/owner.key")).unwrap();
    fs::write(site.path("p/owner.key"), "7".repeat(64)).unwrap();
    let strangers = site.push("rows.csv", &[]).ok().json()["upload"].clone();
    fs::write(site.path("p/owner.key"), key).unwrap();

    let status = site.wait();
    assert_eq!(status["uploads"][2]["upload"], strangers);
    let refused = |upload: usize| status["uploads"][upload]["refused"].as_bool();
    assert_eq!([0, 1, 2].map(refused), [Some(false), Some(false), Some(true)]);
    assert_eq!(status["rounds"], trained["rounds"], "a stranger's rows started a round");
    assert_eq!(status["failure"], Value::Null);
    // The owner goes on.
    site.write("more.csv", tables::largest(80..90));
    site.push("more.csv", &[]).ok();
    let status = site.wait();
    assert_eq!((&status["rounds"][2]["rows"], &status["rounds"][2]["uploads"]), (&30.into(), &3.into()));
    assert_eq!(site.on_project("refine", &[]).ok().json()["rounds"][3]["rows"], 30);
}

#[test]
fn a_stranger_alone_makes_no_round() {
    let site = created();
    let key = fs::read(site.path("p/owner.key")).unwrap();
    fs::write(site.path("p/owner.key"), "7".repeat(64)).unwrap();
    site.push("rows.csv", &[]).ok();
    fs::write(site.path("p/owner.key"), key).unwrap();
    let status = site.wait();
    assert_eq!(status["uploads"][0]["refused"], true);
    assert_eq!(status["rounds"].as_array().unwrap().len(), 1);
    site.on_project("refine", &[]).refused(5, &["nothing to train on", "refused"]);
}

#[test]
fn a_warden_without_its_sealing_key_says_so_and_another_start_with_it_goes_on() {
    let mut site = validated();
    site.push("rows.csv", &[]).ok();
    site.wait();
    let (key, away) = (site.path("warden/sealing.simulated.key"), site.path("away"));
    site.services.kill_warden();
    fs::rename(&key, &away).unwrap();
    site.services.start_warden().unwrap();

    let words = ["this warden does not hold the project's secrets"];
    let status = site.status();
    assert_eq!((&status["ready"], &status["busy"]), (&false.into(), &false.into()));
    assert!(status["failure"].as_str().unwrap().contains(words[0]));
    site.on_project("refine", &[]).refused(5, &words);
    site.on_project("refine", &["--wait-only"]).refused(5, &words);
    site.on_project("predict", &["--data", "rows.csv"]).refused(5, &["does not hold the secrets of project"]);
    // The owner's model is not lost, and rows can still be brought.
    assert_eq!(site.pull("model.safetensors", &[]), 1);
    site.push("rows.csv", &[]).ok();

    site.services.kill_warden();
    fs::rename(&away, &key).unwrap();
    site.services.start_warden().unwrap();
    let status = site.wait();
    assert_eq!((&status["ready"], &status["failure"]), (&true.into(), &Value::Null));
    assert_eq!(status["rounds"][2]["rows"], 40);
}

#[test]
fn a_damaged_sealing_key_stops_the_warden_and_is_not_replaced() {
    let mut site = created();
    site.services.kill_warden();
    let key = site.path("warden/sealing.simulated.key");
    for bytes in [b"short".as_slice(), &[0; 33]] {
        fs::write(&key, bytes).unwrap();
        assert!(site.services.start_warden().is_err());
        assert!(site.logs().contains("the sealing key in"), "{}", site.logs());
        assert_eq!(fs::read(&key).unwrap(), bytes);
    }
    site.assert_no_panic();
}

#[test]
fn simulation_is_accepted_by_name_only() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let socket = site.socket();
    let arguments =
        ["init", "--project", "p", "--refinery", &socket, "--data", "first.csv", "--label", "largest"];
    site.run(&arguments).refused(6, &["secrets were not released", "simulated", "--accept-simulated"]);
    assert!(!site.path("p").exists());
    assert!(site.stored().projects().unwrap().is_empty());

    // Nor for a query, once the recorded policy no longer accepts it.
    site.init("first.csv", &PLAN).ok();
    let text = fs::read_to_string(site.path("p/attestation.toml")).unwrap();
    assert!(text.contains("accept_simulated = true"));
    for other in [text.replace("true", "false"), String::new()] {
        site.write("p/attestation.toml", other);
        site.on_project("predict", &["--data", "first.csv"]).refused(6, &["simulated", "evidence.kind"]);
    }
    site.write("p/attestation.toml", "accept_simulated = yes");
    site.on_project("predict", &["--data", "first.csv"]).refused(3, &["attestation.toml", "policy"]);
}

#[test]
fn damaged_project_files_are_named() {
    let site = created();
    let text = fs::read_to_string(site.path("p/project.json")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    for (damaged, words) in [
        (String::new(), "EOF"),
        (text[..text.len() / 2].to_owned(), "EOF"),
        (with("\"format\": 7", "\"format\": 6"), "its format is 6, this program reads 7"),
        (with("\"batch_rows\": 32", "\"batch_rows\": 0"), "batches of 0 rows"),
        (with("\"label_bytes\": 4", "\"label_bytes\": 0"), "0 bytes of labels"),
    ] {
        site.write("p/project.json", damaged);
        site.on_project("status", &[]).refused(8, &["project.json", words]);
    }
    site.run(&["status", "--project", "nowhere"]).refused(8, &["nowhere", "blindsmith init"]);
}
