//! What a project is, on the command line.

use blindsmith_client::Task;
use clap::ValueEnum;

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    /// One of several classes.
    Classify,
    /// Several bits.
    MultiLabel,
    /// Numbers.
    Regress,
}

impl From<TaskName> for Task {
    fn from(name: TaskName) -> Self {
        match name {
            TaskName::Classify => Task::Classify,
            TaskName::MultiLabel => Task::MultiLabel,
            TaskName::Regress => Task::Regress,
        }
    }
}

/// What the refinery multiplies on, for the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CloudName {
    /// Processor cores.
    #[default]
    Cpu,
    /// A graphics processor.
    Gpu,
}

impl From<CloudName> for blindsmith_plan::Cloud {
    fn from(name: CloudName) -> Self {
        match name {
            CloudName::Cpu => blindsmith_plan::Cloud::Cpu,
            CloudName::Gpu => blindsmith_plan::Cloud::Gpu,
        }
    }
}
