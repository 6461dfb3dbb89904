//! Whether recipe, specification and formats fit each other.

use blindsmith_formats::{check_size, label_bytes};
use blindsmith_learn::Recipe;
use blindsmith_protocol::ProjectSpec;

use crate::error::{ProjectError, mismatch};

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
