//! Instructions that do not fit are refused by the engine, whatever they name; those that fit are carried out.

use std::io::Write;

use blindsmith_matrix::{Form, MaskSeed, ProductKind};
use blindsmith_protocol::{BlockRef, Instruction, Left, MAX_OPERANDS, ProjectSpec};
use blindsmith_refinery::{Blocks, Engine, UploadFiles};

use super::project::{blocks, header, spec};

fn stored(spec: &ProjectSpec, count: u32) -> Blocks {
    let bytes = blocks(spec, count);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    Blocks::new(vec![UploadFiles {
        header: header(spec, &bytes),
        rows: file,
        projections: tempfile::tempfile().unwrap(),
    }])
}

fn begin(operand: u32, layer: u32, form: Form, rows: u32, cols: u32) -> Instruction {
    Instruction::Begin { operand, layer, form, rows, cols, masks: MaskSeed([8; 32]), at: None }
}

fn block(upload: u32, block: u32) -> BlockRef {
    BlockRef { upload, block }
}

#[test]
fn operands_are_matrices_of_their_layer() {
    let spec = spec();
    let stored = stored(&spec, 1);
    let mut engine = Engine::new(&spec, &stored);
    for (layer, form, rows, cols) in [
        (2, Form::Weights, 6, 4),
        (0, Form::Weights, 6, 5),
        (0, Form::Weights, 7, 4),
        (0, Form::Weights, 0, 4),
        (0, Form::Rows, 0, 6),
        (0, Form::Rows, 8, 7),
        (0, Form::Rows, 1 << 20, 6),
        (0, Form::Rows, u32::MAX, u32::MAX),
        (1, Form::ErrorLeft, 8, 4),
        (1, Form::ErrorRight, u32::MAX, 3),
    ] {
        assert!(
            engine.begin(&begin(0, layer, form, rows, cols)).is_err(),
            "{layer} {form:?} {rows} x {cols}"
        );
    }
    let elsewhere = Instruction::Begin {
        operand: 0,
        layer: 0,
        form: Form::Weights,
        rows: 6,
        cols: 4,
        masks: MaskSeed([8; 32]),
        at: Some(0),
    };
    assert!(engine.begin(&elsewhere).is_err(), "there is no shared memory");
    assert!(engine.begin(&Instruction::Free { operands: vec![] }).is_err());
    for operand in 0..MAX_OPERANDS as u32 {
        engine.begin(&begin(operand, 1, Form::Weights, 4, 3)).unwrap();
    }
    assert!(engine.begin(&begin(u32::MAX, 1, Form::Weights, 4, 3)).is_err(), "too many");
    // One of the same name takes the place of the other.
    engine.begin(&begin(0, 0, Form::Weights, 6, 4)).unwrap();
    engine.free(&[1, 1, 7_000_000]);
    engine.begin(&begin(u32::MAX, 1, Form::Weights, 4, 3)).unwrap();
}

#[test]
fn products_have_operands_that_fit() {
    let spec = spec();
    let stored = stored(&spec, 2);
    let mut engine = Engine::new(&spec, &stored);
    engine.begin(&begin(0, 0, Form::Weights, 6, 4)).unwrap();
    engine.begin(&begin(1, 1, Form::Weights, 4, 3)).unwrap();
    engine.begin(&begin(2, 1, Form::Rows, 16, 4)).unwrap();
    engine.begin(&begin(3, 1, Form::ErrorLeft, 16, 3)).unwrap();
    engine.begin(&begin(4, 1, Form::ErrorRight, 8, 3)).unwrap();
    let rows = |blocks: &[BlockRef]| Left::Blocks(blocks.to_vec());
    let both = [block(0, 0), block(0, 1)];
    use ProductKind::{Forward, InputGradient, WeightGradient};
    for (kind, layer, left, right) in [
        (Forward, 0, rows(&both), 9),
        (Forward, 9, rows(&both), 0),
        (Forward, 1, rows(&both), 1),
        (Forward, 0, rows(&[]), 0),
        (Forward, 0, rows(&[block(1, 0)]), 0),
        (Forward, 0, rows(&[block(0, 2)]), 0),
        (Forward, 0, rows(&[block(u32::MAX, u32::MAX)]), 0),
        (Forward, 0, rows(&vec![block(0, 0); 100_000]), 0),
        (Forward, 0, rows(&both), 1),
        (Forward, 1, Left::Operand(9), 1),
        (Forward, 1, Left::Operand(1), 1),
        (Forward, 1, Left::Operand(3), 1),
        (WeightGradient, 1, Left::Operand(2), 4),
        (WeightGradient, 1, Left::Operand(2), 1),
        (InputGradient, 1, Left::Operand(2), 1),
        (InputGradient, 1, Left::Operand(3), 2),
    ] {
        assert!(engine.multiply(kind, layer, &left, right, false).is_err(), "{kind:?} {layer} {right}");
    }
    for (kind, layer, left, right) in [
        (Forward, 0, rows(&both), 0),
        (Forward, 0, rows(&[both[1], both[1]]), 0),
        (Forward, 1, Left::Operand(2), 1),
        (InputGradient, 1, Left::Operand(3), 1),
    ] {
        let product = engine.multiply(kind, layer, &left, right, false).unwrap();
        assert_eq!(product.body().len(), product.shape.residues());
        assert_eq!(product.extras().len(), product.shape.extras() * product.shape.tile.degree());
    }
}

#[test]
fn strips_and_labels_exist_or_are_refused() {
    let spec = spec();
    let stored = stored(&spec, 3);
    let mut engine = Engine::new(&spec, &stored);
    engine.begin(&begin(5, 0, Form::Rows, 17, 6)).unwrap();
    assert!(engine.strip(4, 0).is_err() && engine.strip(5, 3).is_err() && engine.strip(5, u32::MAX).is_err());
    assert_eq!(engine.strip(5, 2).unwrap().len(), 2048 / 8);

    let size = spec.sealed_label_bytes();
    let labels = engine.labels(&[block(0, 2), block(0, 0)]).unwrap();
    assert_eq!(labels, [vec![2; size], vec![0; size]].concat());
    assert!(engine.labels(&[block(0, 3)]).is_err() && engine.labels(&[block(1, 0)]).is_err());
    assert!(engine.labels(&vec![block(0, 0); 100_000]).is_err(), "more rows than any batch has");
}

#[test]
fn rows_cut_short_on_disk_are_an_error() {
    let spec = spec();
    let bytes = blocks(&spec, 2);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes[..bytes.len() - 1]).unwrap();
    let stored = Blocks::new(vec![UploadFiles {
        header: header(&spec, &bytes),
        rows: file,
        projections: tempfile::tempfile().unwrap(),
    }]);
    let mut engine = Engine::new(&spec, &stored);
    engine.begin(&begin(0, 0, Form::Weights, 6, 4)).unwrap();
    let mut forward = |index| {
        let left = Left::Blocks(vec![block(0, index)]);
        engine.multiply(ProductKind::Forward, 0, &left, 0, false).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(forward(0), Ok(()));
    assert!(forward(1).unwrap_err().contains("stored rows cannot be read"));
    // What failed is not remembered as read.
    assert!(forward(1).is_err());
    assert_eq!(forward(0), Ok(()));
}
