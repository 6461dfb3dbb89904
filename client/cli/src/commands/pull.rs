//! `blindsmith pull`.

use std::path::PathBuf;

use blindsmith_data::{Linear, Model, ModelFile};
use blindsmith_learn::Layer;
use blindsmith_protocol::{Reply, Request};
use blindsmith_warden::{decode_model, model_context};
use clap::Args;
use serde::Serialize;

use super::{ProjectArguments, report};
use crate::connection::unexpected;
use crate::project::Keys;
use crate::{ClientProject, Connection, Failure};

/// Fetches the refined model and writes it as safetensors with PyTorch's names: load it into an
/// nn.Sequential of nn.Linear layers. It takes features as (x - mean) / standard deviation.
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
    /// Which version; the newest if none is named.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
}

#[derive(Serialize)]
struct Pulled {
    version: u64,
    layers: Vec<usize>,
    file: String,
}

impl Pull {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (project, mut connection) = self.common.open()?;
        let keys = Keys::load(&self.common.project)?;
        let (version, layers) = fetch(&mut connection, &project, &keys, self.version)?;
        let widths =
            std::iter::once(project.spec.inputs()).chain(layers.iter().map(|l| l.bias.len())).collect();
        model_file(&project, version, layers)?.save(&self.out)?;
        let pulled = Pulled { version, layers: widths, file: self.out.display().to_string() };
        report(self.common.json, &pulled, |p| {
            println!("version {} {:?} written to {}", p.version, p.layers, p.file)
        })
    }
}

/// Fetches and opens a version.
pub(crate) fn fetch(
    connection: &mut Connection,
    project: &ClientProject,
    keys: &Keys,
    version: Option<u64>,
) -> Result<(u64, Vec<Layer>), Failure> {
    let id = project.id();
    let (Reply::Model { version }, sealed) =
        connection.request(&Request::Pull { project: id, version }, &[])?
    else {
        return Err(unexpected());
    };
    let refused = || Failure::Keys { what: "the model" };
    let opened =
        keys.owner(&id).unseal(&model_context("model", &id, version), &sealed).map_err(|_| refused())?;
    Ok((version, decode_model(&opened).map_err(|_| refused())?))
}

fn model_file(project: &ClientProject, version: u64, layers: Vec<Layer>) -> Result<ModelFile, Failure> {
    let linear = |layer: Layer| {
        let (inputs, outputs) = layer.weights.shape();
        Linear { inputs, outputs, weight: layer.weights.into_vec(), bias: layer.bias }
    };
    let mut file = ModelFile::new(Model { layers: layers.into_iter().map(linear).collect() });
    let json = |e: serde_json::Error| Failure::Other(e.to_string());
    let entries = [
        ("blindsmith.project", project.id().to_string()),
        ("blindsmith.version", version.to_string()),
        ("blindsmith.activations", serde_json::to_string(&project.recipe.activations).map_err(json)?),
        ("blindsmith.standardiser", serde_json::to_string(&project.standardiser).map_err(json)?),
        ("blindsmith.labelling", serde_json::to_string(&project.labelling).map_err(json)?),
    ];
    file.metadata.extend(entries.map(|(k, v)| (k.to_owned(), v)));
    Ok(file)
}
