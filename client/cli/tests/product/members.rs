//! Several contributors under keys and terms of their own; rounds that judge and set aside; versions that come back.

use blindsmith_formats::{RoundMetrics, model_context};
use blindsmith_keys::Key;
use blindsmith_protocol::Id;
use serde_json::{Value, json};

use crate::site::{Outcome, Site, argument};
use crate::tables;

/// A project with rows of the owner that judge, and no others; rounds start when they are asked for.
pub fn shared(more: &[&str]) -> Site {
    shared_by_itself(&[&["--manual"], more].concat())
}

/// The same, with rounds that start with rows.
pub fn shared_by_itself(more: &[&str]) -> Site {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let mut plan = vec!["--label", "largest", "--hidden", "16"];
    // What becomes of an upload is seen, unless a test wants it otherwise.
    for [name, value] in [
        ["--epochs", "12"],
        ["--batch-rows", "64"],
        ["--weight-decay", "0.0001"],
        ["--fixed-schedule", "never"],
    ] {
        if !more.contains(&name) {
            plan.extend([name, value]);
        }
    }
    site.init("first.csv", &[plan.as_slice(), more].concat()).ok();
    site.write("judging.csv", tables::largest(5000..5200));
    site.push("judging.csv", &["--validation"]).ok();
    site
}

impl Site {
    pub fn of(&self, member: &str, command: &str, more: &[&str]) -> Outcome {
        self.run(&[&[command, "--project", member, "--json"], more].concat())
    }

    /// A directory of a new member that is not invited; its public key.
    pub fn joins(&self, member: &str, terms: &[&str]) -> String {
        let invitation = argument(&self.path("p/project.json"));
        let common = ["--invitation", &invitation, "--accept-simulated"];
        let joined = self.of(member, "join", &[common.as_slice(), terms].concat()).ok().json();
        assert_eq!(joined["enrolled"], false);
        joined["member"].as_str().unwrap().to_owned()
    }

    /// A member that the owner invited and that handed over its seed; its public key.
    pub fn member(&self, member: &str, terms: &[&str]) -> String {
        let key = self.joins(member, terms);
        self.on_project("invite", &["--member", &key, "--name", member]).ok();
        assert_eq!(self.of(member, "join", &[]).ok().json()["enrolled"], true);
        key
    }

    /// A member's rows; the upload's identifier.
    pub fn sends(&self, member: &str, rows: impl AsRef<[u8]>) -> String {
        self.write("rows.csv", rows);
        let sent = self.of(member, "push", &["--data", "rows.csv", "--again"]).ok().json();
        sent["upload"].as_str().unwrap().to_owned()
    }

    pub fn history(&self) -> Value {
        self.on_project("history", &[]).ok().json()
    }

    pub fn state_of(&self, upload: &str) -> String {
        let history = self.history();
        let found = history["uploads"].as_array().unwrap().iter().find(|u| u["upload"] == upload).unwrap();
        found["state"].as_str().unwrap().to_owned()
    }

    pub fn verified(&self) {
        self.on_project("receipts", &["--out", "receipts.cbor"]).ok();
        let policy = argument(&self.path("p/policy.toml"));
        let verdict =
            self.run(&["verify", "--receipts", "receipts.cbor", "--policy", &policy, "--json"]).ok();
        assert_eq!(verdict.json()["valid"], true);
    }
}

