//! Queries, which the warden answers.

use std::fs::File;

use blindsmith_protocol::{Role, UploadHeader};

use crate::refusal::{Refusal, RefusalKind};
use crate::scheduler::{Job, Query};
use crate::state::Shared;
use crate::store::Incoming;

/// Refuses to ask anything but a query.
pub(crate) fn check_asked(header: &UploadHeader) -> Result<(), Refusal> {
    match header.role {
        Role::Query => Ok(()),
        Role::Training | Role::Validation => {
            Err(Refusal::new(RefusalKind::Invalid, "only a query can be asked"))
        }
    }
}

impl Shared {
    /// The rows of a query, checked against its header.
    pub(crate) fn query(&self, incoming: Incoming<'_>, header: &UploadHeader) -> Result<File, Refusal> {
        check_asked(header)?;
        Ok(incoming.into_file(header)?)
    }

    /// Has the warden answer a query.
    pub(crate) fn ask(
        &self,
        rows: File,
        header: UploadHeader,
        envelope: Vec<u8>,
    ) -> Result<Vec<u8>, Refusal> {
        let header = Box::new(header);
        self.ask_warden(|reply| Job::Query(Query { header, rows, envelope, reply }))
    }
}
