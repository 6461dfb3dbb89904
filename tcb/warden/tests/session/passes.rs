//! Products of passes over stored rows, beside plain ones.

use blindsmith_learn::{Accelerator, Batch, Block, Bounds, Left, Matrix, Pass};
use blindsmith_matrix::{ADMITTED_ENTRY, ADMITTED_NORM, NoiseModel, Security, feature_scale, largest_scale};
use blindsmith_protocol::Left::Columns;
use blindsmith_warden::{ProductError, Spoiled};

use super::compared::{Compared, multiply, pass_over, rms};
use super::local::{Lie, Local};
use super::stock::{Lot, RMS, Stock, matrix, spec};

const A: Lot = Lot { contributor: 11, era: 0, rows: 300 };
const B: Lot = Lot { contributor: 12, era: 1, rows: 270 };
/// The first one's again, in the next era.
const C: Lot = Lot { contributor: 11, era: 1, rows: 40 };

/// A first layer, a hidden one that is offloaded, and one that is not.
fn stock() -> Stock {
    let layers = [Some([16, 16, 1]), Some([32, 16, 8]), None];
    Stock::new(spec(&[40, 24, 12, 5], Security::Bits128, &layers, 32), &[A, B, C])
}

fn load(accelerator: &mut Compared<'_>, stock: &Stock) {
    for (l, layer) in stock.spec.layers.iter().enumerate() {
        let size = (layer.inputs as usize, layer.outputs as usize);
        accelerator.load_weights(l, &weights(l, size)).unwrap();
    }
}

fn weights(layer: usize, size: (usize, usize)) -> Matrix {
    let rms = (2.0 / size.0 as f32).sqrt();
    matrix(7 + layer as u64, size, if layer == 0 { rms / RMS } else { rms })
}

/// Errors of a few rows that count more, as those near a boundary do.
fn errors(batch: &Batch, outputs: usize) -> Matrix {
    let mut errors = matrix(50, (batch.rows(), outputs), 0.3);
    for (row, values) in errors.iter_rows_mut().enumerate() {
        let weight = if row % 5 == 0 { 1.0 } else { 0.1 };
        values.iter_mut().for_each(|v| *v *= weight);
    }
    errors
}

/// Blocks of all uploads, with the short last ones between others.
fn mixed(stock: &Stock) -> Vec<Block> {
    let [a, b, c] = [0, 1, 2].map(|upload| stock.blocks(upload));
    let (b_first, b_rest) = b.split_at(3);
    [b_first, &a[5..], &c, b_rest, &a[..5]].concat()
}

#[test]
fn stored_rows_of_several_contributors_and_eras_give_the_plain_products() {
    let stock = stock();
    let cloud = stock.cloud();
    let mut both = Compared::new(&stock, &cloud);
    let batch = Batch::unlabelled(mixed(&stock));
    assert_eq!((batch.rows(), batch.parts().len()), (610, 2));
    for _ in 0..2 {
        both.begin(Pass::Training { micro_batches: 1, rows: batch.rows() }).unwrap();
        load(&mut both, &stock);
        pass_over(&mut both, &batch, &errors(&batch, 5), &[]).unwrap();
        for (l, layer) in stock.spec.layers.iter().enumerate().rev() {
            let mut out = Matrix::default();
            both.take_gradient(l, &mut out).unwrap();
            assert_eq!(out.shape(), (layer.inputs as usize, layer.outputs as usize));
        }
    }
    both.assert_close();
    assert_eq!((both.parts, both.gradients.len()), (2 * 2 * (3 + 2), 2 * 2));
    // Two parts of Z and D each, and G: of two layers, and none of the one that the warden computes.
    assert_eq!(cloud.products().len(), 2 * (2 + 1 + 2 + 2 + 1));
    both.begin(Pass::Inference).unwrap();
    assert_eq!(cloud.left_over(), (0, 0, 0), "what was asked for was collected, what was sent was freed");
}