#[test]
fn a_poisoned_upload_is_named_and_left_out_and_the_others_make_the_model_better() {
    let site = shared(&[]);
    let keys: Vec<String> = ["a", "b", "c"].map(|m| site.member(m, &["--metrics-rows", "1"])).into();
    let good = [site.sends("a", tables::largest(100..500)), site.sends("b", tables::largest(500..900))];
    let poisoned = site.sends("c", tables::shuffled(900..1300));
    site.on_project("refine", &[]).ok();
    let history = site.history();
    let round = &history["rounds"][1];
    assert_eq!((&round["decision"], &history["current"]), (&"promoted".into(), &1.into()), "{round}");
    assert_eq!(round["quarantined"].as_array().unwrap().len(), 1, "{round}");
    assert_eq!(round["quarantined"][0]["upload"], poisoned.as_str());
    let (before, after) =
        (round["loss_before"].as_f64().unwrap(), round["validation"]["loss"].as_f64().unwrap());
    assert!(after < 0.6 * before, "{before} {after}");
    assert_eq!(site.state_of(&poisoned), "quarantined");
    good.iter().for_each(|upload| assert_eq!(site.state_of(upload), "used"));
    // The owner sees counts and figures of each contributor.
    let status = site.status();
    let parts = status["rounds"][1]["contributors"].as_array().unwrap();
    let rows =
        |key: &String| parts.iter().find(|p| p["contributor"] == key.as_str()).unwrap()["rows"].clone();
    assert_eq!(keys.iter().map(rows).collect::<Vec<_>>(), [400, 400, 400]);
    // Later rounds go on without it, and set nothing else aside.
    let more = site.sends("a", tables::largest(1300..1400));
    site.on_project("refine", &[]).ok();
    let history = site.history();
    assert_eq!(history["rounds"][2]["decision"], "promoted");
    assert_eq!(history["rounds"][2]["quarantined"], Value::Array(vec![]));
    assert_eq!(site.state_of(&more), "used");
    assert!(history["rounds"][2]["validation"]["accuracy"].as_f64().unwrap() > 0.85, "{history}");
    site.verified();
    site.assert_no_panic();
}

#[test]
fn a_poisoned_upload_alone_never_becomes_the_current_version() {
    let site = shared(&[]);
    site.member("a", &[]);
    site.sends("a", tables::largest(100..700));
    site.on_project("refine", &[]).ok();
    let before = site.pull("before.safetensors", &[]);
    let poisoned = site.sends("a", tables::shuffled(700..1000));
    site.on_project("refine", &[]).ok();
    let history = site.history();
    assert_eq!((&history["rounds"][2]["decision"], &history["current"]), (&"rolled-back".into(), &1.into()));
    assert_eq!(site.state_of(&poisoned), "quarantined");
    assert_eq!((before, site.pull("after.safetensors", &[])), (1, 2));
    let tensors = |file: &str| blindsmith_data::ModelFile::load(site.path(file)).unwrap().model;
    assert!(tensors("before.safetensors") == tensors("after.safetensors"), "the model changed");
    // Until the owner wants it tried again.
    site.on_project("readmit", &["--upload", &poisoned]).ok();
    site.on_project("refine", &[]).ok();
    assert_eq!(site.state_of(&poisoned), "quarantined");
    site.verified();
}

#[test]
fn an_earlier_version_comes_back_when_the_owner_orders_it() {
    let site = shared(&[]);
    site.write("rows.csv", tables::largest(100..300));
    site.push("rows.csv", &[]).ok();
    site.on_project("refine", &[]).ok();
    site.on_project("refine", &[]).ok();
    let model = |version: &str| {
        site.pull("m.safetensors", &["--version", version]);
        blindsmith_data::ModelFile::load(site.path("m.safetensors")).unwrap().model
    };
    assert!(model("1") != model("2"));
    site.on_project("rollback", &["--to", "9"]).refused(5, &["no version 9", "the newest is 2"]);
    site.on_project("rollback", &["--to", "1"]).ok();
    site.wait();
    let history = site.history();
    assert_eq!((&history["rounds"][3]["decision"], &history["current"]), (&"restored".into(), &1.into()));
    assert!(model("3") == model("1"));
    site.on_project("refine", &[]).ok();
    assert_eq!(site.history()["current"], 4);
    site.verified();
}

