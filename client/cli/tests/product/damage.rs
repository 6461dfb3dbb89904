//! Files of the refinery cut short or altered while it was down: a clear word at its start or in the round.

use std::fs;
use std::path::{Path, PathBuf};

use blindsmith_protocol::Id;
use blindsmith_refinery::Store;
use serde_json::Value;

use crate::site::Site;
use crate::tables;

struct Stopped {
    site: Site,
    project: Id,
}

/// A project with one round done and one upload not yet trained on; refinery and warden are down.
fn stopped() -> Stopped {
    let mut site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.write("rows.csv", tables::largest(60..80));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1"]).ok();
    // Rows for validation: without any, the warden would hold out some of the others by chance.
    site.push("rows.csv", &["--validation"]).ok();
    site.push("rows.csv", &[]).ok();
    site.wait();
    site.services.kill_warden();
    site.push("rows.csv", &[]).ok();
    site.services.kill_refinery();
    let project = site.project().id();
    Stopped { site, project }
}

impl Stopped {
    /// The store, while nobody serves it.
    fn store(&self) -> Store {
        Store::open(&self.site.services.store()).unwrap()
    }

    /// The rows of an upload that the warden has read.
    fn rows(&self) -> PathBuf {
        let uploads = self.store().uploads(&self.project).unwrap();
        self.site.blob(&uploads.iter().find(|u| u.verdict.is_some()).unwrap().rows)
    }

