//! `blindsmith approve`.

use std::fs;
use std::path::{Path, PathBuf};

use blindsmith_attest::AppraisedPolicy;
use blindsmith_attest::chain::{MAX_WARDENS, Measured, PolicyError};
use blindsmith_evidence::Tee;
use blindsmith_identity::{Action, Approval, MAX_APPROVAL_POLICY, Purpose};
use blindsmith_protocol::Blob;
use clap::Args;

use super::ProjectArguments;
use super::orders::give;
use blindsmith_client::Failure;
use blindsmith_client::Keys;
use blindsmith_client::layout::ATTESTATION_FILE;
use blindsmith_client::policy::{change_policy, list, load_trust};
use blindsmith_client::trust::now;

/// Approves of wardens to which the project may be handed over while you are away. A warden that is started with
/// --take-over gets the project from the warden that has it, which first appraises its evidence by the policy in the
/// approval. Without options, approves of wardens with the measurement of the refinery's present warden. Only the
/// newest approval counts. Needs the owner's key.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith approve --project ./sales\n  blindsmith approve --project ./sales --warden snp:3f0c... --attestation next.toml\n  blindsmith approve --project ./sales --none"
)]
pub struct Approve {
    #[command(flatten)]
    common: ProjectArguments,
    /// Approve of these wardens instead: kind and measurement in hexadecimal digits; for simulated wardens the SHA-256
    /// of the program.
    #[arg(long, value_name = "KIND:HEX", num_args = 1.., value_parser = parse)]
    warden: Vec<(String, Blob)>,
    /// The policy by which the approved wardens' evidence is appraised, instead of the project's attestation.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "none")]
    attestation: Option<PathBuf>,
    /// Withdraw all approvals.
    #[arg(long, conflicts_with = "warden")]
    none: bool,
}

fn parse(text: &str) -> Result<(String, Blob), String> {
    let Measured { tee, measurement } = text.parse().map_err(|e: PolicyError| e.to_string())?;
    Ok((tee.name().to_owned(), measurement))
}

/// Makes sure that a policy accepts wardens of the kinds that are approved: the approval would be for nothing.
fn accepts(text: &str, from: &Path, wardens: &[(String, Blob)]) -> Result<(), Failure> {
    if text.len() > MAX_APPROVAL_POLICY {
        let why =
            format!("a policy of more than {MAX_APPROVAL_POLICY} bytes, which an approval has no room for");
        return Err(Failure::unusable(from, why));
    }
    let parsed = AppraisedPolicy::parse(text).map_err(|e| Failure::unusable(from, e))?;
    let policy = parsed.policy();
    for (kind, _) in wardens {
        let accepted = match kind.as_str() {
            "simulated" => policy.accept_simulated,
            "sgx" => policy.sgx.is_some(),
            "tdx" => policy.tdx.is_some(),
            _ => policy.snp.is_some(),
        };
        if !accepted {
            return Err(Failure::Settings(format!(
                "{} accepts no wardens of the kind {kind}: change it, or give another one with --attestation",
                from.display()
            )));
        }
    }
    Ok(())
}

impl Approve {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let dir = &self.common.project;
        let (_, _, receipts) = load_trust(dir)?.opened().map_err(Failure::NotProven)?;
        let wardens = match self.none || !self.warden.is_empty() {
            true => self.warden.clone(),
            false => vec![self.current()?],
        };
        let policy = match &self.attestation {
            Some(path) => fs::read_to_string(path).map_err(|e| Failure::unusable(path, e))?,
            None => self.common.open()?.project.attestation.text().to_owned(),
        };
        let from = self.attestation.as_deref().unwrap_or(Path::new(ATTESTATION_FILE));
        accepts(&policy, from, &wardens)?;
        let words = match wardens.as_slice() {
            [] => "no other warden may take the project over".to_owned(),
            wardens => {
                let names = wardens.iter().map(|(kind, found)| format!("{kind}:{}", hex::encode(&found.0)));
                format!("these wardens may take the project over: {}", names.collect::<Vec<_>>().join(", "))
            }
        };
        self.expect(&wardens)?;
        let approval = Approval { wardens, receipts, policy, since: now()? };
        give(&self.common, Action::Approve(approval), &words)
    }

    /// Lists them among the wardens whose receipts policy.toml accepts, before any of them may get the project. Those of
    /// earlier approvals stay: receipts that they signed are part of the chain.
    fn expect(&self, wardens: &[(String, Blob)]) -> Result<(), Failure> {
        let named = wardens.iter().filter_map(|(kind, measurement)| {
            Some(Measured { tee: Tee::named(kind)?, measurement: measurement.clone() })
        });
        change_policy(&self.common.project, |policy| {
            list(&mut policy.wardens, named);
            if policy.wardens.len() > MAX_WARDENS {
                let message =
                    format!("more than {MAX_WARDENS} wardens: take out those that signed no receipt");
                return Err(Failure::project(&self.common.project.join("policy.toml"), message));
            }
            Ok(())
        })
    }

    /// What the refinery's warden is.
    fn current(&self) -> Result<(String, Blob), Failure> {
        let asker = Keys::load(&self.common.project)?.identity();
        let warden = self.common.open()?.appraise_warden(&asker, Purpose::Query)?;
        Ok((warden.tee().to_owned(), Blob(warden.program().to_vec())))
    }
}
