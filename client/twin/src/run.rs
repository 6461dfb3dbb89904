//! A whole training in the clear.

use blindsmith_learn::{
    BatchError, Block, EpochReport, Labels, Matrix, Metrics, Network, Recipe, Sampler, SamplerError,
    SetupError, TrainError, Trainer, gather_labels,
};

use crate::accelerator::{Twin, TwinError};

/// A trainer, the rows it learns from, and their labels. Uploads may be added between rounds.
pub struct Run {
    trainer: Trainer,
    twin: Twin,
    labels: Vec<Labels>,
    block_rows: u32,
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The recipe or network.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The blocks.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// The rows.
    #[error(transparent)]
    Rows(#[from] TwinError),
    /// The labels.
    #[error(transparent)]
    Labels(#[from] BatchError),
    /// A step.
    #[error(transparent)]
    Train(#[from] TrainError<TwinError>),
}

impl Run {
    /// A run with a new network, without rows; they are cut into blocks of `block_rows` rows, at least 1.
    pub fn new(recipe: Recipe, block_rows: u32, threads: usize) -> Result<Self, RunError> {
        Ok(Run::with(Trainer::new(recipe)?, block_rows, threads))
    }

    /// A run that goes on from a given network.
    pub fn continue_from(
        recipe: Recipe,
        network: Network,
        block_rows: u32,
        threads: usize,
    ) -> Result<Self, RunError> {
        Ok(Run::with(Trainer::continue_from(recipe, network)?, block_rows, threads))
    }

    fn with(trainer: Trainer, block_rows: u32, threads: usize) -> Self {
        Run { trainer, twin: Twin::new(block_rows, threads), labels: Vec::new(), block_rows }
    }

    /// Takes the rows of an upload and one label for each; returns the upload's number.
    pub fn push(&mut self, rows: Matrix, labels: Labels) -> Result<u32, RunError> {
        if rows.rows() != labels.rows() {
            return Err(BatchError::Rows { labels: labels.rows(), rows: rows.rows() }.into());
        }
        let upload = self.twin.push(rows)?;
        self.labels.push(labels);
        Ok(upload)
    }

    /// The blocks of an upload in order; none if there is no upload of that number.
    pub fn blocks(&self, upload: u32) -> Vec<Block> {
        self.twin.blocks(upload).collect()
    }

    /// Trains for the recipe's epochs on these blocks, telling of each epoch.
    pub fn train_round(
        &mut self,
        blocks: Vec<Block>,
        mut observe: impl FnMut(&EpochReport, &mut Run),
    ) -> Result<(), RunError> {
        let recipe = self.trainer.recipe();
        let epochs = recipe.epochs;
        let sampler = Sampler::new(blocks, recipe.batch_rows, recipe.order_seed)?;
        self.trainer.begin_round(&sampler, epochs);
        for _ in 0..epochs {
            let (labels, block_rows) = (&self.labels, self.block_rows);
            let load = |_: &mut Twin, blocks: &[Block]| Ok(gather_labels(blocks, block_rows, labels)?);
            let report = self.trainer.train_epoch(&mut self.twin, &sampler, load)?;
            observe(&report, self);
        }
        Ok(())
    }

    /// The metrics over these blocks of the network as it is now.
    pub fn evaluate(&mut self, blocks: Vec<Block>) -> Result<Metrics, RunError> {
        let batch_rows = self.trainer.recipe().batch_rows;
        let batches = Sampler::new(blocks, batch_rows, 0)?;
        let (labels, block_rows) = (&self.labels, self.block_rows);
        let load = |_: &mut Twin, blocks: &[Block]| Ok(gather_labels(blocks, block_rows, labels)?);
        Ok(self.trainer.judge(&mut self.twin, &batches, load)?.metrics())
    }

    /// The training's state.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The accelerator, for instance to replay the noise of an encrypted run.
    pub fn twin_mut(&mut self) -> &mut Twin {
        &mut self.twin
    }
}
