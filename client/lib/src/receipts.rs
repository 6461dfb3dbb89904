//! Receipts: fetched, verified, and in words.

use blindsmith_attest::{open_fault, open_receipt};
use std::path::Path;

use blindsmith_api::decision_word;
use blindsmith_api::message::{Ledger, PAGE, Reply, Request};
use blindsmith_attest::chain::{
    Bundle, MAX_BUNDLE, MAX_POLICY, MAX_SIGNEDS, Newest, OwnerPolicy, Trust, verify,
};
use blindsmith_protocol::{Blob, Decision, Id, from_cbor};
use blindsmith_receipts::{Receipt, receipt_digest};
use serde::Serialize;

use crate::connection::Connection;
use crate::failure::{Failure, unexpected};
use crate::files::read_limited;
use crate::orders::remember;
use crate::policy::{change_policy, load_policy, load_trust};
use crate::project::ClientProject;
use crate::report::QuarantinedUpload;
use crate::workspace::Workspace;

impl Workspace {
    /// Fetches the receipts, for anybody to verify. [`Workspace::compare_orders`] says whether the refinery shows the owner's
    /// orders beside them; keep the receipts first: they are the proof if it does not.
    ///
    /// # Errors
    /// If the refinery refuses.
    pub fn receipts(&mut self) -> Result<Bundle, Failure> {
        let trust = load_trust(&self.dir)?;
        fetch_bundle(&mut self.connection, &self.project, trust)
    }

    /// Fetches all receipts and verifies them against the directory's policy, which then remembers the newest.
    ///
    /// # Errors
    /// [`Failure::NotProven`] if one does not verify.
    pub fn verified_receipts(&mut self) -> Result<Vec<Receipt>, Failure> {
        verified(&mut self.connection, &self.project, &self.dir)
    }
}

/// Fetches the receipts as a bundle, with the evidence that was appraised: page by page, no more than a bundle may
/// have.
pub fn fetch_bundle(
    connection: &mut Connection,
    project: &ClientProject,
    trust: Trust,
) -> Result<Bundle, Failure> {
    let mut bundle = Bundle::new(trust, Vec::new(), Vec::new());
    let mut size = 0;
    loop {
        let (from, faults) = (bundle.receipts.len() as u64, bundle.faults.len() as u64);
        let request = Request::Receipts { project: project.id(), from, faults };
        let (Reply::Receipts, body) = connection.request(&request, &[])? else {
            return Err(unexpected());
        };
        // A page has what it should and one receipt more: a longer one is no page, whatever it would unfold to.
        if body.len() > 2 * PAGE {
            return Err(unexpected());
        }
        let page: Ledger = from_cbor(&body)?;
        size += body.len();
        let count = page.receipts.len() + page.faults.len();
        bundle.receipts.extend(page.receipts);
        bundle.faults.extend(page.faults);
        if size > MAX_BUNDLE || bundle.receipts.len().max(bundle.faults.len()) > MAX_SIGNEDS {
            let message = format!(
                "the refinery has more receipts than can be verified: {MAX_BUNDLE} bytes, {MAX_SIGNEDS} rounds"
            );
            return Err(Failure::Refused(message));
        }
        match (page.more, count) {
            (false, _) => return Ok(bundle),
            (true, 0) => return Err(unexpected()),
            (true, _) => {}
        }
    }
}

/// Verifies all receipts against the policy in a project's directory, which then remembers the newest of them.
pub fn verified(
    connection: &mut Connection,
    project: &ClientProject,
    dir: &Path,
) -> Result<Vec<Receipt>, Failure> {
    let bundle = fetch_bundle(connection, project, load_trust(dir)?)?;
    remember(connection, project, dir)?;
    let policy = load_policy(dir)?;
    let verdict = verify(&bundle, &policy);
    if let Some(fault) = verdict.first_fault {
        return Err(Failure::NotProven(format!("round {}: {}", fault.round, fault.what)));
    }
    let open = |bytes: &Blob| open_receipt(&bytes.0, &policy.receipts);
    let receipts = bundle.receipts.iter().map(open).collect::<Result<Vec<_>, _>>();
    let receipts = receipts.map_err(|e| Failure::NotProven(e.to_string()))?;
    if let Some(newest) = bundle.receipts.last() {
        let newest = Newest { round: receipts.len() as u64 - 1, receipt: Id(receipt_digest(&newest.0)) };
        // Another command may have seen a newer one meanwhile.
        change_policy(dir, |policy| {
            if policy.newest.is_none_or(|known| known.round < newest.round) {
                policy.newest = Some(newest);
            }
            Ok(())
        })?;
    }
    Ok(receipts)
}

/// Reads a bundle of receipts from a file.
///
/// # Errors
/// If it cannot be read, or is none.
pub fn read_bundle(path: &Path) -> Result<Bundle, Failure> {
    let bytes = read_limited(path, MAX_BUNDLE).map_err(|e| Failure::project(path, e))?;
    Bundle::from_bytes(&bytes).map_err(|e| Failure::project(path, e))
}

