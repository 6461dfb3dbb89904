//! A model as an ONNX graph: from features as tables have them to predictions in words, with the standardisation inside.
//!
//! Inputs: `features`, float64, rows x features, in the order of the project's feature names (`blindsmith.features` in the
//! file's metadata). Outputs by task: `label` (text) and `probabilities` (float32, rows x classes) for classes;
//! `probabilities` (rows x labels) for several labels; `prediction` (float64, rows x targets, in the targets' units) for
//! regression. Values beyond the recorded bound are clipped, as in training and in encrypted predictions; the warden's rounding
//! is not applied. The messages are those of onnx.proto3 (IR version 8, operator set 17).

use blindsmith_data::Standardiser;
use blindsmith_learn::{Activation, Layer};
use prost::Message;

use crate::failure::Failure;
use crate::models::ModelVersion;
use crate::project::{ClientProject, Task};
use crate::rows::column_name;

/// onnx.proto3, as far as a dense network needs it.
mod proto {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Model {
        #[prost(int64, tag = "1")]
        pub ir_version: i64,
        #[prost(string, tag = "2")]
        pub producer_name: String,
        #[prost(string, tag = "3")]
        pub producer_version: String,
        #[prost(int64, tag = "5")]
        pub model_version: i64,
        #[prost(message, optional, tag = "7")]
        pub graph: Option<Graph>,
        #[prost(message, repeated, tag = "8")]
        pub opset_import: Vec<OperatorSet>,
        #[prost(message, repeated, tag = "14")]
        pub metadata: Vec<Entry>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct OperatorSet {
        #[prost(string, tag = "1")]
        pub domain: String,
        #[prost(int64, tag = "2")]
        pub version: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Entry {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Graph {
        #[prost(message, repeated, tag = "1")]
        pub nodes: Vec<Node>,
        #[prost(string, tag = "2")]
        pub name: String,
        #[prost(message, repeated, tag = "5")]
        pub initializers: Vec<Tensor>,
        #[prost(message, repeated, tag = "11")]
        pub inputs: Vec<Value>,
        #[prost(message, repeated, tag = "12")]
        pub outputs: Vec<Value>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Node {
        #[prost(string, repeated, tag = "1")]
        pub inputs: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        pub outputs: Vec<String>,
        #[prost(string, tag = "3")]
        pub name: String,
        #[prost(string, tag = "4")]
        pub operator: String,
        #[prost(message, repeated, tag = "5")]
        pub attributes: Vec<Attribute>,
    }

    /// A number: the kinds of attribute that are needed.
    #[derive(Clone, PartialEq, Message)]
    pub struct Attribute {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(int64, tag = "3")]
        pub integer: i64,
        /// 2: an integer.
        #[prost(int32, tag = "20")]
        pub kind: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Tensor {
        #[prost(int64, repeated, tag = "1")]
        pub dims: Vec<i64>,
        #[prost(int32, tag = "2")]
        pub element: i32,
        #[prost(bytes = "vec", repeated, tag = "6")]
        pub strings: Vec<Vec<u8>>,
        #[prost(string, tag = "8")]
        pub name: String,
        #[prost(bytes = "vec", tag = "9")]
        pub raw: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Value {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, optional, tag = "2")]
        pub kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Kind {
        #[prost(message, optional, tag = "1")]
        pub tensor: Option<TensorKind>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct TensorKind {
        #[prost(int32, tag = "1")]
        pub element: i32,
        #[prost(message, optional, tag = "2")]
        pub shape: Option<Shape>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Shape {
        #[prost(message, repeated, tag = "1")]
        pub dims: Vec<Dimension>,
    }

    /// A size, or the name of one that is not fixed.
    #[derive(Clone, PartialEq, Message)]
    pub struct Dimension {
        #[prost(int64, optional, tag = "1")]
        pub size: Option<i64>,
        #[prost(string, optional, tag = "2")]
        pub name: Option<String>,
    }
}

/// Element types of onnx.proto3.
const FLOAT: i32 = 1;
const INT64: i32 = 7;
const STRING: i32 = 8;
const DOUBLE: i32 = 11;

const IR_VERSION: i64 = 8;
const OPERATORS: i64 = 17;

/// A graph that grows node by node; each node has one output.
#[derive(Default)]
struct Builder {
    graph: proto::Graph,
}

impl Builder {
    /// Adds a node; its output's name.
    fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, i64)]) -> String {
        let output = format!("{}{}", operator.to_lowercase(), self.graph.nodes.len());
        self.node_named(operator, inputs, attributes, &output);
        output
    }

    fn node_named(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, i64)], output: &str) {
        let attribute = |(name, integer): &(&str, i64)| proto::Attribute {
            name: (*name).to_owned(),
            integer: *integer,
            kind: 2,
        };
        self.graph.nodes.push(proto::Node {
            inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
            outputs: vec![output.to_owned()],
            name: output.to_owned(),
            operator: operator.to_owned(),
            attributes: attributes.iter().map(attribute).collect(),
        });
    }

