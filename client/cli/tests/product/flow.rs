//! From rows to a refined model: every kind of task, model and level of security.

use serde_json::Value;

use crate::plain::{self, Twin};
use crate::site::Site;
use crate::tables;

/// Predictions are rounded to 2^-10; the rest is the noise of encryption.
const PREDICTION_TOLERANCE: f64 = 3e-3;

fn column(rows: &Value, index: usize) -> Vec<f64> {
    rows["predictions"].as_array().unwrap().iter().map(|row| row[index].as_f64().unwrap()).collect()
}

fn validation(status: &Value, figure: &str) -> Vec<f64> {
    let rounds = status["rounds"].as_array().unwrap().iter().skip(1);
    rounds.map(|round| round["validation"][figure].as_f64().unwrap()).collect()
}

/// What `predict` answers is what the pulled model says of the same rows.
fn assert_predicts_as_pulled(site: &Site, text: &str, header: bool, first_column: usize) -> Value {
    site.write("query.csv", text);
    site.pull("now.safetensors", &[]);
    let flags: &[&str] = if header { &[] } else { &["--no-header"] };
    let answer = site.on_project("predict", &[&["--data", "query.csv"], flags].concat()).ok().json();
    let project = site.project();
    let data = plain::read(&project, text, header);
    let rows = plain::stored(&project, &data);
    let expected = plain::evaluate(&project, &site.path("now.safetensors"), &rows);
    assert_eq!(answer["rows"].as_u64(), Some(expected.len() as u64));
    for (row, expected) in answer["predictions"].as_array().unwrap().iter().zip(&expected) {
        for (p, expected) in row.as_array().unwrap()[first_column..].iter().zip(expected) {
            let difference = (p.as_f64().unwrap() - expected).abs();
            assert!(difference < PREDICTION_TOLERANCE, "{row} where {expected} is due");
        }
    }
    answer
}

#[test]
fn digits_are_refined_upload_by_upload_as_in_the_clear() {
    let site = Site::new();
    site.write("first.csv", tables::digits(0..60));
    let plan = ["--warm-epochs", "2", "--epochs", "6", "--batch-rows", "64", "--weight-decay", "0.0001"];
    let created =
        site.init("first.csv", &[&["--no-header", "--label", "#last"], plan.as_slice()].concat()).ok();
    assert_eq!(created.json()["layers"], serde_json::json!([64, 32, 10]));
    assert_eq!(created.json()["warden"], "simulated");
    assert_eq!(site.pull("initial.safetensors", &[]), 0);

    let mut twin = Twin::new(site.project(), &site.path("initial.safetensors"));
    let held_out = tables::digits(1200..1500);
    site.write("held-out.csv", &held_out);
    site.push("held-out.csv", &["--no-header", "--validation"]).ok();
    twin.push(&held_out, false, false);
    for (round, rows) in [100..200, 200..500, 500..1200].into_iter().enumerate() {
        let text = tables::digits(rows.clone());
        site.write("rows.csv", &text);
        let pushed = site.push("rows.csv", &["--no-header"]).ok().json();
        assert_eq!((&pushed["rows"], &pushed["new"]), (&rows.len().into(), &true.into()));
        // The round starts by itself.
        let status = site.wait();
        assert_eq!(status["rounds"].as_array().unwrap().len(), round + 2);
        twin.push(&text, false, true);
        twin.round();
    }

    let status = site.status();
    let accuracy = validation(&status, "accuracy");
    assert!(accuracy.is_sorted_by(|a, b| a < b) && accuracy[2] > 0.92, "{accuracy:?}");
    assert_eq!(status["rounds"][3]["rows"], 1100);
    assert_eq!(site.pull("refined.safetensors", &[]), 3);
    let difference = twin.difference(&site.path("refined.safetensors"));
    assert!(difference < 3e-3, "a weight differs by {difference} from the twin's");
    // Every version stays available.
    assert_eq!(site.pull("again.safetensors", &["--version", "0"]), 0);
    let read = |name| std::fs::read(site.path(name)).unwrap();
    assert_eq!(read("again.safetensors"), read("initial.safetensors"));

    let answer = assert_predicts_as_pulled(&site, &tables::digits(1500..1797), false, 1);
    assert!(answer["accuracy"].as_f64().unwrap() > 0.87, "{}", answer["accuracy"]);
    site.assert_no_panic();
}

