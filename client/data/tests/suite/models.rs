use std::collections::BTreeMap;

use blindsmith_data::{Linear, Model, ModelFile};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use crate::{golden, golden_bytes, refusal};

/// The model of `data/make.py`.
fn mlp() -> Model {
    Model {
        layers: vec![
            Linear {
                inputs: 2,
                outputs: 3,
                weight: vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0],
                bias: vec![-1.0, -2.0, -3.0],
            },
            Linear { inputs: 3, outputs: 1, weight: vec![0.5, 0.25, 0.125], bias: vec![7.0] },
        ],
    }
}

#[test]
fn reads_what_safetensors_wrote() {
    let file = ModelFile::load(golden("mlp.safetensors")).unwrap();
    assert_eq!(file.model, mlp());
    assert_eq!(file.modules, [0, 2]);
    assert_eq!(file.prefix, "");
    assert_eq!(file.metadata, BTreeMap::from([("format".into(), "pt".into())]));
    for name in ["mlp_f16.safetensors", "mlp_f64.safetensors"] {
        assert_eq!(ModelFile::load(golden(name)).unwrap().model, mlp(), "{name}");
    }
}

#[test]
fn the_bytes_written_are_pinned() {
    let mut file = ModelFile::new(mlp());
    file.metadata = BTreeMap::from([("b".into(), "2".into()), ("a".into(), "\"1\"".into())]);
    let bytes = file.to_bytes().unwrap();
    let header = concat!(
        r#"{"__metadata__":{"a":"\"1\"","b":"2"},"#,
        r#""0.weight":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]},"#,
        r#""0.bias":{"dtype":"F32","shape":[3],"data_offsets":[24,36]},"#,
        r#""2.weight":{"dtype":"F32","shape":[1,3],"data_offsets":[36,48]},"#,
        r#""2.bias":{"dtype":"F32","shape":[1],"data_offsets":[48,52]}}"#,
    );
    let padded = header.len().next_multiple_of(8);
    assert_eq!(bytes[..8], (padded as u64).to_le_bytes());
    assert_eq!(std::str::from_utf8(&bytes[8..8 + padded]).unwrap().trim_end(), header);
    let numbers: Vec<f32> =
        bytes[8 + padded..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(numbers, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -1.0, -2.0, -3.0, 0.5, 0.25, 0.125, 7.0]);
}

#[test]
fn safetensors_reads_what_is_written() {
    let bytes = ModelFile::new(mlp()).to_bytes().unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let golden = golden_bytes("mlp.safetensors");
    let golden = SafeTensors::deserialize(&golden).unwrap();
    assert_eq!(tensors.len(), golden.len());
    for (name, tensor) in golden.tensors() {
        assert_eq!(tensors.tensor(&name).unwrap(), tensor, "{name}");
    }
}

#[test]
fn names_survive_a_round_trip() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let file = ModelFile {
        modules: vec![1, 40],
        prefix: "net.2.".into(),
        metadata: BTreeMap::from([("activation".into(), "relu".into())]),
        ..ModelFile::new(mlp())
    };
    file.save(&path).unwrap();
    assert_eq!(ModelFile::load(&path).unwrap(), file);
    // Replacing a file leaves no other behind.
    ModelFile::new(mlp()).save(&path).unwrap();
    assert_eq!(ModelFile::load(&path).unwrap(), ModelFile::new(mlp()));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(
        refusal(file.save(directory.path().join("no/such/dir.safetensors"))).contains("dir.safetensors: ")
    );
}

#[test]
fn brain_floats() {
    let bf16 = |values: &[f32]| -> Vec<u8> {
        values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect()
    };
    let (weight, bias) = (bf16(&[1.0, -2.0]), bf16(&[0.5]));
    let file = tensors(&[("0.weight", Dtype::BF16, &[1, 2], &weight), ("0.bias", Dtype::BF16, &[1], &bias)]);
    assert_eq!(ModelFile::from_bytes("m", &file).unwrap().model.layers[0].weight, [1.0, -2.0]);
}

#[test]
fn ten_layers_are_in_the_order_of_their_numbers() {
    let layer = |bias: f32| Linear { inputs: 1, outputs: 1, weight: vec![1.0], bias: vec![bias] };
    let model = Model { layers: (0..12).map(|i| layer(i as f32)).collect() };
    let bytes = ModelFile::new(model.clone()).to_bytes().unwrap();
    assert_eq!(ModelFile::from_bytes("m", &bytes).unwrap().model, model);
}

type Tensor<'a> = (&'a str, Dtype, &'a [usize], &'a [u8]);

fn tensors(list: &[Tensor<'_>]) -> Vec<u8> {
    let views = list
        .iter()
        .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap()));
    serialize(views, None).unwrap()
}

