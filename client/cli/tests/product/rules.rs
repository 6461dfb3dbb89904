//! The owner's rules and the contributors' terms, where a run shows that they are kept.

use serde_json::Value;

use crate::members::shared;
use crate::site::Site;
use crate::tables;

/// What the last round was.
fn last(site: &Site) -> Value {
    site.status()["rounds"].as_array().unwrap().last().unwrap().clone()
}

fn refined(site: &Site) -> Value {
    site.on_project("refine", &[]).ok();
    last(site)
}

fn pushed(site: &Site, rows: std::ops::Range<usize>) {
    site.write("rows.csv", tables::largest(rows));
    site.push("rows.csv", &[]).ok();
}

#[test]
fn new_rows_are_trained_on_with_the_share_of_old_ones_that_the_owner_chose() {
    // Whether the model becomes better is not what matters here.
    let rows_of_the_second = |replay: &[&str]| {
        let site = shared(&[&["--tolerance", "100", "--screening", "0", "--epochs", "1"], replay].concat());
        pushed(&site, 100..500);
        assert_eq!(refined(&site)["rows"], 400);
        pushed(&site, 500..600);
        refined(&site)["rows"].as_u64().unwrap()
    };
    assert_eq!(rows_of_the_second(&[]), 500);
    assert_eq!(rows_of_the_second(&["--replay", "0"]), 100);
    let half = rows_of_the_second(&["--replay", "50"]);
    // Up to a sampling group more.
    assert!((150..=214).contains(&half), "{half}");
}

#[test]
fn a_round_stops_when_epochs_bring_no_progress() {
    // A model that does not move makes none, but for the encryption's noise: that is less and less likely to give the
    // smallest loss so far.
    let rules = ["--tolerance", "100", "--screening", "0", "--epochs", "60", "--learning-rate", "1e-9"];
    let site = shared(&[rules.as_slice(), &["--patience", "2"]].concat());
    pushed(&site, 100..356);
    let steps = refined(&site)["steps"].as_u64().unwrap();
    // Of 64 rows a step; at least the first epoch and two without progress.
    assert!(steps.is_multiple_of(4) && (3 * 4..60 * 4).contains(&steps), "{steps}");
}

#[test]
fn of_each_contributor_so_many_rows_judge_and_of_one_that_shows_no_figures_none() {
    let rules = ["--tolerance", "100", "--screening", "0", "--epochs", "1", "--judging-rows", "40"];
    let site = shared(&rules);
    let (shown, hidden) =
        (site.member("a", &["--metrics-rows", "1"]), site.member("b", &["--metrics-rows", "200"]));
    site.sends("a", tables::largest(100..4100));
    site.sends("b", tables::largest(6000..10000));
    site.on_project("refine", &[]).ok();
    // What was accepted judges from the next round on.
    let round = refined(&site);
    let of = |key: &str| {
        let parts = round["contributors"].as_array().unwrap();
        parts.iter().find(|p| p["contributor"] == key).unwrap()["validation"].clone()
    };
    let judged = of(&shown)["rows"].as_u64().unwrap();
    // Up to a sampling group more.
    assert!((40..104).contains(&judged), "{round}");
    assert_eq!(of(&hidden), Value::Null);
    // Neither do its figures follow from the others': nothing of it is in the sum.
    let owner = of(site.status()["uploads"][0]["contributor"].as_str().unwrap())["rows"].as_u64().unwrap();
    assert!((40..104).contains(&owner), "{round}");
    assert_eq!(round["validation"]["rows"].as_u64().unwrap(), owner + judged);
    site.verified();
}

#[test]
fn rows_of_twenty_contributors_are_in_one_minibatch() {
    let names: Vec<String> = (1..=20).map(|i| format!("m{i}")).collect();
    let rules = ["--tolerance", "100", "--screening", "0", "--epochs", "1", "--batch-rows", "4096"];
    let site = shared(&rules);
    let mut uploads = Vec::new();
    for (i, name) in names.iter().enumerate() {
        // The first one's rows are only for steps in which those of twenty contributors are.
        let terms: &[&str] = if i == 0 { &["--least-step-contributors", "20"] } else { &[] };
        site.member(name, terms);
        if i < 19 {
            uploads.push(site.sends(name, tables::largest(100 * i..100 * i + 40)));
        }
    }
    refined(&site);
    let states = |uploads: &[String]| -> Vec<String> { uploads.iter().map(|u| site.state_of(u)).collect() };
    assert_eq!(states(&uploads)[0], "admitted", "of nineteen there are too few");
    assert!(states(&uploads)[1..].iter().all(|state| state == "used"), "{:?}", states(&uploads));
    uploads.push(site.sends(&names[19], tables::largest(1900..1940)));
    let round = refined(&site);
    assert!(states(&uploads).iter().all(|state| state == "used"), "{:?}", states(&uploads));
    assert_eq!((&round["steps"], &round["uploads"]), (&1.into(), &21.into()), "{round}");
    site.verified();
}

#[test]
fn rows_wait_until_there_are_as_many_as_their_contributors_terms_ask_for() {
    let site = shared(&["--tolerance", "100", "--screening", "0", "--epochs", "1"]);
    site.member("a", &["--least-rows", "300"]);
    site.member("b", &["--least-step-rows", "65"]);
    site.member("c", &[]);
    let version = site.sends("a", tables::largest(100..200));
    // Batches have 64 rows.
    let step = site.sends("b", tables::largest(200..300));
    site.sends("c", tables::largest(300..400));
    refined(&site);
    assert_eq!((site.state_of(&version), site.state_of(&step)), ("admitted".into(), "admitted".into()));
    site.sends("c", tables::largest(400..600));
    refined(&site);
    assert_eq!((site.state_of(&version), site.state_of(&step)), ("used".into(), "admitted".into()));
    site.verified();
}

/// Under a fixed schedule what was set aside is asked for, and does not count for the minima of others.
#[test]
fn attack_an_upload_that_was_set_aside_fills_a_minimum_under_a_fixed_schedule() {
    // The model knows enough to tell wrong labels from the first round on.
    let rules = ["--fixed-schedule", "when-shared", "--warm-epochs", "60", "--tolerance", "100"];
    let site = shared(&rules);
    site.member("victim", &["--least-contributors", "2"]);
    site.member("other", &[]);
    site.sends("victim", tables::largest(100..500));
    let poisoned = site.sends("other", tables::shuffled(500..900));
    let decisions = || -> Vec<Value> {
        site.on_project("refine", &[]).ok();
        let history = site.history();
        history["rounds"].as_array().unwrap().iter().skip(1).map(|round| round["decision"].clone()).collect()
    };
    decisions();
    assert_eq!(site.state_of(&poisoned), "quarantined");
    // From now on both are no newcomers: the victim would train alone.
    assert_eq!(decisions(), ["rolled-back", "rolled-back"]);
    site.sends("other", tables::largest(900..1300));
    assert_eq!(decisions()[2], "promoted");
    site.verified();
}
