//! Losses and errors against values worked out by hand, from the formulas that PyTorch's functions of the
//! same names document (`cross_entropy`, `binary_cross_entropy_with_logits`, `mse_loss`, `gelu`).

use blindsmith_learn::*;

fn matrix(rows: usize, cols: usize, values: &[f32]) -> Matrix {
    Matrix::from_rows(rows, cols, values.to_vec()).expect("shape")
}

fn objective(loss: Loss, outputs: usize, class_weights: &[f32]) -> Objective {
    Objective::new(loss, outputs, class_weights).expect("objective")
}

fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f64::from(*f) - e).abs() < 3e-7, "{found:?} for {expected:?}");
    }
}

#[test]
fn softmax_cross_entropy_of_one_two_three() {
    // softmax(1, 2, 3) = (0.09003057, 0.24472847, 0.66524096); -ln of the last is 0.40760596.
    let mut z = matrix(1, 3, &[1.0, 2.0, 3.0]);
    let loss =
        objective(Loss::SoftmaxCrossEntropy, 3, &[]).error(&mut z, &Labels::new(Targets::Classes(vec![2])));
    assert!((loss - 0.407_605_96).abs() < 2e-7);
    assert_close(z.as_slice(), &[0.090_030_57, 0.244_728_47, -0.334_759_04]);
}

#[test]
fn class_weights_multiply_the_softmax_error() {
    let mut z = matrix(1, 2, &[0.0, 0.0]);
    let labels = Labels::new(Targets::Classes(vec![1]));
    let loss = objective(Loss::SoftmaxCrossEntropy, 2, &[1.0, 3.0]).error(&mut z, &labels);
    assert!((loss - 3.0 * 2.0_f64.ln()).abs() < 4e-7);
    assert_close(z.as_slice(), &[1.5, -1.5]);
}

#[test]
fn logistic_loss_of_both_labels() {
    // sigmoid(0.5) = 0.62245933; ln(1 + e^-0.5) = 0.47407698, ln(1 + e^0.5) = 0.97407698.
    let mut z = matrix(1, 2, &[0.5, 0.5]);
    let labels = Labels::new(Targets::Values(matrix(1, 2, &[1.0, 0.0])));
    let loss = objective(Loss::Logistic, 2, &[2.0, 2.0]).error(&mut z, &labels);
    assert!((loss - (2.0 * 0.474_076_98 + 0.974_076_98)).abs() < 3e-7);
    assert_close(z.as_slice(), &[2.0 * (0.622_459_33 - 1.0), 0.622_459_33]);
}

#[test]
fn squared_error_is_the_difference() {
    let mut z = matrix(1, 2, &[1.5, -2.0]);
    let labels = Labels::new(Targets::Values(matrix(1, 2, &[1.0, 1.0])));
    let objective = objective(Loss::MeanSquaredError, 2, &[]);
    assert!((objective.error(&mut z, &labels) - 9.25).abs() < 1e-6);
    assert_close(z.as_slice(), &[0.5, -3.0]);
    // The mean over 4 rows and 2 outputs, and the 2 of the derivative.
    assert_eq!(objective.mean_factor(4), (0.125, 0.25));
}

#[test]
fn extreme_outputs_give_finite_losses_and_bounded_errors() {
    let extreme = [1e30, -1e30, 0.0, 3.0];
    let mut z = matrix(1, 4, &extreme);
    let classes = Labels::new(Targets::Classes(vec![0]));
    assert_eq!(objective(Loss::SoftmaxCrossEntropy, 4, &[]).error(&mut z, &classes), 0.0);
    assert_eq!(z.as_slice(), [0.0; 4]);
    let mut z = matrix(1, 4, &extreme);
    let values = Labels::new(Targets::Values(matrix(1, 4, &[0.0, 1.0, 1.0, 1.0])));
    let loss = objective(Loss::Logistic, 4, &[]).error(&mut z, &values);
    assert!(loss.is_finite() && z.as_slice().iter().all(|e| e.abs() <= 1.0));
}

