//! A model in bytes: what is sealed to the owner, and what the owner seals to the warden.
//!
//! Little-endian: `BSMODEL1`, the number of layers (u32), then for each layer inputs and outputs (u32), the
//! weights (inputs x outputs, row by row, f32) and the biases (f32).

use blindsmith_learn::{Layer, Matrix};
use blindsmith_protocol::{MAX_LAYERS, MAX_WIDTH};
use thiserror::Error;

use crate::codec::Reader;

const MAGIC: &[u8; 8] = b"BSMODEL1";

/// Bytes that are no model.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
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

/// The model that [`encode_model`] wrote.
pub fn decode_model(bytes: &[u8]) -> Result<Vec<Layer>, ModelError> {
    let mut rest = Reader::after(MAGIC, bytes).ok_or(ModelError("it does not begin as one"))?;
    let cut = ModelError("it is truncated");
    let count = rest.number().ok_or(cut)?;
    if count == 0 || count > MAX_LAYERS {
        return Err(ModelError("an impossible number of layers"));
    }
    let mut layers = Vec::with_capacity(count);
    for _ in 0..count {
        let (inputs, outputs) = rest.number().zip(rest.number()).ok_or(cut)?;
        if inputs.max(outputs) > MAX_WIDTH as usize {
            return Err(ModelError("a layer that is too wide"));
        }
        let weights = rest.floats(inputs * outputs).ok_or(cut)?;
        let bias = rest.floats(outputs).ok_or(cut)?;
        let weights = Matrix::from_rows(inputs, outputs, weights).ok_or(ModelError("a layer of no size"))?;
        layers.push(Layer { weights, bias });
    }
    if rest.0.is_empty() { Ok(layers) } else { Err(ModelError("bytes after the end")) }
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
