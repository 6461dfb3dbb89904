//! How large a model may be.

use blindsmith_learn::Recipe;
use blindsmith_protocol::MAX_BODY;

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
