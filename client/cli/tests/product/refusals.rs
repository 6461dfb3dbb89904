//! Files that cannot be used: refused whole, with file, row and column, before anything is sent.

use crate::site::Site;
use crate::tables;

const GOOD: &str = "age,dose,outcome\n61,2.5,good\n44,1.0,poor\n57,1.5,good\n70,2.0,poor\n";

/// What is wrong with a file, and what is said of it.
fn bad_files() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let rows = |text: &str| format!("age,dose,outcome\n{text}");
    vec![
        ("empty", String::new(), vec!["the file is empty"]),
        ("header-only", rows(""), vec!["no data rows"]),
        ("missing", rows("61,2.5,good\n44,,poor\n"), vec!["row 2", "\"dose\"", "missing value"]),
        ("nan", rows("61,2.5,good\nnan,1,poor\n"), vec!["row 2", "\"age\"", "missing value"]),
        ("infinite", rows("61,2.5,good\n44,inf,poor\n"), vec!["row 2", "\"dose\"", "not finite"]),
        ("text", rows("61,2.5,good\n44,much,poor\n"), vec!["row 2", "\"dose\"", "not a number"]),
        ("huge", rows("61,1e39,good\n44,1,poor\n"), vec!["row 1", "\"dose\"", "too large"]),
        ("ragged", rows("61,2.5,good\n44,poor\n"), vec!["row 2", "2 cells where 3 are expected"]),
        ("unlabelled", "age,dose\n61,2.5\n".into(), vec!["no column is named \"outcome\""]),
    ]
}

#[test]
fn a_bad_file_is_refused_by_push_and_nothing_is_sent() {
    let site = Site::new();
    site.write("first.csv", GOOD);
    let plan = ["--label", "outcome", "--hidden", "4", "--epochs", "1", "--beyond", "refuse"];
    site.init("first.csv", &plan).ok();
    let before = site.status();
    let mut cases = bad_files();
    let rows = |text: &str| format!("age,dose,outcome\n{text}");
    cases.extend([
        (
            "beyond",
            rows("61,2.5,good\n44,1000,poor\n"),
            vec!["row 2", "\"dose\"", "outside the recorded range"],
        ),
        ("unknown", rows("61,2.5,good\n44,1,bad\n"), vec!["row 2", "\"outcome\"", "\"bad\" is not among"]),
        ("wider", "age,dose,sex,outcome\n61,2.5,1,good\n".into(), vec!["no recorded feature: \"sex\""]),
        ("narrower", "age,outcome\n61,good\n".into(), vec!["lacks the feature columns \"dose\""]),
    ]);
    for (name, text, words) in cases {
        let file = format!("{name}.csv");
        site.write(&file, text);
        let words = [words, vec![file.as_str()]].concat();
        site.push(&file, &[]).refused(3, &words);
    }
    site.push("nowhere.csv", &[]).refused(3, &["nowhere.csv", "No such file"]);
    assert_eq!(site.status(), before);
    assert_eq!(std::fs::read_dir(site.services.store().join("incoming")).unwrap().count(), 0);
    // Columns may come in another order, and one class is enough to go on.
    site.write("reordered.csv", "outcome,dose,age\ngood,2.5,61\n");
    site.push("reordered.csv", &[]).ok();
    assert_eq!(site.wait()["rounds"][1]["rows"], 1);
}

#[test]
fn a_bad_file_is_refused_by_predict() {
    let site = Site::new();
    site.write("first.csv", GOOD);
    site.init("first.csv", &["--label", "outcome", "--hidden", "4", "--beyond", "refuse"]).ok();
    for (name, text, words) in bad_files().into_iter().filter(|(name, ..)| *name != "unlabelled") {
        let file = format!("{name}.csv");
        site.write(&file, text);
        site.on_project("predict", &["--data", &file]).refused(3, &words);
    }
    // A query needs no labels.
    site.write("query.csv", "age,dose\n61,2.5\n");
    let answer = site.on_project("predict", &["--data", "query.csv"]).ok().json();
    assert_eq!((&answer["rows"], &answer["accuracy"]), (&1.into(), &serde_json::Value::Null));
}

