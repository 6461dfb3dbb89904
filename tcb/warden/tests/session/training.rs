//! Trainings over stored rows, every product beside the plain one.

use blindsmith_learn::{
    Accelerator, Activation, Block, Labels, Loss, Recipe, Sampler, Targets, Trainer, gather_labels,
};
use blindsmith_matrix::Security;

use super::compared::Compared;
use super::stock::{Lot, RMS, Stock, spec};

/// Rows of two contributors in two eras: neither number is one of whole blocks.
fn lots(rows: usize) -> [Lot; 2] {
    [Lot { contributor: 11, era: 0, rows }, Lot { contributor: 12, era: 1, rows: rows - 30 }]
}

/// Trains for three epochs; the steps of each.
fn train<A: Accelerator>(stock: &Stock, accelerator: &mut A, recipe: Recipe) -> usize {
    let blocks: Vec<Block> = (0..stock.uploads.len()).flat_map(|upload| stock.blocks(upload)).collect();
    let sampler = Sampler::new(blocks, recipe.batch_rows, 0).unwrap();
    let labels: Vec<Labels> =
        stock.classes.iter().map(|classes| Labels::new(Targets::Classes(classes.clone()))).collect();
    let mut trainer = Trainer::new(recipe).unwrap();
    trainer.begin_round(&sampler, 3);
    for _ in 0..3 {
        let load = |_: &mut A, blocks: &[Block]| Ok(gather_labels(blocks, stock.spec.block_rows, &labels)?);
        trainer.train_epoch(accelerator, &sampler, load).unwrap();
    }
    sampler.batches_per_epoch()
}

fn recipe(widths: &[usize], batch_rows: usize) -> Recipe {
    let mut recipe = Recipe::new(widths, Loss::SoftmaxCrossEntropy);
    recipe.batch_rows = batch_rows;
    recipe.activations.fill(Activation::Tanh);
    recipe.input_rms = RMS;
    recipe
}

#[test]
fn every_product_of_a_training_is_the_plain_one_within_the_predicted_noise() {
    let hidden = Some([32, 16, 8]);
    for (widths, security, layers) in [
        ([40, 24, 12, 5].as_slice(), Security::Bits128, [Some([16, 8, 1]), hidden, None].as_slice()),
        (&[40, 24, 12, 5], Security::Bits128, &[Some([32, 32, 1]), None, hidden]),
        (&[40, 24, 5], Security::Bits256, &[Some([16, 16, 1]), hidden]),
        (&[70, 3], Security::Bits128, &[Some([128, 8, 1])]),
    ] {
        let stock = Stock::new(spec(widths, security, layers, 32), &lots(110));
        let cloud = stock.cloud();
        let mut both = Compared::new(&stock, &cloud);
        let steps = train(&stock, &mut both, recipe(widths, 64));
        both.assert_close();
        assert!(steps > 1);
        assert_eq!(both.gradients.len(), 3 * steps * layers.iter().flatten().count());
    }
}

#[test]
fn batches_in_parts_are_summed() {
    // Of four layers only the last one's operands are bounded beforehand.
    for (widths, bounded) in [([40, 24, 5].as_slice(), 2), (&[40, 24, 12, 12, 5], 2)] {
        let layers = [Some([16, 16, 1]), Some([32, 16, 8]), Some([16, 32, 16]), Some([16, 16, 8])];
        let stock = Stock::new(spec(widths, Security::Bits128, &layers[..widths.len() - 1], 32), &lots(110));
        let cloud = stock.cloud();
        let mut both = Compared::new(&stock, &cloud);
        let recipe = Recipe { micro_batch_rows: Some(32), ..recipe(widths, 64) };
        let steps = train(&stock, &mut both, recipe);
        both.assert_close();
        assert!(both.bounded >= 3 * steps * 2 * bounded, "{} in {steps} steps", both.bounded);
        assert!(cloud.accumulated() >= 3 * steps * bounded);
    }
}

#[test]
fn parts_in_flight_and_weights_loaded_ahead_give_the_plain_products() {
    let widths = [40, 24, 12, 5];
    let layers = [Some([16, 16, 1]), Some([32, 16, 8]), Some([16, 16, 8])];
    let stock = Stock::new(spec(&widths, Security::Bits128, &layers, 32), &lots(310));
    for micro_batch_rows in [None, Some(560)] {
        let cloud = stock.cloud();
        let mut both = Compared::new(&stock, &cloud);
        let recipe = Recipe { clip_norm: None, micro_batch_rows, ..recipe(&widths, 600) };
        let steps = train(&stock, &mut both, recipe);
        both.assert_close();
        assert!(both.parts > 0);
        // Of all layers but the first, for all steps but the first.
        assert_eq!(both.ahead, 2 * (3 * steps - 1));
    }
}
