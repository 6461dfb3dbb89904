//! Old states, forked histories, forged receipts: refused by the warden where it can, and found by the owner.

use std::fs;
use std::path::Path;

use blindsmith_attest::chain::{Bundle, OwnerPolicy};
use blindsmith_attest::open_receipt;
use blindsmith_protocol::{Blob, RoundRecord, ToWarden};

use super::products::Scene;
use super::proxy::Frame;
use crate::site::{Site, argument};
use crate::tables;

/// A project with two rounds after the release.
fn two_rounds() -> Site {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let plan = ["--label", "largest", "--hidden", "4", "--epochs", "1", "--manual"];
    site.init("first.csv", &plan).ok();
    site.write("rows.csv", tables::largest(60..120));
    site.push("rows.csv", &[]).ok();
    site.on_project("refine", &[]).ok();
    snapshot(&site, "after-round-1");
    site.on_project("refine", &[]).ok();
    site
}

/// A copy of all that the refinery keeps.
fn snapshot(site: &Site, name: &str) {
    site.stored().backup(&site.path(name)).unwrap();
}

/// A refinery that is stopped goes back to the records of a copy.
fn go_back(site: &Site, name: &str) {
    let store = site.services.store();
    for file in ["refinery.db-wal", "refinery.db-shm"] {
        _ = fs::remove_file(store.join(file));
    }
    fs::copy(site.path(name).join("refinery.db"), store.join("refinery.db")).unwrap();
}

fn restart(site: &mut Site, between: impl FnOnce(&Site)) {
    site.services.kill_warden();
    site.services.kill_refinery();
    between(site);
    site.services.start_refinery().unwrap();
    site.services.start_warden().unwrap();
}

fn verify(site: &Site, more: &[&str]) -> crate::site::Outcome {
    site.on_project("receipts", &["--out", "receipts.cbor"]).ok();
    let [receipts, policy] = ["receipts.cbor", "p/policy.toml"].map(|p| argument(&site.path(p)));
    let common = ["verify", "--receipts", &receipts, "--policy", &policy, "--json"];
    site.run(&[common.as_slice(), more].concat())
}

/// The refinery goes back to the checkpoint of round 1 after round 2 was stored.
#[test]
fn attack_old_checkpoint() {
    let mut site = two_rounds();
    site.pull("model.safetensors", &[]);
    restart(&mut site, |site| go_back(site, "after-round-1"));
    let words = "the refinery went back to an older one";
    site.on_project("refine", &[]).refused(5, &[words]);
    // The owner sees it by itself, from the newest receipt that it was given before.
    let refused = verify(&site, &[]);
    assert_eq!(refused.code, Some(9), "{}", refused.stdout);
    site.on_project("pull", &["--out", "old.safetensors"]).refused(9, &["not verify"]);
}

/// The warden's counters are gone as well, as on a machine without any that last: the owner still sees it.
#[test]
fn attack_old_checkpoint_with_counters_rolled_back() {
    let mut site = two_rounds();
    site.pull("model.safetensors", &[]);
    restart(&mut site, |site| {
        go_back(site, "after-round-1");
        fs::remove_dir_all(site.path("warden/counters")).unwrap();
    });
    // A second round 2: another receipt of the same predecessor.
    site.on_project("refine", &[]).ok();
    let refused = verify(&site, &[]);
    assert_eq!(refused.code, Some(9));
    assert!(refused.json()["first_fault"]["what"].as_str().is_some());
    site.on_project("pull", &["--out", "fork.safetensors"]).refused(9, &["not verify"]);
}

/// An old model is served as the newest one.
#[test]
fn attack_old_model() {
    let site = two_rounds();
    let (store, project) = (site.stored(), site.project().id());
    let (old, newest) = (store.round(&project, 1).unwrap(), store.round(&project, 2).unwrap());
    // Its own version's context does not open it, and another version number is not what was signed.
    let served = RoundRecord { model: old.model.clone(), ..newest.clone() };
    store.save_round(&project, &served, None).unwrap();
    site.on_project("pull", &["--out", "m.safetensors"]).refused(7, &["does not open"]);
    store.save_round(&project, &newest, None).unwrap();
    site.pull("m.safetensors", &[]);
}

