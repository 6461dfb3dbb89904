//! The warden works in bounded memory: ten times the rows need no more of it.

use crate::site::Site;
use crate::tables;

/// Peak resident bytes of a fresh warden after a round over so many rows in two uploads.
fn peak(rows: usize) -> f64 {
    let site = Site::new();
    site.write("first.csv", tables::largest(0..60));
    let plan = ["--label", "largest", "--hidden", "32", "--epochs", "1", "--batch-rows", "128"];
    site.init("first.csv", &plan).ok();
    for (upload, half) in [(0..rows / 2), (rows / 2..rows)].into_iter().enumerate() {
        let name = format!("{upload}.csv");
        site.write(&name, tables::largest(half));
        site.push(&name, &[]).ok();
        site.wait();
    }
    let status = site.status();
    let last = status["rounds"].as_array().unwrap().last().unwrap();
    let held_out = last["validation"]["rows"].as_u64().unwrap_or(0);
    assert_eq!(last["rows"].as_u64().unwrap() + held_out, rows as u64);
    last["warden_peak_bytes"].as_u64().unwrap() as f64
}

#[test]
fn ten_times_the_rows_need_less_than_a_tenth_more_memory() {
    let (few, many) = (peak(2_000), peak(20_000));
    assert!(few > 1e6, "no peak was measured");
    assert!((many / few - 1.0).abs() < 0.1, "{few} bytes for 2,000 rows, {many} for 20,000");
}