/// Real processes, shared memory, gradients added up by the refinery, weights on their way ahead of their step.
#[test]
fn large_batches_pass_in_pieces_and_train_as_in_the_clear() {
    let site = Site::new();
    site.write("first.csv", tables::digits(0..60));
    let plan = ["--batch-rows", "512", "--micro-batch", "64", "--epochs", "8", "--clip-norm", "0"];
    let plan = [plan.as_slice(), &["--hidden", "48", "--learning-rate", "0.2"]].concat();
    site.init("first.csv", &[&["--no-header", "--label", "#last"], plan.as_slice()].concat()).ok();
    site.pull("initial.safetensors", &[]);
    let mut twin = Twin::new(site.project(), &site.path("initial.safetensors"));
    for (text, training) in [(tables::digits(1200..1400), false), (tables::digits(0..1200), true)] {
        site.write("rows.csv", &text);
        let role: &[&str] = if training { &[] } else { &["--validation"] };
        site.push("rows.csv", &[&["--no-header"], role].concat()).ok();
        twin.push(&text, false, training);
    }
    let status = site.wait();
    twin.round();
    assert!(validation(&status, "accuracy")[0] > 0.6, "{status}");
    site.pull("refined.safetensors", &[]);
    // Scales that hold for any micro-batch are coarser than those of a batch at hand: 3.5e-3 was seen.
    let difference = twin.difference(&site.path("refined.safetensors"));
    assert!(difference < 1e-2, "a weight differs by {difference} from the twin's");
}

#[test]
fn two_hidden_layers_train_as_in_the_clear() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let plan = ["--label", "largest", "--hidden", "16,8", "--epochs", "8", "--batch-rows", "64"];
    let plan = [plan.as_slice(), &["--learning-rate", "0.2"]].concat();
    let created = site.init("first.csv", &plan).ok().json();
    assert_eq!(created["layers"], serde_json::json!([3, 16, 8, 3]));
    site.pull("initial.safetensors", &[]);
    let mut twin = Twin::new(site.project(), &site.path("initial.safetensors"));
    for (rows, training) in [(1000..1200, false), (60..760, true)] {
        let text = tables::largest(rows);
        site.write("rows.csv", &text);
        site.push("rows.csv", if training { &[] } else { &["--validation"] }).ok();
        twin.push(&text, true, training);
    }
    let accuracy = validation(&site.wait(), "accuracy");
    assert!(accuracy[0] > 0.9, "{accuracy:?}");
    twin.round();
    site.pull("refined.safetensors", &[]);
    let difference = twin.difference(&site.path("refined.safetensors"));
    assert!(difference < 1e-3, "a weight differs by {difference} from the twin's");
    assert_predicts_as_pulled(&site, &tables::largest(1200..1217), true, 1);
}

#[test]
fn a_linear_model_of_two_classes_has_one_output_and_stores_one_residue_for_each_entry_and_form() {
    let site = Site::new();
    site.write("first.csv", tables::breast_cancer(0..100));
    let plan = ["--label", "diagnosis", "--hidden", "none", "--epochs", "10", "--batch-rows", "64"];
    let created = site.init("first.csv", &plan).ok().json();
    assert_eq!(created["layers"], serde_json::json!([30, 1]));
    assert_eq!(created["offloaded"], serde_json::json!([true]));
    // Fifty bytes for eight residues: the row form's features are padded to n, the column form's are not.
    let n = created["row_form"][0].as_u64().unwrap();
    let forms = (30u64.next_multiple_of(n).div_ceil(8) + 30u64.div_ceil(8)) * 50;
    let sealed = 4 + 16 / created["block_rows"].as_u64().unwrap();
    assert_eq!(created["upload_bytes_per_row"].as_u64(), Some(forms + sealed));
    site.write("held-out.csv", tables::breast_cancer(400..569));
    site.push("held-out.csv", &["--validation"]).ok();
    site.write("rows.csv", tables::breast_cancer(100..400));
    site.push("rows.csv", &[]).ok();
    let status = site.wait();
    let (accuracy, auc) = (validation(&status, "accuracy"), validation(&status, "auc"));
    assert!(accuracy[0] > 0.93 && auc[0] > 0.97, "{accuracy:?} {auc:?}");

    site.write("query.csv", tables::breast_cancer(400..569));
    let answer = site.on_project("predict", &["--data", "query.csv"]).ok().json();
    assert_eq!(answer["columns"], serde_json::json!(["diagnosis", "p(benign)", "p(malignant)"]));
    assert!(answer["accuracy"].as_f64().unwrap() > 0.93);
    site.pull("now.safetensors", &[]);
    let project = site.project();
    let data = plain::read(&project, &tables::breast_cancer(400..569), true);
    let rows = plain::stored(&project, &data);
    let expected = plain::evaluate(&project, &site.path("now.safetensors"), &rows);
    for (p, expected) in column(&answer, 2).iter().zip(&expected) {
        assert!((p - expected[0]).abs() < PREDICTION_TOLERANCE, "{p} where {expected:?} is due");
    }
}