    /// The refinery does not start, and says which file is why; with the file restored it does.
    fn assert_stops_the_refinery(&mut self, path: &Path, damaged: &[u8]) {
        let good = fs::read(path).unwrap();
        fs::write(path, damaged).unwrap();
        let before = self.site.log("blindsmith-refinery").len();
        let at = good.iter().zip(damaged).position(|(a, b)| a != b);
        let what = format!("{} of {} bytes, altered at {at:?}", damaged.len(), good.len());
        assert!(self.site.services.start_refinery().is_err(), "{}: {what}: not missed", path.display());
        let said = self.site.log("blindsmith-refinery")[before..].to_owned();
        let file = path.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(file) && said.contains("is damaged"), "{said}");
        fs::write(path, good).unwrap();
    }

    /// Starts both; the status once they are idle.
    fn start(&mut self) -> Value {
        self.site.services.start_refinery().unwrap();
        self.site.services.start_warden().unwrap();
        self.site.on_project("refine", &["--wait-only"]).json()
    }

    fn assert_recovers(mut self) {
        let status = self.start();
        assert_eq!(status["failure"], Value::Null);
        assert_eq!(status["rounds"].as_array().unwrap().last().unwrap()["rows"], 40);
        self.site.assert_no_panic();
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn truncated_or_altered_records_stop_the_refinery_until_they_are_restored() {
    let mut stopped = stopped();
    let (rows, database) = (stopped.rows(), stopped.site.services.store().join("refinery.db"));
    let good = fs::read(&database).unwrap();
    for len in [0, 1, good.len() / 2, good.len() - 1] {
        stopped.assert_stops_the_refinery(&database, &good[..len]);
    }
    stopped.assert_stops_the_refinery(&database, &[0xff; 100]);
    // Records that still decode, and are not those that their keys name.
    let tag = stopped.store().uploads(&stopped.project).unwrap()[0].header.tag;
    for part in [tag, stopped.site.project().spec.salt] {
        // Everywhere: space that is free again may hold an old copy.
        let places: Vec<usize> = (0..good.len() - 32).filter(|&at| good[at..at + 32] == part).collect();
        assert!(!places.is_empty());
        let altered = places.iter().fold(good.clone(), |bytes, &at| flipped(&bytes, at));
        stopped.assert_stops_the_refinery(&database, &altered);
    }
    let good = fs::read(&rows).unwrap();
    for len in [0, good.len() / 2, good.len() - 1] {
        stopped.assert_stops_the_refinery(&rows, &good[..len]);
    }
    stopped.assert_recovers();
}

#[test]
fn rows_altered_while_the_refinery_was_down_fail_the_round_by_name() {
    let mut stopped = stopped();
    let rows = stopped.rows();
    let good = fs::read(&rows).unwrap();
    fs::write(&rows, flipped(&good, 5)).unwrap();
    let status = stopped.start();
    let failure = status["failure"].as_str().unwrap();
    let name = rows.file_name().unwrap().to_str().unwrap();
    assert!(failure.contains(name) && failure.contains("is damaged"), "{status}");
    fs::write(&rows, good).unwrap();
    stopped.site.on_project("refine", &[]).ok();
    stopped.site.assert_no_panic();
}

#[test]
fn altered_labels_fail_the_round_and_the_model_stays() {
    let mut stopped = stopped();
    let rows = stopped.rows();
    // Altered after the refinery compared them with their digest.
    assert_eq!(stopped.start()["rounds"].as_array().unwrap().len(), 3);
    let good = fs::read(&rows).unwrap();
    fs::write(&rows, flipped(&good, 5)).unwrap();
    stopped.site.on_project("refine", &[]).refused(5, &["labels that do not open"]);
    assert_eq!(stopped.site.pull("model.safetensors", &[]), 2);

    fs::write(&rows, good).unwrap();
    stopped.site.on_project("refine", &[]).ok();
    stopped.site.services.kill_refinery();
    stopped.site.services.kill_warden();
    stopped.assert_recovers();
}

#[test]
fn altered_ciphertext_is_never_opened_and_fails_the_round() {
    let mut stopped = stopped();
    let rows = stopped.rows();
    stopped.start();
    let good = fs::read(&rows).unwrap();
    let spec = stopped.site.project().spec;
    let at = spec.sealed_label_bytes(spec.rows_of_block(20, 0)) + 5;
    fs::write(&rows, flipped(&good, at)).unwrap();
    let words = "a wrong product: forward product of layer 0";
    stopped.site.on_project("refine", &[]).refused(5, &[words]);

    // So do residues that are none.
    let mut none = good.clone();
    none[at - 5..at + 5].fill(0xff);
    fs::write(&rows, none).unwrap();
    stopped.site.on_project("refine", &[]).refused(5, &["a wrong product"]);
    fs::write(&rows, good).unwrap();
    stopped.site.on_project("refine", &[]).ok();
    stopped.site.assert_no_panic();
}

#[test]
fn an_altered_state_is_not_restored() {
    let mut stopped = stopped();
    let project = stopped.project;
    let record = stopped.store().round(&project, 1).unwrap();
    // By a refinery that means it: it knows the new content's digest.
    for change in [
        |state: &mut Vec<u8>| state[0] ^= 1,
        |state: &mut Vec<u8>| *state.last_mut().unwrap() ^= 1,
        |state: &mut Vec<u8>| state.truncate(state.len() / 2),
        Vec::clear,
    ] {
        let mut altered = record.clone();
        change(&mut altered.state.0);
        stopped.store().save_round(&project, &altered, None).unwrap();
        let status = stopped.start();
        assert_eq!(status["ready"], false);
        let failure = status["failure"].as_str().unwrap();
        assert!(failure.contains("this warden cannot open the project's state"), "{failure}");
        stopped.site.services.kill_warden();
        stopped.site.services.kill_refinery();
    }
    // An altered model is not written.
    let mut altered = record.clone();
    *altered.model.0.last_mut().unwrap() ^= 1;
    stopped.store().save_round(&project, &altered, None).unwrap();
    stopped.site.services.start_refinery().unwrap();
    stopped.site.on_project("pull", &["--out", "model.safetensors"]).refused(7, &["the model"]);
    stopped.site.services.kill_refinery();
    stopped.store().save_round(&project, &record, None).unwrap();
    stopped.assert_recovers();
}

#[test]
fn a_damaged_state_is_named_and_the_project_waits_for_it() {
    let mut stopped = stopped();
    let record = stopped.store().round(&stopped.project, 1).unwrap();
    let state = stopped.site.blob(&Id(*blake3::hash(&record.state.0).as_bytes()));
    fs::write(&state, flipped(&record.state.0, 0)).unwrap();
    let status = stopped.start();
    assert_eq!(status["ready"], false);
    assert!(status["failure"].as_str().unwrap().contains("is damaged"), "{status}");
    stopped.site.services.kill_warden();
    stopped.site.services.kill_refinery();
    fs::write(&state, &record.state.0).unwrap();
    stopped.assert_recovers();
}

#[test]
fn what_was_under_way_is_cleared_away_and_nothing_else() {
    let mut stopped = stopped();
    let incoming = stopped.site.services.store().join("incoming");
    let orphan = incoming.join("0".repeat(32) + ".part");
    fs::write(&orphan, "pieces that no record tells of").unwrap();
    let foreign = incoming.join("notes.txt");
    fs::write(&foreign, "not the refinery's").unwrap();
    stopped.start();
    assert!(!orphan.exists() && foreign.exists());
    stopped.assert_serving();
}

impl Stopped {
    fn assert_serving(&self) {
        let status = self.site.wait();
        assert_eq!((&status["failure"], status["uploads"].as_array().unwrap().len()), (&Value::Null, 3));
        self.site.assert_no_panic();
    }
}

/// The disk fails when the round is to be stored: the round failed, and the next continues from before it.
#[test]
fn a_round_that_cannot_be_stored_is_not_half_done() {
    let mut site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.write("rows.csv", tables::largest(60..80));
    let plan = ["--label", "largest", "--hidden", "4", "--epochs", "1", "--manual"];
    site.init("first.csv", &plan).ok();
    site.push("rows.csv", &[]).ok();
    site.wait();
    let full = site.in_the_way();
    site.on_project("refine", &[]).refused(5, &["incoming"]);
    drop(full);
    let status = site.on_project("refine", &[]).ok().json();
    assert_eq!(status["rounds"].as_array().unwrap().len(), 2);
    assert_eq!(site.pull("model.safetensors", &[]), 1);
    site.services.kill_warden();
    site.services.start_warden().unwrap();
    assert_eq!(site.wait()["ready"], true);
    site.assert_no_panic();
}
