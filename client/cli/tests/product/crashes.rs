//! Processes killed in the middle of a round (SIGKILL): the round is completed by itself, from where it
//! started, and nothing that was acknowledged is lost or there twice.

use blindsmith_api::message::{Reply, Request};
use blindsmith_keys::random_bytes;
use blindsmith_protocol::Role;
use serde_json::Value;

use crate::plain::Twin;
use crate::site::Site;
use crate::tables;

/// Steps before a process is killed.
const BEFORE: u64 = 5;

struct Started {
    site: Site,
    twin: Twin,
    uploads: Value,
}

/// A project whose first round, of 600 steps, is running.
fn start() -> Started {
    start_at("0.5")
}

/// The same at a learning rate.
fn start_at(rate: &str) -> Started {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let plan = ["--label", "largest", "--hidden", "16", "--epochs", "60", "--batch-rows", "64"];
    // Whether the model becomes better is not what matters here.
    let rules = ["--tolerance", "100", "--screening", "0", "--learning-rate", rate];
    site.init("first.csv", &[plan.as_slice(), &rules].concat()).ok();
    site.pull("initial.safetensors", &[]);
    let mut twin = Twin::new(site.project(), &site.path("initial.safetensors"));
    for (rows, training) in [(2000..2064, false), (60..700, true)] {
        let text = tables::largest(rows);
        site.write("rows.csv", &text);
        site.push("rows.csv", if training { &[] } else { &["--validation"] }).ok();
        twin.push(&text, true, training);
    }
    let uploads = site.status()["uploads"].clone();
    Started { site, twin, uploads }
}

/// Which uploads there are, in their order.
fn ids(uploads: &Value) -> Vec<&Value> {
    uploads.as_array().unwrap().iter().map(|u| &u["upload"]).collect()
}

impl Started {
    /// The round that was disturbed is complete, and as if nothing had happened; the next continues it.
    fn assert_completed(mut self) {
        let Started { site, twin, uploads } = &mut self;
        let status = site.wait();
        assert_eq!(status["failure"], Value::Null);
        assert_eq!(ids(&status["uploads"]), ids(uploads));
        let rounds = status["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2);
        assert_eq!((&rounds[1]["round"], &rounds[1]["steps"]), (&1.into(), &600.into()));
        assert_eq!(site.pull("refined.safetensors", &[]), 1);
        twin.round();
        let difference = twin.difference(&site.path("refined.safetensors"));
        assert!(difference < 1e-2, "a weight differs by {difference} from the undisturbed twin's");

        let text = tables::largest(700..710);
        site.write("rows.csv", &text);
        site.push("rows.csv", &[]).ok();
        let status = site.wait();
        assert_eq!(status["rounds"][2]["rows"], 650);
        assert_eq!(site.pull("refined.safetensors", &[]), 2);
        site.assert_no_panic();
    }
}

#[test]
fn a_warden_killed_in_a_round() {
    let mut started = start();
    started.site.during_a_round(BEFORE, |services| services.kill_warden());
    started.site.services.start_warden().unwrap();
    started.assert_completed();
}

#[test]
fn a_refinery_killed_in_a_round() {
    let mut started = start();
    started.site.during_a_round(BEFORE, |services| services.kill_refinery());
    started.site.services.start_refinery().unwrap();
    // The warden that lost its refinery comes back by itself.
    started.site.services.await_warden().unwrap();
    started.assert_completed();
}

#[test]
fn both_killed_in_a_round() {
    let mut started = start();
    started.site.during_a_round(BEFORE, |services| {
        services.kill_refinery();
        services.kill_warden();
    });
    started.site.services.start_refinery().unwrap();
    started.site.services.start_warden().unwrap();
    started.assert_completed();
}

/// Kills one of the services or both in the round that is running, and starts them again.
fn disturbed(site: &mut Site, (step, which): (u64, u8)) {
    site.during_a_round(step, |services| {
        if which != 0 {
            services.kill_refinery();
        }
        if which != 1 {
            services.kill_warden();
        }
    });
    if which != 0 {
        site.services.start_refinery().unwrap();
    }
    if which != 1 {
        site.services.start_warden().unwrap();
    }
    site.services.await_warden().unwrap();
}

#[test]
fn a_run_killed_at_random_steps_ends_as_one_that_nothing_disturbed() {
    // So that the encryption's noise does not grow from round to round.
    let mut started = start_at("0.05");
    let Started { site, twin, .. } = &mut started;
    let mut next = 700;
    for round in 1..=3 {
        for [step, which] in [random_bytes::<2>(), random_bytes(), random_bytes()] {
            let (step, which) = (1 + u64::from(step), which % 3);
            println!("round {round}: killed after step {step}, which {which}");
            disturbed(site, (step, which));
        }
        site.until(|status| status.rounds.len() > round && !status.busy);
        let status = site.status();
        assert_eq!(status["failure"], Value::Null);
        let rounds = status["rounds"].as_array().unwrap();
        assert_eq!((rounds.len(), &rounds[round]["decision"]), (round + 1, &"promoted".into()), "{status}");
        assert_eq!(site.pull("refined.safetensors", &[]), round as u64);
        twin.round();
        let difference = twin.difference(&site.path("refined.safetensors"));
        assert!(
            difference < 1e-2,
            "round {round}: a weight differs by {difference} from the undisturbed twin's"
        );
        if round < 3 {
            let text = tables::largest(next..next + 64);
            next += 64;
            site.write("rows.csv", &text);
            site.push("rows.csv", &[]).ok();
            twin.push(&text, true, true);
        }
    }
    site.verified();
    site.assert_no_panic();
}

/// Evidence and answer both come while the round goes on; it has steps for much longer than that.
#[test]
fn rows_are_predicted_while_a_round_goes_on() {
    let mut site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let plan = ["--label", "largest", "--hidden", "16", "--epochs", "3000", "--batch-rows", "64"];
    site.init("first.csv", &plan).ok();
    site.write("rows.csv", tables::largest(60..700));
    site.push("rows.csv", &[]).ok();
    site.during_a_round(BEFORE, |_| {});
    site.write("query.csv", tables::largest(700..710));
    let answer = site.on_project("predict", &["--data", "query.csv"]).ok().json();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 10);
    let status = site.status();
    assert_eq!((&status["busy"], status["rounds"].as_array().unwrap().len()), (&true.into(), 1));
    site.assert_no_panic();
}