#[test]
fn a_hidden_layer_learns_two_classes_with_the_logistic_loss() {
    let site = Site::new();
    site.write("first.csv", tables::breast_cancer(0..100));
    let plan = ["--label", "diagnosis", "--hidden", "8", "--epochs", "10", "--batch-rows", "64"];
    let created = site.init("first.csv", &[plan.as_slice(), &["--optimiser", "adamw"]].concat()).ok().json();
    assert_eq!(created["layers"], serde_json::json!([30, 8, 1]));
    // No validation rows: some groups of the upload are held out.
    site.write("rows.csv", tables::breast_cancer(100..569));
    site.push("rows.csv", &[]).ok();
    let status = site.wait();
    let loss = status["rounds"][1]["training_loss"].as_array().unwrap();
    assert_eq!(loss.len(), 10);
    assert!(loss[9].as_f64() < loss[0].as_f64(), "{loss:?}");
    let trained = status["rounds"][1]["rows"].as_u64().unwrap();
    let held_out = status["rounds"][1]["validation"]["rows"].as_u64().unwrap_or(0);
    assert_eq!(trained + held_out, 469);
}

#[test]
fn regression_answers_in_the_units_of_its_targets() {
    let site = Site::new();
    site.write("first.csv", tables::regression(0..80));
    let labels = ["--task", "regress", "--label", "price", "--label", "weight"];
    let plan = ["--hidden", "none", "--epochs", "20", "--batch-rows", "64"];
    site.init("first.csv", &[labels, plan].concat()[..]).ok();
    site.write("rows.csv", tables::regression(80..480));
    site.push("rows.csv", &[]).ok();
    site.wait();

    let text = tables::regression(500..533);
    site.write("query.csv", &text);
    let answer = site.on_project("predict", &["--data", "query.csv"]).ok().json();
    assert_eq!(answer["columns"], serde_json::json!(["price", "weight"]));
    let truth: Vec<Vec<f64>> =
        text.lines().skip(1).map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect();
    for (i, tolerance) in [(0, 10.0), (1, 0.5)] {
        for (p, row) in column(&answer, i).iter().zip(&truth) {
            assert!((p - row[3 + i]).abs() < tolerance, "{p} where {} is due", row[3 + i]);
        }
    }
    assert_eq!(answer["accuracy"], Value::Null);
}

#[test]
fn several_labels_are_learnt_at_once() {
    let site = Site::new();
    site.write("first.csv", tables::bits(0..80));
    let labels = ["--task", "multi-label", "--label", "larger", "--label", "positive"];
    let plan = ["--hidden", "8", "--epochs", "15", "--batch-rows", "64"];
    site.init("first.csv", &[labels.as_slice(), &plan].concat()).ok();
    site.write("rows.csv", tables::bits(80..580));
    site.push("rows.csv", &[]).ok();
    site.wait();

    let text = tables::bits(600..700);
    let answer = assert_predicts_as_pulled(&site, &text, true, 0);
    assert_eq!(answer["columns"], serde_json::json!(["p(larger)", "p(positive)"]));
    for i in 0..2 {
        let answers = column(&answer, i);
        let right = answers.iter().zip(text.lines().skip(1)).filter(|(p, line)| {
            let bit = line.split(',').nth(3 + i).unwrap() == "1";
            (**p > 0.5) == bit
        });
        assert!(right.count() > 85, "label {i}");
    }
}

