//! A model in bytes: what is sealed to the owner, and what the owner seals to the warden.
//!
//! Little-endian: `BSMODEL1`, the number of layers (u32), then for each layer inputs and outputs (u32), the
//! weights (inputs x outputs, row by row, f32) and the biases (f32).

use blindsmith_keys::Key;
use blindsmith_learn::{Layer, Matrix};
use blindsmith_protocol::{MAX_LAYERS, MAX_WIDTH};
use sha2::{Digest, Sha256};
use thiserror::Error;

const MAGIC: &[u8; 8] = b"BSMODEL1";

/// Bytes that are no model.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the model is malformed: {0}")]
pub struct ModelError(&'static str);

/// A model's bytes.
pub fn encode_model(layers: &[Layer]) -> Vec<u8> {
    let sizes = layers.iter().map(|layer| layer.weights.as_slice().len() + layer.bias.len() + 2);
    // Reserved in full: a growing buffer would leave copies behind.
    let mut out = Vec::with_capacity(MAGIC.len() + 4 * (1 + sizes.sum::<usize>()));
    out.extend(MAGIC);
    out.extend((layers.len() as u32).to_le_bytes());
    for layer in layers {
        let (inputs, outputs) = layer.weights.shape();
        out.extend((inputs as u32).to_le_bytes());
        out.extend((outputs as u32).to_le_bytes());
        out.extend(layer.weights.as_slice().iter().chain(&layer.bias).flat_map(|v| v.to_le_bytes()));
    }
    out
}

/// What opens the commitment to a round's model. It follows from the vault, which no owner has: it also proves that the model is
/// the warden's.
pub(crate) fn opening(vault: &Key, round: u64, model: &[u8]) -> [u8; 32] {
    *vault.derive("model opening", &[&round.to_be_bytes(), &Sha256::digest(model)]).expose()
}

/// The model that [`encode_model`] wrote.
pub fn decode_model(bytes: &[u8]) -> Result<Vec<Layer>, ModelError> {
    let mut rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or(ModelError("it does not begin as one"))?;
    let count = number(&mut rest)?;
    if count == 0 || count > MAX_LAYERS {
        return Err(ModelError("an impossible number of layers"));
    }
    let mut layers = Vec::with_capacity(count);
    for _ in 0..count {
        let (inputs, outputs) = (number(&mut rest)?, number(&mut rest)?);
        if inputs.max(outputs) > MAX_WIDTH as usize {
            return Err(ModelError("a layer that is too wide"));
        }
        let weights = floats(&mut rest, inputs * outputs)?;
        let bias = floats(&mut rest, outputs)?;
        let weights = Matrix::from_rows(inputs, outputs, weights).ok_or(ModelError("a layer of no size"))?;
        layers.push(Layer { weights, bias });
    }
    if rest.is_empty() { Ok(layers) } else { Err(ModelError("bytes after the end")) }
}

fn number(rest: &mut &[u8]) -> Result<usize, ModelError> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(ModelError("it is truncated"))?;
    *rest = tail;
    Ok(u32::from_le_bytes(*head) as usize)
}

fn floats(rest: &mut &[u8], count: usize) -> Result<Vec<f32>, ModelError> {
    let (head, tail) = rest.split_at_checked(4 * count).ok_or(ModelError("it is truncated"))?;
    *rest = tail;
    Ok(head.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_survive_and_damage_is_refused() {
        let layer = |i, o| Layer {
            weights: Matrix::from_rows(i, o, (0..i * o).map(|v| v as f32).collect()).unwrap(),
            bias: vec![0.5; o],
        };
        let layers = vec![layer(3, 2), layer(2, 1)];
        let bytes = encode_model(&layers);
        assert!(decode_model(&bytes).unwrap() == layers);
        for len in 0..bytes.len() {
            assert!(decode_model(&bytes[..len]).is_err());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode_model(&longer).is_err());
        let mut huge = bytes;
        huge[12..20].fill(0xff);
        assert!(decode_model(&huge).is_err());
    }
}
