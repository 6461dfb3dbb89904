//! The first hour with a table of one's own: what people's tables look like, and what must come of them.

use serde_json::{Value, json};

use super::site::Site;
use super::tables;

#[test]
fn a_spread_that_a_large_offset_hides_is_learnt() {
    let site = Site::new();
    site.write("first.csv", tables::offset(0..400, 1e8));
    site.write("rest.csv", tables::offset(400..1000, 1e8));
    site.write("held-out.csv", tables::offset(1000..1400, 1e8));
    let training = ["--hidden", "none", "--epochs", "20", "--batch-rows", "64", "--weight-decay", "0"];
    site.init("first.csv", &[&["--label", "y", "--manual"], training.as_slice()].concat()).ok();
    site.push("held-out.csv", &["--validation"]).ok();
    site.push("rest.csv", &[]).ok();
    assert!(refined(&site) > 0.98);
}

/// The accuracy of the first round, which is asked for.
fn refined(site: &Site) -> f64 {
    let report = site.on_project("refine", &[]).ok().json();
    report["rounds"][1]["validation"]["accuracy"].as_f64().unwrap()
}

#[test]
fn what_is_clipped_is_counted_and_said_column_by_column() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "none", "--manual"]).ok();
    site.write("far.csv", "a,b,c,largest\n90,0,0,a\n0,-90,0,b\n90,90,0.5,c\n");
    let counts = json!([{"column": "a", "values": 2}, {"column": "b", "values": 2}]);
    let pushed = site.push("far.csv", &[]).ok().json();
    assert_eq!((&pushed["clipped"], &pushed["clipped_values"]), (&counts, &json!(4)));
    let words = "4 values lay beyond the recorded bound and were clipped to it: \"a\" 2, \"b\" 2";
    let said = site.run(&["push", "--project", "p", "--data", "far.csv", "--again"]).ok().stdout;
    assert!(said.contains(words), "{said}");
    let asked = site.on_project("predict", &["--data", "far.csv"]).ok();
    assert!(asked.stderr.contains(words), "{}", asked.stderr);
    assert_eq!(asked.json()["clipped"], counts);
}