    fn constant(&mut self, name: &str, element: i32, dims: &[usize], raw: Vec<u8>) -> String {
        let dims = dims.iter().map(|n| *n as i64).collect();
        let tensor = proto::Tensor { dims, element, strings: Vec::new(), name: name.to_owned(), raw };
        self.graph.initializers.push(tensor);
        name.to_owned()
    }

    fn doubles(&mut self, name: &str, values: &[f64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, DOUBLE, &[values.len()], raw)
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        self.constant(name, FLOAT, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// One number, of the element type of what it is used with.
    fn number(&mut self, name: &str, element: i32, value: f64) -> String {
        let raw = if element == DOUBLE {
            value.to_le_bytes().to_vec()
        } else {
            (value as f32).to_le_bytes().to_vec()
        };
        self.constant(name, element, &[], raw)
    }

    fn strings(&mut self, name: &str, values: &[String]) -> String {
        let name = self.constant(name, STRING, &[values.len()], Vec::new());
        if let Some(tensor) = self.graph.initializers.last_mut() {
            tensor.strings = values.iter().map(|v| v.as_bytes().to_vec()).collect();
        }
        name
    }

    fn value(name: &str, element: i32, dims: &[usize]) -> proto::Value {
        let fixed = dims.iter().map(|n| proto::Dimension { size: Some(*n as i64), name: None });
        let rows = proto::Dimension { size: None, name: Some("rows".into()) };
        let shape = proto::Shape { dims: std::iter::once(rows).chain(fixed).collect() };
        let tensor = proto::TensorKind { element, shape: Some(shape) };
        proto::Value { name: name.to_owned(), kind: Some(proto::Kind { tensor: Some(tensor) }) }
    }

    fn output(&mut self, name: &str, element: i32, dims: &[usize]) {
        self.graph.outputs.push(Builder::value(name, element, dims));
    }

    /// (x - centre) / scale, clipped to the recorded bound, 0 of constant columns: in double precision, then as float32.
    fn standardised(&mut self, standardiser: &Standardiser) -> String {
        let inverse = |scale: &f64| if *scale == 0.0 { 0.0 } else { 1.0 / scale };
        let inverses: Vec<f64> = standardiser.scale().iter().map(inverse).collect();
        let (centre, inverse) =
            (self.doubles("centre", standardiser.centre()), self.doubles("inverse_scale", &inverses));
        let apart = self.node("Sub", &["features", &centre], &[]);
        let scaled = self.node("Mul", &[&apart, &inverse], &[]);
        let low = self.number("low", DOUBLE, -standardiser.factor());
        let high = self.number("high", DOUBLE, standardiser.factor());
        let clipped = self.node("Clip", &[&scaled, &low, &high], &[]);
        self.node("Cast", &[&clipped], &[("to", i64::from(FLOAT))])
    }

    fn layers(&mut self, mut last: String, layers: &[Layer], activations: &[Activation]) -> String {
        for (i, layer) in layers.iter().enumerate() {
            let (inputs, outputs) = layer.weights.shape();
            let weight = self.floats(&format!("weight{i}"), &[inputs, outputs], layer.weights.as_slice());
            let bias = self.floats(&format!("bias{i}"), &[outputs], &layer.bias);
            last = self.node("Gemm", &[&last, &weight, &bias], &[]);
            if let Some(activation) = activations.get(i) {
                last = self.activation(*activation, last);
            }
        }
        last
    }

    fn activation(&mut self, activation: Activation, z: String) -> String {
        match activation {
            Activation::Relu => self.node("Relu", &[&z], &[]),
            Activation::Tanh => self.node("Tanh", &[&z], &[]),
            Activation::Sigmoid => self.node("Sigmoid", &[&z], &[]),
            Activation::Identity => z,
            // z/2 (1 + erf(z / sqrt 2)): the operator of its own is younger than this operator set.
            Activation::Gelu => {
                let at = self.graph.nodes.len();
                let root = self.number(&format!("root{at}"), FLOAT, std::f64::consts::FRAC_1_SQRT_2);
                let one = self.number(&format!("one{at}"), FLOAT, 1.0);
                let half = self.number(&format!("half{at}"), FLOAT, 0.5);
                let scaled = self.node("Mul", &[&z, &root], &[]);
                let erf = self.node("Erf", &[&scaled], &[]);
                let above = self.node("Add", &[&erf, &one], &[]);
                let halved = self.node("Mul", &[&z, &half], &[]);
                self.node("Mul", &[&halved, &above], &[])
            }
        }
    }

    fn classes(&mut self, z: &str, names: &[String], threshold: f32) {
        let chosen = if names.len() > 2 {
            self.node_named("Softmax", &[z], &[("axis", 1)], "probabilities");
            self.node("ArgMax", &["probabilities"], &[("axis", 1), ("keepdims", 0)])
        } else {
            let positive = self.node("Sigmoid", &[z], &[]);
            let one = self.number("one", FLOAT, 1.0);
            let negative = self.node("Sub", &[&one, &positive], &[]);
            self.node_named("Concat", &[&negative, &positive], &[("axis", 1)], "probabilities");
            let least = self.number("threshold", FLOAT, threshold.into());
            let above = self.node("Greater", &[&positive, &least], &[]);
            let number = self.node("Cast", &[&above], &[("to", i64::from(INT64))]);
            let axis = self.constant("axis", INT64, &[1], 1_i64.to_le_bytes().to_vec());
            self.node("Squeeze", &[&number, &axis], &[])
        };
        let classes = self.strings("classes", names);
        self.node_named("Gather", &[&classes, &chosen], &[("axis", 0)], "label");
        self.output("label", STRING, &[]);
        self.output("probabilities", FLOAT, &[names.len()]);
    }

    fn values(&mut self, z: &str, targets: &Standardiser) {
        let wide = self.node("Cast", &[z], &[("to", i64::from(DOUBLE))]);
        let (scale, centre) =
            (self.doubles("target_scale", targets.scale()), self.doubles("target_centre", targets.centre()));
        let scaled = self.node("Mul", &[&wide, &scale], &[]);
        self.node_named("Add", &[&scaled, &centre], &[], "prediction");
        self.output("prediction", DOUBLE, &[targets.columns()]);
    }
}

impl ModelVersion {
    /// The model as the bytes of an ONNX file; see the module for its inputs and outputs.
    ///
    /// # Errors
    /// If the project records neither classes nor targets that fit its task.
    pub fn onnx(&self, project: &ClientProject) -> Result<Vec<u8>, Failure> {
        let standardiser = &project.standardiser;
        let mut builder = Builder::default();
        builder.graph.name = "blindsmith".into();
        builder.graph.inputs.push(Builder::value("features", DOUBLE, &[standardiser.columns()]));
        let rows = builder.standardised(standardiser);
        let z = builder.layers(rows, &self.layers, &project.recipe.activations);
        let labelling = &project.labelling;
        match (labelling.task, &labelling.classes, &labelling.targets) {
            (Task::Classify, Some(classes), _) => {
                builder.classes(&z, classes.names(), project.recipe.threshold)
            }
            (Task::Regress, _, Some(targets)) => builder.values(&z, targets),
            (Task::MultiLabel, ..) => {
                builder.node_named("Sigmoid", &[&z], &[], "probabilities");
                builder.output("probabilities", FLOAT, &[labelling.columns.len()]);
            }
            _ => return Err(Failure::Settings("the project records no labels of its task".into())),
        }
        let json = |e: serde_json::Error| Failure::Other(e.to_string());
        let names: Vec<String> =
            (0..standardiser.columns()).map(|column| column_name(standardiser, column)).collect();
        let metadata = [
            ("blindsmith.project", project.id().to_string()),
            ("blindsmith.version", self.version.to_string()),
            ("blindsmith.features", serde_json::to_string(&names).map_err(json)?),
            ("blindsmith.labels", serde_json::to_string(&labelling.columns).map_err(json)?),
        ];
        let model = proto::Model {
            ir_version: IR_VERSION,
            producer_name: "blindsmith".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            model_version: i64::try_from(self.version).unwrap_or(i64::MAX),
            graph: Some(builder.graph),
            opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPERATORS }],
            metadata: metadata.map(|(key, value)| proto::Entry { key: key.into(), value }).into(),
        };
        Ok(model.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every name that a node reads is an input, a constant, or the output of a node before it.
    fn check(graph: &proto::Graph) {
        let mut known: HashSet<&str> = graph.inputs.iter().map(|v| v.name.as_str()).collect();
        assert!(graph.initializers.iter().all(|t| known.insert(&t.name)), "a constant's name is used twice");
        for node in &graph.nodes {
            for input in &node.inputs {
                assert!(known.contains(input.as_str()), "{} reads {input}", node.name);
            }
            assert!(node.outputs.iter().all(|output| known.insert(output)), "{} is made twice", node.name);
        }
        assert!(graph.outputs.iter().all(|v| known.contains(v.name.as_str())));
    }

    fn layer(inputs: usize, outputs: usize) -> Layer {
        let weights = (0..inputs * outputs).map(|i| i as f32).collect();
        Layer {
            weights: blindsmith_learn::Matrix::from_rows(inputs, outputs, weights).unwrap(),
            bias: vec![0.5; outputs],
        }
    }

    #[test]
    fn graphs_read_only_what_was_made_before() {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        for (classes, outputs) in [(2, 1), (3, 3)] {
            let mut builder = Builder::default();
            builder.graph.inputs.push(Builder::value("features", DOUBLE, &[4]));
            let standardiser =
                Standardiser::from_ranges(None, &[(-1.0, 1.0); 4], blindsmith_data::Beyond::Clip).unwrap();
            let rows = builder.standardised(&standardiser);
            let layers = [layer(4, 5), layer(5, 5), layer(5, outputs)];
            let z = builder.layers(rows, &layers, &[Activation::Gelu, Activation::Gelu]);
            builder.classes(&z, &names[..classes], 0.25);
            check(&builder.graph);
            let weight = builder.graph.initializers.iter().find(|t| t.name == "weight0").unwrap();
            assert_eq!((weight.dims.as_slice(), weight.raw.len()), (&[4, 5][..], 80));
            assert_eq!(weight.raw[4..8], 1.0_f32.to_le_bytes());
        }
    }

    /// Field numbers and types as in onnx.proto3: known bytes of a small message.
    #[test]
    fn messages_have_the_numbers_of_the_format() {
        let tensor = proto::Tensor {
            dims: vec![2],
            element: FLOAT,
            strings: Vec::new(),
            name: "w".into(),
            raw: vec![0, 0, 128, 63, 0, 0, 0, 64],
        };
        let bytes =
            [&[0x0a, 1, 2, 0x10, 1, 0x42, 1, b'w', 0x4a, 8][..], &[0, 0, 128, 63, 0, 0, 0, 64]].concat();
        assert_eq!(tensor.encode_to_vec(), bytes);
        let attribute = proto::Attribute { name: "axis".into(), integer: 1, kind: 2 };
        assert_eq!(attribute.encode_to_vec(), [&[0x0a, 4][..], b"axis", &[0x18, 1, 0xa0, 1, 2]].concat());
    }
}
