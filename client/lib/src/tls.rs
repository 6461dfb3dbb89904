//! TLS on connections to a refinery, where the build has it.

use std::path::Path;
use std::sync::Arc;

use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::failure::Failure;

type Settings = ConfigBuilder<ureq::typestate::AgentScope>;

/// Settings of connections with whom they trust, if they are encrypted.
pub(crate) fn configured(settings: Settings, https: bool, ca: Option<&Path>) -> Result<Settings, Failure> {
    let mut tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if https {
        tls = tls.root_certs(roots(ca)?);
    }
    Ok(settings.tls_config(tls.build()))
}

fn roots(ca: Option<&Path>) -> Result<RootCerts, Failure> {
    let certificates: Vec<Certificate<'static>> = match ca {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|e| Failure::project(path, e))?;
            let found = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            found.collect()
        }
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            found.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
        }
    };
    if let (true, Some(path)) = (certificates.is_empty(), ca) {
        return Err(Failure::project(path, "it holds no certificate in PEM"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