#[test]
fn a_project_is_not_created_from_a_bad_file() {
    let site = Site::new();
    let mut cases = bad_files();
    let rows = |text: &str| format!("age,dose,outcome\n{text}");
    cases.push(("one-class", rows("61,2.5,good\n44,1,good\n"), vec!["every row has the label \"good\""]));
    cases.push(("one-row", rows("61,2.5,good\n"), vec!["every row has the label \"good\""]));
    for (name, text, words) in cases {
        let file = format!("{name}.csv");
        site.write(&file, text);
        site.init(&file, &["--label", "outcome"]).refused(3, &words);
    }
    site.write("good.csv", GOOD);
    site.init("good.csv", &[]).refused(2, &["--label NAME"]);
    site.init("good.csv", &["--label", "outcome", "--hidden", "70000"]).refused(2, &["65536"]);
    site.init("good.csv", &["--label", "outcome", "--hidden", "0"]).refused(2, &["widths"]);
    site.init("good.csv", &["--label", "outcome", "--security", "192"]).refused(2, &["128 or 256"]);
    site.init("good.csv", &["--label", "outcome", "--factor", "0"])
        .refused(3, &["factor 0 must be positive"]);
    site.init("good.csv", &["--label", "outcome", "--batch-rows", "0"]).refused(2, &["batch_rows"]);
    assert!(!site.path("p").exists());
    assert!(site.stored().projects().unwrap().is_empty());
}

#[test]
fn values_beyond_the_bound_are_clipped_and_counted_by_default() {
    let site = Site::new();
    site.write("first.csv", GOOD);
    site.init("first.csv", &["--label", "outcome", "--hidden", "4", "--epochs", "1"]).ok();
    site.write("far.csv", "age,dose,outcome\n61,1e6,good\n-1e6,1e6,poor\n50,1,good\n");
    assert_eq!(site.push("far.csv", &[]).ok().json()["clipped_values"], 3);
    assert_eq!(site.wait()["failure"], serde_json::Value::Null);
}

#[test]
fn a_project_is_not_created_over_another_and_no_file_of_others_is_touched() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4"]).ok();
    let key = std::fs::read(site.path("p/owner.key")).unwrap();
    site.init("first.csv", &["--label", "largest"]).refused(8, &["there is a project already"]);
    assert_eq!(std::fs::read(site.path("p/owner.key")).unwrap(), key);
    // A key without its project may be the only copy there is.
    std::fs::remove_file(site.path("p/project.json")).unwrap();
    site.init("first.csv", &["--label", "largest"]).refused(8, &["owner.key"]);
    assert_eq!(std::fs::read(site.path("p/owner.key")).unwrap(), key);
}

/// The refinery refuses the project after its directory was made: only what init made may go.
#[test]
fn a_refused_creation_leaves_the_directory_as_it_was() {
    let site = Site::new();
    std::fs::create_dir(site.path("p")).unwrap();
    site.write("p/first.csv", tables::largest(0..60));
    // No project can be stored any more.
    let _full = site.in_the_way();
    site.init("p/first.csv", &["--label", "largest", "--hidden", "4"]).refused(5, &["incoming"]);
    let left: Vec<_> = std::fs::read_dir(site.path("p")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["first.csv"]);
}

#[test]
fn a_model_that_no_round_could_store_is_refused_before_anything_is_made() {
    let site = Site::new();
    site.write("first.csv", GOOD);
    let large = ["--label", "outcome", "--hidden", "6000,6000"];
    site.init("first.csv", &large).refused(2, &["36030001 parameters is too large", "at most"]);
    assert!(!site.path("p").exists());
}
