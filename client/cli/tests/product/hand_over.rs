//! A second warden takes a project over while its owner is away.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blindsmith_api::message::{Reply, Request};

use crate::members::{shared, shared_by_itself};
use crate::site::{Site, argument};
use crate::tables;

/// A warden beside the site's own, with a state of its own.
struct Second {
    process: Child,
    log: PathBuf,
}

/// The warden to which the site's own handed the project over, as its refinery names it.
fn successor(site: &Site) -> String {
    let failure = site.status()["failure"].as_str().unwrap().to_owned();
    let (_, after) = failure.split_once("forgive --lost ").unwrap();
    after.split_whitespace().next().unwrap().to_owned()
}

impl Second {
    fn start(site: &Site, name: &str) -> Self {
        let log = site.path(&format!("{name}.log"));
        let process =
            Command::new(Path::new(env!("CARGO_BIN_EXE_blindsmith")).with_file_name("blindsmith-warden"))
                .args(["--tee", "simulated", "--threads", "1", "--take-over", "--refinery"])
                .arg(site.services.store().join("warden.sock"))
                .arg("--state")
                .arg(site.path(name))
                .stdin(Stdio::null())
                .stderr(File::create(&log).unwrap())
                .spawn()
                .unwrap();
        Second { process, log }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        println!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
    }
}

