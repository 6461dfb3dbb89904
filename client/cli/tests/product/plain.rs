//! Models in the clear: the twin of a project's training, and a naive evaluation in double precision.

use std::path::Path;

use blindsmith_client::{ClientProject, Task};
use blindsmith_data::{ColumnRef, Dataset, LabelKind, ModelFile, ReadOptions, Table, Targets};
use blindsmith_learn::{Activation, Block, Labels, Layer, Loss, Matrix, Network, Recipe};
use blindsmith_twin::Run;

/// Reads labelled rows as the project records.
pub fn read(project: &ClientProject, text: &str, header: bool) -> Dataset {
    let labelling = &project.labelling;
    let kind = if labelling.task == Task::Classify { LabelKind::Category } else { LabelKind::Number };
    let options = ReadOptions {
        header,
        labels: labelling.columns.iter().map(|c| ColumnRef::from(c.as_str())).collect(),
        label_kind: kind,
        ..ReadOptions::default()
    };
    let table = Table::read_bytes("rows", text.as_bytes(), &options).unwrap();
    match labelling.task {
        Task::Classify => table.classify(labelling.classes.as_ref()),
        Task::MultiLabel => table.multi_label(),
        Task::Regress => table.regress(),
    }
    .unwrap()
}

/// Features as they are stored, within -1 and 1.
pub fn stored(project: &ClientProject, data: &Dataset) -> Matrix {
    let matrix = project.standardiser.apply(data.features.clone()).unwrap().matrix;
    let (rows, cols) = matrix.shape();
    Matrix::from_rows(rows, cols, matrix.into_vec()).unwrap()
}

fn network(project: &ClientProject, model: &Path) -> Network {
    let layers =
        ModelFile::load(model).unwrap().model.layers.into_iter().map(|l| Layer {
            weights: Matrix::from_rows(l.inputs, l.outputs, l.weight).unwrap(),
            bias: l.bias,
        });
    let Recipe { activations, input_rms, .. } = &project.recipe;
    Network::new(layers.collect(), activations.clone(), *input_rms).unwrap()
}

/// The same training in the clear, from the model in a file on.
pub struct Twin {
    run: Run,
    project: ClientProject,
    blocks: Vec<Block>,
}

impl Twin {
    pub fn new(project: ClientProject, initial: &Path) -> Self {
        let network = network(&project, initial);
        let run = Run::continue_from(project.recipe.clone(), network, project.spec.block_rows, 1).unwrap();
        Twin { run, project, blocks: Vec::new() }
    }

    /// The same rows in the same order as an upload; those for validation only take up its number.
    pub fn push(&mut self, text: &str, header: bool, training: bool) {
        let data = read(&self.project, text, header);
        let Targets::Classes { index, .. } = data.targets.clone() else { panic!("classes") };
        let labels = Labels::new(blindsmith_learn::Targets::Classes(index));
        let upload = self.run.push(stored(&self.project, &data), labels).unwrap();
        if training {
            self.blocks.extend(self.run.blocks(upload));
        }
    }

    /// A round over all uploads so far.
    pub fn round(&mut self) {
        self.run.train_round(self.blocks.clone(), |_, _| {}).unwrap();
    }

    /// Largest difference from the weights and biases of the model in a file.
    pub fn difference(&self, model: &Path) -> f32 {
        let other = network(&self.project, model);
        let parameters = |n: &Network| -> Vec<f32> {
            n.layers().iter().flat_map(|l| l.weights.as_slice().iter().chain(&l.bias).copied()).collect()
        };
        let (own, other) = (parameters(self.run.trainer().network()), parameters(&other));
        assert_eq!(own.len(), other.len());
        own.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }
}

/// The model's outputs for stored rows, rows x outputs, by the definition: what `predict` must answer.
/// Regression stays in standardised units.
pub fn evaluate(project: &ClientProject, model: &Path, rows: &Matrix) -> Vec<Vec<f64>> {
    let network = network(project, model);
    let last = network.layers().len() - 1;
    let row = |x: &[f32]| {
        let factor = project.standardiser.factor();
        let mut x: Vec<f64> = x.iter().map(|v| f64::from(*v) * factor).collect();
        for (l, layer) in network.layers().iter().enumerate() {
            x = (0..layer.bias.len())
                .map(|j| {
                    let sum: f64 =
                        x.iter().zip(layer.weights.iter_rows()).map(|(x, w)| x * f64::from(w[j])).sum();
                    sum + f64::from(layer.bias[j])
                })
                .collect();
            if l < last {
                x.iter_mut().for_each(|v| *v = activate(project.recipe.activations[l], *v));
            }
        }
        outputs(project.recipe.loss, x)
    };
    rows.iter_rows().map(row).collect()
}

fn activate(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::Identity => v,
        Activation::Relu => v.max(0.0),
        Activation::Tanh => v.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-v).exp()),
        Activation::Gelu => 0.5 * v * (1.0 + libm::erf(v / std::f64::consts::SQRT_2)),
    }
}

fn outputs(loss: Loss, z: Vec<f64>) -> Vec<f64> {
    match loss {
        Loss::MeanSquaredError => z,
        Loss::Logistic => z.iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect(),
        Loss::SoftmaxCrossEntropy => {
            let largest = z.iter().fold(f64::MIN, |m, v| m.max(*v));
            let e: Vec<f64> = z.iter().map(|v| (v - largest).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.iter().map(|v| v / sum).collect()
        }
    }
}
