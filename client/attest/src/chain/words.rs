//! Verdicts in words: what a chain proves, and what no chain does.

use std::collections::{BTreeMap, BTreeSet};

use blindsmith_evidence::Tee;
use blindsmith_receipts::{Decision, FaultReport, Rules};

use super::{Bundle, Measured, OwnerPolicy, Signed};
use crate::opening::open_receipt;

/// Most instructions that are listed by name.
const MOST_NAMES: usize = 16;

/// Text from outside, fit to be shown.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

pub(super) fn proven(chain: &[Signed], reports: &[FaultReport], policy: &OwnerPolicy) -> Vec<String> {
    let last = chain.len() - 1;
    let Rules { faults, attempts, fixed_schedule, precision, queries, .. } = &policy.rules;
    let Rules { tolerance, screening, trials, .. } = &policy.rules;
    let mut proven = vec![
        format!(
            "all {} receipts are signed by the key {} that the policy names",
            chain.len(),
            policy.receipts
        ),
        format!(
            "all are of the project {} and of a warden that enforced the policy's rules: faults {faults}, attempts \
             {attempts}, fixed schedule {fixed_schedule}, precision {precision}, queries {queries}, tolerance \
             {tolerance}, screening {screening}, trials {trials}",
            policy.project
        ),
        format!(
            "rounds 0 to {last} follow each other without a gap, and each started from the model that the one before left"
        ),
        "no receipt counts an upload twice".into(),
        decisions(chain),
    ];
    let wardens: BTreeSet<String> = chain.iter().filter_map(warden).collect();
    if !wardens.is_empty() {
        let names = wardens.into_iter().collect::<Vec<_>>().join(", ");
        proven.push(format!("every receipt is of a warden that the policy lists: {names}"));
    }
    let wrong: u64 = chain.iter().map(|s| u64::from(s.receipt.faults)).sum();
    proven.push(match wrong {
        0 => "the receipts count no wrong answer of the refinery".into(),
        _ => format!("the receipts count {wrong} wrong answers of the refinery, within the rules"),
    });
    if !reports.is_empty() {
        let digests: BTreeSet<[u8; 32]> = chain.iter().map(|s| s.digest).collect();
        let lost =
            reports.iter().filter(|r| r.previous.is_some_and(|digest| !digests.contains(&digest))).count();
        let outside = match lost {
            0 => String::new(),
            _ => format!(
                "; {lost} of them after rounds that are not in this chain: the project went on from an earlier round"
            ),
        };
        proven.push(format!(
            "the warden reported {} wrong answers of the refinery: {}{outside}",
            reports.len(),
            names(reports)
        ));
    }
    let known = chain[last].receipt.orders;
    let named = policy.orders.len() as u64;
    if named > 0 {
        proven.push(format!(
            "the warden was told the owner's orders, up to number {}, as the owner signed them",
            known.min(named)
        ));
    }
    if let Some(newest) = &policy.newest {
        proven.push(format!(
            "the receipt of round {} that the owner has seen is part of the chain: it was not rolled back behind it",
            newest.round
        ));
    }
    proven
}

/// The warden that a receipt names, unless it is simulated.
fn warden(signed: &Signed) -> Option<String> {
    let (tee, measurement) = (Tee::named(&signed.receipt.tee)?, signed.receipt.measurement.clone());
    (tee != Tee::Simulated).then(|| Measured { tee, measurement }.to_string())
}

fn decisions(chain: &[Signed]) -> String {
    let count = |is: fn(&Decision) -> bool| chain[1..].iter().filter(|s| is(&s.receipt.decision)).count();
    match count(|d| matches!(d, Decision::Sealed(_))) {
        0 => {
            let promoted = count(|d| matches!(d, Decision::Promoted));
            let failed = count(|d| matches!(d, Decision::Failed { .. }));
            let back = count(|d| matches!(d, Decision::RolledBack { .. }));
            let restored = count(|d| matches!(d, Decision::Restored { .. }));
            let aside: usize = chain.iter().map(|s| s.receipt.quarantined.len()).sum();
            format!(
                "after the release, {promoted} rounds were promoted, {back} rolled back and {failed} failed; \
                 {restored} times the owner made an earlier version the current one; {aside} uploads were quarantined"
            )
        }
        sealed => {
            format!("the decisions of {sealed} rounds are sealed to the owner, in the same form for all")
        }
    }
}

fn names(reports: &[FaultReport]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for report in reports {
        *counts.entry(&report.instruction).or_default() += 1;
    }
    let named = counts.iter().take(MOST_NAMES).map(|(name, count)| format!("{count} x {}", quoted(name)));
    let more = counts.len().saturating_sub(MOST_NAMES);
    named.chain((more > 0).then(|| format!("{more} other instructions"))).collect::<Vec<_>>().join(", ")
}

pub(super) fn not_proven(bundle: &Bundle, policy: &OwnerPolicy, rounds: u64) -> Vec<String> {
    let mut not_proven = Vec::new();
    let newest = bundle.receipts.last().and_then(|bytes| open_receipt(&bytes.0, &policy.receipts).ok());
    let orders = newest.map_or(0, |receipt| receipt.orders);
    if bundle.trust.opened().is_ok_and(|(tee, ..)| tee == Tee::Simulated) {
        not_proven.push(
            "THE WARDEN IS SIMULATED. Its key lies in a file, and whoever runs it can sign any receipt: nothing is \
             proven about the hardware, about the program that signed, or about whoever runs it"
                .into(),
        );
    }
    not_proven.extend([
        "that the key is a warden's: the owner appraised that at the release, and the policy takes it from there".into(),
        "availability: the refinery may stop, or withhold rounds, receipts, uploads and answers".into(),
        match &policy.newest {
            Some(newest) => format!(
                "freshness beyond round {}: the refinery may withhold newer receipts, or show others another chain \
                 from there on (compare with --against)",
                newest.round
            ),
            None => format!(
                "freshness: the policy names no newest receipt, so this may be an old state, or one of several \
                 chains, that ends at round {rounds} (set newest, compare with --against)"
            ),
        },
        "that the reports of wrong answers are complete: the refinery holds them and may leave some out; the counts in \
         receipts are signed"
            .into(),
        match (policy.orders.len() as u64, orders) {
            (0, 0) => "that the owner gave no order: the policy names none".into(),
            (named, known) if known > named => format!(
                "orders after number {named}: the warden knew {known}, and the policy names no more (take a newer policy.toml)"
            ),
            (named, known) if known < named => format!(
                "that the warden knows the owner's last orders: it knew {known} of {named} in the newest round"
            ),
            _ => "that no further order is withheld from the warden after the newest round".into(),
        },
        "the quality of rows: whether they are true, fit to learn from, or meant to do harm".into(),
        "unlearning: what a withdrawn upload taught earlier models stays in them".into(),
        "what is only committed to or sealed here: the models, the metrics, sealed decisions".into(),
    ]);
    not_proven
}

pub(super) fn not_proven_after(bundle: &Bundle, policy: &OwnerPolicy, rounds: u64) -> Vec<String> {
    let mut all = vec!["anything: a check failed, and these receipts should not be relied on".to_owned()];
    all.extend(not_proven(bundle, policy, rounds));
    all
}
