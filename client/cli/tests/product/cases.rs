//! Files that people met trouble with elsewhere, and the figures that other tools reach with them: `tests/data/cases`.

use serde_json::{Value, json};

use super::site::Site;

fn case(name: &str) -> String {
    format!("{}/tests/data/cases/{name}.csv", env!("CARGO_MANIFEST_DIR"))
}

/// The accuracy of the newest round, which is asked for.
fn refined(site: &Site) -> f64 {
    let report = site.on_project("refine", &[]).ok().json();
    report["rounds"].as_array().unwrap().last().unwrap()["validation"]["accuracy"].as_f64().unwrap()
}

#[test]
fn irises_are_learnt_as_init_chooses() {
    let site = Site::new();
    let iris = case("iris");
    site.init(&iris, &["--label", "target", "--manual"]).ok();
    site.push(&iris, &["--validation"]).ok();
    site.push(&iris, &[]).ok();
    let accuracy = refined(&site);
    assert!(accuracy >= 0.95, "{accuracy}");
}

#[test]
fn a_column_that_is_constant_in_the_first_table_is_named_and_counted_and_a_range_revives_it() {
    let site = Site::new();
    let (first, rest) = (case("const_in_first"), case("const_in_first_rest"));
    let common = ["--label", "y", "--manual", "--hidden", "none", "--expect-rows", "2000"];
    let dead = site.init_as("dead", &first, &common).ok().json();
    assert_eq!(dead["constant_columns"], json!(["flag"]));
    let pushed = site.run(&["push", "--project", "dead", "--data", &rest, "--json"]).ok().json();
    assert_eq!(pushed["differing"], json!([{"column": "flag", "values": 919}]));
    site.write("ranges.csv", "column,min,max\nflag,0,1\n");
    site.init(&first, &[&common[..], &["--ranges", "ranges.csv"]].concat()).ok();
    site.push(&rest, &["--validation"]).ok();
    assert_eq!(site.push(&rest, &[]).ok().json()["differing"], json!([]));
    let accuracy = refined(&site);
    assert!(accuracy > 0.93, "{accuracy}");
}

#[test]
fn a_small_spread_far_from_zero() {
    let site = Site::new();
    let file = case("offset_1e8");
    let training = ["--hidden", "none", "--epochs", "20", "--batch-rows", "64", "--weight-decay", "0"];
    site.init(&file, &[&["--label", "y", "--manual"], training.as_slice()].concat()).ok();
    site.push(&file, &["--validation"]).ok();
    site.push(&file, &[]).ok();
    let accuracy = refined(&site);
    assert!(accuracy > 0.99, "{accuracy}");
}

#[test]
fn one_file_for_each_class() {
    let site = Site::new();
    let init = ["--label", "y", "--manual", "--hidden", "16", "--expect-rows", "750"];
    site.init(&case("cls_first"), &init).ok();
    site.push(&case("cls_val"), &["--validation"]).ok();
    let mut accuracy = 0.0;
    for class in ["cls_only0", "cls_only1", "cls_only2"] {
        site.push(&case(class), &[]).ok();
        accuracy = refined(&site);
    }
    for round in site.history()["rounds"].as_array().unwrap() {
        assert_eq!(round["quarantined"], json!([]), "{round}");
    }
    assert!(accuracy > 0.82, "{accuracy}");
}

#[test]
fn targets_that_lie_low_at_first() {
    let site = Site::new();
    let (first, rest) = (case("target_firstlow_init"), case("target_firstlow_train"));
    let common = ["--label", "price", "--task", "regress", "--manual", "--hidden", "none"];
    site.init(&first, &common).ok();
    let clipped = site.push(&rest, &[]).ok().json()["clipped_targets"].clone();
    assert_eq!(clipped, json!([{"column": "price", "values": 2067}]));
    site.write("features.csv", "column,min,max\na,-99,99\nb,-99,99\nc,-99,99\n");
    let strict = ["--beyond", "refuse", "--ranges", "features.csv"];
    site.init_as("strict", &first, &[&common[..], &strict].concat()).ok();
    let push = ["push", "--project", "strict", "--data", &rest];
    site.run(&push).refused(3, &["column \"price\": outside the recorded range"]);
    site.write("ranges.csv", "column,min,max\nprice,0,150000\n");
    site.init_as("known", &first, &[&common[..], &["--ranges", "ranges.csv"]].concat()).ok();
    let known = site.run(&["push", "--project", "known", "--data", &rest, "--json"]).ok().json();
    assert_eq!(known["clipped_targets"], Value::Array(Vec::new()));
}
