//! Verification of a project's receipts: a pure function of the bundle that the refinery holds and the policy
//! that the owner keeps. It needs no network, and neither refinery nor warden.

mod bundle;
mod owner;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use bundle::{BUNDLE_FORMAT, Bundle, BundleError, MAX_BUNDLE, MAX_SIGNEDS, Trust};
pub use owner::{KnownOrder, MAX_POLICY, MAX_WARDENS, Measured, Newest, OwnerPolicy, PolicyError};

use crate::opening::{open_fault, open_receipt};
use blindsmith_evidence::Tee;
use blindsmith_protocol::Id;
use blindsmith_receipts::{Decision, FaultReport, FixedSchedule, PublicKey, Receipt, receipt_digest};
use serde::Serialize;

/// What verification found, in words for whoever reviews it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether every check passed.
    pub valid: bool,
    /// Rounds that passed, not counting round 0, the release.
    pub rounds: u64,
    /// What is proven.
    pub proven: Vec<String>,
    /// What is not, whatever was found.
    pub not_proven: Vec<String>,
    /// The first check that failed.
    pub first_fault: Option<Fault>,
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// At which round; 0 for what concerns the whole bundle.
    pub round: u64,
    /// What failed.
    pub what: String,
}

impl Fault {
    fn new(round: u64, what: impl Into<String>) -> Self {
        Fault { round, what: what.into() }
    }
}

/// A receipt whose signature was verified, and its digest.
struct Signed {
    receipt: Receipt,
    digest: [u8; 32],
}

/// Verifies a bundle. Checks stop at the first that fails:
///
/// 1. the evidence is of a kind that the policy accepts, and leads to the policy's key;
/// 2. the key signed every receipt;
/// 3. every receipt is of a warden that the policy lists, and fits the policy and its predecessor;
/// 4. the newest receipt that the owner has seen is among them;
/// 5. the key signed every report of a wrong answer, and each refers to one of the receipts.
pub fn verify(bundle: &Bundle, policy: &OwnerPolicy) -> Verdict {
    let mut rounds = 0;
    match check(bundle, policy, &mut rounds) {
        Ok((chain, reports)) => Verdict {
            valid: true,
            rounds,
            proven: words::proven(&chain, &reports, policy),
            not_proven: words::not_proven(bundle, policy, rounds),
            first_fault: None,
        },
        Err(fault) => refused(bundle, policy, rounds, fault),
    }
}

/// Verifies a bundle, and that `other` does not tell another story: bundles that two people were given should
/// agree as far as both go.
pub fn verify_against(bundle: &Bundle, other: &Bundle, policy: &OwnerPolicy) -> Verdict {
    let mut verdict = verify(bundle, policy);
    if !verdict.valid {
        return verdict;
    }
    if let Some(round) = equivocation(bundle, other) {
        let what = "the warden's key signed another receipt of this round, which the other bundle holds: \
                    somebody was shown a fork";
        return refused(bundle, policy, round.saturating_sub(1), Fault::new(round, what));
    }
    // The other bundle may be older than the newest receipt that the owner has seen.
    let theirs = verify(other, &OwnerPolicy { newest: None, ..policy.clone() });
    if let Some(Fault { round, what }) = theirs.first_fault {
        let what = format!("the other bundle does not verify, so nothing was compared: {what}");
        return refused(bundle, policy, verdict.rounds, Fault::new(round, what));
    }
    let common = verdict.rounds.min(theirs.rounds);
    verdict.proven.push(format!("the other bundle holds the same receipts up to round {common}"));
    verdict
}