#[test]
fn a_querier_asks_under_a_key_of_its_own_until_the_owner_revokes_it() {
    let site = shared(&[]);
    site.write("rows.csv", tables::largest(100..400));
    site.push("rows.csv", &[]).ok();
    site.on_project("refine", &[]).ok();
    site.write("queries.csv", tables::largest(400..420));
    let ask = |who: &str| site.of(who, "predict", &["--data", "queries.csv"]);
    let key = site.joins("q", &[]);
    ask("q").refused(5, &["the query was refused"]);
    site.on_project("invite", &["--member", &key, "--role", "querier"]).ok();
    let joined = site.of("q", "join", &[]).ok().json();
    assert_eq!((&joined["role"], &joined["enrolled"]), (&"querier".into(), &false.into()));
    let answered = ask("q").ok().json();
    // Answers carry noise: what they say of the classes is the same.
    let classes = |answer: &Value| -> Vec<Value> {
        answer["predictions"].as_array().unwrap().iter().map(|row| row[0].clone()).collect()
    };
    assert_eq!(classes(&answered), classes(&ask("p").ok().json()));
    assert!(answered["accuracy"].as_f64().unwrap() > 0.7, "{answered}");
    // A clock that was far ahead, and was set right: queries go on after the last one's number.
    site.write("q/query.number", "4000000000000000000");
    (0..20).for_each(|_| _ = ask("q").ok());
    assert_eq!(std::fs::read_to_string(site.path("q/query.number")).unwrap(), "4000000000000000020");
    // Who sends rows does not ask, nor does who looks on.
    site.member("a", &[]);
    ask("a").refused(5, &["the query was refused"]);
    // Known again after both services were away.
    let mut site = site;
    site.services.kill_warden();
    site.services.kill_refinery();
    site.services.start_refinery().unwrap();
    site.services.start_warden().unwrap();
    site.until(|status| status.ready);
    let ask = || site.of("q", "predict", &["--data", "queries.csv"]);
    ask().ok();
    site.on_project("revoke", &["--member", &key]).ok();
    ask().refused(5, &["the query was refused"]);
    site.assert_no_panic();
}

#[test]
fn terms_keep_rows_out_until_enough_contributors_are_there_whatever_the_owner_wants() {
    let site = shared(&[]);
    site.member("a", &["--least-contributors", "3"]);
    site.member("b", &[]);
    let waiting = site.sends("a", tables::largest(100..300));
    let free = site.sends("b", tables::largest(300..500));
    site.on_project("refine", &[]).ok();
    assert_eq!((site.state_of(&waiting), site.state_of(&free)), ("admitted".into(), "used".into()));
    site.member("c", &[]);
    site.sends("c", tables::largest(500..700));
    site.on_project("refine", &[]).ok();
    // Invited for this round, the third counts from the next one on.
    assert_eq!(site.state_of(&waiting), "admitted");
    site.on_project("refine", &[]).ok();
    assert_eq!(site.state_of(&waiting), "used");
    site.verified();
}

/// Nor do those that were invited for the first round, and nothing else was there to train on.
#[test]
fn attack_contributors_invited_for_a_round_fill_its_minima() {
    let site = shared(&[]);
    let both = ["victim", "puppet"].map(|m| {
        site.member(m, &["--least-contributors", "2", "--least-rows", "300"]);
        site.sends(m, tables::largest(100..300))
    });
    site.on_project("refine", &[]).ok();
    let history = site.history();
    assert_eq!(
        (&history["rounds"][1]["decision"], &history["rounds"][1]["rows"]),
        (&"rolled-back".into(), &0.into())
    );
    both.iter().for_each(|upload| assert_eq!(site.state_of(upload), "admitted"));
    site.on_project("refine", &[]).ok();
    both.iter().for_each(|upload| assert_eq!(site.state_of(upload), "used"));
    // A member that is revoked and invited again is a newcomer again.
    let puppet = blindsmith_client::Keys::load(&site.path("puppet")).unwrap().public().to_string();
    site.on_project("revoke", &["--member", &puppet]).ok();
    site.on_project("invite", &["--member", &puppet]).ok();
    site.sends("victim", tables::largest(300..400));
    site.on_project("refine", &[]).ok();
    let rows = |round: usize| site.history()["rounds"][round]["rows"].clone();
    assert_eq!(rows(3), 0);
    site.on_project("refine", &[]).ok();
    assert!(rows(4).as_u64().unwrap() > 300);
    site.verified();
}

