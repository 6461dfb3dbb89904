//! The public part of a new project: what is planned, and in words. `init` and the benchmarks use it.

use blindsmith_formats::label_bytes;
use blindsmith_keys::random_bytes;
use blindsmith_learn::Recipe;
use blindsmith_matrix::{Encoding, MaskSeed, Security};
use blindsmith_plan::{Cloud, Costs, Machine, Network, Plan, plan};
use blindsmith_protocol::{Id, ProjectSpec, Role, Trigger};

use crate::failure::Failure;

/// The plan of a project with this recipe, at the reference costs of such a cloud; with all layers offloaded, if `all`.
pub fn planned(recipe: &Recipe, security: Security, (cloud, all): (Cloud, bool)) -> Result<Plan, Failure> {
    let network = Network {
        widths: recipe.widths.clone(),
        batch_rows: recipe.batch_rows,
        micro_batch_rows: recipe.micro_batch_rows.unwrap_or(recipe.batch_rows),
        input_rms: recipe.input_rms.into(),
        security,
    };
    let (costs, machine) = (Costs::reference(cloud), Machine::reference(cloud));
    let plan = plan(&network, &costs, &machine).map_err(|e| Failure::Settings(e.to_string()))?;
    Ok(if all { plan.offloading_all(&network, &costs, &machine) } else { plan })
}

/// A new project's public part.
pub fn new_spec(
    name: &str,
    owner: Id,
    (plan, security): (Plan, Security),
    recipe: &Recipe,
    trigger: Trigger,
) -> Result<ProjectSpec, Failure> {
    let Plan { layers, block_rows, row_form, column_form, feature_scale } = plan;
    let spec = ProjectSpec {
        name: name.to_owned(),
        salt: random_bytes(),
        owner,
        security,
        layers,
        feature_scale,
        mask: MaskSeed(random_bytes()),
        label_bytes: label_bytes(recipe),
        block_rows,
        row_form,
        column_form,
        batch_rows: recipe.batch_rows as u32,
        trigger,
    };
    spec.validate().map_err(|e| Failure::Settings(e.to_string()))?;
    Ok(spec)
}

/// Bytes of a stored row, its share of a whole block.
pub fn bytes_per_row(spec: &ProjectSpec) -> usize {
    spec.block_bytes(Role::Training, spec.block_rows) / spec.block_rows()
}

/// n, m and r.
pub fn sizes(encoding: &Encoding) -> [usize; 3] {
    [encoding.roots(), encoding.strip(), encoding.rank()]
}
