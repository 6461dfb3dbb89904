//! Initial weights, and layers that do not fit together.

use blindsmith_learn::*;

#[test]
fn initial_weights_are_those_of_chacha20() {
    // From an independent program: the upper 24 bits of each word, minus 2^23, in units of 2^-23.
    let network = Network::initial(&[3, 2, 2], &[Activation::Gelu], 0.125, 7).expect("network");
    let weights = |l: usize, bound: f32, numbers: &[i32]| {
        let expected: Vec<f32> = numbers.iter().map(|&n| bound * (n as f32 / 8_388_608.0)).collect();
        assert_eq!(network.layers()[l].weights.as_slice(), expected);
        assert_eq!(network.layers()[l].bias, [0.0, 0.0]);
    };
    // He: 6/inputs below GELU. Glorot: 6/(inputs + outputs) at the end.
    weights(0, 2.0_f32.sqrt(), &[-2_942_282, 2_839_316, -7_353_725, -3_294_519, 8_078_523, -1_498_874]);
    weights(1, 1.5_f32.sqrt(), &[-6_635_004, -788_755, -7_519_153, 7_973_870]);
}

#[test]
fn initial_outputs_keep_the_scale_of_unit_inputs() {
    for activation in [Activation::Relu, Activation::Gelu, Activation::Tanh, Activation::Sigmoid] {
        let network = Network::initial(&[400, 300, 10], &[activation], 0.125, 1).expect("network");
        let weights = network.layers()[0].weights.as_slice();
        let mean_square = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
        let rectifies = matches!(activation, Activation::Relu | Activation::Gelu);
        let expected = if rectifies { 2.0 / 400.0 } else { 2.0 / 700.0 };
        assert!((mean_square / expected - 1.0).abs() < 0.02, "{activation:?}");
    }
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let layer =
        |inputs, outputs, bias| Layer { weights: Matrix::zeros(inputs, outputs), bias: vec![0.0; bias] };
    let new = |layers, activations: &[Activation], rms| Network::new(layers, activations.to_vec(), rms).err();
    let shape = |layer, inputs, outputs, bias, expected| {
        Some(NetworkError::Shape { layer, inputs, outputs, bias, expected })
    };
    assert_eq!(new(vec![], &[], 1.0), Some(NetworkError::Empty));
    let relu = [Activation::Relu];
    assert_eq!(new(vec![layer(3, 4, 4), layer(5, 2, 2)], &relu, 1.0), shape(1, 5, 2, 2, 4));
    assert_eq!(new(vec![layer(3, 4, 3)], &[], 1.0), shape(0, 3, 4, 3, 3));
    assert_eq!(new(vec![layer(0, 4, 4)], &[], 1.0), shape(0, 0, 4, 4, 0));
    let one = NetworkError::Activations { found: 1, hidden: 0 };
    assert_eq!(new(vec![layer(3, 4, 4)], &relu, 1.0), Some(one));
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(new(vec![layer(3, 4, 4)], &[], bad), Some(NetworkError::InputRms));
    }
    let mut broken = layer(3, 4, 4);
    broken.bias[1] = f32::NAN;
    assert_eq!(new(vec![broken], &[], 1.0), Some(NetworkError::Value { layer: 0 }));
}

#[test]
fn debug_output_shows_no_value() {
    let matrix = Matrix::from_rows(1, 2, vec![123.5, 321.5]).expect("shape");
    assert_eq!(format!("{matrix:?}"), "Matrix(1 x 2)");
    let targets = Targets::Values(matrix);
    assert_eq!(format!("{targets:?} {:?}", Labels::new(targets.clone())), "Targets(1 rows) Labels(1 rows)");
    assert_eq!(Matrix::from_rows(2, 2, vec![0.0; 3]), None);
}