/// The first round of which two bundles hold different receipts of one project, both signed by the same key.
pub fn equivocation(one: &Bundle, other: &Bundle) -> Option<u64> {
    let (Ok((_, _, key)), Ok((_, _, other_key))) = (one.trust.opened(), other.trust.opened()) else {
        return None;
    };
    if key != other_key {
        return None;
    }
    let signed = |bundle: &Bundle| -> BTreeMap<(u64, Id), BTreeSet<[u8; 32]>> {
        let mut digests = BTreeMap::<_, BTreeSet<_>>::new();
        for bytes in &bundle.receipts {
            if let Ok(receipt) = open_receipt(&bytes.0, &key) {
                digests.entry((receipt.round, receipt.project)).or_default().insert(receipt_digest(&bytes.0));
            }
        }
        digests
    };
    let (ours, theirs) = (signed(one), signed(other));
    ours.iter()
        .find(|(at, digests)| theirs.get(at).is_some_and(|t| t != *digests))
        .map(|((round, _), _)| *round)
}

fn refused(bundle: &Bundle, policy: &OwnerPolicy, rounds: u64, fault: Fault) -> Verdict {
    Verdict {
        valid: false,
        rounds,
        proven: Vec::new(),
        not_proven: words::not_proven_after(bundle, policy, rounds),
        first_fault: Some(fault),
    }
}

/// All checks; `rounds` counts what passed.
fn check(
    bundle: &Bundle,
    policy: &OwnerPolicy,
    rounds: &mut u64,
) -> Result<(Vec<Signed>, Vec<FaultReport>), Fault> {
    let tee = check_trust(bundle, policy)?;
    let chain = signed(bundle, &policy.receipts)?;
    let mut previous = None;
    for (round, signed) in (0..).zip(&chain) {
        let fault = |what| Fault { round, what };
        check_policy(&signed.receipt, tee, policy).map_err(fault)?;
        check_link(&signed.receipt, round, previous).map_err(fault)?;
        check_orders(&signed.receipt, policy).map_err(fault)?;
        check_rules(&signed.receipt, policy).map_err(fault)?;
        previous = Some(signed);
        *rounds = round;
    }
    if let Some(Newest { round, receipt }) = &policy.newest {
        let there = usize::try_from(*round).ok().and_then(|round| chain.get(round));
        match there {
            None => {
                return Err(Fault::new(
                    *round,
                    "rolled back: the chain ends before the newest receipt that the owner has seen",
                ));
            }
            Some(signed) if signed.digest != receipt.0 => {
                return Err(Fault::new(
                    *round,
                    "forked: this is not the receipt of the round that the owner has seen",
                ));
            }
            Some(_) => {}
        }
    }
    let reports = check_reports(bundle, tee, policy, &chain)?;
    Ok((chain, reports))
}

/// The kind of warden that the receipts have to be of.
fn check_trust(bundle: &Bundle, policy: &OwnerPolicy) -> Result<Tee, Fault> {
    let fail = |what: String| Err(Fault::new(0, what));
    let (tee, project, receipts) = match bundle.trust.opened() {
        Ok(opened) => opened,
        Err(what) => return fail(what),
    };
    if tee == Tee::Simulated && !policy.accept_simulated {
        return fail("the warden is simulated, which the policy does not accept (accept_simulated)".into());
    }
    if project != policy.project {
        return fail(format!("the evidence is about another project, {project}"));
    }
    if receipts != policy.receipts {
        return fail(format!("the evidence leads to the receipt key {receipts}, the policy names another"));
    }
    Ok(tee)
}

fn signed(bundle: &Bundle, key: &PublicKey) -> Result<Vec<Signed>, Fault> {
    if bundle.receipts.is_empty() {
        return Err(Fault::new(0, "there is no receipt, not even that of the release"));
    }
    let open = |(round, bytes): (u64, &blindsmith_protocol::Blob)| {
        let receipt =
            open_receipt(&bytes.0, key).map_err(|e| Fault::new(round, format!("the receipt: {e}")))?;
        Ok(Signed { receipt, digest: receipt_digest(&bytes.0) })
    };
    (0..).zip(&bundle.receipts).map(open).collect()
}

