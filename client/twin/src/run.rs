//! A whole training in the clear.

use blindsmith_learn::{
    BatchError, EpochReport, Group, Labels, Matrix, Metrics, Network, Recipe, Sampler, SamplerError,
    SetupError, TrainError, Trainer, gather_labels,
};

use crate::{Twin, TwinError};

/// A trainer, the rows it learns from, and their labels. Uploads may be added between rounds.
pub struct Run {
    trainer: Trainer,
    twin: Twin,
    labels: Vec<Labels>,
    rows_per_block: usize,
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The recipe or network.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The groups.
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
    /// A run with a new network, without rows; they come in blocks of `rows_per_block`.
    pub fn new(recipe: Recipe, rows_per_block: usize, threads: usize) -> Result<Self, RunError> {
        Ok(Run::with(Trainer::new(recipe)?, rows_per_block, threads))
    }

    /// A run that goes on from a given network.
    pub fn continue_from(
        recipe: Recipe,
        network: Network,
        rows_per_block: usize,
        threads: usize,
    ) -> Result<Self, RunError> {
        Ok(Run::with(Trainer::continue_from(recipe, network)?, rows_per_block, threads))
    }

    fn with(trainer: Trainer, rows_per_block: usize, threads: usize) -> Self {
        let rows_per_block = rows_per_block.max(1);
        Run { trainer, twin: Twin::new(rows_per_block, threads), labels: Vec::new(), rows_per_block }
    }

    /// Takes rows in the order of their blocks and one label for each; returns the upload's number.
    pub fn push(&mut self, rows: Matrix, labels: Labels) -> Result<u32, RunError> {
        if rows.rows() != labels.rows() {
            return Err(BatchError::Rows { labels: labels.rows(), rows: rows.rows() }.into());
        }
        let upload = self.twin.push(rows)?;
        self.labels.push(labels.padded(self.rows_per_block));
        Ok(upload)
    }

    /// The sampling groups of an upload.
    pub fn groups(&self, upload: u32, group_blocks: u32) -> Vec<Group> {
        Group::of_upload(upload, self.twin.blocks(upload), group_blocks).collect()
    }

    /// Trains for the recipe's epochs on these groups, telling of each epoch.
    pub fn train_round(
        &mut self,
        groups: Vec<Group>,
        mut observe: impl FnMut(&EpochReport, &mut Run),
    ) -> Result<(), RunError> {
        let recipe = self.trainer.recipe();
        let epochs = recipe.epochs;
        let sampler = Sampler::new(groups, self.rows_per_block, recipe.batch_rows, recipe.order_seed)?;
        self.trainer.begin_round(&sampler, epochs);
        for _ in 0..epochs {
            let (labels, rows) = (&self.labels, self.rows_per_block);
            let load = |_: &mut Twin, groups: &[Group]| Ok(gather_labels(groups, rows, labels)?);
            let report = self.trainer.train_epoch(&mut self.twin, &sampler, load)?;
            observe(&report, self);
        }
        Ok(())
    }

    /// The metrics over these groups of the network as it is now.
    pub fn evaluate(&mut self, groups: Vec<Group>) -> Result<Metrics, RunError> {
        let batch_rows = self.trainer.recipe().batch_rows;
        let batches = Sampler::new(groups, self.rows_per_block, batch_rows, 0)?;
        let (labels, rows) = (&self.labels, self.rows_per_block);
        let load = |_: &mut Twin, groups: &[Group]| Ok(gather_labels(groups, rows, labels)?);
        Ok(self.trainer.evaluate(&mut self.twin, &batches, load)?)
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