/// Waits until the refinery's log has these words so often.
fn logged(site: &Site, words: &str, times: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while site.logs().matches(words).count() < times {
        assert!(Instant::now() < deadline, "{words:?} is not in: {}", site.logs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn after_a_killed_warden_and_a_hand_over_refining_goes_on_without_the_owner() {
    let mut site = shared_by_itself(&[]);
    site.on_project("approve", &[]).ok();
    site.member("a", &[]);
    // The owner's part ends here: a round starts with each of the contributor's uploads. A warden is killed in one and
    // comes back.
    site.sends("a", tables::largest(100..400));
    site.during_a_round(2, |services| {
        services.kill_warden();
        services.start_warden().unwrap();
    });
    site.until(|status| status.rounds.len() == 2 && !status.busy);
    // Another one takes over, and the first is gone for good.
    let second = Second::start(&site, "second");
    logged(&site, "another warden goes on", 1);
    site.services.kill_warden();
    site.until(|status| status.ready);
    // What the contributor handed over went along: its new rows are read and trained on.
    let upload = site.sends("a", tables::largest(400..700));
    site.until(|status| status.rounds.len() == 3 && !status.busy);
    // The refinery starts again: the second warden is known by what it sealed for itself.
    site.services.kill_refinery();
    site.services.start_refinery().unwrap();
    site.until(|status| status.ready);
    site.sends("a", tables::largest(700..800));
    site.until(|status| status.rounds.len() == 4 && !status.busy);
    // The owner is back.
    assert_eq!(site.state_of(&upload), "used");
    site.verified();
    drop(second);
    // The first one is done with the project: it runs no round of it.
    site.services.start_warden().unwrap();
    logged(&site, "a warden connected", 4);
    site.until(|status| status.failure.as_deref().is_some_and(|f| f.contains("handed the project over")));
}

#[test]
fn a_warden_goes_on_once_the_owner_says_that_the_one_it_handed_over_to_is_lost() {
    let mut site = shared(&[]);
    site.on_project("approve", &[]).ok();
    let second = Second::start(&site, "second");
    logged(&site, "another warden goes on", 1);
    drop(second);
    site.until(|status| status.failure.as_deref().is_some_and(|f| f.contains("forgive --lost")));
    let lost = successor(&site);
    // What forgives something else changes nothing.
    for more in [&[][..], &["--lost", &"ab".repeat(32)]] {
        site.on_project("forgive", more).ok();
        assert_eq!(successor(&site), lost);
    }
    site.on_project("forgive", &["--lost", &lost]).ok();
    site.until(|status| status.ready && status.failure.is_none());
    trains(&site, 2);
    // It stays so.
    site.services.kill_warden();
    site.services.start_warden().unwrap();
    trains(&site, 3);
    site.verified();
}

#[test]
fn a_warden_that_is_done_with_a_project_is_not_in_the_way_of_the_one_that_has_it() {
    let mut site = shared(&[]);
    site.on_project("approve", &[]).ok();
    let _second = Second::start(&site, "second");
    logged(&site, "another warden goes on", 1);
    site.until(|status| status.ready);
    // Both come again; whichever is first, the project is worked on.
    for rounds in [2, 3] {
        site.services.kill_refinery();
        site.services.start_refinery().unwrap();
        site.until(|status| status.ready);
        trains(&site, rounds);
    }
    site.verified();
}

#[test]
fn a_warden_that_would_take_over_serves_without_if_nobody_comes() {
    let mut site = shared(&[]);
    site.on_project("approve", &[]).ok();
    site.services.kill_warden();
    site.services.kill_refinery();
    // As long as it is told to, it waits.
    site.write("refinery.toml", "[local]\ntake_over_wait = 0\n");
    site.services.start_refinery().unwrap();
    let second = Second::start(&site, "second");
    logged(&site, "this one serves without them", 1);
    // What it was not given it does not have; others are served.
    site.until(|status| status.failure.as_deref().is_some_and(|f| f.contains("secrets")));
    site.init_as("other", "first.csv", &["--label", "largest", "--hidden", "4"]).ok();
    // The other one comes after all, and has its turn once this one connects again.
    drop(second);
    site.services.start_warden().unwrap();
    let _second = Second::start(&site, "second");
    logged(&site, "another warden goes on", 1);
    site.until(|status| status.ready);
    trains(&site, 2);
    site.verified();
}

#[test]
fn a_contributor_whose_own_policy_refuses_the_other_warden_is_left_out_there() {
    // Whether the rows make the model better is not what matters here.
    let site = shared(&["--tolerance", "100", "--screening", "0"]);
    site.on_project("approve", &[]).ok();
    site.member("a", &[]);
    site.joins("b", &[]);
    // It accepts this simulated warden for itself, and none that its rows are handed on to.
    let terms = site.path("b").join("terms.toml");
    let text = std::fs::read_to_string(&terms).unwrap();
    let policy = text.find("policy = ").unwrap();
    std::fs::write(&terms, format!("{}policy = '''\n{SNP_ONLY}'''\n", &text[..policy])).unwrap();
    let key = site.of("b", "join", &[]).ok().json()["member"].as_str().unwrap().to_owned();
    site.on_project("invite", &["--member", &key]).ok();
    assert_eq!(site.of("b", "join", &[]).ok().json()["enrolled"], true);
    let before = site.sends("b", tables::largest(100..200));
    site.on_project("refine", &[]).ok();
    assert_eq!(site.state_of(&before), "used");
    let _second = Second::start(&site, "second");
    logged(&site, "another warden goes on", 1);
    site.until(|status| status.ready);
    let (kept, refused) =
        (site.sends("a", tables::largest(200..500)), site.sends("b", tables::largest(500..600)));
    site.on_project("refine", &[]).ok();
    assert_eq!((site.state_of(&kept), site.state_of(&refused)), ("used".into(), "refused".into()));
    // Its earlier rows are left out too: they cannot be opened there.
    let status = site.status();
    let rows = status["rounds"].as_array().unwrap().last().unwrap()["rows"].as_u64().unwrap();
    assert!(rows <= 360, "{rows} rows: of the owner and of one contributor alone");
    site.verified();
}

#[test]
fn a_warden_that_the_owner_did_not_approve_of_gets_nothing() {
    let site = shared(&[]);
    let unknown = format!("simulated:{}", "00".repeat(32));
    site.on_project("approve", &["--warden", &unknown]).ok();
    let _second = Second::start(&site, "second");
    logged(&site, "did not approve of a warden of the kind simulated", 1);
    trains(&site, 2);
    // The newest approval counts: the warden that waited takes over.
    site.on_project("approve", &[]).ok();
    logged(&site, "another warden goes on", 1);
    site.until(|status| status.ready);
    site.on_project("refine", &[]).ok();
    site.verified();
}

/// The appraiser of the site's warden.
fn appraiser(site: &Site) -> String {
    let warden = site.services.processes()[1].unwrap();
    let children = std::fs::read_to_string(format!("/proc/{warden}/task/{warden}/children")).unwrap();
    children.trim().to_owned()
}

/// Waits until a process has ended, whether or not anybody took note of it.
fn gone(process: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "process {process} goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_an_appraiser_nothing_is_handed_over_and_training_goes_on() {
    let mut site = shared(&[]);
    // Killed: the warden says so when it needs it, and starts no other one.
    let first = appraiser(&site);
    assert!(Command::new("kill").args(["-KILL", &first]).status().unwrap().success());
    gone(&first);
    site.on_project("approve", &[]).ok();
    let second = Second::start(&site, "second");
    logged(&site, "hand-over is refused until this warden is started again: this warden's appraiser", 1);
    trains(&site, 2);
    drop(second);
    // None, and a program that is something else.
    for (program, words) in [
        ("/nowhere/appraiser", "the appraiser /nowhere/appraiser: No such file"),
        ("/bin/true", "the appraiser /bin/true: the peer closed the connection"),
    ] {
        let (link, hand_overs) =
            (site.services.store().join("warden.sock"), site.logs().matches("hand-over is refused").count());
        site.services.start_warden_at(&link, &["--appraiser", program]).unwrap();
        logged(&site, &format!("this warden hands no project over: {words}"), 1);
        site.until(|status| status.ready);
        let _second = Second::start(&site, "second");
        logged(&site, "hand-over is refused", hand_overs + 1);
    }
    trains(&site, 3);
    // Started again with it, the warden hands over; and its appraiser ends with it.
    site.services.start_warden().unwrap();
    let last = appraiser(&site);
    assert!(!last.is_empty() && last != first);
    let _second = Second::start(&site, "second");
    logged(&site, "another warden goes on", 1);
    site.services.kill_warden();
    gone(&last);
}

const SNP_ONLY: &str = "[snp]\nmachines = \"any\"\nguests = []\n[snp.minimum_tcb]\n";

/// A round of rows of the owner; so many there are then.
fn trains(site: &Site, rounds: usize) {
    site.write("more.csv", tables::largest(100..200));
    site.push("more.csv", &[]).ok();
    site.on_project("refine", &[]).ok();
    assert_eq!(site.history()["rounds"].as_array().unwrap().len(), rounds);
}

#[test]
fn nobody_is_approved_before_the_owner_says_so() {
    let site = shared(&[]);
    let _second = Second::start(&site, "second");
    logged(&site, "the owner approved of no other warden", 1);
    site.on_project("approve", &["--none"]).ok();
    logged(&site, "did not approve of a warden", 1);
    // The first goes on.
    trains(&site, 2);
    let approve = |warden: &str, more: &[&str]| {
        let project = argument(&site.path("p"));
        site.run(&[&["approve", "--project", &project, "--warden", warden], more].concat())
    };
    approve("snp", &[]).refused(2, &["give a kind"]);
    let guest = format!("snp:{}", "5a".repeat(48));
    approve(&guest, &[])
        .refused(2, &["attestation.toml accepts no wardens of the kind snp", "--attestation"]);
    // A policy for hardware alone: what is simulated is refused by it, not only by its name.
    let policy = site.write("snp.toml", SNP_ONLY);
    approve(&guest, &["--attestation", &policy]).ok();
    logged(&site, "the other warden is refused: evidence.kind", 1);
    // What the operator keeps for that and is none, is named.
    let collateral = site.services.store().join("collateral");
    std::fs::create_dir(&collateral).unwrap();
    std::fs::write(collateral.join("notes"), "no collateral").unwrap();
    site.on_project("approve", &[]).ok();
    logged(&site, "not usable as collateral", 1);
    trains(&site, 3);
}

#[test]
fn an_owner_that_is_shown_fewer_or_other_orders_than_before_signs_none() {
    let site = shared(&[]);
    site.on_project("approve", &["--none"]).ok();
    let known = site.path("p").join("orders.json");
    let given = std::fs::read_to_string(&known).unwrap();
    // As if it had seen one more, or another one.
    for other in [given.replace("[\"", "[\"00\",\""), given.replace("[\"", "[\"00")] {
        assert_ne!(other, given);
        std::fs::write(&known, &other).unwrap();
        let refused = ["the refinery shows 1 orders of yours", "nothing was signed", "orders.json"];
        site.on_project("forgive", &[]).refused(9, &refused);
    }
    std::fs::write(&known, &given).unwrap();
    site.on_project("forgive", &["--lost", &"ab".repeat(32)]).ok();
    std::fs::remove_file(&known).unwrap();
    site.on_project("forgive", &[]).ok();
    let listed = site.on_project("orders", &[]).ok().json();
    let actions = listed.as_array().unwrap().iter().map(|l| l["action"].as_str().unwrap());
    let lost = format!("go on without warden {}", "ab".repeat(32));
    assert!(actions.eq(["approve of 0 wardens", &lost, "forgive wrong answers and attempts"]));
}

#[test]
fn an_order_whose_acknowledgement_was_lost_is_given_as_it_was_signed() {
    let site = shared(&[]);
    site.on_project("approve", &["--none"]).ok();
    let known = site.path("p").join("orders.json");
    let (Reply::Orders(orders), _) =
        site.connect().request(&Request::Orders { project: site.project().id() }, &[]).unwrap()
    else {
        panic!("orders are due");
    };
    let digits: String = orders[0].0.iter().map(|b| format!("{b:02x}")).collect();
    let lost = || {
        let lost = format!(r#"{{"orders":[],"pending":{{"order":"{digits}"}}}}"#);
        std::fs::write(&known, lost).unwrap();
    };
    lost();
    // The same again is the same order, another one comes after it.
    assert_eq!(site.on_project("approve", &["--none"]).ok().json()["order"], 1);
    lost();
    let outcome = site.on_project("forgive", &[]).ok();
    assert!(outcome.stderr.contains("order 1, which was not acknowledged before, is given now"));
    assert_eq!(outcome.json()["order"], 2);
}