#[test]
fn targets_of_a_regression_are_clipped_aloud_or_refused() {
    let site = Site::new();
    site.write("first.csv", tables::regression(0..60));
    let common = ["--task", "regress", "--label", "price", "--ignore", "weight", "--manual"];
    site.init("first.csv", &common).ok();
    site.write("far.csv", "a,b,c,price,weight\n0,0,0,500,40\n0,0,0,100000,40\n0,0,0,-90000,40\n");
    let pushed = site.push("far.csv", &["--ignore", "weight"]).ok().json();
    assert_eq!(pushed["clipped_targets"], json!([{"column": "price", "values": 2}]));
    assert_eq!(pushed["clipped"], json!([]));
    site.init_as("strict", "first.csv", &[&common[..], &["--beyond", "refuse"]].concat()).ok();
    let push = ["push", "--project", "strict", "--data", "far.csv", "--ignore", "weight", "--keep-order"];
    site.run(&push).refused(3, &["row 2, column \"price\": outside the recorded range"]);
    // The owner knows what prices there are.
    site.write("ranges.json", r#"{"price": {"min": -100000, "max": 100000}}"#);
    site.init_as("known", "first.csv", &[&common[..], &["--ranges", "ranges.json"]].concat()).ok();
    let push = ["push", "--project", "known", "--data", "far.csv", "--ignore", "weight", "--json"];
    assert_eq!(site.run(&push).ok().json()["clipped_targets"], json!([]));
}

#[test]
fn a_target_without_a_spread_is_refused() {
    let site = Site::new();
    site.write("constant.csv", "a,price\n1,7\n2,7\n3,7\n");
    site.write("one.csv", "a,price\n1,7\n");
    for (file, rows) in [("constant.csv", "all 3 rows"), ("one.csv", "all 1 rows")] {
        let words = ["the target \"price\" has one value in", rows, "--ranges"];
        site.init(file, &["--task", "regress", "--label", "price"]).refused(2, &words);
        assert!(!site.path("p").exists());
    }
    site.write("flat.csv", "a,b,y\n1,2,p\n1,2,q\n");
    site.init("flat.csv", &["--label", "y"]).refused(2, &["every feature has one value in all 2 rows"]);
}

#[test]
fn a_feature_that_is_constant_at_first_is_named_and_a_range_brings_it_to_life() {
    let site = Site::new();
    site.write("first.csv", tables::flagged(0..200, false));
    site.write("rest.csv", tables::flagged(200..600, true));
    site.write("held-out.csv", tables::flagged(600..900, true));
    site.write("ranges.csv", "column,min,max\nflag,0,1\n");
    let common = ["--label", "y", "--manual", "--expect-rows", "400"];
    let dead = site.init("first.csv", &common).ok();
    assert_eq!(dead.json()["constant_columns"], json!(["flag"]));
    let words = [
        "1 of the features have one value in all 200 rows of first.csv: \"flag\"",
        "flag,0,1 below column,min,max",
    ];
    assert!(words.iter().all(|word| dead.stderr.contains(word)), "{}", dead.stderr);
    site.push("held-out.csv", &["--validation"]).ok();
    let pushed = site.push("rest.csv", &[]).ok().json();
    let flags = tables::flagged(200..600, true).matches(",1,").count();
    assert_eq!(pushed["differing"], json!([{"column": "flag", "values": flags}]));
    let asked = site.on_project("predict", &["--data", "rest.csv"]).ok();
    let said = "count for nothing, as their columns were constant in the first table: \"flag\"";
    assert!(asked.stderr.contains(said), "{}", asked.stderr);
    assert!(refined(&site) < 0.8, "the flag decides, and cannot be seen");

    std::fs::rename(site.path("p"), site.path("dead")).unwrap();
    let alive = site.init("first.csv", &[&common[..], &["--ranges", "ranges.csv"]].concat()).ok();
    assert_eq!(alive.json()["constant_columns"], json!([]));
    site.push("held-out.csv", &["--validation"]).ok();
    assert_eq!(site.push("rest.csv", &[]).ok().json()["differing"], json!([]));
    let accuracy = refined(&site);
    assert!(accuracy > 0.94, "{accuracy}");
}

#[test]
fn a_hundred_and_fifty_rows_are_learnt_as_init_chooses() {
    let site = Site::new();
    site.write("flowers.csv", tables::flowers(0..150));
    site.write("held-out.csv", tables::flowers(150..300));
    let created = site.init("flowers.csv", &["--label", "kind", "--manual"]).ok();
    let words =
        "for about 150 rows, where nothing else is said: --batch-rows 32 --epochs 44 --weight-decay 0.01";
    assert!(created.stderr.contains(words), "{}", created.stderr);
    assert_eq!((&created.json()["batch_rows"], &created.json()["epochs"]), (&json!(32), &json!(44)));
    site.push("held-out.csv", &["--validation"]).ok();
    site.push("flowers.csv", &[]).ok();
    let accuracy = refined(&site);
    assert!(accuracy >= 0.95, "{accuracy}");
    // What is said counts, and what is not follows from the rows that are expected.
    let more = ["--label", "kind", "--epochs", "3", "--expect-rows", "60000"];
    let created = site.init_as("large", "flowers.csv", &more).ok().json();
    let chosen = ["batch_rows", "epochs", "patience"].map(|name| created[name].clone());
    assert_eq!(chosen, [json!(1024), json!(3), json!(3)]);
}

#[test]
fn classes_that_the_first_rows_lack_are_listed_and_one_may_be_called_na() {
    let site = Site::new();
    site.write("first.csv", tables::rare(0..40));
    site.write("rest.csv", tables::rare(40..200));
    let init = ["--label", "#1", "--manual", "--classes", "less, more,NA", "--missing-marker", "?"];
    site.init("first.csv", &init).ok();
    let project = site.project();
    assert_eq!(project.labelling.classes.unwrap().names(), ["NA", "less", "more"]);
    assert_eq!(project.labelling.columns, ["y"]);
    site.push("rest.csv", &[]).ok();
    // The column that was named is the label, wherever another file has it.
    let swapped: String = tables::rare(200..260)
        .lines()
        .map(|line| line.split_once(',').map(|(y, x)| format!("{x},{y}\n")).unwrap())
        .collect();
    site.write("swapped.csv", swapped);
    site.push("swapped.csv", &[]).ok();
    // Without the list a class that is not there yet cannot be learnt later.
    site.init_as("narrow", "first.csv", &["--label", "y"]).ok();
    let push = ["push", "--project", "narrow", "--data", "rest.csv"];
    site.run(&push).refused(3, &["missing value, which is what \"NA\" marks"]);
    site.run(&[&push[..], &["--na", "?"]].concat())
        .refused(3, &["label \"NA\" is not among the recorded classes"]);
}

/// The last line of a demonstration.
fn demo(site: &Site, more: &[&str]) -> Value {
    let done = site.run(&[&["demo", "--threads", "1", "--hidden", "8", "--json"], more].concat()).ok();
    done.json()
}

#[test]
fn a_demonstration_on_a_table_of_ones_own_finds_its_label_and_all_its_classes() {
    let site = Site::new();
    site.write("own.csv", tables::rare(0..500));
    let outcome = demo(&site, &["--file", "own.csv", "--label", "#1", "--na", "?", "--uploads", "2"]);
    assert_eq!(outcome["layers"], json!([2, 8, 3]));
    let last = outcome["rounds"].as_array().unwrap().last().unwrap()["accuracy"].as_f64().unwrap();
    let accuracy = outcome["encrypted_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9 && (accuracy - last).abs() < 1e-9, "{accuracy}, and {last} in the last round");
}

#[test]
fn a_demonstration_of_a_regression() {
    let site = Site::new();
    site.write("own.csv", tables::regression(0..300));
    let more = ["--task", "regress", "--label", "price", "--label", "weight", "--uploads", "2"];
    let outcome = demo(&site, &[&["--file", "own.csv"], &more[..]].concat());
    assert_eq!(outcome["encrypted_accuracy"], Value::Null);
    let (before, after) =
        (outcome["initial_rmse"].as_f64().unwrap(), outcome["encrypted_rmse"].as_f64().unwrap());
    assert!(after < 0.3 && after < 0.5 * before, "{before}, then {after}");
}

#[test]
fn six_digits_name_an_upload_and_a_member() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "none", "--manual"]).ok();
    let upload = site.push("first.csv", &[]).ok().json()["upload"].as_str().unwrap().to_owned();
    let withdraw = |digits: &str| site.on_project("withdraw", &["--upload", digits]);
    withdraw(&upload[..5]).refused(2, &["6 to 64 hexadecimal digits"]);
    let other = if upload.starts_with("000000") { "111111" } else { "000000" };
    withdraw(other).refused(2, &["no upload of this project begins with"]);
    assert_eq!(withdraw(&upload[..6].to_uppercase()).ok().json()["withdrawn"], upload);
    let member = "7".repeat(64);
    site.on_project("invite", &["--member", &member[..6]])
        .refused(2, &["no member of this project begins with"]);
    let key = blindsmith_client::Keys::generate().public().to_string();
    site.on_project("invite", &["--member", &key, "--name", "first"]).ok();
    site.on_project("invite", &["--member", &key[..6], "--name", "second"]).ok();
    site.on_project("revoke", &["--member", &key[..8]]).ok();
    let members = site.on_project("members", &[]).ok().json();
    let one = (&members[0]["member"], &members[0]["name"], &members[0]["revoked"]);
    assert_eq!((members.as_array().unwrap().len(), one), (1, (&json!(key), &json!("second"), &json!(true))));
}

