//! What is counted of rounds and uploads, for metrics.

use std::collections::BTreeMap;

use blindsmith_api::decision_word;
use blindsmith_protocol::{Id, RoundRecord, RoundSummary};
use tracing::info;

use super::{Project, Shared, State, Stored};

/// Rounds since the start, of all projects.
#[derive(Clone, Default)]
pub struct RoundCounts {
    /// By what became of them.
    pub decisions: BTreeMap<&'static str, u64>,
    /// Seconds that they took.
    pub seconds: f64,
    /// When the last one was stored, in seconds since 1970, also before the start; 0 if none was.
    pub last: u64,
}

impl RoundCounts {
    /// None yet, but for when the last one was stored.
    pub(super) fn since(projects: &BTreeMap<Id, Project>) -> Self {
        let last = projects.values().flat_map(|p| &p.rounds).map(|r| r.at).max().unwrap_or(0);
        RoundCounts { last, ..RoundCounts::default() }
    }

    /// Takes note of a round that was stored.
    fn add(&mut self, summary: &RoundSummary) {
        *self.decisions.entry(decision_word(&summary.decision)).or_default() += 1;
        self.seconds += summary.seconds;
        self.last = self.last.max(summary.at);
    }
}

/// Logs a round that was stored: what became of it, and why if it was not promoted.
pub(crate) fn log_round(project: &Id, summary: &RoundSummary) {
    let RoundSummary { round, seconds, .. } = *summary;
    let (decision, reason) = (decision_word(&summary.decision), summary.decision.reason());
    let quarantined = summary.quarantined.len();
    info!(%project, round, decision, reason, quarantined, seconds, "a round is complete");
}

impl Shared {
    /// Takes note of a round that was stored.
    pub(crate) fn record(&self, project: &Id, record: &RoundRecord) {
        self.lock().counts.add(&record.summary);
        self.update(project, |p| p.record(record));
    }
}

impl State {
    /// The projects whose secrets a warden was given.
    pub(crate) fn released(&self) -> Vec<Id> {
        self.projects.iter().filter(|(_, p)| !p.rounds.is_empty()).map(|(id, _)| *id).collect()
    }

    /// Uploads of all projects of which something is true.
    pub(crate) fn uploads(&self, is: impl Fn(&Stored) -> bool) -> usize {
        self.projects.values().flat_map(|p| &p.uploads).filter(|u| is(u)).count()
    }
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

    #[test]
    fn rounds_are_counted_by_what_became_of_them() {
        let mut counts = RoundCounts { last: 7, ..RoundCounts::default() };
        let round = |decision, at| RoundSummary { decision, at, seconds: 1.5, ..RoundSummary::default() };
        counts.add(&round(Decision::Promoted, 10));
        counts.add(&round(Decision::RolledBack { reason: "worse".into() }, 20));
        counts.add(&round(Decision::Promoted, 15));
        assert_eq!(counts.decisions.into_iter().collect::<Vec<_>>(), [("promoted", 2), ("rolled-back", 1)]);
        assert_eq!((counts.seconds, counts.last), (4.5, 20));
    }
}
