//! What is stored and signed of a round.

use blindsmith_formats::{RoundMetrics, decision_bytes, encode_model, metrics_key, model_context};
use blindsmith_keys::Key;
use blindsmith_protocol::{Blob, Decision, Id, RoundRecord, RoundSummary};
use blindsmith_receipts::{
    RECEIPT_VERSION, Receipt, commit, receipt_digest, receipt_signing_key, sign_receipt,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::counters::Counter;
use crate::identity::Identity;
use crate::model::opening;
use crate::project::{Project, Receipts};

/// What became of a round, to be recorded.
pub(crate) struct RoundResult {
    pub summary: RoundSummary,
    /// The uploads that it was given.
    pub given: Vec<Id>,
    /// Those that its model was trained on or judged with.
    pub used: Vec<Id>,
    pub metrics: RoundMetrics,
    pub decision: Decision,
}

impl RoundResult {
    /// Of a round without a training.
    pub(crate) fn untrained(round: u64, decision: Decision) -> Self {
        let metrics = RoundMetrics::of(round);
        RoundResult { summary: RoundSummary::default(), given: vec![], used: vec![], metrics, decision }
    }
}

impl Project {
    /// The commitment to the model, and the model sealed to the owner.
    fn sealed_model(&self) -> ([u8; 32], Blob) {
        let layers = Zeroizing::new(encode_model(self.trainer.network().layers()));
        let opening = opening(&self.vault, self.round, &layers);
        let commitment = commit(&opening, &layers);
        let model = Zeroizing::new([opening.as_slice(), layers.as_slice()].concat());
        drop(layers);
        let context = model_context("model", &self.id, self.round);
        (commitment, Blob(self.release.owner.seal(&context, &model).0))
    }

    /// Signs what became of a round, and makes what is stored of it.
    pub(crate) fn record(
        &mut self,
        identity: &Identity,
        result: RoundResult,
        counter: &Counter,
    ) -> RoundRecord {
        let RoundResult { summary, given, used, metrics, decision } = result;
        let (owner, round) = (&self.release.owner, self.round);
        let context = |what| model_context(what, &self.id, round);
        let seal = |key: &Key, what, bytes: &[u8]| Blob(key.seal(&context(what), bytes).0);
        let (after, model) = self.sealed_model();
        let fixed = self.fixed_schedule();
        let aside = if fixed { given.len() } else { metrics.quarantined.len() };
        let figures = metrics.encode(aside, self.release.recipe.outputs());
        let sealed_metrics = seal(&metrics_key(owner), "metrics", &figures);
        let sealed = || Decision::Sealed(seal(owner, "decision", &decision_bytes(&decision)));
        let decision = if fixed { sealed() } else { decision };
        let quarantined = if fixed { vec![] } else { metrics.quarantined.clone() };
        // Which version is current would tell what was decided.
        let current = if fixed { round } else { self.standing.current };
        let roster = &self.members.roster;
        self.standing.orders = roster.sequence();
        let (orders, orders_digest, trials) = (roster.sequence(), roster.digest(), summary.trials);
        if round == 0 {
            self.origin.model = Id(after);
        }
        let receipt = Receipt {
            version: RECEIPT_VERSION,
            project: self.id,
            tee: identity.tee().name().into(),
            measurement: Blob(identity.measurement.clone()),
            rules: self.release.rules.digest(),
            round,
            attempts: counter.attempts.max(1),
            faults: counter.faults,
            previous: (round > 0).then_some(self.receipts.newest),
            orders,
            orders_digest,
            recipe: self.origin.recipe,
            current,
            trials,
            uploads: used.clone(),
            quarantined: quarantined.clone(),
            rows: summary.rows,
            steps: summary.steps,
            before: if round == 0 { after } else { self.commitment },
            after,
            decision,
            metrics: Sha256::digest(&sealed_metrics.0).into(),
        };
        let signed = sign_receipt(&receipt, &receipt_signing_key(&self.vault));
        self.receipts = Receipts { newest: receipt_digest(&signed), before: self.receipts.newest };
        self.commitment = after;
        let state = Blob(self.sealed_state().0);
        let decision = receipt.decision;
        let summary = RoundSummary {
            round,
            metrics: sealed_metrics,
            decision,
            current,
            quarantined,
            orders,
            ..summary
        };
        RoundRecord { summary, given, used, state, model, receipt: Blob(signed) }
    }

    /// The record of a round, which the counters know before it leaves: of all attempts, the last one alone can be gone
    /// on from. Queries may have counted meanwhile.
    pub(crate) fn produce(
        &mut self,
        identity: &Identity,
        result: RoundResult,
        begun: &Counter,
    ) -> std::io::Result<RoundRecord> {
        let record = self.record(identity, result, begun);
        let (produced, reported) = (self.receipts.newest, begun.faults);
        let place = Counter::at(self.round, produced);
        identity
            .count(&self.id, place, |now| Ok::<_, std::io::Error>(Counter { produced, reported, ..now }))?;
        Ok(record)
    }

    /// Counts an attempt. What an earlier one produced is not taken back any more.
    pub(crate) fn begin(&self, identity: &Identity) -> std::io::Result<Counter> {
        let place = Counter::at(self.round, self.receipts.newest);
        identity.count(&self.id, place, |now| {
            let now = if now.round < self.round { now.advanced() } else { now };
            Ok(Counter { attempts: now.attempts + 1, produced: [0; 32], reported: 0, ..now })
        })
    }
}
