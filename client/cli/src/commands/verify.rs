//! `blindsmith verify`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use blindsmith_attest::chain::{
    Bundle, MAX_BUNDLE, MAX_POLICY, OwnerPolicy, Verdict, verify, verify_against,
};
use blindsmith_data::{Linear, ModelFile};
use blindsmith_learn::{Layer, Matrix};
use blindsmith_protocol::{Blob, Id};
use blindsmith_receipts::{Decision, commit, open_receipt};
use blindsmith_warden::encode_model;
use clap::Args;
use serde::Serialize;

use super::pull::OPENING;
use super::report;
use crate::Failure;

/// Verifies the warden's receipts against the owner's policy: offline, from two files. Exits with 0 only if
/// every check passed, with 9 if one failed, with 8 if a file cannot be read.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith verify --receipts receipts.cbor --policy policy.toml\n  blindsmith verify --receipts receipts.cbor --policy policy.toml --model model.safetensors"
)]
pub struct Verify {
    /// The receipts: a bundle that blindsmith receipts wrote.
    #[arg(long, value_name = "FILE")]
    receipts: PathBuf,
    /// The owner's policy.toml.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Another bundle of the project, from another time or person: both must tell the same history.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// A model that blindsmith pull wrote: say which receipt commits to it, and whether it is the current one.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let policy = policy(&self.policy)?;
        let receipts = bundle(&self.receipts)?;
        let verdict = match &self.against {
            Some(other) => verify_against(&receipts, &bundle(other)?, &policy),
            None => verify(&receipts, &policy),
        };
        // Receipts that do not verify commit to nothing.
        let model = self.model.as_deref().filter(|_| verdict.valid);
        let model = model.map(|path| Committed::find(path, &receipts, &policy)).transpose()?;
        let checked = Checked { verdict, model };
        report(self.json, &checked, Checked::print)?;
        match (&checked.verdict.first_fault, &checked.model) {
            (Some(fault), _) => Err(Failure::NotProven(format!("round {}: {}", fault.round, fault.what))),
            (None, Some(model)) if model.round.is_none() => {
                Err(Failure::NotProven("no receipt commits to this model".into()))
            }
            (None, _) => Ok(()),
        }
    }
}

/// A verdict, and what the receipts say of a model.
#[derive(Serialize)]
struct Checked {
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Committed>,
}

/// The receipt that commits to a model.
#[derive(Serialize)]
struct Committed {
    file: String,
    /// The round whose receipt does, which is the model's version; none if no receipt does.
    round: Option<u64>,
    /// Whether no later round changed the model; unknown where decisions are sealed.
    current: Option<bool>,
}

impl Committed {
    /// `receipts` are verified.
    fn find(path: &Path, bundle: &Bundle, policy: &OwnerPolicy) -> Result<Self, Failure> {
        let file = ModelFile::load(path)?;
        let opening = file.metadata.get(OPENING).and_then(|digits| digits.parse::<Id>().ok());
        let opening = opening.ok_or_else(|| {
            Failure::project(
                path,
                "it does not say what opens its commitment: take the file that blindsmith pull wrote",
            )
        })?;
        let layer = |l: Linear| {
            let weights = Matrix::from_rows(l.inputs, l.outputs, l.weight);
            Ok(Layer {
                weights: weights.ok_or_else(|| Failure::project(path, "a layer of an impossible size"))?,
                bias: l.bias,
            })
        };
        let layers = file.model.layers.into_iter().map(layer).collect::<Result<Vec<_>, Failure>>()?;
        let commitment = commit(&opening.0, &encode_model(&layers));
        let open = |bytes: &Blob| open_receipt(&bytes.0, &policy.receipts);
        let receipts = bundle.receipts.iter().map(open).collect::<Result<Vec<_>, _>>();
        let receipts = receipts.map_err(|e| Failure::NotProven(e.to_string()))?;
        let at = receipts.iter().position(|receipt| receipt.after == commitment);
        let current = at.and_then(|at| {
            let later = receipts[at + 1..].iter().map(|receipt| &receipt.decision);
            let changes = |decision: &Decision| match decision {
                Decision::Promoted | Decision::Restored { .. } => Some(true),
                Decision::RolledBack { .. } | Decision::Failed { .. } => Some(false),
                Decision::Sealed(_) => None,
            };
            let changed: Vec<Option<bool>> = later.map(changes).collect();
            match changed.contains(&Some(true)) {
                true => Some(false),
                false => (!changed.contains(&None)).then_some(true),
            }
        });
        let round = at.map(|at| receipts[at].round);
        Ok(Committed { file: path.display().to_string(), round, current })
    }

    fn words(&self) -> String {
        let file = &self.file;
        let Some(round) = self.round else { return format!("{file}: NO RECEIPT COMMITS TO THIS MODEL") };
        let current = match self.current {
            Some(true) => "it is the current one",
            Some(false) => "a later round replaced it",
            None => "whether a later round replaced it is sealed to the owner",
        };
        format!("{file}: the model of version {round}; {current}")
    }
}

impl Checked {
    fn print(&self) {
        words(&self.verdict);
        self.model.iter().for_each(|model| println!("\n{}", model.words()));
    }
}

fn words(verdict: &Verdict) {
    match &verdict.first_fault {
        None => println!("VALID: {} rounds after the release", verdict.rounds),
        Some(fault) => println!("NOT VALID, at round {}: {}", fault.round, fault.what),
    }
    for (title, lines) in [("proven", &verdict.proven), ("not proven", &verdict.not_proven)] {
        if !lines.is_empty() {
            println!("\n{title}:");
        }
        lines.iter().for_each(|line| println!("  - {line}"));
    }
}

/// A bundle of receipts in a file.
pub(super) fn bundle(path: &Path) -> Result<Bundle, Failure> {
    Bundle::from_bytes(&read(path, MAX_BUNDLE)?).map_err(|e| Failure::project(path, e))
}

fn policy(path: &Path) -> Result<OwnerPolicy, Failure> {
    let text = String::from_utf8(read(path, MAX_POLICY)?)
        .map_err(|_| Failure::project(path, "not a policy: it is not text (UTF-8)"))?;
    OwnerPolicy::parse(&text).map_err(|e| Failure::project(path, format_args!("not a policy: {e}")))
}

/// A file, but no more than one byte beyond `most`: readers refuse that.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|e| Failure::project(path, e))?;
    Ok(bytes)
}