#[test]
fn where_others_contribute_decisions_are_sealed_and_the_owner_reads_them() {
    let site = shared(&["--fixed-schedule", "when-shared"]);
    site.write("rows.csv", tables::largest(100..300));
    site.push("rows.csv", &[]).ok();
    site.on_project("refine", &[]).ok();
    site.member("a", &[]);
    site.member("b", &[]);
    let good = site.sends("a", tables::largest(300..500));
    site.on_project("refine", &[]).ok();
    let poisoned = site.sends("b", tables::shuffled(500..900));
    site.on_project("refine", &[]).ok();
    // Alone the owner hides nothing; its members see that there were rounds, and no more.
    let seen = site.of("b", "history", &[]).ok().json();
    let decisions = |history: &Value| -> Vec<Value> {
        history["rounds"].as_array().unwrap().iter().map(|round| round["decision"].clone()).collect()
    };
    assert_eq!(decisions(&seen), ["promoted", "promoted", "sealed", "sealed"]);
    let of = |history: &Value, upload: &str| {
        let all = history["uploads"].as_array().unwrap();
        all.iter().find(|u| u["upload"] == upload).unwrap()["state"].clone()
    };
    assert_eq!(of(&seen, &poisoned), of(&seen, &good));
    // The owner sees what was decided.
    let history = site.history();
    assert!(decisions(&history).iter().all(|decision| decision != "sealed"), "{history}");
    assert_eq!((of(&history, &poisoned), of(&history, &good)), (json!("quarantined"), json!("used")));
    assert_eq!(history["rounds"][3]["quarantined"][0]["upload"], poisoned.as_str());
    site.verified();
}

#[test]
fn rows_of_terms_that_allow_one_version_enter_one() {
    // Whether the second version is better is not what matters here.
    let site = shared(&["--tolerance", "100"]);
    site.member("a", &["--most-versions", "1"]);
    site.member("b", &[]);
    site.sends("a", tables::largest(100..700));
    site.sends("b", tables::largest(700..800));
    site.on_project("refine", &[]).ok();
    site.sends("b", tables::largest(800..900));
    site.on_project("refine", &[]).ok();
    let status = site.status();
    assert_eq!(
        (&status["rounds"][1]["decision"], &status["rounds"][2]["decision"]),
        (&"promoted".into(), &"promoted".into())
    );
    let rows = |round: usize| status["rounds"][round]["rows"].as_u64().unwrap();
    // About a tenth is held out; in the second round rows of one member alone are trained on.
    assert!(rows(1) > 300 && rows(2) <= 200, "{} {}", rows(1), rows(2));
}

#[test]
fn who_is_not_invited_or_was_revoked_contributes_nothing() {
    // Whether the rows make the model better is not what matters here.
    let site = shared(&["--tolerance", "100", "--screening", "0"]);
    let stranger = site.joins("s", &[]);
    assert_eq!(site.of("s", "join", &[]).ok().json()["enrolled"], false);
    // What the warden would refuse is not sent, unless that is asked for.
    site.write("early.csv", tables::largest(100..200));
    site.of("s", "push", &["--data", "early.csv"]).refused(2, &["blindsmith invite --member", &stranger]);
    let sent = site.of("s", "push", &["--data", "early.csv", "--early"]).ok().json();
    let upload = sent["upload"].as_str().unwrap().to_owned();
    site.member("a", &[]);
    let good = site.sends("a", tables::largest(200..500));
    site.on_project("refine", &[]).ok();
    assert_eq!((site.state_of(&upload), site.state_of(&good)), ("refused".into(), "used".into()));
    // Invited later, its rows are read again.
    site.on_project("invite", &["--member", &stranger]).ok();
    site.of("s", "join", &[]).ok();
    site.on_project("refine", &[]).ok();
    assert_eq!(site.state_of(&upload), "used");
    // Revoked, its rows enter no further round.
    site.on_project("revoke", &["--member", &stranger]).ok();
    let members = site.on_project("members", &[]).ok().json();
    assert_eq!(members.as_array().unwrap().iter().filter(|m| m["revoked"] == true).count(), 1);
    site.on_project("refine", &[]).ok();
    let status = site.status();
    let last = status["rounds"].as_array().unwrap().last().unwrap();
    assert!(last["rows"].as_u64().unwrap() <= 300, "{last}");
    // Members give no orders.
    site.of("a", "revoke", &["--member", &stranger]).refused(8, &["owner.key"]);
    site.verified();
}

