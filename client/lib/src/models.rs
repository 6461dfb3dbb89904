//! Models: fetched, opened, checked against the receipts, and written as files.

use std::path::Path;

use blindsmith_api::message::{Reply, Request};
use blindsmith_attest::chain::{Bundle, OwnerPolicy};
use blindsmith_attest::open_receipt;
use blindsmith_data::{Linear, Model, ModelFile};
use blindsmith_formats::{decode_model, encode_model, model_context};
use blindsmith_learn::{Layer, Matrix};
use blindsmith_protocol::{Blob, Decision, Id};
use blindsmith_receipts::commit;
use serde::Serialize;

use crate::connection::Connection;
use crate::failure::{Failure, unexpected};
use crate::keys::Keys;
use crate::project::ClientProject;
use crate::receipts::verified;
use crate::workspace::Workspace;

/// Where a model's file says what opens its commitment in the receipts: [`CommittedModel::find`] reads it.
const OPENING: &str = "blindsmith.opening";

impl Workspace {
    /// Fetches and opens a version, the current one if none is named, after the receipts were verified: the model is the one
    /// that the warden signed, and no older one than was seen before. Needs the owner's key.
    ///
    /// # Errors
    /// If a receipt does not verify, or the model is another one.
    pub fn pull(&mut self, version: Option<u64>) -> Result<ModelVersion, Failure> {
        let keys = Keys::load_owner(&self.dir)?;
        fetch(&mut self.connection, &self.project, &keys, version, Some(&self.dir))
    }
}

impl ModelVersion {
    /// The model's file: PyTorch's names, the standardisation, and what opens its commitment.
    ///
    /// # Errors
    /// None but for values that JSON has no room for.
    pub fn file(self, project: &ClientProject) -> Result<ModelFile, Failure> {
        model_file(project, (self.version, self.opening), self.layers)
    }
}

/// A version that was opened.
pub struct ModelVersion {
    /// Its number.
    pub version: u64,
    /// What opens the commitment in its receipt.
    pub opening: Id,
    /// Its layers.
    pub layers: Vec<Layer>,
}

/// Fetches and opens a version. With a project's directory the model is checked against the receipts: it is the one
/// that the warden signed, and no older one than was seen before.
pub fn fetch(
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
        ("blindsmith.preprocessing", serde_json::to_string(&project.preprocessing).map_err(json)?),
        ("blindsmith.standardiser", serde_json::to_string(&project.standardiser).map_err(json)?),
        ("blindsmith.labelling", serde_json::to_string(&project.labelling).map_err(json)?),
    ];
    file.metadata.extend(entries.map(|(k, v)| (k.to_owned(), v)));
    Ok(file)
}

/// The receipt that commits to a model.
#[derive(Debug, Clone, Serialize)]
pub struct CommittedModel {
    /// The model's file.
    pub file: String,
    /// The round whose receipt does, which is the model's version; none if no receipt does.
    pub round: Option<u64>,
    /// Whether no later round changed the model; unknown where decisions are sealed.
    pub current: Option<bool>,
}

impl CommittedModel {
    /// Looks for the receipt that commits to the model in a file; the bundle is verified already.
    ///
    /// # Errors
    /// If the file is no model, or does not say what opens its commitment.
    pub fn find(path: &Path, bundle: &Bundle, policy: &OwnerPolicy) -> Result<Self, Failure> {
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
        Ok(CommittedModel { file: path.display().to_string(), round, current })
    }

    /// In a line.
    pub fn words(&self) -> String {
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