#[test]
fn rows_that_are_not_valid_have_no_error_and_no_loss() {
    for (loss, targets) in [
        (Loss::SoftmaxCrossEntropy, Targets::Classes(vec![0, 99])),
        (Loss::Logistic, Targets::Values(matrix(2, 2, &[0.0, 1.0, f32::NAN, 7.0]))),
        (Loss::MeanSquaredError, Targets::Values(matrix(2, 2, &[0.0, 1.0, f32::NAN, 1e30]))),
    ] {
        let labels = Labels::new(targets).with_valid(vec![true, false]).expect("flags");
        let objective = objective(loss, 2, &[]);
        objective.check(&labels).expect("only valid rows are checked");
        let mut both = matrix(2, 2, &[0.3, -0.2, f32::NAN, f32::INFINITY]);
        let mut first = matrix(1, 2, &[0.3, -0.2]);
        let alone = objective.error(&mut first, &labels.slice(0..1).expect("a row"));
        assert_eq!(objective.error(&mut both, &labels), alone);
        assert_eq!(both.row(0), first.as_slice());
        assert_eq!(both.row(1), [0.0, 0.0]);
    }
}

#[test]
fn labels_out_of_range_or_of_the_wrong_kind_are_refused() {
    let classes = |c: u32| Labels::new(Targets::Classes(vec![0, c]));
    let value = |v: f32| Labels::new(Targets::Values(matrix(2, 1, &[0.0, v])));
    let softmax = objective(Loss::SoftmaxCrossEntropy, 3, &[]);
    let logistic = objective(Loss::Logistic, 1, &[]);
    let squares = objective(Loss::MeanSquaredError, 1, &[]);
    assert_eq!(softmax.check(&classes(2)), Ok(()));
    assert_eq!(softmax.check(&classes(3)), Err(ObjectiveError::Target { outputs: 3 }));
    assert_eq!(softmax.check(&value(0.0)), Err(ObjectiveError::Kind { outputs: 3 }));
    assert_eq!(logistic.check(&classes(0)), Err(ObjectiveError::Kind { outputs: 1 }));
    for bad in [-0.1, 1.1, f32::NAN] {
        assert_eq!(logistic.check(&value(bad)), Err(ObjectiveError::Target { outputs: 1 }));
    }
    assert_eq!(squares.check(&value(-1000.0)), Ok(()));
    for bad in [f32::INFINITY, f32::NAN, 2e6] {
        assert_eq!(squares.check(&value(bad)), Err(ObjectiveError::Target { outputs: 1 }));
    }
    let wide = Labels::new(Targets::Values(matrix(2, 2, &[0.0; 4])));
    assert_eq!(squares.check(&wide), Err(ObjectiveError::Kind { outputs: 1 }));
}

#[test]
fn weights_out_of_range_are_refused() {
    let found = Objective::new(Loss::Logistic, 3, &[1.0, 1.0]);
    assert_eq!(found, Err(ObjectiveError::ClassWeights { found: 2, outputs: 3 }));
    assert!(Objective::new(Loss::Logistic, 2, &[1.0 / 64.0, 64.0]).is_ok());
    for bad in [0.0, -1.0, f32::NAN, 0.01, 65.0, 1e30] {
        assert_eq!(Objective::new(Loss::Logistic, 2, &[1.0, bad]), Err(ObjectiveError::ClassWeight));
    }
    assert_eq!(Objective::new(Loss::MeanSquaredError, 1, &[1.0]), Err(ObjectiveError::ClassWeight));
}

#[test]
fn predictions_are_probabilities_or_values() {
    let predictions = |loss, z: &[f32]| {
        let mut z = matrix(1, z.len(), z);
        objective(loss, z.cols(), &[]).predictions(&mut z);
        z.into_vec()
    };
    assert_close(
        &predictions(Loss::SoftmaxCrossEntropy, &[1.0, 2.0, 3.0]),
        &[0.090_030_57, 0.244_728_47, 0.665_240_96],
    );
    assert_close(&predictions(Loss::Logistic, &[0.5, 0.0]), &[0.622_459_33, 0.5]);
    assert_eq!(predictions(Loss::MeanSquaredError, &[0.5, -7.0]), [0.5, -7.0]);
}

