//! The warden works in bounded memory: ten times the rows need no more of it.
//!
//! Beside what a batch needs, the warden keeps twelve bytes for each sampling group (64 to 256 rows) in three
//! lists. Both trainings below take the same number of steps of the same size, so that nothing but the number
//! of rows differs. How far answers run ahead while uploads are read depends on chance, and is some hundred kilobytes.

use crate::site::Site;
use crate::tables;

/// Peak resident bytes of a fresh warden after a round over so many rows in two uploads.
fn peak(rows: usize, epochs: &str) -> f64 {
    let site = Site::new();
    site.write("first.csv", tables::wide(0..60));
    let plan = ["--no-header", "--label", "#last", "--hidden", "64", "--manual", "--batch-rows", "512"];
    site.init("first.csv", &plan).ok();
    let uploads = [(0..512, "--validation"), (0..rows / 2, "--keep-order"), (rows / 2..rows, "--keep-order")];
    for (range, role) in uploads {
        site.write("rows.csv", tables::wide(range));
        site.on_project("push", &["--data", "rows.csv", "--no-header", role]).ok();
    }
    let status = site.on_project("refine", &["--epochs", epochs]).ok().json();
    let round = &status["rounds"][1];
    assert_eq!((round["rows"].as_u64(), round["steps"].as_u64()), (Some(rows as u64), Some(40)));
    round["warden_peak_bytes"].as_u64().unwrap() as f64
}

#[test]
fn ten_times_the_rows_need_less_than_a_quarter_more_memory() {
    let (few, many) = (peak(2_048, "10"), peak(20_480, "1"));
    assert!(few > 1e6, "no peak was measured");
    assert!((many / few - 1.0).abs() < 0.25, "{few} bytes for 2,048 rows, {many} for 20,480");
}