#[test]
fn attack_forged_receipts() {
    let site = two_rounds();
    let (store, project) = (site.stored(), site.project().id());
    let good = store.round(&project, 1).unwrap();
    let policy = OwnerPolicy::parse(&fs::read_to_string(site.path("p/policy.toml")).unwrap()).unwrap();
    let receipt = open_receipt(&good.receipt.0, &policy.receipts).unwrap();
    // A receipt that says something else, under a key of the forger's.
    let forger = blindsmith_receipts::receipt_signing_key(&blindsmith_keys::Key::random());
    let forged = blindsmith_receipts::Receipt { rows: receipt.rows + 1, ..receipt };
    let forged = blindsmith_receipts::sign_receipt(&forged, &forger);
    let mut altered = good.receipt.0.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for bytes in [forged, altered, vec![]] {
        store.save_round(&project, &RoundRecord { receipt: Blob(bytes), ..good.clone() }, None).unwrap();
        let refused = verify(&site, &[]);
        assert_eq!(refused.code, Some(9));
        assert_eq!(refused.json()["valid"], false);
        site.on_project("pull", &["--out", "m.safetensors"]).refused(9, &["not verify"]);
    }
    store.save_round(&project, &good, None).unwrap();
    assert_eq!(verify(&site, &[]).ok().json()["rounds"], 2);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else if path.is_file() {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// One state, copied with everything that the warden keeps, goes on twice: each history is sound in itself, and
/// side by side they show the fork.
#[test]
fn attack_two_wardens_from_one_copied_state() {
    let mut site = two_rounds();
    let refinery = site.services.store();
    restart(&mut site, |site| {
        copy(&refinery, &site.path("copy/refinery"));
        copy(&site.path("warden"), &site.path("copy/warden"));
    });
    site.on_project("refine", &[]).ok();
    assert_eq!(verify(&site, &[]).ok().json()["rounds"], 3);
    fs::rename(site.path("receipts.cbor"), site.path("one.cbor")).unwrap();

    site.services.kill_warden();
    site.services.kill_refinery();
    let other = blindsmith_lab::Services::start(&site.path("copy"), Some(1)).unwrap();
    let socket = argument(&other.socket());
    site.on_project("refine", &["--refinery", &socket]).ok();
    site.on_project("receipts", &["--refinery", &socket, "--out", "two.cbor"]).ok();
    let [one, two, policy] = ["one.cbor", "two.cbor", "p/policy.toml"].map(|p| argument(&site.path(p)));
    let verify = |more: &[&str]| {
        site.run(&[&["verify", "--json", "--policy", &policy, "--receipts", &two], more].concat())
    };
    verify(&[]).ok();
    let forked = verify(&["--against", &one]);
    assert_eq!((forked.code, &forked.json()["first_fault"]["round"]), (Some(9), &3.into()));
    // What the two encrypted is under keys of its own each time: the receipts name other models.
    let [one, two] = ["one.cbor", "two.cbor"].map(|name| {
        let bundle = Bundle::from_bytes(&fs::read(site.path(name)).unwrap()).unwrap();
        let policy = OwnerPolicy::parse(&fs::read_to_string(site.path("p/policy.toml")).unwrap()).unwrap();
        open_receipt(&bundle.receipts[3].0, &policy.receipts).unwrap().after
    });
    assert_ne!(one, two);
}

/// The owner is shown one history and somebody else another one: whoever compares sees it.
#[test]
fn attack_equivocation_between_owner_and_others() {
    let site = two_rounds();
    verify(&site, &[]).ok();
    let bundle = Bundle::from_bytes(&fs::read(site.path("receipts.cbor")).unwrap()).unwrap();
    let mut shorter = bundle.clone();
    shorter.receipts.pop();
    fs::write(site.path("shorter.cbor"), shorter.to_bytes()).unwrap();
    // An older view is none.
    verify(&site, &["--against", &argument(&site.path("shorter.cbor"))]).ok();
    // One that leaves out what came between does not verify.
    let mut cut = bundle;
    cut.receipts.remove(1);
    fs::write(site.path("cut.cbor"), cut.to_bytes()).unwrap();
    let refused = verify(&site, &["--against", &argument(&site.path("cut.cbor"))]);
    assert_eq!(refused.code, Some(9));
}

/// The refinery never says that a round is stored, and has it made again and again from the state before: every
/// attempt is counted in the receipt that it keeps, and they are capped.
#[test]
fn attack_rounds_tried_again_are_counted_and_capped() {
    let mut scene = Scene::new(&["--attempts", "3"]);
    let without_stored = |frame: Frame| match frame {
        Frame::ToWarden(ToWarden::Stored { .. }, _) => vec![],
        other => vec![other],
    };
    scene.proxy.attack(without_stored);
    let link = scene.site.path("proxy.sock");
    snapshot(&scene.site, "before");
    for attempt in 0..2 {
        scene.site.on_project("refine", &[]).ok();
        scene.site.services.kill_warden();
        scene.site.services.kill_refinery();
        if attempt == 0 {
            snapshot(&scene.site, "first");
        }
        go_back(&scene.site, "before");
        scene.site.services.start_refinery().unwrap();
        scene.site.services.start_warden_at(&link, &["--no-shared-memory"]).unwrap();
    }
    scene.site.on_project("refine", &[]).ok();
    let (_, bundle) = scene.verify();
    let policy = OwnerPolicy::parse(&fs::read_to_string(scene.site.path("p/policy.toml")).unwrap()).unwrap();
    let receipt = open_receipt(&bundle.receipts[2].0, &policy.receipts).unwrap();
    assert_eq!((receipt.round, receipt.attempts), (2, 3));

    scene.site.services.kill_warden();
    scene.site.services.kill_refinery();
    go_back(&scene.site, "before");
    scene.site.services.start_refinery().unwrap();
    scene.site.services.start_warden_at(&link, &["--no-shared-memory"]).unwrap();
    scene
        .site
        .on_project("refine", &[])
        .refused(5, &["3 attempts were made at this round, and 3 are allowed"]);

    // Nor is the result of an earlier attempt, whose receipt counts one, taken back.
    scene.site.services.kill_warden();
    scene.site.services.kill_refinery();
    go_back(&scene.site, "first");
    scene.site.services.start_refinery().unwrap();
    scene.site.services.start_warden_at(&link, &["--no-shared-memory"]).unwrap();
    scene.site.on_project("refine", &[]).refused(5, &["another history"]);
}

/// A contributor sends rows beyond the bound that all software keeps: the upload is refused and named, and rounds
/// go on without it.
#[test]
fn attack_oversized_rows_of_a_contributor() {
    use blindsmith_learn::{Matrix, Targets};
    let site = two_rounds();
    let (project, keys) = (site.project(), blindsmith_client::Keys::load(&site.path("p")).unwrap());
    let (id, rows) = (project.id(), 20);
    let values = (0..rows * 3).map(|i| if i == 7 { 1000.0 } else { 0.1 }).collect();
    let matrix = Matrix::from_rows(rows, 3, values).unwrap();
    let targets = Targets::Classes(vec![0; rows]);
    let seed = keys.contributor(&id);
    let who = blindsmith_client::Sender { contributor: keys.public(), terms: [0; 32], seed: &seed, era: 0 };
    let role = blindsmith_protocol::Role::Training;
    let mut connection = site.connect();
    let sent =
        blindsmith_client::send(&mut connection, &project.spec, who, role, (&matrix, &targets), &mut |_| {});
    let upload = sent.unwrap().upload.to_string();
    site.wait();
    let status = site.on_project("refine", &[]).ok().json();
    let uploads = status["uploads"].as_array().unwrap();
    let refused = uploads.iter().find(|u| u["upload"] == upload.as_str()).unwrap();
    assert_eq!(refused["refused"], true);
    assert!(refused["reason"].as_str().unwrap().contains("blocks 0 are not well formed"), "{refused}");
    assert_eq!(status["rounds"].as_array().unwrap().len(), 4);
}
