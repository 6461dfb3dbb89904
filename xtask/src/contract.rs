//! `cargo xtask check-demo`: whether the demonstration on the digits shows what it must.
//!
//! The last line on its standard output is one JSON object with the fields that scripts rely on.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;

/// The least accuracy of the encrypted run on held-out rows.
const LEAST_ACCURACY: f64 = 0.95;
/// How far the encrypted run may be from the twin.
const MOST_DIFFERENCE: f64 = 0.01;

/// Reads standard input and reports every way in which it breaks the contract.
pub fn run() -> Result<ExitCode> {
    let mut output = String::new();
    std::io::stdin().read_to_string(&mut output).context("cannot read standard input")?;
    let broken = breaches(&output);
    for breach in &broken {
        eprintln!("demo: {breach}");
    }
    if broken.is_empty() {
        println!("demo: ok, {}", last_line(&output));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn last_line(output: &str) -> &str {
    output.trim_end().lines().next_back().unwrap_or_default()
}

fn breaches(output: &str) -> Vec<String> {
    let outcome = match serde_json::from_str::<Value>(last_line(output)) {
        Ok(outcome) if outcome.is_object() => outcome,
        Ok(_) => return vec!["the last line is not a JSON object".into()],
        Err(e) => return vec![format!("the last line is not JSON: {e}")],
    };
    let mut broken = Vec::new();
    for (field, expected) in [
        ("dataset", Value::from("digits")),
        ("layers", Value::from(vec![64, 32, 10])),
        ("security_bits", Value::from(128)),
        ("warden", Value::from("simulated")),
    ] {
        if outcome[field] != expected {
            broken.push(format!("`{field}` is {}, not {expected}", outcome[field]));
        }
    }
    for field in [
        "encrypted_seconds",
        "plaintext_seconds",
        "cloud_seconds",
        "warden_seconds",
        "upload_bytes_per_row",
        "warden_peak_bytes",
        // Encryption leaves noise: no difference at all means that nothing was encrypted.
        "max_weight_difference",
    ] {
        if outcome[field].as_f64().is_none_or(|x| x <= 0.0) {
            broken.push(format!("`{field}` is {}, not a number above zero", outcome[field]));
        }
    }
    judge_accuracy(&outcome, &mut broken);
    broken
}

fn judge_accuracy(outcome: &Value, broken: &mut Vec<String>) {
    let mut share = |value: &Value, name: &str| {
        let share = value.as_f64().filter(|x| (0.0..=1.0).contains(x));
        if share.is_none() {
            broken.push(format!("`{name}` is {value}, not between 0 and 1"));
        }
        share
    };
    let initial = share(&outcome["initial_accuracy"], "initial_accuracy");
    let encrypted = share(&outcome["encrypted_accuracy"], "encrypted_accuracy");
    let plaintext = share(&outcome["plaintext_accuracy"], "plaintext_accuracy");
    let rounds = outcome["rounds"].as_array().map(Vec::as_slice).unwrap_or_default();
    let accuracies: Option<Vec<f64>> = rounds.iter().map(|r| share(&r["accuracy"], "accuracy")).collect();

    if let Some(encrypted) = encrypted.filter(|&e| e < LEAST_ACCURACY) {
        broken.push(format!("the encrypted run reaches {encrypted}, below {LEAST_ACCURACY}"));
    }
    if let (Some(e), Some(p)) = (encrypted, plaintext)
        && (e - p).abs() > MOST_DIFFERENCE
    {
        broken
            .push(format!("the encrypted run reaches {e}, its twin {p}: more than {MOST_DIFFERENCE} apart"));
    }
    for (i, round) in rounds.iter().enumerate() {
        if round["round"].as_u64() != Some(i as u64 + 1) {
            broken.push(format!("round {} is numbered {}", i + 1, round["round"]));
        }
        if round["rows"].as_u64().is_none_or(|rows| rows == 0) {
            broken.push(format!("round {} has {} rows", i + 1, round["rows"]));
        }
    }
    match accuracies.as_deref() {
        Some([first, .., last]) => {
            if last <= first {
                broken.push(format!("the rounds do not rise: the first reaches {first}, the last {last}"));
            }
            if initial.is_some_and(|initial| *last <= initial) {
                broken.push(format!("the last round reaches {last}, no more than the initial model"));
            }
        }
        Some(_) => broken.push(format!("there are {} rounds, at least two are needed", rounds.len())),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({
            "dataset": "digits", "layers": [64, 32, 10], "security_bits": 128,
            "initial_accuracy": 0.7, "encrypted_accuracy": 0.97, "plaintext_accuracy": 0.965,
            "max_weight_difference": 1e-4,
            "rounds": [
                {"round": 1, "rows": 100, "accuracy": 0.9},
                {"round": 2, "rows": 200, "accuracy": 0.89},
                {"round": 3, "rows": 300, "accuracy": 0.97},
            ],
            "encrypted_seconds": 4.0, "plaintext_seconds": 0.1, "cloud_seconds": 1.0, "warden_seconds": 2.0,
            "upload_bytes_per_row": 400.0, "warden_peak_bytes": 10_000_000, "warden": "simulated",
        })
    }

    #[test]
    fn what_the_contract_asks_for_passes() {
        assert_eq!(breaches(&format!("some story\n{}\n", good())), Vec::<String>::new());
    }

    #[test]
    fn each_breach_is_found_and_named() {
        let cases = [
            ("/dataset", json!("mnist"), "`dataset`"),
            ("/layers", json!([64, 10]), "`layers`"),
            ("/security_bits", json!(64), "`security_bits`"),
            ("/warden", json!("sgx"), "`warden`"),
            ("/encrypted_seconds", json!(null), "`encrypted_seconds`"),
            ("/max_weight_difference", json!(0.0), "`max_weight_difference`"),
            ("/initial_accuracy", json!("high"), "`initial_accuracy`"),
            ("/initial_accuracy", json!(0.98), "no more than the initial"),
            ("/plaintext_accuracy", json!(0.985), "apart"),
            ("/rounds", json!([]), "0 rounds"),
            ("/rounds/1/round", json!(3), "numbered 3"),
            ("/rounds/0/rows", json!(0), "has 0 rows"),
            ("/rounds/0/accuracy", json!(0.97), "do not rise"),
            ("/rounds/0/accuracy", json!(97), "not between 0 and 1"),
        ];
        for (field, value, expected) in cases {
            let mut outcome = good();
            *outcome.pointer_mut(field).unwrap() = value;
            let broken = breaches(&outcome.to_string());
            assert_eq!(broken.len(), 1, "{field}: {broken:?}");
            assert!(broken[0].contains(expected), "{field}: {broken:?}");
        }
    }

    #[test]
    fn low_accuracy_is_found() {
        let mut outcome = good();
        outcome["encrypted_accuracy"] = json!(0.94);
        outcome["plaintext_accuracy"] = json!(0.94);
        assert_eq!(breaches(&outcome.to_string()), ["the encrypted run reaches 0.94, below 0.95"]);
    }

    #[test]
    fn only_the_last_line_counts() {
        for output in ["", "story", "[1]", &format!("{}\nbye", good())] {
            assert_eq!(breaches(output).len(), 1, "{output}");
        }
    }
}