#[test]
fn shells_complete_commands() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = site.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("blindsmith") && script.contains("expect-rows"), "{shell}");
    }
}

/// One file a class, or one class a contributor: rows of one class alone make any model worse, whatever their labels.
#[test]
fn classes_that_arrive_one_by_one_are_no_wrong_labels() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "16", "--expect-rows", "600", "--manual"])
        .ok();
    site.write("judging.csv", tables::largest(5000..5200));
    site.push("judging.csv", &["--validation"]).ok();
    let rows = tables::largest(100..700);
    let (header, rows) = rows.split_once('\n').unwrap();
    for class in ["a", "b", "c"] {
        let of: Vec<&str> = rows.lines().filter(|row| row.ends_with(&format!(",{class}"))).collect();
        assert!(of.len() > 100);
        site.write("one.csv", format!("{header}\n{}\n", of.join("\n")));
        site.push("one.csv", &[]).ok();
        site.on_project("refine", &[]).ok();
    }
    let history = site.history();
    for round in history["rounds"].as_array().unwrap() {
        assert_eq!(round["quarantined"], json!([]), "{round}");
    }
    assert_eq!(history["rounds"][3]["decision"], "promoted");
    assert!(history["rounds"][3]["validation"]["accuracy"].as_f64().unwrap() > 0.85, "{history}");
}

/// All rows of an upload are of the class that is rare among those that judge, and of which the model is wrong most often.
#[test]
fn an_upload_of_the_rare_class_is_no_wrong_label() {
    let site = Site::new();
    let rare = |rows: std::ops::Range<usize>, keep: &dyn Fn(usize, bool) -> bool| {
        let table = tables::largest(rows);
        let (header, rows) = table.split_once('\n').unwrap();
        let kept = rows.lines().enumerate().filter(|(i, row)| keep(*i, row.ends_with(",c")));
        format!("{header}\n{}\n", kept.map(|(_, row)| row).collect::<Vec<_>>().join("\n"))
    };
    let few = |i: usize, is_rare: bool| !is_rare || i.is_multiple_of(10);
    site.write("first.csv", rare(0..400, &few));
    site.init("first.csv", &["--label", "largest", "--hidden", "8", "--epochs", "20", "--manual"]).ok();
    site.write("judging.csv", rare(5000..6000, &few));
    site.push("judging.csv", &["--validation"]).ok();
    site.push("first.csv", &[]).ok();
    site.on_project("refine", &[]).ok();
    site.write("rare.csv", rare(1000..1200, &|_, is_rare| is_rare));
    let upload = site.push("rare.csv", &[]).ok().json()["upload"].as_str().unwrap().to_owned();
    site.on_project("refine", &[]).ok();
    assert_ne!(site.state_of(&upload), "quarantined");
}