#[test]
fn an_upload_cut_off_by_a_crash_leaves_nothing() {
    let mut site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4"]).ok();
    let project = site.project();
    let mut connection = site.connect();
    let (role, block_rows) = (Role::Training, project.spec.block_rows);
    connection.command(&Request::Push { project: project.id(), role, rows: 2 * block_rows }, &[]).unwrap();
    let block = vec![0; project.spec.block_bytes(role, block_rows)];
    connection.send(&Request::Blocks { first: 0 }, &[&block]).unwrap();
    let incoming = site.services.store().join("incoming");
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 1);
    site.services.kill_refinery();
    assert!(connection.receive().is_err());

    site.services.start_refinery().unwrap();
    site.services.await_warden().unwrap();
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 0);
    let status = site.connect().status(project.id()).unwrap();
    assert!(status.uploads.is_empty() && status.ready);
    site.write("rows.csv", tables::largest(60..80));
    site.push("rows.csv", &[]).ok();
    assert_eq!(site.wait()["rounds"].as_array().unwrap().len(), 2);
}

#[test]
fn rows_pushed_while_no_warden_is_there_are_trained_on_when_one_comes() {
    let mut site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1"]).ok();
    site.services.kill_warden();
    // The refinery notices by itself.
    site.until(|status| status.warden.is_none() && !status.ready);
    site.write("rows.csv", tables::largest(60..80));
    site.push("rows.csv", &[]).ok();
    let words = ["no warden is connected", "start blindsmith-warden"];
    site.on_project("refine", &["--wait-only"]).refused(5, &words);
    site.on_project("predict", &["--data", "rows.csv"]).refused(5, &words);
    site.services.start_warden().unwrap();
    assert_eq!(site.wait()["rounds"].as_array().unwrap().len(), 2);
}

#[test]
fn a_round_that_was_asked_for_survives_the_refinery_and_is_run_once() {
    let mut site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1"]).ok();
    site.write("rows.csv", tables::largest(60..80));
    site.push("rows.csv", &[]).ok();
    assert_eq!(site.wait()["rounds"].as_array().unwrap().len(), 2);

    site.services.kill_warden();
    site.until(|status| status.warden.is_none());
    let project = site.project().id();
    let (reply, _) = site.connect().request(&Request::Refine { project, epochs: Some(2) }, &[]).unwrap();
    assert!(matches!(reply, Reply::Done));
    site.services.kill_refinery();
    for _ in 0..2 {
        site.services.start_refinery().unwrap();
        site.services.start_warden_if_away().unwrap();
        site.services.await_warden().unwrap();
        let status = site.wait();
        let rounds = status["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 3, "one more, however often the refinery starts");
        assert_eq!((&rounds[2]["asked"], &rounds[2]["steps"]), (&true.into(), &2.into()));
        site.services.kill_refinery();
    }
}

#[test]
fn no_more_than_eight_rounds_wait_and_those_that_were_acknowledged_run() {
    let mut site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1", "--manual"]).ok();
    site.write("rows.csv", tables::largest(60..80));
    site.push("rows.csv", &[]).ok();
    site.services.kill_warden();
    site.until(|status| status.warden.is_none());
    let project = site.project().id();
    let ask = |site: &Site| site.connect().request(&Request::Refine { project, epochs: None }, &[]);
    for _ in 0..8 {
        assert!(matches!(ask(&site).unwrap().0, Reply::Done));
    }
    let assert_full = |site: &Site| {
        let refusal = ask(site).unwrap_err().to_string();
        assert!(refusal.contains("8 rounds of this project wait or run: ask again"), "{refusal}");
        assert_eq!(site.connect().status(project).unwrap().queued, 8);
    };
    assert_full(&site);
    site.services.kill_refinery();
    site.services.start_refinery().unwrap();
    assert_full(&site);
    site.services.start_warden().unwrap();
    let status = site.wait();
    assert_eq!((&status["queued"], status["rounds"].as_array().unwrap().len()), (&0.into(), 9));
}
