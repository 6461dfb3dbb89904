//! Why nothing was done that a client asked for. Each request either happens, or is refused and changes nothing.

use blindsmith_project::Refusal as ProjectRefusal;
use blindsmith_protocol::Id;

use crate::link::error::LinkError;
use crate::store::StoreError;

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// There is no such thing.
    Unknown,
    /// It is there, or something else is.
    Conflict,
    /// It was taken away.
    Gone,
    /// What was sent is not what it should be.
    Invalid,
    /// More than was agreed upon.
    Quota,
    /// Not now.
    Unavailable,
    /// Disk, database or object store do not do their work, which may pass.
    Store,
    /// Database or object store cannot be reached, which may pass.
    Away,
    /// The refinery's own fault.
    Failed,
}

/// Why nothing was done, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
}

impl Refusal {
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Refusal { kind, message: message.into() }
    }

    /// No such project.
    pub fn no_project(project: &Id) -> Self {
        let message = format!("there is no project {project} here: was it created at another refinery?");
        Refusal::new(RefusalKind::Unknown, message)
    }
}

impl From<StoreError> for Refusal {
    fn from(e: StoreError) -> Self {
        let kind = match &e {
            StoreError::Upload(_) => RefusalKind::Invalid,
            StoreError::Exists(_) | StoreError::Offset { .. } => RefusalKind::Conflict,
            StoreError::Withdrawn(_) => RefusalKind::Gone,
            StoreError::Missing(_) => RefusalKind::Unknown,
            StoreError::Unreachable { .. } | StoreError::Unlocked { .. } | StoreError::Taken { .. } => {
                RefusalKind::Away
            }
            StoreError::Io { .. } | StoreError::Metadata { .. } | StoreError::Remote { .. } => {
                RefusalKind::Store
            }
            _ => RefusalKind::Failed,
        };
        Refusal::new(kind, e.to_string())
    }
}

impl From<ProjectRefusal> for Refusal {
    fn from(refused: ProjectRefusal) -> Self {
        let kind = match &refused {
            ProjectRefusal::NotReleased
            | ProjectRefusal::Unable(_)
            | ProjectRefusal::NothingToTrainOn { .. }
            | ProjectRefusal::TooManyRounds
            | ProjectRefusal::Roster(_) => RefusalKind::Conflict,
            ProjectRefusal::Withdrawn(_) => RefusalKind::Gone,
            ProjectRefusal::TooManyUploads | ProjectRefusal::Quota { .. } => RefusalKind::Quota,
            ProjectRefusal::NotYours { .. } => RefusalKind::Unknown,
            ProjectRefusal::Order(_)
            | ProjectRefusal::OtherProject
            | ProjectRefusal::NoVersion { .. }
            | ProjectRefusal::NoUpload(_) => RefusalKind::Invalid,
        };
        Refusal::new(kind, refused.to_string())
    }
}

impl From<LinkError> for Refusal {
    fn from(e: LinkError) -> Self {
        let kind = match &e {
            LinkError::Broken(_) => RefusalKind::Unavailable,
            LinkError::Refused(_) | LinkError::InTheWay(_) => RefusalKind::Invalid,
        };
        Refusal::new(kind, e.to_string())
    }
}
