//! A model card: what a file of a model is, in words, for whoever gets it.

use std::fmt::Write;

use crate::figures::Figures;
use crate::models::ModelVersion;
use crate::project::{ClientProject, Task};
use crate::report::Report;

/// The card of a version as Markdown. Figures are those of the round that made it, as sealed to the owner.
pub fn model_card(
    project: &ClientProject,
    model: &ModelVersion,
    report: &Report,
    warden: Option<&str>,
) -> String {
    let recipe = &project.recipe;
    let (version, id) = (model.version, project.id());
    let mut text = format!("# {}, version {version}\n\n", report.name);
    let task = match project.labelling.task {
        Task::Classify => "one class of several",
        Task::MultiLabel => "several labels",
        Task::Regress => "numbers",
    };
    _ = writeln!(
        text,
        "A dense network that predicts {task} ({}) from {} features.\n",
        project.labelling.columns.join(", "),
        project.standardiser.columns()
    );
    _ = writeln!(text, "| | |\n|---|---|\n| project | `{id}` |\n| layers | {:?} |", recipe.widths);
    _ = writeln!(text, "| activations | {:?} |", recipe.activations);
    if let Some(classes) = &project.labelling.classes {
        _ = writeln!(text, "| classes | {} |", classes.names().join(", "));
    }
    _ = writeln!(text, "| epochs of a round | {} in batches of {} |", recipe.epochs, recipe.batch_rows);
    _ = writeln!(text, "| security of the encryption | {} bits |", project.spec.security.bits());
    let warden = match warden {
        Some("simulated") => "SIMULATED: nothing protected the rows from whoever ran it",
        Some(kind) => kind,
        None => "unknown",
    };
    _ = writeln!(text, "| warden | {warden} |");
    if let Some(round) = report.rounds.iter().find(|round| round.round == version) {
        _ = writeln!(text, "| trained on | {} rows of {} uploads in that round |", round.rows, round.uploads);
        if let Some(figures) = &round.validation {
            figures_of(&mut text, figures);
        }
    }
    text.push_str(
        "\n## How to use it\n\nThe safetensors file has the layers of a `torch.nn.Sequential`; it takes features as \
         (x - mean) / standard deviation, which stand in its metadata (`blindsmith.standardiser`). The ONNX file takes features \
         as tables have them.\n\n## Limits\n\nThe figures are over the validation rows alone. Nobody who made this file read the \
         contributors' rows; what a model tells of the rows that it was trained on, it tells to whoever has it. \
         `blindsmith verify --model` says which signed receipt commits to it.\n",
    );
    text
}

fn figures_of(text: &mut String, figures: &Figures) {
    _ = writeln!(text, "\n## Figures\n\nOver {} validation rows: {}.", figures.metrics.rows, figures.words());
    let table = figures.table();
    if !table.is_empty() {
        _ = writeln!(text, "\n```\n{}\n```", table.join("\n"));
    }
}
