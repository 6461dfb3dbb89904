//! `init` and `join` killed half way: what they leave says so, and is begun anew or removed.

use std::fs;
use std::io::{BufReader, copy};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use blindsmith_api::message::Reply;
use blindsmith_protocol::{MAX_BODY, read_body, read_head, write_frame};

use crate::site::{Outcome, Site, argument};
use crate::tables;

const PLAN: [&str; 6] = ["--label", "largest", "--hidden", "4", "--epochs", "1"];
const DEADLINE: Duration = Duration::from_secs(60);

/// Between a client and the refinery: keeps back the answer that says that the warden has the secrets, and tells of it.
fn keeping_back_the_confirmation(at: &Path, refinery: &Path) -> Receiver<()> {
    let (listener, refinery) = (UnixListener::bind(at).unwrap(), refinery.to_owned());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, refinery) = (client.unwrap(), UnixStream::connect(&refinery).unwrap());
            let (mut asks, mut asked) = (client.try_clone().unwrap(), refinery.try_clone().unwrap());
            std::thread::spawn(move || copy(&mut asks, &mut asked));
            let mut answers = BufReader::new(refinery);
            while let Ok((reply, len)) = read_head::<Reply>(&mut answers) {
                let body = read_body(&mut answers, len, MAX_BODY).unwrap();
                if matches!(reply, Reply::Confirmed { .. }) {
                    _ = tell.send(());
                } else if write_frame(&mut client, &reply, &[&body]).is_err() {
                    break;
                }
            }
        }
    });
    told
}

/// Kills `init` after the warden opened the secrets, before policy.toml is written.
fn killed_between_release_and_policy(site: &Site) {
    let between = site.path("between.sock");
    let told = keeping_back_the_confirmation(&between, &site.services.socket());
    let mut init = Command::new(env!("CARGO_BIN_EXE_blindsmith"))
        .args(["init", "--project", "p", "--refinery", &argument(&between), "--data", "first.csv"])
        .args(["--accept-simulated"])
        .args(PLAN)
        .current_dir(site.dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let released = told.recv_timeout(DEADLINE);
    init.kill().unwrap();
    init.wait().unwrap();
    released.expect("the warden confirms");
    assert!(site.path("p/owner.key").exists() && !site.path("p/policy.toml").exists());
}

fn unfinished(outcome: Outcome) {
    outcome.refused(8, &["interrupted", "run the same command again", "remove the directory"]);
}

#[test]
fn a_project_whose_init_was_killed_after_the_release_is_begun_anew_by_the_same_command() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.write("rows.csv", tables::largest(60..80));
    killed_between_release_and_policy(&site);
    let lost = fs::read(site.path("p/owner.key")).unwrap();
    for (command, more) in [
        ("status", &[][..]),
        ("push", &["--data", "rows.csv"]),
        ("pull", &["--out", "model.safetensors"]),
        ("approve", &[]),
        ("viewer", &["--out", "viewer.key"]),
    ] {
        unfinished(site.on_project(command, more));
    }
    let begun = site.init("first.csv", &PLAN).ok();
    assert!(begun.stderr.contains("begins anew, with a new key"), "{}", begun.stderr);
    assert_ne!(fs::read(site.path("p/owner.key")).unwrap(), lost);
    site.push("rows.csv", &[]).ok();
    site.wait();
    assert_eq!(site.pull("model.safetensors", &[]), 1);
    let receipts = site.on_project("receipts", &["--out", "receipts.cbor"]).ok().json();
    assert_eq!(receipts["receipts"], 2);
    site.run(&["verify", "--receipts", "receipts.cbor", "--policy", "p/policy.toml"]).ok();
    // What is finished is never begun anew.
    let key = fs::read(site.path("p/owner.key")).unwrap();
    site.init("first.csv", &PLAN).refused(8, &["there is a project already"]);
    assert_eq!(fs::read(site.path("p/owner.key")).unwrap(), key);
    site.assert_no_panic();
}

#[test]
fn a_project_whose_init_was_killed_may_be_removed_or_has_all_files_and_goes_on() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    killed_between_release_and_policy(&site);
    fs::remove_dir_all(site.path("p")).unwrap();
    site.init("first.csv", &PLAN).ok();
    // Killed after the last file, before the mark was taken away.
    site.write("p/unfinished", "");
    site.status();
    assert!(!site.path("p/unfinished").exists());
    // Killed between the last two files.
    site.write("p/unfinished", "");
    fs::remove_file(site.path("p/policy.toml")).unwrap();
    unfinished(site.on_project("status", &[]));
    site.init("first.csv", &PLAN).ok();
    site.status();
}

#[test]
fn a_member_whose_join_was_killed_joins_by_the_same_command() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &PLAN).ok();
    let join = ["join", "--project", "m", "--invitation", "p/project.json", "--accept-simulated"];
    site.run(&join).ok();
    let key = fs::read(site.path("m/member.key")).unwrap();
    site.run(&join).refused(8, &["there is a project already"]);
    // As if it had been killed after the terms were written.
    fs::remove_file(site.path("m/project.json")).unwrap();
    site.write("m/unfinished", "");
    unfinished(site.run(&["join", "--project", "m"]));
    site.run(&join).ok();
    assert_ne!(fs::read(site.path("m/member.key")).unwrap(), key);
    site.run(&["join", "--project", "m"]).ok();
}
