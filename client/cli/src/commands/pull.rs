//! `blindsmith pull`.

use std::path::PathBuf;

use blindsmith_client::Failure;
use clap::Args;
use serde::Serialize;

use super::{ProjectArguments, report, warn_if_simulated};

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
        model.file(&workspace.project)?.save(&self.out)?;
        let warden = workspace.warden();
        warn_if_simulated(warden);
        let pulled = Pulled { version, layers, file: self.out.display().to_string(), warden };
        report(self.common.json, &pulled, |p| {
            println!("version {} {:?} written to {}", p.version, p.layers, p.file)
        })
    }
}
