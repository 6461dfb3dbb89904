//! The training loop.

use crate::accelerator::{Accelerator, Pass};
use crate::batch::{Batch, BatchError, Block};
use crate::elementary::{flush, mask, reciprocal_sqrt, select, sqrt};
use crate::labels::Labels;
use crate::loss::{Objective, ObjectiveError};
use crate::matrix::Matrix;
use crate::metrics::Scoreboard;
use crate::network::{Layer, Network, NetworkError, PassError, Tape, expect_shape};
use crate::optimiser::{Optimiser, Update};
use crate::recipe::{Recipe, RecipeError};
use crate::sampler::Sampler;
use crate::schedule::Position;
use crate::state::{StateError, TrainerState};

/// A network in training: its optimiser's state and where in the schedule it stands.
pub struct Trainer {
    recipe: Recipe,
    objective: Objective,
    pub(crate) network: Network,
    pub(crate) optimiser: Optimiser,
    pub(crate) position: Position,
    pub(crate) epochs: u64,
    gradients: Vec<Layer>,
    tape: Tape,
    /// Whether training goes on once loss or gradient are not finite.
    tolerant: bool,
    diverged: bool,
}

/// How far all layers move in a step.
struct Move {
    /// From sums over rows to means.
    mean: f32,
    clip: f32,
    learning_rate: f32,
}

/// What a step did.
#[derive(Clone, PartialEq, Debug)]
pub struct StepReport {
    /// Mean loss of the batch before the step, weights included.
    pub loss: f64,
    /// Valid rows.
    pub rows: u32,
    /// The scheduled learning rate.
    pub learning_rate: f32,
    /// Norm over all layers of the gradient of the mean loss, before clipping.
    pub gradient_norm: f32,
    /// What the accelerator predicted for each layer's gradient in sum form. Record it: a twin that replays
    /// it takes the same steps with Adam.
    pub gradient_noise: Vec<f32>,
}

/// What an epoch did.
#[derive(Clone, PartialEq, Debug)]
pub struct EpochReport {
    /// The epoch's number, from 0, over all rounds.
    pub epoch: u64,
    /// Steps taken.
    pub steps: u64,
    /// Mean over its batches' valid rows of the loss, each before its step.
    pub loss: f64,
    /// The steps' [`StepReport::gradient_noise`].
    pub gradient_noise: Vec<Vec<f32>>,
}

/// Why a trainer could not be made.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum SetupError {
    /// A recipe out of range.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Layers that do not make a network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A network of another shape than the recipe's.
    #[error(
        "a network of {found:?} units cannot continue a recipe of {expected:?}, or their activations or input_rms differ"
    )]
    Mismatch {
        /// The network's widths.
        found: Vec<usize>,
        /// The recipe's widths.
        expected: Vec<usize>,
    },
    /// A checkpoint that does not fit the recipe.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError<E: std::error::Error> {
    /// A product could not be had.
    #[error("the accelerator failed")]
    Accelerator(#[source] E),
    /// A product of the wrong shape.
    #[error("{call} of layer {layer} gave {found:?} values where {expected:?} are due")]
    Shape {
        /// The accelerator's function.
        call: &'static str,
        /// The layer, from 0.
        layer: usize,
        /// Rows and columns.
        found: (usize, usize),
        /// Rows and columns.
        expected: (usize, usize),
    },
    /// Labels for other rows.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Labels that do not fit the loss.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// Loss or gradient are no longer finite.
    #[error("training diverged at step {step}: lower the learning rate or set clip_norm")]
    Diverged {
        /// Steps taken before.
        step: u64,
    },
}

impl<E: std::error::Error> From<PassError<E>> for TrainError<E> {
    fn from(error: PassError<E>) -> Self {
        match error {
            PassError::Accelerator(error) => TrainError::Accelerator(error),
            PassError::Shape { call, layer, found, expected } => {
                TrainError::Shape { call, layer, found, expected }
            }
        }
    }
}

impl Trainer {
    /// A new network by the recipe's seed.
    pub fn new(recipe: Recipe) -> Result<Self, SetupError> {
        recipe.validate()?;
        let Recipe { widths, activations, input_rms, start_seed, .. } = &recipe;
        let network = Network::initial(widths, activations, *input_rms, *start_seed)?;
        Trainer::continue_from(recipe, network)
    }