#[test]
fn the_noise_of_the_first_layer_is_as_predicted() {
    for (security, roots) in [(Security::Bits128, 8), (Security::Bits128, 64), (Security::Bits256, 16)] {
        let layers = [Some([roots, 16, 1])];
        let stock = Stock::new(spec(&[200, 10], security, &layers, 128), &[A, B]);
        let cloud = stock.cloud();
        let mut encrypted = stock.encrypted(&cloud);
        let weights = weights(0, (200, 10));
        let batch = Batch::unlabelled([stock.blocks(0), stock.blocks(1)].concat());
        encrypted.begin(Pass::Inference).unwrap();
        encrypted.load_weights(0, &weights).unwrap();
        let mut out = Matrix::zeros(batch.rows(), 10);
        for rows in batch.parts() {
            encrypted.start_forward(0, Left::Rows(&batch), rows.clone()).unwrap();
            encrypted.forward(0, Left::Rows(&batch), rows, &mut out).unwrap();
        }
        // The largest scale that holds whatever rows were admitted.
        let column = |j: usize| weights.iter_rows().map(move |row| f64::from(row[j].abs()));
        let norm = (0..10).map(|j| column(j).map(|v| v * v).sum::<f64>().sqrt()).fold(0.0, f64::max);
        let sum = (0..10).map(|j| column(j).sum::<f64>()).fold(0.0, f64::max);
        let places = f64::from(200u32.div_ceil(roots.into()));
        let bound = (ADMITTED_NORM * 200f64.sqrt() * norm).min(ADMITTED_ENTRY * places.sqrt() * sum);
        let entry = weights.as_slice().iter().fold(0f32, |m, v| m.max(v.abs()));
        let padded = 200usize.next_multiple_of(roots.into());
        let (rows, features) = (stock.plain().rows_of(batch.blocks()), stock.spec.feature_scale);
        let scale = largest_scale(features, bound, entry.into(), padded).unwrap();
        let share = (200.0 / padded as f64).sqrt();
        let encoded =
            |m: &Matrix, factor: f64| share * factor * rms(m.as_slice().iter().map(|v| f64::from(*v)));
        let std =
            NoiseModel { padded }.std(encoded(&rows, features.factor()), encoded(&weights, scale.factor()));
        let std = std / (features.factor() * scale.factor());
        let plain = multiply(&rows, &weights);
        let errors = out.as_slice().iter().zip(&plain).map(|(a, b)| f64::from(*a) - b);
        let measured = rms(errors.clone()) / std;
        assert!((measured - 1.0).abs() < 0.1, "n {roots}: {measured} times the prediction");
        assert!(errors.map(f64::abs).fold(0.0, f64::max) < 6.5 * std);
    }
}

/// Of rows of rms 1/8 and weights as they begin, at the scale that a project of 784 features gets.
#[test]
fn products_of_the_first_layer_are_as_exact_as_the_documents_say() {
    for roots in [8, 16] {
        let mut spec = spec(&[784, 32], Security::Bits128, &[Some([roots, 16, 1])], 128);
        spec.feature_scale = feature_scale(784, RMS.into());
        let stock = Stock::new(spec, &[A]);
        let cloud = stock.cloud();
        let mut encrypted = stock.encrypted(&cloud);
        let weights = weights(0, (784, 32));
        let batch = Batch::unlabelled(stock.blocks(0));
        encrypted.begin(Pass::Inference).unwrap();
        encrypted.load_weights(0, &weights).unwrap();
        let mut out = Matrix::zeros(batch.rows(), 32);
        for rows in batch.parts() {
            encrypted.start_forward(0, Left::Rows(&batch), rows.clone()).unwrap();
            encrypted.forward(0, Left::Rows(&batch), rows, &mut out).unwrap();
        }
        let plain = multiply(&stock.plain().rows_of(batch.blocks()), &weights);
        let errors = out.as_slice().iter().zip(&plain).map(|(a, b)| f64::from(*a) - b);
        let relative = rms(errors) / rms(plain.iter().copied());
        println!("n {roots}: {relative:.2e}");
        assert!(relative < 1.5e-4, "n {roots}: Z is off by {relative} of its size");
    }
}

/// Bounds that hold for every micro-batch of [`passes_over`].
const BOUNDS: [Option<Bounds>; 2] =
    [Some(Bounds { left: 1.0, error: 1.5 }), Some(Bounds { left: 8.0, error: 0.6 })];

/// A training pass in these micro-batches over two layers that are both offloaded.
fn passes_over(stock: &Stock, cloud: &Local, parts: &[Vec<Block>], bounds: &[Option<Bounds>]) -> Vec<Matrix> {
    let mut both = Compared::new(stock, cloud);
    let batches: Vec<Batch> = parts.iter().map(|blocks| Batch::unlabelled(blocks.clone())).collect();
    let rows = batches.iter().map(Batch::rows).sum();
    both.begin(Pass::Training { micro_batches: batches.len(), rows }).unwrap();
    load(&mut both, stock);
    let outputs = stock.spec.layers.last().unwrap().outputs as usize;
    for batch in &batches {
        pass_over(&mut both, batch, &errors(batch, outputs), bounds).unwrap();
    }
    let layers = stock.spec.layers.len();
    let mut gradients = vec![Matrix::default(); layers];
    for l in (0..layers).rev() {
        both.take_gradient(l, &mut gradients[l]).unwrap();
    }
    both.assert_close();
    both.begin(Pass::Inference).unwrap();
    assert_eq!(cloud.left_over(), (0, 0, 0));
    gradients
}