#[test]
fn files_named_by_their_defect() {
    let zeros = [0; 256];
    let w = |name, shape: &'static [usize]| -> Tensor<'_> {
        (name, Dtype::F32, shape, &zeros[..4 * shape.iter().product::<usize>()])
    };
    let nan = f32::NAN.to_le_bytes();
    let huge = 1e300_f64.to_le_bytes();
    for (name, list, reason) in [
        ("empty", vec![], "holds no layer"),
        (
            "no_bias",
            vec![w("0.weight", &[1, 2])],
            "tensor \"0.bias\" is missing; every nn.Linear needs weight and bias",
        ),
        ("no_weight", vec![w("0.bias", &[1])], "tensor \"0.weight\" is missing"),
        (
            "unnumbered",
            vec![w("weight", &[1, 2]), w("bias", &[1])],
            "\"bias\" is no weight or bias of a numbered",
        ),
        ("named", vec![w("fc.weight", &[1, 2])], "tensor \"fc.weight\" is no weight or bias of a numbered"),
        ("leading_zero", vec![w("00.weight", &[1, 2])], "tensor \"00.weight\" is no weight"),
        ("batch_norm", vec![w("0.running_mean", &[2])], "tensor \"0.running_mean\" is no weight"),
        (
            "two_prefixes",
            vec![w("a.0.weight", &[1, 2]), w("b.0.bias", &[1])],
            "tensor \"b.0.bias\" is no weight",
        ),
        ("huge_index", vec![w("99999999999999999999999.weight", &[1, 2])], "is no weight"),
        (
            "layer_norm",
            vec![w("0.weight", &[2]), w("0.bias", &[2])],
            "\"0.weight\" has shape [2]; expected [outputs, inputs]",
        ),
        (
            "convolution",
            vec![w("0.weight", &[1, 1, 2, 2]), w("0.bias", &[1])],
            "\"0.weight\" has shape [1, 1, 2, 2]",
        ),
        (
            "no_outputs",
            vec![w("0.weight", &[0, 2]), w("0.bias", &[0])],
            "has shape [0, 2]; expected no empty dimension",
        ),
        (
            "bias_length",
            vec![w("0.weight", &[1, 2]), w("0.bias", &[2])],
            "\"0.bias\" has shape [2]; expected [1]",
        ),
        (
            "broken_chain",
            vec![w("0.weight", &[3, 2]), w("0.bias", &[3]), w("2.weight", &[1, 4]), w("2.bias", &[1])],
            "\"2.weight\" has shape [1, 4]; expected [_, 3], the outputs of the layer before",
        ),
        (
            "integers",
            vec![("0.weight", Dtype::I32, &[1, 1], &zeros[..4]), w("0.bias", &[1])],
            "\"0.weight\" is of type I32; F32, F16, BF16 and F64 are supported",
        ),
        (
            "not_a_number",
            vec![w("0.weight", &[1, 2]), ("0.bias", Dtype::F32, &[1], &nan)],
            "\"0.bias\" holds a value at index 0 that is not finite",
        ),
        (
            "beyond_f32",
            vec![w("0.weight", &[1, 2]), ("0.bias", Dtype::F64, &[1], &huge)],
            "\"0.bias\" holds a value at index 0 that is not finite",
        ),
    ] {
        let message = refusal(ModelFile::from_bytes("m", &tensors(&list)));
        assert!(message.starts_with("m: ") && message.contains(reason), "{name}: {message}");
    }
}

#[test]
fn damaged_files() {
    let whole = golden_bytes("mlp.safetensors");
    for length in [0, 7, 8, 100, whole.len() - 1] {
        let message = refusal(ModelFile::from_bytes("m", &whole[..length]));
        assert!(message.starts_with("m: not a readable safetensors file: "), "{length}: {message}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(ModelFile::from_bytes("m", &longer).is_err());
    let mut header_too_long = whole;
    header_too_long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(ModelFile::from_bytes("m", &header_too_long).is_err());
}

#[test]
fn models_that_cannot_be_written() {
    let refused = |change: fn(&mut ModelFile)| {
        let mut file = ModelFile::new(mlp());
        change(&mut file);
        refusal(file.to_bytes())
    };
    assert!(refused(|f| f.model.layers.clear()).contains("holds no layer"));
    assert!(refused(|f| f.model.layers[1].inputs = 4).contains("\"2.weight\" has shape [1, 4]"));
    assert!(refused(|f| f.model.layers[0].weight.truncate(5)).contains("\"0.weight\" has shape [5]"));
    assert!(refused(|f| f.model.layers[0].bias.push(0.0)).contains("\"0.bias\" has shape [4]; expected [3]"));
    // Element 1 of [in, out] = (0, 1), which PyTorch stores at (1, 0), index 2 of [3, 2].
    assert!(
        refused(|f| f.model.layers[0].weight[1] = f32::NAN).contains("\"0.weight\" holds a value at index 2")
    );
    assert!(refused(|f| f.modules = vec![2, 2]).contains("must increase"));
    assert!(refused(|f| f.modules = vec![0]).contains("one for each layer"));
}

proptest! {
    #[test]
    fn round_trip(widths in prop::collection::vec(1_usize..6, 2..5), seed in any::<u32>()) {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 65_536.0 - 128.0
        };
        let mut numbers = |count: usize| (0..count).map(|_| next()).collect::<Vec<f32>>();
        let layers = widths.windows(2).map(|w| Linear {
            inputs: w[0],
            outputs: w[1],
            weight: numbers(w[0] * w[1]),
            bias: numbers(w[1]),
        });
        let file = ModelFile::new(Model { layers: layers.collect() });
        prop_assert_eq!(ModelFile::from_bytes("m", &file.to_bytes().unwrap()).unwrap(), file);
    }
}