    /// Training that goes on from a given network of the recipe's shape, with fresh optimiser state.
    pub fn continue_from(recipe: Recipe, network: Network) -> Result<Self, SetupError> {
        recipe.validate()?;
        let widths = network.widths();
        let fits = network.activations() == recipe.activations && network.input_rms() == recipe.input_rms;
        if widths != recipe.widths || !fits {
            return Err(SetupError::Mismatch { found: widths, expected: recipe.widths });
        }
        let objective = recipe.objective().map_err(RecipeError::from)?;
        let lengths: Vec<usize> =
            network.layers().iter().flat_map(|l| [l.weights.as_slice().len(), l.bias.len()]).collect();
        let gradients = network
            .layers()
            .iter()
            .map(|l| Layer { weights: Matrix::default(), bias: vec![0.0; l.bias.len()] })
            .collect();
        Ok(Trainer {
            optimiser: Optimiser::new(recipe.rule, &lengths),
            position: Position { step: 0, steps: 0, steps_per_epoch: 0 },
            epochs: 0,
            gradients,
            tape: Tape::default(),
            tolerant: false,
            diverged: false,
            recipe,
            objective,
            network,
        })
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The loss with its weights.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Whether training that diverges goes on as if it had not, with weights of no use: what is asked of an
    /// accelerator then does not depend on it.
    pub fn tolerate(&mut self, tolerant: bool) {
        (self.tolerant, self.diverged) = (tolerant, false);
    }

    /// Whether training diverged since [`Trainer::tolerate`].
    pub fn diverged(&self) -> bool {
        self.diverged
    }

    /// Steps taken, over all rounds.
    pub fn steps(&self) -> u64 {
        self.optimiser.steps
    }

    /// Epochs done, over all rounds.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// Goes on as after so many epochs, which decide the order of the rows.
    pub fn resume_at(&mut self, epochs: u64) {
        self.epochs = epochs;
    }

    /// Starts a round of `epochs` epochs over what the sampler deals: the learning rate's course begins anew.
    pub fn begin_round(&mut self, sampler: &Sampler, epochs: u32) {
        let steps_per_epoch = sampler.batches_per_epoch() as u64;
        self.position = Position { step: 0, steps: steps_per_epoch * u64::from(epochs), steps_per_epoch };
    }

    /// One epoch of a round that has begun; `load` fetches the labels of the blocks' rows in order,
    /// and is handed the accelerator, in case both come from one place.
    pub fn train_epoch<A: Accelerator>(
        &mut self,
        accelerator: &mut A,
        sampler: &Sampler,
        mut load: impl FnMut(&mut A, &[Block]) -> Result<Labels, TrainError<A::Error>>,
    ) -> Result<EpochReport, TrainError<A::Error>> {
        let (mut loss, mut rows, mut gradient_noise) = (0.0, 0.0, Vec::new());
        for blocks in sampler.epoch(self.epochs) {
            let labels = load(accelerator, &blocks)?;
            let batch = Batch::new(blocks, labels)?;
            let step = self.train_step(accelerator, &batch)?;
            loss += step.loss * f64::from(step.rows);
            rows += f64::from(step.rows);
            gradient_noise.push(step.gradient_noise);
        }
        let (epoch, steps) = (self.epochs, sampler.batches_per_epoch() as u64);
        self.epochs += 1;
        Ok(EpochReport { epoch, steps, loss: loss / f64::max(rows, 1.0), gradient_noise })
    }

    /// One step of the optimiser on one batch. After an error it may be half done: go on from a state that
    /// was taken before.
    pub fn train_step<A: Accelerator>(
        &mut self,
        accelerator: &mut A,
        batch: &Batch,
    ) -> Result<StepReport, TrainError<A::Error>> {
        self.objective.check(batch.labels())?;
        let parts = match self.recipe.micro_batch_rows {
            Some(rows) if rows < batch.rows() => batch.micro_batches(rows)?,
            _ => Vec::new(),
        };
        let parts = if parts.is_empty() { std::slice::from_ref(batch) } else { &parts };
        let pass = Pass::Training { micro_batches: parts.len(), rows: batch.rows() };
        accelerator.begin(pass).map_err(TrainError::Accelerator)?;
        self.network.load(accelerator, &mut self.tape)?;

        self.gradients.iter_mut().for_each(|g| g.bias.fill(0.0));
        let bounds = match self.objective.error_bounds() {
            Some((error, row)) if parts.len() > 1 => self.network.bounds(error, row),
            _ => Vec::new(),
        };
        let mut loss = 0.0;
        for part in parts {
            self.network.forward(accelerator, part, &mut self.tape)?;
            loss += self.objective.error(&mut self.tape.outputs, part.labels());
            self.network.backward(accelerator, part, &bounds, &mut self.tape, &mut self.gradients)?;
        }
        self.update(accelerator, batch.labels().valid_rows(), loss)
    }

    /// Moves the weights by the gradients, which are sums over `rows` valid rows. Without clipping each layer
    /// moves as soon as its gradient is there, and its weights are on their way for the next step while the
    /// gradients below are still computed.
    fn update<A: Accelerator>(
        &mut self,
        accelerator: &mut A,
        rows: u32,
        loss: f64,
    ) -> Result<StepReport, TrainError<A::Error>> {
        let (loss_mean, mean) = self.objective.mean_factor(rows);
        let loss = loss * f64::from(loss_mean);
        if !loss.is_finite() {
            self.diverge()?;
        }
        let factor = self.recipe.schedule.factor(self.position, self.recipe.warm_up);
        let rule = Move { mean, clip: 1.0, learning_rate: flush(self.recipe.learning_rate * factor) };
        let layers = self.gradients.len();
        let (mut noise, mut squares) = (vec![0.0; layers], 0.0);
        let clip_norm = self.recipe.clip_norm;
        let last_step = self.position.step + 1 >= self.position.steps;
        if clip_norm.is_none() {
            self.optimiser.begin_step();
        }
        for l in (0..layers).rev() {
            noise[l] = self.take_gradient(accelerator, l)?;
            squares += self.square_norm(l, mean);
            if !(squares as f32).is_finite() {
                self.diverge()?;
            }
            if clip_norm.is_none() {
                self.move_layer(l, &rule, noise[l]);
                if l > 0 && !last_step {
                    let weights = &self.network.layers()[l].weights;
                    accelerator.load_ahead(l, weights).map_err(TrainError::Accelerator)?;
                }
            }
        }
        let squares = squares as f32;
        if let Some(limit) = clip_norm {
            let clip = select(mask(squares > limit * limit), limit * reciprocal_sqrt(squares), 1.0);
            self.optimiser.begin_step();
            (0..layers).for_each(|l| self.move_layer(l, &Move { clip, ..rule }, noise[l]));
        }
        self.position.step += 1;
        let learning_rate = rule.learning_rate;
        Ok(StepReport { loss, rows, learning_rate, gradient_norm: sqrt(squares), gradient_noise: noise })
    }

    /// Loss or gradient are not finite: an error, unless that must not show.
    fn diverge<E: std::error::Error>(&mut self) -> Result<(), TrainError<E>> {
        self.diverged = true;
        if self.tolerant { Ok(()) } else { Err(TrainError::Diverged { step: self.optimiser.steps }) }
    }

    /// Fetches a layer's gradient; returns the noise predicted for it.
    fn take_gradient<A: Accelerator>(
        &mut self,
        accelerator: &mut A,
        layer: usize,
    ) -> Result<f32, TrainError<A::Error>> {
        let gradient = &mut self.gradients[layer].weights;
        accelerator.take_gradient(layer, gradient).map_err(TrainError::Accelerator)?;
        expect_shape("take_gradient", layer, gradient, self.network.layers()[layer].weights.shape())?;
        Ok(accelerator.gradient_noise(layer))
    }

    /// What the sums are multiplied with to give the mean's gradient: for weights, for biases.
    fn factors(&self, layer: usize, mean: f32) -> (f32, f32) {
        // Gradients of layer 0 are with respect to the weights that were divided by the rms.
        if layer == 0 { (mean / self.network.input_rms(), mean) } else { (mean, mean) }
    }

    fn square_norm(&self, layer: usize, mean: f32) -> f64 {
        let (of_weights, of_bias) = self.factors(layer, mean);
        let gradient = &self.gradients[layer];
        square_sum(gradient.weights.as_slice(), of_weights) + square_sum(&gradient.bias, of_bias)
    }

    fn move_layer(&mut self, layer: usize, rule: &Move, noise: f32) {
        let (of_weights, of_bias) = self.factors(layer, rule.mean);
        let &Move { clip, learning_rate, .. } = rule;
        let weight_decay = self.recipe.weight_decay;
        let noise = noise * of_weights;
        let (values, gradient) = (&mut self.network.layers_mut()[layer], &self.gradients[layer]);
        let by = Update { learning_rate, weight_decay, noise, factor: of_weights * clip };
        self.optimiser.update(2 * layer, values.weights.as_mut_slice(), gradient.weights.as_slice(), by);
        let by = Update { weight_decay: 0.0, factor: of_bias * clip, ..by };
        self.optimiser.update(2 * layer + 1, &mut values.bias, &gradient.bias, by);
    }

    /// The figures of the network as it is now over all blocks of a sampler, and the losses row by row; `load` as in
    /// [`Trainer::train_epoch`].
    pub fn judge<A: Accelerator>(
        &self,
        accelerator: &mut A,
        batches: &Sampler,
        mut load: impl FnMut(&mut A, &[Block]) -> Result<Labels, TrainError<A::Error>>,
    ) -> Result<Scoreboard, TrainError<A::Error>> {
        let mut tape = Tape::default();
        let mut scores = Scoreboard::new(self.objective.clone());
        accelerator.begin(Pass::Inference).map_err(TrainError::Accelerator)?;
        self.network.load(accelerator, &mut tape)?;
        for blocks in batches.in_order() {
            let labels = load(accelerator, &blocks)?;
            let batch = Batch::new(blocks, labels)?;
            self.objective.check(batch.labels())?;
            self.network.forward(accelerator, &batch, &mut tape)?;
            scores.add(&mut tape.outputs, batch.labels());
        }
        Ok(scores)
    }

    /// A copy of all that training changes.
    pub fn state(&self) -> TrainerState {
        TrainerState::of(self)
    }

    /// Goes back to a state that this trainer had, in the memory that it has.
    ///
    /// # Errors
    /// [`StateError`] if it is another trainer's, or not finite: the state may be half restored then.
    pub fn go_back(&mut self, state: &TrainerState) -> Result<(), StateError> {
        (self.tolerant, self.diverged) = (false, false);
        state.restore(self)
    }

    /// A trainer that goes on where `state` was taken.
    pub fn restore(recipe: Recipe, state: TrainerState) -> Result<Self, SetupError> {
        let mut trainer = Trainer::new(recipe)?;
        state.restore(&mut trainer)?;
        Ok(trainer)
    }
}

/// The predictions for a batch's rows: probabilities of the classes, of each label, or
/// values in units of the targets. Labels are not looked at.
pub fn predict<A: Accelerator>(
    network: &Network,
    objective: &Objective,
    accelerator: &mut A,
    batch: &Batch,
) -> Result<Matrix, TrainError<A::Error>> {
    let mut tape = Tape::default();
    accelerator.begin(Pass::Inference).map_err(TrainError::Accelerator)?;
    network.load(accelerator, &mut tape)?;
    network.forward(accelerator, batch, &mut tape)?;
    objective.predictions(&mut tape.outputs);
    Ok(tape.outputs)
}

/// Sum of (factor v)^2.
fn square_sum(values: &[f32], factor: f32) -> f64 {
    // Eight sums side by side, which the compiler keeps in vectors.
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for chunk in chunks {
        for (sum, v) in sums.iter_mut().zip(chunk) {
            let v = f64::from(v * factor);
            *sum += v * v;
        }
    }
    let rest = rest.iter().map(|v| f64::from(v * factor).powi(2));
    sums.into_iter().chain(rest).sum()
}
