//! Uploads that come twice, to the wrong place, or in odd sizes; refineries that come twice.

use std::process::{Command, Stdio};

use blindsmith_api::message::{Reply, Request};
use blindsmith_protocol::{Blob, Role, UploadHeader};
use blindsmith_refinery::Store;
use serde_json::Value;

use crate::site::{Outcome, Site, argument};
use crate::tables;

/// The header of the only upload, as the refinery stored it.
fn stored_header(site: &Site) -> UploadHeader {
    let uploads = site.stored().uploads(&site.project().id()).unwrap();
    assert_eq!(uploads.len(), 1);
    uploads[0].header.clone()
}

fn created(site: &Site) {
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1"]).ok();
}

/// Rows for validation: without any, the warden would hold out some of the others by chance.
fn validated(site: &Site) {
    site.write("held-out.csv", tables::largest(500..501));
    site.push("held-out.csv", &["--validation"]).ok();
}

#[test]
fn a_commit_that_comes_twice_counts_once() {
    let site = Site::new();
    created(&site);
    site.write("rows.csv", tables::largest(60..80));
    let pushed = site.push("rows.csv", &[]).ok().json();
    let before = site.wait();
    let header = stored_header(&site);
    assert_eq!(Value::from(header.id().to_string()), pushed["upload"]);

    // As a client does that did not hear the answer: it sends everything again, or knows better.
    let mut connection = site.connect();
    let push = |header: &UploadHeader| Request::Push {
        project: header.project,
        role: header.role,
        rows: header.rows,
    };
    connection.command(&push(&header), &[]).unwrap();
    let (reply, _) = connection.request(&Request::Commit { header: header.clone() }, &[]).unwrap();
    assert_eq!(reply, Reply::Accepted { upload: header.id(), new: false });
    let after = site.wait();
    assert_eq!((&after["uploads"], &after["rounds"]), (&before["uploads"], &before["rounds"]));

    // The header with another tag is another upload, whose rows did not come.
    let other = UploadHeader { tag: [0; 32], ..header };
    connection.command(&push(&other), &[]).unwrap();
    assert!(connection.request(&Request::Commit { header: other }, &[]).is_err());
    assert_eq!(site.status()["uploads"], before["uploads"]);
}

#[test]
fn the_same_file_pushed_twice_is_two_uploads_under_different_keys() {
    let site = Site::new();
    created(&site);
    validated(&site);
    site.write("rows.csv", tables::largest(60..80));
    let (a, b) = (site.push("rows.csv", &[]).ok().json(), site.push("rows.csv", &[]).ok().json());
    assert_ne!(a["upload"], b["upload"]);
    let status = site.wait();
    let rows = status["rounds"].as_array().unwrap().last().unwrap()["rows"].as_u64();
    assert_eq!(rows, Some(40));
}

#[test]
fn any_number_of_rows_can_be_pushed_and_predicted() {
    let site = Site::new();
    created(&site);
    validated(&site);
    let (mut first, mut rows) = (60, 0);
    for count in [1, 17, 33, 97] {
        let text = tables::largest(first..first + count);
        site.write("rows.csv", &text);
        site.push("rows.csv", &[]).ok();
        (first, rows) = (first + count, rows + count as u64);
        let status = site.wait();
        assert_eq!(status["failure"], Value::Null);
        let last = status["rounds"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["rows"].as_u64(), Some(rows));
        assert_eq!(last["validation"]["rows"], 1);
        let answer = site.on_project("predict", &["--data", "rows.csv"]).ok().json();
        assert_eq!(answer["predictions"].as_array().unwrap().len(), count);
    }
}

#[test]
fn a_project_is_unknown_at_another_refinery() {
    let (site, other) = (Site::new(), Site::new());
    created(&site);
    site.write("rows.csv", tables::largest(60..80));
    let (id, socket) = (site.project().id().to_string(), other.socket());
    let words = ["there is no project", &id, "another refinery"];
    for (command, more) in [
        ("push", ["--data", "rows.csv"].as_slice()),
        ("predict", &["--data", "rows.csv"]),
        ("status", &[]),
        ("refine", &[]),
        ("pull", &["--out", "model.safetensors"]),
    ] {
        site.on_project(command, &[&["--refinery", &socket], more].concat()).refused(5, &words);
    }
    assert!(!site.path("model.safetensors").exists());
    site.on_project("status", &["--refinery", "nowhere.sock"])
        .refused(4, &["no refinery answers at nowhere.sock", "blindsmith-refinery --store"]);
}