#[test]
fn the_higher_level_of_security_trains_as_in_the_clear() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let plan = ["--label", "largest", "--hidden", "8", "--epochs", "5", "--batch-rows", "64"];
    let created = site.init("first.csv", &[plan.as_slice(), &["--security", "256"]].concat()).ok().json();
    assert_eq!(created["security_bits"], 256);
    for form in ["row_form", "column_form"] {
        let dimension: u64 = created[form].as_array().unwrap().iter().map(|s| s.as_u64().unwrap()).product();
        assert_eq!(dimension, 4096);
    }
    site.pull("initial.safetensors", &[]);
    let mut twin = Twin::new(site.project(), &site.path("initial.safetensors"));
    for (rows, training) in [(1000..1100, false), (60..460, true)] {
        let text = tables::largest(rows);
        site.write("rows.csv", &text);
        site.push("rows.csv", if training { &[] } else { &["--validation"] }).ok();
        twin.push(&text, true, training);
    }
    let accuracy = validation(&site.wait(), "accuracy");
    assert!(accuracy[0] > 0.85, "{accuracy:?}");
    twin.round();
    site.pull("refined.safetensors", &[]);
    let difference = twin.difference(&site.path("refined.safetensors"));
    assert!(difference < 1e-3, "a weight differs by {difference} from the twin's");
    assert_predicts_as_pulled(&site, &tables::largest(1100..1110), true, 1);
}

#[test]
fn a_manual_project_trains_only_when_asked() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--manual", "--batch-rows", "64"]).ok();
    site.on_project("refine", &[]).refused(5, &["nothing to train on", "push rows first"]);
    site.write("held-out.csv", tables::largest(60..80));
    site.push("held-out.csv", &["--validation"]).ok();
    site.on_project("refine", &[]).refused(5, &["nothing to train on"]);
    site.write("rows.csv", tables::largest(100..292));
    site.push("rows.csv", &[]).ok();
    let rounds = |status: &Value| status["rounds"].as_array().unwrap().len();
    assert_eq!(rounds(&site.wait()), 1, "a round started by itself");

    // 192 rows in batches of 64: three steps an epoch.
    let status = site.on_project("refine", &["--epochs", "2"]).ok().json();
    assert_eq!((rounds(&status), status["rounds"][1]["steps"].as_u64()), (2, Some(6)));
    let status = site.on_project("refine", &["--epochs", "1"]).ok().json();
    assert_eq!((rounds(&status), status["rounds"][2]["steps"].as_u64()), (3, Some(3)));
    assert_eq!(site.pull("model.safetensors", &[]), 2);
}

#[test]
fn a_pulled_model_starts_another_project() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let plan = ["--label", "largest", "--hidden", "6,5", "--warm-epochs", "2"];
    site.init("first.csv", &plan).ok();
    site.pull("a.safetensors", &[]);
    // The file's widths replace --hidden.
    let created = site.init_as("q", "first.csv", &["--label", "largest", "--model", "a.safetensors"]).ok();
    assert_eq!(created.json()["layers"], serde_json::json!([3, 6, 5, 3]));
    site.run(&["pull", "--project", "q", "--out", "b.safetensors"]).ok();
    let load = |name| blindsmith_data::ModelFile::load(site.path(name)).unwrap().model;
    assert_eq!(load("a.safetensors"), load("b.safetensors"));

    // A model for other data is refused, and nothing is created.
    site.write("other.csv", tables::regression(0..60));
    let other = ["--task", "regress", "--label", "price", "--model", "a.safetensors"];
    let words = ["takes 3 features and gives 3 outputs", "the data has 4 features and needs 1 outputs"];
    site.init_as("r", "other.csv", &other).refused(2, &words);
    assert!(!site.path("r").exists());
}

#[test]
fn every_output_says_that_the_warden_is_simulated() {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    site.write("rows.csv", tables::largest(60..120));
    site.init("first.csv", &["--label", "largest", "--hidden", "4", "--epochs", "1", "--manual"]).ok();
    let commands: [(&str, &[&str]); 4] = [
        ("push", &["--data", "rows.csv"]),
        ("predict", &["--data", "rows.csv"]),
        ("pull", &["--out", "model.safetensors"]),
        ("history", &[]),
    ];
    for (command, more) in commands {
        let done = site.on_project(command, more).ok();
        assert_eq!(done.json()["warden"], "simulated", "{command}");
        assert_eq!(done.stderr.matches("warden: SIMULATED").count(), 1, "{command}: {}", done.stderr);
    }
    assert_eq!(site.status()["warden"], "simulated");
}
