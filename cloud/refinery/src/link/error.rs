//! Why the warden did not do what it was to do.

use blindsmith_project::Failure;
use blindsmith_protocol::FrameError;
use thiserror::Error;

use crate::store::StoreError;

/// What happened, and so what the caller can do.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    /// The connection broke, or the warden does not keep to the protocol: the link ends.
    #[error(transparent)]
    Broken(#[from] FrameError),
    /// The warden refused, and would again.
    #[error("{0}")]
    Refused(String),
    /// Something at the refinery is in the way, which may pass by itself.
    #[error("{0}")]
    InTheWay(String),
}

impl From<StoreError> for LinkError {
    fn from(e: StoreError) -> Self {
        LinkError::InTheWay(e.to_string())
    }
}

impl LinkError {
    /// What a project is told; an error if the link ends.
    pub fn into_failure(self) -> Result<Failure, FrameError> {
        match self {
            LinkError::Broken(e) => Err(e),
            LinkError::Refused(why) => Ok(Failure::Refused(why)),
            LinkError::InTheWay(why) => Ok(Failure::InTheWay(why)),
        }
    }
}

/// What the warden did instead of what is due.
pub(super) fn unexpected(what: &'static str) -> LinkError {
    LinkError::Broken(FrameError::Unexpected(what))
}