#[test]
fn a_second_refinery_is_refused_and_harms_nothing() {
    let site = Site::new();
    created(&site);
    // An upload is under way.
    let project = site.project();
    let mut connection = site.connect();
    let push = Request::Push { project: project.id(), role: Role::Training, rows: 20 };
    connection.command(&push, &[]).unwrap();
    let incoming = || std::fs::read_dir(site.services.store().join("incoming")).unwrap().count();
    assert_eq!(incoming(), 1);

    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("blindsmith-refinery");
    let second = |arguments: &[&str]| {
        let done = Command::new(&program).args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: done.status.code(), stdout: text(done.stdout), stderr: text(done.stderr) }
    };
    let store = argument(&site.services.store());
    second(&["--store", &store]).refused(1, &["another refinery", &store]);
    let (clients, warden) = (site.socket(), argument(&site.services.store().join("warden.sock")));
    let other = argument(&site.path("other"));
    second(&["--store", &other, "--socket", &clients]).refused(1, &["served by another process"]);
    second(&["--store", &other, "--warden-socket", &warden]).refused(1, &["served by another process"]);

    assert_eq!(incoming(), 1, "the upload under way was lost");
    site.write("rows.csv", tables::largest(60..80));
    site.push("rows.csv", &[]).ok();
    assert_eq!(site.wait()["rounds"].as_array().unwrap().len(), 2);
}

#[test]
fn a_push_of_few_rows_says_how_many_come_as_cheaply_and_takes_no_more_room() {
    let site = Site::new();
    created(&site);
    let spec = site.project().spec;
    let strip = spec.row_form.strip().max(spec.column_form.roots());
    let push = |rows: usize, more: &[&str]| {
        site.write("rows.csv", tables::largest(60..60 + rows));
        site.push("rows.csv", more).ok().json()
    };
    let (few, many) = (push(1, &[]), push(strip, &[]));
    assert_eq!((&few["strip"], &many["strip"]), (&strip.into(), &Value::Null));
    let bytes = |rows| Value::from(spec.body_bytes(Role::Training, rows));
    assert_eq!((&few["bytes"], &many["bytes"]), (&bytes(1), &bytes(strip as u32)));
}

#[test]
fn an_era_that_was_raised_is_kept_and_trains_with_the_others() {
    let site = Site::new();
    created(&site);
    validated(&site);
    let push = |rows, more: &[&str]| {
        site.write("rows.csv", tables::largest(rows));
        site.push("rows.csv", more).ok().json()["era"].clone()
    };
    assert_eq!([push(60..100, &[]), push(100..140, &["--era", "2"]), push(140..180, &[])], [0, 2, 2]);
    let status = site.wait();
    assert_eq!(status["failure"], Value::Null);
    assert_eq!(status["rounds"].as_array().unwrap().last().unwrap()["rows"], 120);
    let eras: Vec<u32> =
        site.stored().uploads(&site.project().id()).unwrap().iter().map(|u| u.header.era).collect();
    assert_eq!(eras, [0, 0, 2, 2]);
    site.write("rows.csv", tables::largest(180..190));
    site.push("rows.csv", &["--era", "65536"]).refused(2, &["eras below 65536"]);
}

#[test]
fn a_status_of_a_project_that_grew_for_months_arrives() {
    let mut site = Site::new();
    created(&site);
    let (id, directory) = (site.project().id(), site.services.store());
    site.services.kill_refinery();
    let store = Store::open(&directory).unwrap();
    let mut record = store.round(&id, 0).unwrap();
    for round in 1..=8 {
        record.summary.round = round;
        record.summary.metrics = Blob(vec![0; 700_000]);
        store.save_round(&id, &record, None).unwrap();
    }
    drop(store);
    site.services.start_refinery().unwrap();
    assert_eq!(site.connect().status(id).unwrap().rounds.len(), 9);
}