/// Micro-batches of the first contributor, of the second, of both, and of the first in another era.
fn of_changing_owners(stock: &Stock) -> Vec<Vec<Block>> {
    let [a, b, c] = [0, 1, 2].map(|upload| stock.blocks(upload));
    vec![a[..3].to_vec(), b[6..].to_vec(), [&b[..1], &a[8..]].concat(), c]
}

#[test]
fn micro_batches_are_added_up_by_the_refinery_also_where_contributors_change() {
    let layers = [Some([16, 16, 1]), Some([32, 16, 8])];
    let stock = Stock::new(spec(&[40, 24, 5], Security::Bits128, &layers, 32), &[A, B, C]);
    let parts = of_changing_owners(&stock);
    let cloud = stock.cloud();
    let summed = passes_over(&stock, &cloud, &parts, &BOUNDS);
    // Of each layer one product ends the sum of the others.
    assert_eq!(cloud.accumulated(), 2 * (parts.len() - 1));
    let sums: Vec<u32> = cloud.products().iter().filter_map(|p| p.sum).collect();
    assert_eq!(sums.len(), 2);
    assert_ne!(sums[0], sums[1]);

    // Without bounds each has a scale of its own, and the warden adds them up.
    let cloud = stock.cloud();
    let apart = passes_over(&stock, &cloud, &parts, &[]);
    assert_eq!((cloud.accumulated(), cloud.products().iter().filter(|p| p.sum.is_some()).count()), (0, 0));
    for (summed, apart) in summed.iter().zip(&apart) {
        let size = rms(apart.as_slice().iter().map(|v| f64::from(*v)));
        let differences = summed.as_slice().iter().zip(apart.as_slice()).map(|(a, b)| f64::from(a - b));
        assert!(rms(differences) < 2e-3 * size);
    }
}

#[test]
fn many_uploads_of_a_few_rows_are_multiplied_in_parts() {
    // Each row takes a whole place of 128: more than a product adds up.
    let lots = [Lot { contributor: 11, era: 0, rows: 1 }; 600];
    let stock = Stock::new(spec(&[8, 3], Security::Bits128, &[Some([16, 128, 1])], 128), &lots);
    let blocks: Vec<Block> = (0..lots.len()).flat_map(|upload| stock.blocks(upload)).collect();
    for micro_batches in [1, 2] {
        let cloud = stock.cloud();
        let parts: Vec<Vec<Block>> = blocks.chunks(600 / micro_batches).map(<[Block]>::to_vec).collect();
        let bounds = if micro_batches == 1 { &BOUNDS[..0] } else { &BOUNDS };
        passes_over(&stock, &cloud, &parts, bounds);
        let gradients = cloud.products().into_iter().filter(|p| matches!(p.left, Columns(_))).count();
        assert_eq!((gradients, cloud.accumulated()), (1, 1), "{micro_batches}");
    }
}

#[test]
fn wide_gradients_come_in_stripes_of_columns() {
    // Two mask sets of the second micro-batch leave room for fewer columns than the one of the first.
    let outputs = 4200;
    let stock = Stock::new(spec(&[40, outputs], Security::Bits128, &[Some([16, 16, 1])], 32), &[A, B]);
    let [a, b] = [0, 1].map(|upload| stock.blocks(upload));
    let cloud = stock.cloud();
    passes_over(&stock, &cloud, &[[&a[..1], &b[8..]].concat()], &[]);
    let gradient: Vec<_> = cloud.products().into_iter().skip(1).map(|p| p.section).collect();
    assert!(gradient.len() > 1, "the product is asked for in one piece");
    let mut end = 0;
    for (i, section) in gradient.iter().enumerate() {
        assert_eq!((section.columns.0, section.left_masks, section.right_masks), (end, true, i == 0));
        end = section.columns.1;
    }
    assert_eq!(end, outputs as u32);

    let cloud = stock.cloud();
    passes_over(&stock, &cloud, &[a[..1].to_vec(), [&a[9..], &b[..1]].concat()], &BOUNDS);
    let sums: Vec<u32> = cloud.products().iter().filter_map(|p| p.sum).collect();
    assert!(sums.len() > 1 && cloud.accumulated() == sums.len());
}