/// What every receipt of the project has in common.
fn check_policy(receipt: &Receipt, tee: Tee, policy: &OwnerPolicy) -> Result<(), String> {
    if receipt.project != policy.project {
        return Err(format!("the receipt is of another project, {}", receipt.project));
    }
    if receipt.tee != tee.name() {
        let (found, expected) = (words::quoted(&receipt.tee), tee.name());
        return Err(format!("the receipt is of a warden of the kind {found}, the evidence of {expected}"));
    }
    let measured = Measured { tee, measurement: receipt.measurement.clone() };
    match tee {
        Tee::Simulated if receipt.measurement.0.is_empty() => {}
        Tee::Simulated => {
            return Err("a simulated warden has no measurement, but the receipt names one".into());
        }
        Tee::Sgx | Tee::Tdx | Tee::Snp if policy.wardens.contains(&measured) => {}
        Tee::Sgx | Tee::Tdx | Tee::Snp => {
            return Err(format!(
                "the receipt is of the warden {measured}, which the policy does not list (wardens)"
            ));
        }
    }
    if receipt.recipe != policy.recipe {
        return Err("the warden trained by another recipe than that of the policy".into());
    }
    if receipt.rules != policy.rules.digest() {
        return Err("the warden enforced other rules than those of the policy".into());
    }
    Ok(())
}

/// That a receipt follows its predecessor.
fn check_link(receipt: &Receipt, round: u64, previous: Option<&Signed>) -> Result<(), String> {
    if receipt.round != round {
        return Err(format!("the receipt is of round {}, where {round} is due", receipt.round));
    }
    match (previous, receipt.previous) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err("the receipt of the release names a predecessor".into()),
        (Some(_), None) => Err("the receipt names no predecessor".into()),
        (Some(previous), Some(named)) if named != previous.digest => {
            Err("the receipt follows another than the one before it".into())
        }
        (Some(previous), Some(_)) if receipt.orders < previous.receipt.orders => {
            Err("the warden knew fewer of the owner's orders than in the round before".into())
        }
        (Some(previous), Some(_))
            if receipt.decision.reason().is_some() && receipt.current != previous.receipt.current =>
        {
            Err("the round was discarded, but the current version is another than before it".into())
        }
        (Some(previous), Some(_)) if receipt.before != previous.receipt.after => {
            Err("the round started from another model than the one that the round before left".into())
        }
        (Some(previous), Some(_))
            if receipt.orders == previous.receipt.orders
                && receipt.orders_digest != previous.receipt.orders_digest =>
        {
            Err("the warden was told other orders than in the round before".into())
        }
        (Some(previous), Some(_))
            if matches!(previous.receipt.decision, Decision::Sealed(_))
                && !matches!(receipt.decision, Decision::Sealed(_)) =>
        {
            Err("decisions are not sealed any more, though the schedule was fixed".into())
        }
        (Some(_), Some(_)) => Ok(()),
    }
}

/// That the warden was told the orders that the owner signed, all that it must know by then, as far as the policy names
/// them.
///
/// # Errors
/// What is wrong, in words.
pub fn check_orders(receipt: &Receipt, policy: &OwnerPolicy) -> Result<(), String> {
    let known = receipt.orders;
    let expected = match known.checked_sub(1) {
        None => Some(Id::default()),
        Some(last) => {
            usize::try_from(last).ok().and_then(|last| policy.orders.get(last)).map(|order| order.digest)
        }
    };
    if expected.is_some_and(|digest| digest != receipt.orders_digest) {
        return Err(format!(
            "the warden was told other orders, up to number {known}, than those that the policy names: the refinery replaced \
             one, perhaps by one that it said it had refused"
        ));
    }
    let due = policy.orders.iter().rposition(|order| order.due <= receipt.round).map_or(0, |last| last + 1);
    if known < due as u64 {
        return Err(format!(
            "the warden knew {known} of {due} orders of the owner that were given before the round began: the refinery \
             withheld orders"
        ));
    }
    Ok(())
}