#[test]
fn errors_of_a_regression_are_in_the_unit_of_its_target() {
    let site = Site::new();
    site.write("first.csv", tables::regression(0..300));
    let held_out = tables::regression(300..400);
    site.write("held-out.csv", &held_out);
    let common = ["--task", "regress", "--label", "price", "--ignore", "weight", "--manual", "--hidden", "8"];
    site.init("first.csv", &common).ok();
    site.push("held-out.csv", &["--ignore", "weight", "--validation"]).ok();
    site.push("first.csv", &["--ignore", "weight"]).ok();
    let report = site.on_project("refine", &[]).ok().json();
    let shown = report["rounds"][1]["validation"]["rmse"].as_f64().unwrap();
    let answer = site.on_project("predict", &["--data", "held-out.csv", "--ignore", "weight"]).ok().json();
    let predictions = answer["predictions"].as_array().unwrap();
    let price = |row: &str| row.split(',').nth(3).unwrap().parse::<f64>().unwrap();
    let squares: Vec<f64> = held_out
        .lines()
        .skip(1)
        .zip(predictions)
        .map(|(row, predicted)| (predicted[0].as_f64().unwrap() - price(row)).powi(2))
        .collect();
    assert_eq!(squares.len(), 100);
    let measured = (squares.iter().sum::<f64>() / 100.0).sqrt();
    assert!((shown / measured - 1.0).abs() < 0.02, "{shown} is shown, {measured} is measured");
}

/// Two rows of a hundred are positive: each class is weighed, or the threshold lowered, and the figures say what that does.
#[test]
fn rare_positives_are_found_once_classes_are_weighed_or_the_threshold_is_lowered() {
    let site = Site::new();
    let (header, rows) = include_str!("../data/imbalance.csv").split_once('\n').unwrap();
    let lines: Vec<&str> = rows.lines().collect();
    let table = |range: std::ops::Range<usize>| [&[header], &lines[range]].concat().join("\n");
    site.write("rows.csv", table(0..3500));
    site.write("held-out.csv", table(3500..5000));
    let class_one = |project: &str, more: &[&str]| {
        let settings = [&["--label", "y", "--manual", "--judging-rows", "1500"], more].concat();
        site.init_as(project, "rows.csv", &settings).ok();
        for (file, more) in [("held-out.csv", &["--validation"][..]), ("rows.csv", &[])] {
            site.run(&[&["push", "--project", project, "--data", file], more].concat()).ok();
        }
        let report = site.run(&["refine", "--project", project, "--json"]).ok().json();
        let found = &report["rounds"][1]["validation"];
        let positives = lines[3500..].iter().filter(|line| line.ends_with(",1")).count();
        assert_eq!(found["classes"][1]["rows"], positives);
        assert_eq!(found["confusion"][1][1].as_u64().unwrap(), {
            let recall = found["classes"][1]["recall"].as_f64().unwrap();
            (recall * positives as f64).round() as u64
        });
        // The accuracy of a model that knows nothing looks good; the interval and the classes tell.
        let [low, high] = [0, 1].map(|i| found["accuracy_interval"][i].as_f64().unwrap());
        assert!(low < found["accuracy"].as_f64().unwrap() && high > found["accuracy"].as_f64().unwrap());
        found["classes"][1].clone()
    };
    let recall = |found: &Value| found["recall"].as_f64().unwrap();
    let plain = class_one("plain", &[]);
    let weighed = class_one("weighed", &["--class-weights", "balanced"]);
    let wary = class_one("wary", &["--threshold", "0.1"]);
    assert!(recall(&plain) < 0.1, "{plain}");
    assert!(recall(&weighed) > recall(&plain) + 0.25, "{weighed}");
    assert!(wary["predicted"].as_u64() > plain["predicted"].as_u64(), "{wary}");
    // Predictions keep to the threshold.
    let asked = ["predict", "--project", "wary", "--data", "held-out.csv", "--json"];
    let predicted = site.run(&asked).ok().json();
    let rows = predicted["predictions"].as_array().unwrap();
    let positive = rows.iter().filter(|row| row[0] == "1").count();
    assert_eq!(wary["predicted"], positive);
    for row in rows {
        let (class, p) = (row[0] == "1", row[2].as_f64().unwrap());
        assert!(class == (p > 0.1) || (p - 0.1).abs() < 0.002, "{row}");
    }
    let unknown = ["--label", "y", "--class-weights", "2=20"];
    site.init_as("unknown", "rows.csv", &unknown).refused(2, &["\"2\"", "the classes are 0, 1"]);
}
