//! Labels as they are sealed: a weight and a class, or a weight and values, for each row.

use blindsmith_learn::{Labels, Loss, Matrix, Recipe, Targets};

/// How a row's label is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A class number.
    Class,
    /// So many values.
    Values(usize),
}

impl Label {
    /// The labels of a recipe.
    pub fn of(recipe: &Recipe) -> Self {
        match recipe.loss {
            Loss::SoftmaxCrossEntropy => Label::Class,
            _ => Label::Values(recipe.outputs()),
        }
    }

    fn words(self) -> usize {
        match self {
            Label::Class => 1,
            Label::Values(count) => count,
        }
    }
}

/// Bytes of a row's labels: a weight and a class number, or a weight and values; four bytes each,
/// little-endian.
pub fn label_bytes(recipe: &Recipe) -> u32 {
    4 + 4 * Label::of(recipe).words() as u32
}

/// The labels of rows `from..to`, with weight 1 each.
pub fn write_labels(targets: &Targets, from: usize, to: usize) -> Vec<u8> {
    let one = 1f32.to_le_bytes();
    let mut out = Vec::new();
    for row in from..to {
        out.extend(one);
        match targets {
            Targets::Classes(classes) => out.extend(classes[row].to_le_bytes()),
            Targets::Values(values) => out.extend(values.row(row).iter().flat_map(|v| v.to_le_bytes())),
        }
    }
    out
}

/// The labels in `bytes`, of which the first `valid` rows count.
pub fn read_labels(label: Label, bytes: &[u8], valid: usize) -> Option<Labels> {
    let row = 4 + 4 * label.words();
    let rows = bytes.len() / row;
    let words = || bytes.chunks_exact(row).flat_map(|r| r.as_chunks::<4>().0[1..].iter().copied());
    let targets = match label {
        Label::Class => Targets::Classes(words().map(u32::from_le_bytes).collect()),
        Label::Values(count) => {
            Targets::Values(Matrix::from_rows(rows, count, words().map(f32::from_le_bytes).collect())?)
        }
    };
    let weights = bytes.chunks_exact(row).map(|r| f32::from_le_bytes([r[0], r[1], r[2], r[3]]));
    let valid: Vec<bool> = (0..rows).map(|r| r < valid).collect();
    // Padding has the neutral weight; it counts nowhere.
    let weights = weights.zip(&valid).map(|(w, v)| if *v { w } else { 1.0 }).collect();
    Labels::new(targets).with_valid(valid).ok()?.with_weights(weights).ok()
}