#[test]
fn a_contributor_withdraws_its_own_upload_and_nobody_elses() {
    let mut site = shared(&[]);
    site.member("a", &[]);
    site.member("b", &[]);
    let (of_a, of_b) =
        (site.sends("a", tables::largest(100..300)), site.sends("b", tables::largest(300..500)));
    site.on_project("refine", &[]).ok();
    site.of("b", "withdraw", &["--upload", &of_a]).refused(5, &["has no upload"]);
    site.on_project("withdraw", &["--upload", &of_a]).refused(5, &["has no upload"]);
    site.of("a", "withdraw", &["--upload", &of_a]).ok();
    assert_eq!((site.state_of(&of_a), site.state_of(&of_b)), ("withdrawn".into(), "used".into()));
    // The version that used it is marked.
    let marked = |site: &Site| {
        let (status, history) = (site.status(), site.history());
        for marks in [&status["rounds"], &history["rounds"], &history["versions"]] {
            let withdrawn: Vec<_> =
                marks.as_array().unwrap().iter().map(|r| r["withdrawn"].clone()).collect();
            assert_eq!(withdrawn[..2], [json!([]), json!([of_a])]);
            assert!(withdrawn[2..].iter().all(|none| *none == json!([])));
        }
        let words = site.run(&["history", "--project", "p"]).ok().stdout;
        assert!(
            words.contains(&format!("used uploads that were withdrawn since: {}", &of_a[..16])),
            "{words}"
        );
        history
    };
    marked(&site);
    // It stays so after a restart, and rounds go on without its rows.
    site.services.kill_refinery();
    site.services.start_refinery().unwrap();
    site.services.await_warden().unwrap();
    assert_eq!(site.state_of(&of_a), "withdrawn");
    site.on_project("refine", &[]).ok();
    let status = site.status();
    assert!(status["rounds"][2]["rows"].as_u64().unwrap() <= 200, "{status}");
    let history = marked(&site);
    let versions = history["versions"].as_array().unwrap();
    let current: Vec<_> = versions.iter().filter(|v| v["current"] == true).map(|v| &v["version"]).collect();
    assert_eq!((versions.len(), current), (3, vec![&history["current"]]));
    // In words each upload has its state.
    let words = site.run(&["status", "--project", "p"]).ok().stdout;
    let line = |id: &str| words.lines().find(|line| line.contains(&id[..16])).unwrap();
    assert!(line(&of_a).ends_with("  withdrawn") && line(&of_b).ends_with("  used"), "{words}");
    site.verified();
}

#[test]
fn members_and_orders_survive_new_wardens_and_new_refineries() {
    let mut site = shared(&[]);
    site.member("a", &[]);
    site.services.kill_warden();
    site.services.kill_refinery();
    site.services.start_refinery().unwrap();
    site.services.start_warden().unwrap();
    let upload = site.sends("a", tables::largest(100..300));
    site.on_project("refine", &[]).ok();
    assert_eq!(site.state_of(&upload), "used");
    site.assert_no_panic();
}

