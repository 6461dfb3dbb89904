//! What is counted of rounds and uploads, for metrics.

use std::collections::BTreeMap;

use blindsmith_api::decision_word;
use blindsmith_project::Project;
use blindsmith_protocol::{Id, RoundSummary};

/// Rounds since the start, of all projects.
#[derive(Clone, Default)]
pub(crate) struct RoundCounts {
    /// By what became of them.
    pub decisions: BTreeMap<&'static str, u64>,
    /// Seconds that they took.
    pub seconds: f64,
    /// When the last one was stored, in seconds since 1970, also before the start; 0 if none was.
    pub last: u64,
}

impl RoundCounts {
    /// None yet, but for when the last one was stored.
    pub fn since(projects: &BTreeMap<Id, Project>) -> Self {
        let last = projects.values().flat_map(Project::rounds).map(|r| r.at).max().unwrap_or(0);
        RoundCounts { last, ..RoundCounts::default() }
    }

    /// Takes note of a round that was stored.
    pub fn add(&mut self, summary: &RoundSummary) {
        *self.decisions.entry(decision_word(&summary.decision)).or_default() += 1;
        self.seconds += summary.seconds;
        self.last = self.last.max(summary.at);
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_protocol::Decision;

    use super::*;

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
