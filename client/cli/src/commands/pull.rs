//! `blindsmith pull`.

use std::path::PathBuf;

use blindsmith_client::Failure;
use blindsmith_client::card::model_card;
use blindsmith_client::files::write_file;
use clap::Args;
use serde::Serialize;

use super::{ProjectArguments, report, warn_if_simulated};

/// Verifies the receipts, fetches the refined model, and writes it as safetensors with PyTorch's names: load it into
/// an nn.Sequential of nn.Linear layers. The model takes features as (x - mean) / standard deviation.
#[derive(Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example:\n  blindsmith pull --project ./sales --out model.safetensors\n  blindsmith pull --project ./sales --out model.onnx --card README.md"
)]
pub struct Pull {
    #[command(flatten)]
    common: ProjectArguments,
    /// The file to write: safetensors, or ONNX if its name ends in .onnx. An ONNX graph takes features as tables have them.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write a model card beside it: what the model is, its figures, and how it is used.
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// Which version [default: the current one].
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

impl Pull {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut workspace = self.common.open()?;
        let model = workspace.pull(self.version)?;
        let (version, inputs) = (model.version, workspace.project.spec.inputs());
        let layers = std::iter::once(inputs).chain(model.layers.iter().map(|l| l.bias.len())).collect();
        let warden = workspace.warden();
        if let Some(path) = &self.card {
            let status = workspace.fetch_status()?;
            let text = model_card(&workspace.project, &model, &workspace.report(status)?, warden);
            std::fs::write(path, text).map_err(|e| Failure::project(path, e))?;
        }
        if self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
            write_file(&self.out, &model.onnx(&workspace.project)?)?;
        } else {
            model.file(&workspace.project)?.save(&self.out)?;
        }
        warn_if_simulated(warden);
        let pulled = Pulled { version, layers, file: self.out.display().to_string(), warden };
        report(self.common.json, &pulled, |p| {
            println!("version {} {:?} written to {}", p.version, p.layers, p.file)
        })
    }
}