#[test]
fn masks_times_weights_are_asked_for_once_for_the_eras_at_hand() {
    let stock = stock();
    let cloud = stock.cloud();
    let mut both = Compared::new(&stock, &cloud);
    let [a, b] = [0, 1].map(|upload| stock.blocks(upload));
    both.begin(Pass::Inference).unwrap();
    load(&mut both, &stock);
    for (blocks, asks) in [
        (a[..2].to_vec(), true),
        (a[9..].to_vec(), false),
        ([&b[8..], &a[..1]].concat(), true),
        (b[..1].to_vec(), false),
        (a[..1].to_vec(), false),
    ] {
        let batch = Batch::unlabelled(blocks);
        let before = cloud.products().len();
        let mut hidden = Matrix::zeros(batch.rows(), 24);
        both.start_forward(0, Left::Rows(&batch), 0..batch.rows()).unwrap();
        both.forward(0, Left::Rows(&batch), 0..batch.rows(), &mut hidden).unwrap();
        let mut out = Matrix::zeros(batch.rows(), 12);
        both.start_forward(1, Left::Hidden(&hidden), 0..batch.rows()).unwrap();
        both.forward(1, Left::Hidden(&hidden), 0..batch.rows(), &mut out).unwrap();
        let asked: Vec<bool> = cloud.products()[before..].iter().map(|p| p.section.left_masks).collect();
        assert_eq!(asked, [asks, true], "{:?}", batch.blocks());
    }
    assert!(both.relative < 1e-4, "{}", both.relative);
    // Nothing is read that only training needs.
    assert_eq!(cloud.left_over().0, 0);
}

#[test]
fn a_pass_that_ends_early_leaves_nothing_behind() {
    let layers = [Some([16, 16, 1]), Some([32, 16, 8])];
    let stock = Stock::new(spec(&[40, 24, 5], Security::Bits128, &layers, 32), &[A, B]);
    let cloud = stock.cloud();
    let mut both = Compared::new(&stock, &cloud);
    let batch = Batch::unlabelled([stock.blocks(1), stock.blocks(0)].concat());
    let parts = batch.parts();
    for huge in [1e30, f32::INFINITY, f32::NAN] {
        for pass in [Pass::Inference, Pass::Training { micro_batches: 1, rows: batch.rows() }] {
            both.begin(pass).unwrap();
            load(&mut both, &stock);
            let mut hidden = Matrix::zeros(batch.rows(), 24);
            for rows in &parts {
                both.start_forward(0, Left::Rows(&batch), rows.clone()).unwrap();
            }
            both.forward(0, Left::Rows(&batch), parts[0].clone(), &mut hidden).unwrap();
            hidden.row_mut(parts[0].start)[3] = huge;
            let failed = both.start_forward(1, Left::Hidden(&hidden), parts[0].clone());
            let error = failed.unwrap_err();
            assert!(matches!(error, ProductError::Overflow(_)), "{error}");
            // How large is a secret.
            assert!(!error.to_string().contains(|c: char| c.is_ascii_digit()), "{error}");
        }
    }
    // Errors of a backward pass, too, while the gradient of the layer above is multiplied.
    both.begin(Pass::Training { micro_batches: 1, rows: batch.rows() }).unwrap();
    load(&mut both, &stock);
    let hidden = matrix(60, (batch.rows(), 24), 1.0);
    both.add_gradient(1, Left::Hidden(&hidden), &errors(&batch, 5), None).unwrap();
    let mut huge = errors(&batch, 5);
    huge.row_mut(0)[0] = 1e30;
    let failed = both.start_input_gradient(1, &huge, parts[0].clone());
    assert!(matches!(failed, Err(ProductError::Overflow(_))));

    // The next pass is as if nothing had been.
    both.begin(Pass::Training { micro_batches: 1, rows: batch.rows() }).unwrap();
    assert_eq!(cloud.left_over(), (0, 0, 0));
    load(&mut both, &stock);
    pass_over(&mut both, &batch, &errors(&batch, 5), &[]).unwrap();
    for l in [1, 0] {
        both.take_gradient(l, &mut Matrix::default()).unwrap();
    }
    both.assert_close();
}

