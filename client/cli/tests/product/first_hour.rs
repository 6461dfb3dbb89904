//! The first hour with a table of one's own: what people's tables look like, and what must come of them.

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
    let report = site.on_project("refine", &[]).ok().json();
    let accuracy = report["rounds"][1]["validation"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.98, "{accuracy}");
}