/// That the owner's rules were kept, as far as a receipt shows it.
fn check_rules(receipt: &Receipt, policy: &OwnerPolicy) -> Result<(), String> {
    let (rules, Receipt { attempts, faults, .. }) = (&policy.rules, receipt);
    if !(1..=rules.attempts).contains(attempts) {
        return Err(format!("{attempts} attempts, where the rules allow 1 to {}", rules.attempts));
    }
    // One more than is survived is the one that ends the round; no round is promoted after it.
    let survived = *faults <= rules.faults;
    let last = rules.faults.checked_add(1) == Some(*faults) && receipt.decision != Decision::Promoted;
    if !(survived || last) {
        return Err(format!(
            "{faults} wrong answers of the refinery, where the rules survive {}",
            rules.faults
        ));
    }
    let sealed = matches!(receipt.decision, Decision::Sealed(_));
    match rules.fixed_schedule {
        FixedSchedule::Never if sealed => {
            return Err("the decision is sealed, but the schedule is not fixed".into());
        }
        FixedSchedule::Always if !sealed => {
            return Err("the schedule is fixed, but the decision is not sealed".into());
        }
        FixedSchedule::WhenShared if sealed && receipt.orders == 0 => {
            return Err("the decision is sealed, but nobody was invited to contribute".into());
        }
        _ => {}
    }
    if receipt.trials > rules.trials {
        return Err(format!("{} trainings, where the rules allow {}", receipt.trials, rules.trials));
    }
    let current = match &receipt.decision {
        Decision::Restored { version } => Some(*version),
        Decision::Promoted | Decision::Sealed(_) => Some(receipt.round),
        Decision::RolledBack { .. } | Decision::Failed { .. } => None,
    };
    if current.is_some_and(|current| current != receipt.current) || receipt.current > receipt.round {
        return Err("the current version is another than the one that the decision makes it".into());
    }
    let mut seen = BTreeSet::new();
    if let Some(q) = receipt.quarantined.iter().find(|q| !seen.insert(q.upload)) {
        return Err(format!("the upload {} was quarantined twice", q.upload));
    }
    if let Some(both) = receipt.uploads.iter().find(|upload| seen.contains(upload)) {
        return Err(format!("the upload {both} was used and quarantined"));
    }
    seen.clear();
    match receipt.uploads.iter().find(|upload| !seen.insert(**upload)) {
        Some(twice) => Err(format!("the upload {twice} counts twice")),
        None => Ok(()),
    }
}

/// The reports, each once. A report speaks of the refinery; only one that does not fit the chain is a defect. One that
/// refers to a receipt outside the chain is of a branch that was lost: a refinery's store that was restored from a copy
/// goes on without the rounds after it.
fn check_reports(
    bundle: &Bundle,
    tee: Tee,
    policy: &OwnerPolicy,
    chain: &[Signed],
) -> Result<Vec<FaultReport>, Fault> {
    let rounds: BTreeMap<[u8; 32], u64> = chain.iter().map(|s| (s.digest, s.receipt.round)).collect();
    let (mut seen, mut reports) = (BTreeSet::new(), Vec::new());
    for (i, bytes) in bundle.faults.iter().enumerate() {
        let nth = format!("report {} of a wrong answer", i + 1);
        let report =
            open_fault(&bytes.0, &policy.receipts).map_err(|e| Fault::new(0, format!("{nth}: {e}")))?;
        let fail = |what: &str| Err(Fault::new(report.round, format!("{nth} {what}")));
        if report.project != policy.project {
            return fail("is of another project");
        }
        if report.tee != tee.name() {
            return fail("is of another kind of warden than the evidence");
        }
        let Some(previous) = report.previous else { return fail("refers to no receipt") };
        if rounds.get(&previous).is_some_and(|round| report.round > round + 1) {
            return fail("names a round later than the one after the receipt that it refers to");
        }
        if seen.insert(receipt_digest(&bytes.0)) {
            reports.push(report);
        }
    }
    Ok(reports)
}