#[test]
fn a_viewers_key_opens_figures_and_no_model() {
    let site = shared(&[]);
    site.write("rows.csv", tables::largest(100..300));
    site.push("rows.csv", &[]).ok();
    site.on_project("refine", &[]).ok();
    let made = site.on_project("viewer", &["--out", "v.key", "--name", "dashboard"]).ok().json();
    site.on_project("viewer", &["--out", "v.key"]).refused(8, &["v.key", "there already"]);
    let members = site.on_project("members", &[]).ok().json();
    assert_eq!(
        (members[0]["member"].clone(), members[0]["role"].clone()),
        (made["member"].clone(), "viewer".into())
    );
    assert_eq!(members.as_array().unwrap().len(), 1, "what was refused ordered nothing");
    // The second line is the key of the metrics.
    let file = std::fs::read_to_string(site.path("v.key")).unwrap();
    let [root, metrics]: [Id; 2] =
        file.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap();
    let owner = std::fs::read_to_string(site.path("p/owner.key")).unwrap();
    assert!(owner.starts_with("# The owner's key") && !owner.contains(&root.to_string()));
    let (project, key) = (site.project().id(), Key::from_bytes(metrics.0));
    let status = site.connect().status(project).unwrap();
    let opened = key.unseal(&model_context("metrics", &project, 1), &status.rounds[1].metrics.0).unwrap();
    let loss = RoundMetrics::decode(&opened).unwrap().validation.unwrap().loss;
    assert_eq!(site.history()["rounds"][1]["validation"]["loss"], loss);
    let model = site.stored().round(&project, 1).unwrap().model.0;
    for key in [Key::from_bytes(root.0), key] {
        assert!(key.unseal(&model_context("model", &project, 1), &model).is_err());
    }
}

/// A policy that accepts two guests of SEV-SNP, an enclave, and what was not filled in.
const HARDWARE: &str = "[sgx]\nenclaves = [{ mrenclave = \"E1\" }]\n[sgx.platform]\ntcb_statuses = []\n\
    minimum_evaluation_number = 17\nmachines = []\n[snp]\nmachines = []\nguests = [{ measurement = \"A2\" }, \
    { measurement = \"A3\" }, { measurement = \"A2\", host_data = \"HD\" }, { measurement = \"00\" }]\n\
    [snp.minimum_tcb]\n";

fn hardware() -> String {
    let long = |digits: &str, count| format!("\"{}\"", digits.to_lowercase().repeat(count));
    HARDWARE
        .replace("\"E1\"", &long("e1", 32))
        .replace("\"A2\"", &long("a2", 48))
        .replace("\"A3\"", &long("a3", 48))
        .replace("\"00\"", &long("00", 48))
        .replace("\"HD\"", &long("1d", 32))
}

#[test]
fn terms_name_the_wardens_of_the_policy_that_a_member_joins_by() {
    let site = shared(&[]);
    let invitation = argument(&site.path("p/project.json"));
    let join = |member: &str, policy: &str, more: &[&str]| {
        let file = site.write("trusted.toml", policy);
        let common = ["--invitation", &invitation, "--attestation", &file];
        site.of(member, "join", &[common.as_slice(), more].concat())
    };
    let joined = join("a", &hardware(), &["--least-contributors", "2"]).ok().json();
    let terms = blindsmith_client::Keys::load(&site.path("a")).unwrap();
    let terms = terms.terms().unwrap();
    assert_eq!(terms.tees, ["sgx", "snp"]);
    for (tee, byte, count, allowed) in [
        ("sgx", 0xe1, 32, true),
        ("snp", 0xa2, 48, true),
        ("snp", 0xa3, 48, true),
        ("snp", 0, 48, false),
        ("snp", 0xa4, 48, false),
        ("simulated", 0, 0, false),
    ] {
        assert_eq!(terms.allow_warden(tee, &vec![byte; count]), allowed, "{tee} {byte:x}");
    }
    assert_eq!((terms.measurements.len(), terms.version_contributors), (3, 2));
    assert_eq!(terms.policy, hardware());
    // Invited, it gets as far as the warden, which the policy does not accept: nothing in terms.toml is to be edited.
    let member = joined["member"].as_str().unwrap();
    site.on_project("invite", &["--member", member]).ok();
    site.of("a", "join", &[]).refused(6, &["evidence.kind"]);

    // A policy for simulated wardens does as --accept-simulated does.
    let member =
        join("b", "accept_simulated = true\n", &[]).ok().json()["member"].as_str().unwrap().to_owned();
    site.on_project("invite", &["--member", &member]).ok();
    assert_eq!(site.of("b", "join", &[]).ok().json()["enrolled"], true);
}

