//! The service as it is meant to run: contributors, a poisoned upload, and processes that are killed again and again.

use std::process::{Command, Stdio};

use serde_json::Value;

/// Five contributors, forty uploads in random order and timing, one of them poisoned, the owner away, twenty kills.
#[test]
fn every_acknowledged_upload_is_accounted_for_and_the_poisoned_one_is_named() {
    crate::site::programs();
    let output = Command::new(env!("CARGO_BIN_EXE_blindsmith"))
        .args(["soak", "--json", "--threads", "1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    let counted: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Forty, and a few where a round that was taken back left some waiting.
    let (uploads, rows) = (&counted["uploads_acknowledged"], &counted["rows_acknowledged"]);
    assert!((40..=45).contains(&uploads.as_u64().unwrap()), "{counted}");
    assert_eq!(rows.as_u64().unwrap(), 36 * uploads.as_u64().unwrap());
    assert_eq!((&counted["kills"], &counted["poisoned_set_aside"]), (&20.into(), &true.into()));
    assert_eq!(counted["unaccounted"], Value::Array(vec![]));
    // Of five contributors two send over HTTP, eight uploads each.
    assert!(counted["acknowledged_over_http"].as_u64().unwrap() >= 16, "{counted}");
    assert!(counted["accuracy_last"].as_f64().unwrap() > 0.8, "{counted}");
}
