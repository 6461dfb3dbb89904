//! `blindsmith approve`.

use blindsmith_identity::{Action, Approval, Purpose};
use blindsmith_protocol::Blob;
use clap::Args;

use super::ProjectArguments;
use super::members::give;
use crate::Failure;
use crate::project::{Keys, load_trust};
use crate::trust::appraise_warden;

/// Approves of wardens to which the project may be handed over while you are away: one that is started with --take-over
/// gets it from the warden that has it. Without options, wardens with the measurement of the one that the refinery has now
/// are approved. The newest approval counts alone. Needs the owner's key.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  blindsmith approve --project ./sales\n  blindsmith approve --project ./sales --warden snp:3f0c...\n  blindsmith approve --project ./sales --none"
)]
pub struct Approve {
    #[command(flatten)]
    common: ProjectArguments,
    /// Approve of these instead: kind and measurement, in hexadecimal digits; of simulated wardens the SHA-256 of the
    /// program.
    #[arg(long, value_name = "KIND:HEX", num_args = 1.., value_parser = parse)]
    warden: Vec<(String, Blob)>,
    /// Approve of none any more.
    #[arg(long, conflicts_with = "warden")]
    none: bool,
}

fn parse(text: &str) -> Result<(String, Blob), String> {
    let wrong =
        || "give a kind (simulated, sgx, tdx or snp), a colon, and 2 to 128 hexadecimal digits".to_owned();
    let (kind, digits) = text.split_once(':').ok_or_else(wrong)?;
    let measurement = hex::decode(digits).map_err(|_| wrong())?;
    let known = blindsmith_warden::Tee::named(kind).is_some() && (1..=64).contains(&measurement.len());
    if known { Ok((kind.to_owned(), Blob(measurement))) } else { Err(wrong()) }
}

impl Approve {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let dir = &self.common.project;
        let (_, _, receipts) = load_trust(dir)?.opened().map_err(Failure::NotProven)?;
        let wardens = if self.none || !self.warden.is_empty() { self.warden } else { vec![self.current()?] };
        let simulated = wardens.iter().any(|(kind, _)| kind == "simulated");
        let (project, _) = self.common.open()?;
        if simulated && !project.attestation.policy()?.policy().accept_simulated {
            return Err(Failure::Settings(
                "this project does not accept simulated wardens: its attestation.toml decides that".into(),
            ));
        }
        let words = match wardens.as_slice() {
            [] => "no other warden may take the project over".to_owned(),
            wardens => {
                let names = wardens.iter().map(|(kind, found)| format!("{kind}:{}", hex::encode(&found.0)));
                format!("these wardens may take the project over: {}", names.collect::<Vec<_>>().join(", "))
            }
        };
        give(&self.common, Action::Approve(Approval { wardens, receipts }), &words)
    }

    /// What the refinery's warden is.
    fn current(&self) -> Result<(String, Blob), Failure> {
        let (project, mut connection) = self.common.open()?;
        let asker = Keys::load(&self.common.project)?.identity();
        let trust = (project.id(), &project.attestation, project.kem);
        let warden = appraise_warden(&mut connection, trust, &asker, Purpose::Query)?;
        Ok((warden.tee().to_owned(), Blob(warden.program().to_vec())))
    }
}
