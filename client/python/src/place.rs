//! A project's directory, and where its refinery is.

use std::path::PathBuf;

use blindsmith_client::{ClientProject, Failure, Interrupter, Workspace};
use pyo3::prelude::*;

/// The directory, the refinery if it is not the one recorded, and certificates that lead to the refinery's.
#[derive(FromPyObject, Clone)]
pub struct Place(PathBuf, Option<String>, Option<PathBuf>);

impl Place {
    /// Opens it, as every operation does: a connection that broke is nobody's trouble then.
    pub fn open(&self, interrupter: &Interrupter) -> Result<Workspace, Failure> {
        let mut workspace = Workspace::open(&self.0, self.1.as_deref(), self.2.as_deref())?;
        workspace.connection.interrupt_with(interrupter)?;
        Ok(workspace)
    }

    /// What the directory records, without a connection.
    pub fn project(&self) -> Result<ClientProject, Failure> {
        ClientProject::load(&self.0)
    }

    /// The directory.
    pub fn dir(&self) -> &std::path::Path {
        &self.0
    }
}