#[test]
fn a_member_that_accepts_other_wardens_later_has_other_terms_and_enrols_again() {
    let site = shared(&[]);
    let invitation = argument(&site.path("p/project.json"));
    let policy = site.write("trusted.toml", hardware());
    let more = ["--invitation", &invitation, "--attestation", &policy, "--least-contributors", "2"];
    let first = site.of("a", "join", &more).ok().json();
    site.on_project("invite", &["--member", first["member"].as_str().unwrap()]).ok();
    site.of("a", "join", &[]).refused(6, &["evidence.kind"]);
    let second = site.of("a", "join", &["--accept-simulated"]).ok().json();
    assert_eq!((&second["member"], &second["enrolled"]), (&first["member"], &true.into()));
    assert_ne!(second["terms"], first["terms"]);
    let allowed = second["allowed"].to_string();
    assert!(allowed.contains("SIMULATED") && allowed.contains("at least 2 contributors"), "{allowed}");
    site.sends("a", tables::largest(100..150));
    // Terms under which the warden has no seed are no terms to push under.
    site.write("rows.csv", tables::largest(150..200));
    let terms = std::fs::read_to_string(site.path("a/terms.toml")).unwrap();
    site.write("a/terms.toml", terms.replace("version_contributors = 2", "version_contributors = 3"));
    site.of("a", "push", &["--data", "rows.csv"]).refused(2, &["blindsmith join --project a"]);
    assert_eq!(site.of("a", "join", &[]).ok().json()["enrolled"], true);
    site.of("a", "push", &["--data", "rows.csv"]).ok();
}

#[test]
fn terms_that_could_not_hold_are_refused_before_anything_is_written() {
    let site = shared(&[]);
    let invitation = argument(&site.path("p/project.json"));
    let none = site.of("m", "join", &["--invitation", &invitation]);
    none.refused(2, &["--attestation FILE", "--accept-simulated"]);
    assert!(!site.path("m").exists());
    let long = format!("{}\n#{}", hardware(), "x".repeat(16 << 10));
    let signer = "[sgx]\nenclaves = [{ mrsigner = \"E1\", product_id = 1, minimum_svn = 1 }]\n[sgx.platform]\n\
                  tcb_statuses = []\nminimum_evaluation_number = 17\nmachines = []\n";
    let signer = signer.replace("E1", &"e1".repeat(32));
    let guests: String =
        (0..70).map(|i| format!("{{ measurement = \"{i:02x}{}\" }}, ", "ee".repeat(47))).collect();
    let many = format!("[snp]\nmachines = []\nguests = [{guests}]\n[snp.minimum_tcb]\n");
    for (policy, words) in [
        (long.as_str(), "terms have room for 16384"),
        (signer.as_str(), "list enclaves by mrenclave"),
        (blindsmith_attest::appraisal::EXAMPLE, "names no warden"),
        (many.as_str(), "more than 64 entries"),
    ] {
        let file = site.write("trusted.toml", policy);
        let refused = site.of("m", "join", &["--invitation", &invitation, "--attestation", &file]);
        refused.refused(2, &[words]);
        assert!(!site.path("m").exists(), "{words}");
    }
}
