//! Files of the refinery cut short or altered while it was down: a clear word at its start or in the round.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::site::Site;
use crate::tables;

struct Stopped {
    site: Site,
    /// The project's directory at the refinery.
    dir: PathBuf,
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
    let dir = site.services.store().join("projects").join(site.project().id().to_string());
    Stopped { site, dir }
}

impl Stopped {
    /// A file of an upload that the warden has read.
    fn upload(&self, extension: &str) -> PathBuf {
        let uploads = fs::read_dir(self.dir.join("uploads")).unwrap().map(|e| e.unwrap().path());
        let of = |p: &PathBuf| p.extension().is_some_and(|e| e == extension);
        uploads.filter(|p| of(p) && p.with_extension("verdict").exists()).min().unwrap()
    }

    /// The refinery does not start, and says which file is why; with the file restored it does.
    fn assert_stops_the_refinery(&mut self, path: &Path, damaged: &[u8]) {
        let good = fs::read(path).unwrap();
        fs::write(path, damaged).unwrap();
        let before = self.site.log("blindsmith-refinery").len();
        assert!(self.site.services.start_refinery().is_err(), "{} was not missed", path.display());
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
    let (head, rows) = (stopped.upload("head"), stopped.upload("rows"));
    for path in [head, stopped.dir.join("spec.cbor"), stopped.dir.join("rounds").join("1.cbor")] {
        let good = fs::read(&path).unwrap();
        for len in [0, 1, good.len() / 2, good.len() - 1] {
            stopped.assert_stops_the_refinery(&path, &good[..len]);
        }
        stopped.assert_stops_the_refinery(&path, &[good.as_slice(), b"x"].concat());
        stopped.assert_stops_the_refinery(&path, &[0xff; 100]);
    }
    // The last byte of a head is of its tag, that of a specification its last field: both still decode.
    for path in [stopped.upload("head"), stopped.dir.join("spec.cbor")] {
        let good = fs::read(&path).unwrap();
        stopped.assert_stops_the_refinery(&path, &flipped(&good, good.len() - 1));
    }
    let good = fs::read(&rows).unwrap();
    for len in [0, good.len() / 2, good.len() - 1] {
        stopped.assert_stops_the_refinery(&rows, &good[..len]);
    }
    stopped.assert_recovers();
}

#[test]
fn altered_labels_fail_the_round_and_the_model_stays() {
    let mut stopped = stopped();
    let rows = stopped.upload("rows");
    let good = fs::read(&rows).unwrap();
    fs::write(&rows, flipped(&good, 5)).unwrap();
    let status = stopped.start();
    assert!(status["failure"].as_str().unwrap().contains("labels that do not open"), "{status}");
    assert_eq!(status["rounds"].as_array().unwrap().len(), 2);
    stopped.site.on_project("refine", &[]).refused(5, &["labels that do not open"]);
    assert_eq!(stopped.site.pull("model.safetensors", &[]), 1);

    fs::write(&rows, good).unwrap();
    stopped.site.on_project("refine", &[]).ok();
    stopped.site.services.kill_refinery();
    stopped.site.services.kill_warden();
    stopped.assert_recovers();
}

#[test]
fn altered_ciphertext_is_never_opened_and_fails_the_round() {
    let mut stopped = stopped();
    let rows = stopped.upload("rows");
    let good = fs::read(&rows).unwrap();
    let at = stopped.site.project().spec.sealed_label_bytes() + 5;
    fs::write(&rows, flipped(&good, at)).unwrap();
    let status = stopped.start();
    assert!(
        status["failure"].as_str().unwrap().contains("a wrong product: forward product of layer 0"),
        "{status}"
    );
    assert_eq!(status["rounds"].as_array().unwrap().len(), 2);

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
    let path = stopped.dir.join("rounds").join("1.cbor");
    let good = fs::read(&path).unwrap();
    let record: blindsmith_protocol::RoundRecord = blindsmith_protocol::from_cbor(&good).unwrap();
    for change in [
        |state: &mut Vec<u8>| state[0] ^= 1,
        |state: &mut Vec<u8>| *state.last_mut().unwrap() ^= 1,
        |state: &mut Vec<u8>| state.truncate(state.len() / 2),
        Vec::clear,
    ] {
        let mut altered = record.clone();
        change(&mut altered.state.0);
        fs::write(&path, blindsmith_protocol::to_cbor(&altered)).unwrap();
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
    fs::write(&path, blindsmith_protocol::to_cbor(&altered)).unwrap();
    stopped.site.services.start_refinery().unwrap();
    stopped.site.on_project("pull", &["--out", "model.safetensors"]).refused(7, &["the model"]);
    stopped.site.services.kill_refinery();
    fs::write(&path, good).unwrap();
    stopped.assert_recovers();
}

#[test]
fn rows_without_a_head_are_cleared_away() {
    let mut stopped = stopped();
    let orphan = stopped.dir.join("uploads").join("0".repeat(64) + ".rows");
    fs::write(&orphan, "what a crash between two files leaves").unwrap();
    let foreign = stopped.site.services.store().join("incoming").join("notes.txt");
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
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1"]).ok();
    let dir = site.services.store().join("projects").join(site.project().id().to_string());
    let in_the_way = dir.join("rounds").join("1.cbor");
    fs::create_dir(&in_the_way).unwrap();
    site.push("rows.csv", &[]).ok();
    site.on_project("refine", &["--wait-only"]).refused(5, &["1.cbor"]);
    fs::remove_dir(&in_the_way).unwrap();
    let status = site.on_project("refine", &[]).ok().json();
    assert_eq!(status["rounds"].as_array().unwrap().len(), 2);
    assert_eq!(site.pull("model.safetensors", &[]), 1);
    site.services.kill_warden();
    site.services.start_warden().unwrap();
    assert_eq!(site.wait()["ready"], true);
    site.assert_no_panic();
}
