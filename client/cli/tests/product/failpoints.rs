//! A real run in which refinery or warden die, or the disk is full, at every place where they write: it goes on by
//! itself, and every acknowledged upload is used once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::site::{Site, argument};
use crate::tables;

const PLACE: &str = "BLINDSMITH_FAILPOINT";
/// Where the warden may end. Its passages cannot be written down, as it may open no file once it is confined.
const OF_THE_WARDEN: [&str; 3] = ["warden.begun", "warden.written", "warden.renamed"];
const DEADLINE: Duration = Duration::from_secs(60);

struct Run {
    site: Site,
    /// Rows that were sent so far.
    rows: usize,
    acknowledged: Vec<String>,
    /// Pushes that ended without an acknowledgement.
    without: usize,
}

impl Run {
    fn new() -> Self {
        let site = Site::new();
        site.write("first.csv", tables::largest(0..60));
        // Whether the model becomes better is not what matters here.
        let rules = ["--tolerance", "100", "--screening", "0", "--attempts", "1000"];
        let plan = ["--label", "largest", "--hidden", "4", "--epochs", "1", "--batch-rows", "64"];
        site.init("first.csv", &[plan.as_slice(), &rules].concat()).ok();
        Run { site, rows: 60, acknowledged: vec![], without: 0 }
    }

    /// Starts what ended by itself, without failures from now on; whether something had.
    fn mend(&mut self) -> bool {
        let services = &mut self.site.services;
        services.set_environment(&[]);
        let mut ended = false;
        loop {
            let [refinery, warden] = services.ended();
            ended |= refinery || warden;
            if refinery {
                services.start_refinery().unwrap();
            }
            if refinery || warden {
                // One that lost its refinery would come back by itself, after a while.
                services.kill_warden();
            }
            services.start_warden_if_away().unwrap();
            // It may end only now.
            if services.await_warden().is_ok() {
                return ended;
            }
            assert_ne!(services.ended(), [false, false], "the warden does not come back");
        }
    }

    /// An upload and the round after it, by processes that fail at a place; whether one of them ended there.
    fn pass(&mut self, variable: &'static str, place: &str) -> bool {
        let services = &mut self.site.services;
        services.kill_warden();
        services.kill_refinery();
        services.set_environment(&[(variable, place)]);
        let started = services.start_refinery().is_ok() && services.start_warden().is_ok();
        let mut ended = !started && self.mend();
        self.site.write("rows.csv", tables::largest(self.rows..self.rows + 8));
        self.rows += 8;
        let start = Instant::now();
        let upload = loop {
            let sent = self.site.push("rows.csv", &[]);
            if sent.code == Some(0) {
                break sent.json()["upload"].as_str().unwrap().to_owned();
            }
            assert!(matches!(sent.code, Some(1 | 4 | 5)) && start.elapsed() < DEADLINE, "{place}: {sent:?}");
            self.without += 1;
            ended |= self.mend();
        };
        self.acknowledged.push(upload.clone());
        loop {
            // The refinery may be gone, or go now.
            let status = self.site.on_project("refine", &["--wait-only"]);
            let status =
                if matches!(status.code, Some(0 | 5)) { self.site.on_project("status", &[]) } else { status };
            let (there, status) = (status.code == Some(0), status.stdout);
            let status: Value = serde_json::from_str(&status).unwrap_or_default();
            let uploads = status["uploads"].as_array().into_iter().flatten();
            if uploads.clone().any(|u| u["upload"] == upload.as_str() && u["state"] == "used") {
                return ended;
            }
            assert!(start.elapsed() < DEADLINE, "{place}: {status}");
            let failure = status["failure"].as_str().unwrap_or_default();
            ended |= self.mend();
            assert!(!there || failure.is_empty() || failure.contains("is tried again"), "{place}: {failure}");
        }
    }

    /// Nothing was lost, nothing is there twice, and the history is one that nothing disturbed.
    fn check(mut self) {
        let history = self.site.history();
        let (uploads, rounds) =
            (history["uploads"].as_array().unwrap(), history["rounds"].as_array().unwrap());
        let mut states = BTreeMap::<&str, &Value>::new();
        for upload in uploads {
            assert!(states.insert(upload["upload"].as_str().unwrap(), &upload["state"]).is_none());
            assert_eq!(upload["state"], "used", "stored, with its acknowledgement or without");
        }
        for upload in &self.acknowledged {
            assert!(states.contains_key(upload.as_str()), "{upload} was acknowledged and is gone");
        }
        assert!(states.len() <= self.acknowledged.len() + self.without);
        let numbers: Vec<u64> = rounds.iter().map(|r| r["round"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..rounds.len() as u64).collect::<Vec<_>>());
        // Each round went over all rows that there were: none twice.
        let last = rounds.last().unwrap();
        assert_eq!(last["rows"].as_u64().unwrap(), 8 * states.len() as u64);
        self.site.verified();
        self.site.assert_no_panic();
        self.site.services.kill_refinery();
        let found = self.site.stored().fsck().unwrap();
        assert!(found.is_sound(), "{found:?}");
    }
}

#[test]
fn the_refinery_dies_or_has_no_room_at_any_write_of_a_run() {
    let mut run = Run::new();
    let log = run.site.path("passages");
    run.pass("BLINDSMITH_FAILPOINT_LOG", &argument(&log));
    let mut passages = BTreeMap::<(String, bool), u32>::new();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let (name, kind) = line.split_once(' ').unwrap();
        *passages.entry((name.to_owned(), kind == "refusable")).or_default() += 1;
    }
    assert!(passages.len() >= 8, "{passages:?}");
    let (mut survived, mut tried) = (0, 0);
    for ((name, refusable), count) in passages {
        for n in 1..=count {
            assert!(run.pass(PLACE, &format!("{name}:{n}")), "nothing ended at {name}:{n}");
            if name.ends_with(".write") {
                assert!(run.pass(PLACE, &format!("{name}:{n}:torn")));
            }
            if refusable {
                // One that cannot write as it starts says so and ends.
                tried += 1;
                survived += u32::from(!run.pass(PLACE, &format!("{name}:{n}:error")));
            }
        }
    }
    assert!(survived + 3 >= tried, "a full disk ended the refinery {} times", tried - survived);
    run.check();
}

#[test]
fn the_warden_dies_or_has_no_room_at_any_write_of_a_run() {
    let mut run = Run::new();
    let mut deaths = 0;
    for place in OF_THE_WARDEN {
        let writes = (1..).take_while(|n| run.pass(PLACE, &format!("{place}:{n}"))).count();
        deaths += writes;
        for n in 1..=writes {
            // One that cannot write goes on once it can, without a start.
            assert!(!run.pass(PLACE, &format!("{place}:{n}:error")), "it ended at {place}:{n}");
            if place == "warden.begun" {
                assert!(run.pass(PLACE, &format!("{place}:{n}:torn")));
            }
        }
    }
    assert!(deaths >= 6, "{deaths}");
    run.check();
}
