//! Labels as they are sealed: a class, or values, for each row. Rows have no weights: all count alike.

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

/// Bytes of a row's labels: a class number, or values; four bytes each, little-endian.
pub fn label_bytes(recipe: &Recipe) -> u32 {
    4 * Label::of(recipe).words() as u32
}

/// The labels of rows `from..to`.
pub fn write_labels(targets: &Targets, from: usize, to: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for row in from..to {
        match targets {
            Targets::Classes(classes) => out.extend(classes[row].to_le_bytes()),
            Targets::Values(values) => out.extend(values.row(row).iter().flat_map(|v| v.to_le_bytes())),
        }
    }
    out
}

/// The labels in `bytes`, of which the first `valid` rows count.
pub fn read_labels(label: Label, bytes: &[u8], valid: usize) -> Option<Labels> {
    let row = 4 * label.words();
    let rows = bytes.len() / row;
    let words = || bytes.as_chunks::<4>().0[..rows * label.words()].iter().copied();
    let targets = match label {
        Label::Class => Targets::Classes(words().map(u32::from_le_bytes).collect()),
        Label::Values(count) => {
            Targets::Values(Matrix::from_rows(rows, count, words().map(f32::from_le_bytes).collect())?)
        }
    };
    Labels::new(targets).with_valid((0..rows).map(|r| r < valid).collect()).ok()
}
