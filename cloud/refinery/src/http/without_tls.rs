//! No TLS: what a build without the feature `tls` has in its place.

use std::path::Path;

use thiserror::Error;

/// Why there is none.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The build.
    #[error(
        "http.certificate and http.key: this refinery was built without TLS: build it with the feature `tls`, or leave \
         TLS to a proxy"
    )]
    Build,
}

/// There is none.
#[derive(Clone)]
pub(super) enum Acceptor {}

impl Acceptor {
    /// Refuses.
    pub(super) fn read(_: &Path, _: &Path) -> Result<Self, TlsError> {
        Err(TlsError::Build)
    }

    /// Never runs.
    pub(super) async fn accept<S>(self, _: S) -> std::io::Result<S> {
        match self {}
    }
}