/// Reads an owner's policy from a file.
///
/// # Errors
/// If it cannot be read, or is none.
pub fn read_policy(path: &Path) -> Result<OwnerPolicy, Failure> {
    let bytes = read_limited(path, MAX_POLICY).map_err(|e| Failure::project(path, e))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::project(path, "not a policy: it is not text (UTF-8)"))?;
    OwnerPolicy::parse(&text).map_err(|e| Failure::project(path, format_args!("not a policy: {e}")))
}

/// What a bundle of receipts says.
#[derive(Debug, Clone, Serialize)]
pub struct ReceiptsReport {
    /// The project.
    pub project: String,
    /// The kind of the warden that was given the secrets.
    pub warden: &'static str,
    /// The key that signed the receipts.
    pub key: String,
    /// That nothing else was verified.
    pub verified: bool,
    /// The rounds.
    pub rounds: Vec<ReceiptReport>,
    /// The reports of wrong answers.
    pub faults: Vec<FaultReport>,
}

/// What a receipt says.
#[derive(Debug, Clone, Serialize)]
pub struct ReceiptReport {
    /// The round.
    pub round: u64,
    /// SHA-256 of the receipt as signed.
    pub receipt: String,
    /// That of the receipt before.
    pub previous: Option<String>,
    /// The kind of the warden that signed it.
    pub tee: String,
    /// The warden's measurement.
    pub measurement: String,
    /// The digest of the rules.
    pub rules: String,
    /// The commitment to the recipe.
    pub recipe: String,
    /// What became of the round.
    pub decision: &'static str,
    /// Why, in words.
    pub reason: Option<String>,
    /// The version that is current after it.
    pub current: u64,
    /// Attempts that it took.
    pub attempts: u32,
    /// Trainings that it took.
    pub trials: u32,
    /// Wrong answers of the refinery since the receipt before.
    pub faults: u32,
    /// Rows trained on.
    pub rows: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Orders of the owner that the warden knew.
    pub orders: u64,
    /// Their digest.
    pub orders_digest: String,
    /// The commitment to the model before.
    pub model_before: String,
    /// That to the model after.
    pub model_after: String,
    /// Uploads used.
    pub uploads: Vec<String>,
    /// Uploads that it quarantined.
    pub quarantined: Vec<QuarantinedUpload>,
}

/// A report of a wrong answer of the refinery.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// The round.
    pub round: u64,
    /// The attempt.
    pub attempt: u32,
    /// The instruction that was answered wrongly.
    pub instruction: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Text from a file that anybody could have made, fit to be shown.
fn plain(text: &str) -> String {
    text.escape_debug().to_string()
}

impl ReceiptReport {
    fn of(signed: &Blob, receipt: &Receipt) -> Self {
        let reason = match &receipt.decision {
            Decision::Restored { version } => Some(format!("version {version}")),
            other => other.reason().map(plain),
        };
        ReceiptReport {
            round: receipt.round,
            receipt: hex(&receipt_digest(&signed.0)),
            previous: receipt.previous.map(|digest| hex(&digest)),
            tee: plain(&receipt.tee),
            measurement: hex(&receipt.measurement.0),
            rules: hex(&receipt.rules),
            recipe: receipt.recipe.to_string(),
            decision: decision_word(&receipt.decision),
            reason,
            current: receipt.current,
            attempts: receipt.attempts,
            trials: receipt.trials,
            faults: receipt.faults,
            rows: receipt.rows,
            steps: receipt.steps,
            orders: receipt.orders,
            orders_digest: receipt.orders_digest.to_string(),
            model_before: hex(&receipt.before),
            model_after: hex(&receipt.after),
            uploads: receipt.uploads.iter().map(Id::to_string).collect(),
            quarantined: receipt.quarantined.iter().map(QuarantinedUpload::from).collect(),
        }
    }
}

impl ReceiptsReport {
    /// Opens every receipt; nothing but their signatures is verified.
    ///
    /// # Errors
    /// If one was not signed with the key that the evidence leads to.
    pub fn of(bundle: &Bundle) -> Result<Self, Failure> {
        let (tee, project, key) = bundle.trust.opened().map_err(Failure::NotProven)?;
        let not = |what: String| move |e| Failure::NotProven(format!("{what}: {e}"));
        let round = |(n, signed): (usize, &Blob)| {
            let receipt = open_receipt(&signed.0, &key).map_err(not(format!("receipt {n}")))?;
            Ok(ReceiptReport::of(signed, &receipt))
        };
        let fault = |(n, signed): (usize, &Blob)| {
            let fault = open_fault(&signed.0, &key).map_err(not(format!("report {}", n + 1)))?;
            Ok(FaultReport {
                round: fault.round,
                attempt: fault.attempt,
                instruction: plain(&fault.instruction),
            })
        };
        Ok(ReceiptsReport {
            project: project.to_string(),
            warden: tee.name(),
            key: key.to_string(),
            verified: false,
            rounds: bundle.receipts.iter().enumerate().map(round).collect::<Result<_, Failure>>()?,
            faults: bundle.faults.iter().enumerate().map(fault).collect::<Result<_, Failure>>()?,
        })
    }
}
