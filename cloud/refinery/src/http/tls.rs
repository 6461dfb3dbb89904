//! TLS on the service's connections, where the build has it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

/// Why there is none.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Certificate or key.
    #[error("{}: {what}: {source}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is missing in it.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// They do not go together.
    #[error("http.certificate and http.key: {0}")]
    Pair(#[from] rustls::Error),
}

/// Certificate and key of a service.
#[derive(Clone)]
pub(super) struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// Reads both, and makes sure that they go together.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, what, source }
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(pem(certificate, "no certificates in PEM"))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key, "no private key in PEM"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Acceptor(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        stream: S,
    ) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
        self.0.accept(stream).await
    }
}
