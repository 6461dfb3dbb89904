//! Whether recipe, specification and formats fit each other.

use blindsmith_learn::Recipe;
use blindsmith_protocol::{MAX_BODY, ProjectSpec};

use crate::labels::label_bytes;
use crate::project::{ProjectError, mismatch};

/// The recipe is the owner's secret, the specification is public: they must speak of one model.
pub(crate) fn check_recipe(spec: &ProjectSpec, recipe: &Recipe) -> Result<(), ProjectError> {
    let widths: Vec<usize> =
        std::iter::once(spec.inputs()).chain(spec.layers.iter().map(|l| l.outputs as usize)).collect();
    if widths != recipe.widths {
        return Err(mismatch("recipe and specification have different layers"));
    }
    if label_bytes(recipe) != spec.label_bytes {
        return Err(mismatch("recipe and specification have different labels"));
    }
    if recipe.batch_rows != spec.batch_rows as usize {
        return Err(mismatch("recipe and specification have batches of different sizes"));
    }
    check_size(recipe).map_err(mismatch)
}

/// Bytes of a round's record that are left to everything but state and model.
const RECORD_ROOM: usize = 16 << 20;

/// Refuses models whose round records would not fit a frame: sealed state and sealed model, four bytes a value.
///
/// # Errors
/// What is too large and how large it may be.
pub fn check_size(recipe: &Recipe) -> Result<(), String> {
    let (values, most) =
        (recipe.state_values().saturating_add(recipe.parameters()), (MAX_BODY - RECORD_ROOM) / 4);
    if values <= most {
        return Ok(());
    }
    let (parameters, optimiser) =
        (recipe.parameters(), recipe.state_values() / recipe.parameters().max(1) - 1);
    Err(format!(
        "a model of {parameters} parameters is too large: with this optimiser, which keeps {optimiser} value(s) of \
         each, at most {} are possible",
        most / (2 + optimiser)
    ))
}
