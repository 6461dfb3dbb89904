//! `blindsmith pull`.

use std::path::{Path, PathBuf};

use blindsmith_api::message::{Ledger, PAGE, Reply, Request};
use blindsmith_attest::chain::{Bundle, MAX_BUNDLE, MAX_SIGNEDS, Newest, Trust, verify};
use blindsmith_data::{Linear, Model, ModelFile};
use blindsmith_learn::Layer;
use blindsmith_protocol::{Blob, Id, from_cbor};
use blindsmith_receipts::{Receipt, commit, open_receipt, receipt_digest};
use blindsmith_warden::{decode_model, model_context};
use clap::Args;
use serde::Serialize;

use super::orders::remember;
use super::{ProjectArguments, report, warden_of, warn_if_simulated};
use crate::connection::unexpected;
use crate::project::{Keys, change_policy, load_policy, load_trust};
use crate::{ClientProject, Connection, Failure};

/// Verifies the receipts, fetches the refined model, and writes it as safetensors with PyTorch's names: load it into
/// an nn.Sequential of nn.Linear layers. The model takes features as (x - mean) / standard deviation.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith pull --project ./sales --out model.safetensors"
)]
pub struct Pull {
    #[command(flatten)]
    common: ProjectArguments,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The version [default: the current one].
    #[arg(long, value_name = "N")]
    version: Option<u64>,
}

#[derive(Serialize)]
struct Pulled {
    version: u64,
    layers: Vec<usize>,
    file: String,
    /// The kind of the warden that was given the secrets.
    warden: Option<&'static str>,
}

/// Where a model's file says what opens its commitment in the receipts: blindsmith verify --model reads it.
pub(super) const OPENING: &str = "blindsmith.opening";

impl Pull {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (project, mut connection) = self.common.open()?;
        let keys = Keys::load_owner(&self.common.project)?;
        let ModelVersion { version, opening, layers } =
            fetch(&mut connection, &project, &keys, self.version, Some(&self.common.project))?;
        let widths =
            std::iter::once(project.spec.inputs()).chain(layers.iter().map(|l| l.bias.len())).collect();
        model_file(&project, (version, opening), layers)?.save(&self.out)?;
        let warden = warden_of(&self.common.project);
        warn_if_simulated(warden);
        let pulled = Pulled { version, layers: widths, file: self.out.display().to_string(), warden };
        report(self.common.json, &pulled, |p| {
            println!("version {} {:?} written to {}", p.version, p.layers, p.file)
        })
    }
}

/// Fetches the receipts as a bundle, with the evidence that was appraised: page by page, no more than a bundle may
/// have.
pub(crate) fn fetch_bundle(
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
fn verified(
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

/// A version that was opened.
pub(crate) struct ModelVersion {
    pub version: u64,
    /// What opens the commitment in its receipt.
    pub opening: Id,
    pub layers: Vec<Layer>,
}

/// Fetches and opens a version. With a project's directory the model is checked against the receipts: it is the one
/// that the warden signed, and no older one than was seen before.
pub(crate) fn fetch(
    connection: &mut Connection,
    project: &ClientProject,
    keys: &Keys,
    version: Option<u64>,
    dir: Option<&Path>,
) -> Result<ModelVersion, Failure> {
    let id = project.id();
    let receipts = dir.map(|dir| verified(connection, project, dir)).transpose()?;
    // The newest is what the receipts say.
    let newest = receipts.as_ref().map(|receipts| receipts.len() as u64 - 1);
    let version = version.or(newest);
    let (Reply::Model { version }, sealed) =
        connection.request(&Request::Pull { project: id, version }, &[])?
    else {
        return Err(unexpected());
    };
    let refused = || Failure::Keys { what: "the model" };
    let opened =
        keys.owner(&id).unseal(&model_context("model", &id, version), &sealed).map_err(|_| refused())?;
    let (opening, model) = opened.split_first_chunk::<32>().ok_or_else(refused)?;
    if let Some(receipts) = receipts {
        let signed = usize::try_from(version).ok().and_then(|version| receipts.get(version));
        if signed.is_none_or(|receipt| receipt.after != commit(opening, model)) {
            let what = format!("the model is not the one that the warden signed as version {version}");
            return Err(Failure::NotProven(what));
        }
    }
    Ok(ModelVersion { version, opening: Id(*opening), layers: decode_model(model).map_err(|_| refused())? })
}

fn model_file(
    project: &ClientProject,
    (version, opening): (u64, Id),
    layers: Vec<Layer>,
) -> Result<ModelFile, Failure> {
    let linear = |layer: Layer| {
        let (inputs, outputs) = layer.weights.shape();
        Linear { inputs, outputs, weight: layer.weights.into_vec(), bias: layer.bias }
    };
    let mut file = ModelFile::new(Model { layers: layers.into_iter().map(linear).collect() });
    let json = |e: serde_json::Error| Failure::Other(e.to_string());
    let entries = [
        ("blindsmith.project", project.id().to_string()),
        ("blindsmith.version", version.to_string()),
        (OPENING, opening.to_string()),
        ("blindsmith.activations", serde_json::to_string(&project.recipe.activations).map_err(json)?),
        ("blindsmith.standardiser", serde_json::to_string(&project.standardiser).map_err(json)?),
        ("blindsmith.labelling", serde_json::to_string(&project.labelling).map_err(json)?),
    ];
    file.metadata.extend(entries.map(|(k, v)| (k.to_owned(), v)));
    Ok(file)
}