#[test]
fn activations_at_known_points() {
    // gelu(1) = Phi(1) = 0.84134475, gelu'(1) = Phi(1) + phi(1) = 1.08331547; tanh(0.5) = 0.46211716.
    let at = |activation: Activation, z: f32| {
        let (mut z, mut h) = (matrix(1, 1, &[z - 0.25]), Matrix::default());
        {
            let rows = 0..z.rows();
            activation.apply(&mut z, &[0.25], &mut h, rows);
        }
        [h.as_slice()[0], z.as_slice()[0]]
    };
    assert_close(&at(Activation::Gelu, 1.0), &[0.841_344_75, 1.083_315_47]);
    assert_close(&at(Activation::Tanh, 0.5), &[0.462_117_16, 1.0 - 0.462_117_16 * 0.462_117_16]);
    assert_close(&at(Activation::Sigmoid, 0.5), &[0.622_459_33, 0.235_003_71]);
    assert_eq!(at(Activation::Relu, 2.0), [2.0, 1.0]);
    assert_eq!(at(Activation::Relu, -2.0), [0.0, 0.0]);
    assert_eq!(at(Activation::Identity, -2.0), [-2.0, 1.0]);
}

#[test]
fn losses_are_known_class_by_class() {
    let mut board = Scoreboard::new(objective(Loss::SoftmaxCrossEntropy, 3, &[]));
    let classes = [2, 0, 2, 1];
    let labels = Labels::new(Targets::Classes(classes.to_vec()));
    let mut z = matrix(4, 3, &[1.0, 2.0, 3.0, 0.0, 0.5, -1.0, 2.0, 2.0, -2.0, 0.0, 0.0, 0.0]);
    let naive: Vec<f64> = z
        .iter_rows()
        .zip(classes)
        .map(|(row, class)| {
            let sum = row.iter().map(|v| f64::from(*v).exp()).sum::<f64>();
            sum.ln() - f64::from(row[class as usize])
        })
        .collect();
    board.add(&mut z, &labels);
    let found = board.losses().clone().with(board.losses());
    let rows: Vec<u64> = found.classes().iter().map(|c| c.rows).collect();
    assert_eq!(rows, [2, 2, 4], "of both");
    for (class, found) in found.classes().iter().enumerate() {
        let own = naive.iter().zip(classes).filter(|(_, c)| *c as usize == class);
        let expected = 2.0 * own.map(|(loss, _)| loss).sum::<f64>();
        assert!((found.sum - expected).abs() < 1e-5, "class {class}");
    }
    // Of two classes the label is a value; of several labels a row there are no classes.
    let values = matrix(2, 1, &[0.0, 1.0]);
    let mut board = Scoreboard::new(objective(Loss::Logistic, 1, &[]));
    board.add(&mut matrix(2, 1, &[0.0, 3.0]), &Labels::new(Targets::Values(values)));
    let counts: Vec<u64> = board.losses().classes().iter().map(|c| c.rows).collect();
    assert_eq!(counts, [1, 1]);
    assert!(Scoreboard::new(objective(Loss::MeanSquaredError, 2, &[])).losses().classes().is_empty());
}

#[test]
fn the_class_is_the_first_of_the_most_probable() {
    let softmax = objective(Loss::SoftmaxCrossEntropy, 3, &[]);
    for (row, class) in [([0.2, 0.5, 0.3], 1), ([0.4, 0.4, 0.2], 0), ([0.0, 0.3, 0.7], 2), ([0.0; 3], 0)] {
        assert_eq!(softmax.class(&row), class, "{row:?}");
    }
    // Of many that would all be rounded to zero.
    let mut many = vec![1e-4; 3000];
    many[2671] = 1.1e-4;
    assert_eq!(objective(Loss::SoftmaxCrossEntropy, 3000, &[]).class(&many), 2671);
    let logistic = objective(Loss::Logistic, 1, &[]);
    assert_eq!([0.2, 0.5, 0.50001, 1.0].map(|p| logistic.class(&[p])), [0, 0, 1, 1]);
    let wary = logistic.clone().with_threshold(0.2);
    assert_eq!([0.1, 0.2, 0.3].map(|p| wary.class(&[p])), [0, 0, 1]);
    assert_eq!(objective(Loss::Logistic, 2, &[]).class(&[0.9, 0.9]), 0);
    assert_eq!(objective(Loss::MeanSquaredError, 1, &[]).class(&[3.0]), 0);
}
