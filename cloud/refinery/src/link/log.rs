//! The line of a round in the log.

use blindsmith_api::decision_word;
use blindsmith_protocol::{Id, RoundSummary};
use tracing::info;

/// Logs a round that was stored: what became of it, and why if it was not promoted.
pub(super) fn log_round(project: &Id, summary: &RoundSummary) {
    let RoundSummary { round, seconds, .. } = *summary;
    let (decision, reason) = (decision_word(&summary.decision), summary.decision.reason());
    let quarantined = summary.quarantined.len();
    info!(%project, round, decision, reason, quarantined, seconds, "a round is complete");
}

#[cfg(test)]
mod tests {
    use blindsmith_protocol::Decision;

    use super::*;

    #[test]
    fn the_line_of_a_round_says_what_became_of_it_and_why() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let file = std::fs::File::create(&path).unwrap();
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(file).finish();
        let decision = Decision::RolledBack { reason: "worse".into() };
        let summary = RoundSummary { round: 3, decision, seconds: 1.5, ..RoundSummary::default() };
        tracing::subscriber::with_default(log, || log_round(&Id([9; 32]), &summary));
        let line: serde_json::Value =
            serde_json::from_str(std::fs::read_to_string(&path).unwrap().trim()).unwrap();
        assert_eq!((&line["round"], &line["decision"]), (&3.into(), &"rolled-back".into()), "{line}");
        assert_eq!((&line["reason"], &line["quarantined"]), (&"worse".into(), &0.into()), "{line}");
    }
}
