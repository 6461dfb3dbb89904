//! `blindsmith watch` where nobody sits before a terminal.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::site::Site;

const ROWS: &str = "age,dose,outcome\n61,2.5,good\n44,1.0,poor\n57,1.5,good\n70,2.0,poor\n";

/// A running `watch`; it ends when this is dropped.
struct Watching {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(site: &Site, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_blindsmith"))
            .args(["watch", "--project", "p"])
            .args(more)
            .current_dir(site.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watching { child, lines }
    }

    /// Reads on up to a line that has this in it.
    fn until(&mut self, part: &str) -> String {
        let found = self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("it ended without {part}"))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn changes_are_lines_and_a_refinery_that_was_away_is_watched_again() {
    let mut site = Site::new();
    site.write("rows.csv", ROWS);
    site.init("rows.csv", &["--label", "outcome", "--hidden", "4", "--epochs", "2"]).ok();
    let mut watching = Watching::start(&site, &[]);
    watching.until("warden SIMULATED (protects nothing), secrets held");
    watching.until("round 0 promoted: version 0");
    site.push("rows.csv", &[]).ok();
    watching.until("training 4 rows");
    let round = watching.until("round 1 promoted: version 1, 4 rows");
    assert!(round.contains("training loss"), "{round}");
    site.services.kill_refinery();
    watching.until("TROUBLE: no refinery answers");
    site.services.start_refinery().unwrap();
    site.services.await_warden().unwrap();
    site.write("more.csv", "age,dose,outcome\n61,1.5,good\n45,1.0,poor\n");
    site.push("more.csv", &[]).ok();
    watching.until("training 2 rows");
    watching.until("round 2 promoted: version 2");
    site.assert_no_panic();
}

#[test]
fn objects_have_what_status_has_and_figures_only_for_the_owner() {
    let site = Site::new();
    site.write("rows.csv", ROWS);
    site.init("rows.csv", &["--label", "outcome", "--hidden", "4", "--epochs", "2"]).ok();
    site.push("rows.csv", &[]).ok();
    let status = site.wait();
    let first = |site: &Site| -> serde_json::Value {
        serde_json::from_str(&Watching::start(site, &["--json"]).until("{")).unwrap()
    };
    let mut watched = first(&site);
    let extra = watched.as_object_mut().unwrap();
    assert_eq!((extra.remove("progress"), extra.remove("trouble")), (Some(().into()), Some(().into())));
    assert_eq!(watched, status);
    assert!(watched["rounds"][1]["training_loss"].is_array());
    std::fs::remove_file(site.path("p/owner.key")).unwrap();
    assert!(first(&site)["rounds"][1]["training_loss"].is_null());
}

#[test]
fn what_does_not_work_at_once_is_an_error() {
    let mut site = Site::new();
    site.write("rows.csv", ROWS);
    site.init("rows.csv", &["--label", "outcome", "--hidden", "4"]).ok();
    site.services.kill_refinery();
    site.run(&["watch", "--project", "p"]).refused(4, &["no refinery answers"]);
}