#[test]
fn under_a_fixed_schedule_values_that_are_too_large_become_zeros_and_are_remembered() {
    let layers = [Some([16, 16, 1]), Some([32, 16, 8])];
    let stock = Stock::new(spec(&[40, 24, 5], Security::Bits128, &layers, 32), &[A]);
    let (cloud, calm) = (stock.cloud(), stock.cloud());
    let batch = Batch::unlabelled(stock.blocks(0));
    let run = |cloud: &Local, huge: f32| {
        let mut encrypted = stock.encrypted(cloud).tolerant(true);
        encrypted.begin(Pass::Inference).unwrap();
        for (l, size) in [(0, (40, 24)), (1, (24, 5))] {
            encrypted.load_weights(l, &weights(l, size)).unwrap();
        }
        let mut hidden = Matrix::zeros(batch.rows(), 24);
        hidden.as_mut_slice().fill(huge);
        let mut out = Matrix::zeros(batch.rows(), 5);
        encrypted.start_forward(1, Left::Hidden(&hidden), 0..batch.rows()).unwrap();
        encrypted.forward(1, Left::Hidden(&hidden), 0..batch.rows(), &mut out).unwrap();
        (encrypted.spoiled(), out)
    };
    let (spoiled, out) = run(&cloud, 1e30);
    assert_eq!(spoiled, Some(Spoiled::Overflow));
    assert!(out.as_slice().iter().all(|v| v.abs() < 1e-2));
    assert_eq!(run(&calm, 1.0).0, None);
    assert_eq!(cloud.products(), calm.products(), "what is asked for is the same");
}

/// Alters one product of a pass at a time; what the warden says of it.
fn accused(stock: &Stock, after: usize, lie: Lie) -> String {
    let cloud = stock.cloud();
    let mut both = Compared::new(stock, &cloud);
    let batches: Vec<Batch> =
        [0, 1].map(|upload| Batch::unlabelled(stock.blocks(upload)[8..].to_vec())).into();
    both.begin(Pass::Training { micro_batches: 2, rows: batches.iter().map(Batch::rows).sum() }).unwrap();
    load(&mut both, stock);
    cloud.lie(after, lie);
    let run = |both: &mut Compared<'_>| {
        for batch in &batches {
            pass_over(both, batch, &errors(batch, 5), &BOUNDS)?;
        }
        [1, 0].iter().try_for_each(|l| both.take_gradient(*l, &mut Matrix::default()))
    };
    match run(&mut both) {
        Err(ProductError::Fault(instruction)) => instruction,
        Err(other) => panic!("{other} where a fault is due"),
        Ok(()) => String::new(),
    }
}

#[test]
fn attack_every_product_of_a_pass_is_checked_and_named() {
    let layers = [Some([16, 16, 1]), Some([32, 16, 8])];
    let stock = Stock::new(spec(&[40, 24, 5], Security::Bits128, &layers, 32), &[A, B]);
    let wrong = "the refinery returned a wrong product";
    // In the order in which they are asked for; sums last, behind the second micro-batch's.
    let names = [
        "forward product of layer 0",
        "forward product of layer 1",
        "input gradient of layer 1",
        "forward product of layer 0",
        "forward product of layer 1",
        "input gradient of layer 1",
        "weight gradient of layer 1",
        "weight gradient of layer 0",
    ];
    for (after, name) in names.into_iter().enumerate() {
        let lies: [Lie; 4] = [
            |shape, residues| change(residues, shape.ranges()[0].end - 1),
            |shape, residues| change(residues, shape.ranges()[1].end - 1),
            |shape, residues| change(residues, shape.ranges()[2].end - 1),
            |shape, residues| change(residues, shape.ranges()[3].end - 1),
        ];
        for lie in lies {
            let said = accused(&stock, after, lie);
            assert!(said.contains(wrong) && said.contains(name), "product {after}, {name}: {said:?}");
        }
    }
    assert_eq!(accused(&stock, 8, |_, residues| residues.fill(0)), "", "there are no more");
}

fn change(residues: &mut [u64], at: usize) {
    residues[at] = blindsmith_ring::modulus::add(residues[at], 1);
}

#[test]
fn attack_kept_projections_of_other_blocks_are_named() {
    let stock = stock();
    let cloud = stock.cloud();
    let mut both = Compared::new(&stock, &cloud);
    both.begin(Pass::Inference).unwrap();
    load(&mut both, &stock);
    cloud.give_other_projections();
    let batch = Batch::unlabelled(stock.blocks(0));
    both.start_forward(0, Left::Rows(&batch), 0..batch.rows()).unwrap();
    let mut out = Matrix::zeros(batch.rows(), 24);
    match both.forward(0, Left::Rows(&batch), 0..batch.rows(), &mut out) {
        Err(ProductError::Fault(instruction)) => {
            assert!(instruction.contains("projections of stored rows"), "{instruction}")
        }
        other => panic!("{other:?}"),
    }
    assert!(out.as_slice().iter().all(|v| *v == 0.0));
}
