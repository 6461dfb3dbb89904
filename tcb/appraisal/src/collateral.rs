//! Collateral: the certificates, revocation lists and statements of vendors that evidence is verified with.

use dcap_qvl::QuoteCollateralV3;

use super::Unusable;
use super::amd::{Certificate, RevocationList};
use super::text::line;

/// Most collateral, in bytes, over all parts.
pub const MAX_COLLATERAL: usize = 1 << 20;
/// Most certificates and revocation lists.
const MAX_CERTIFICATES: usize = 32;
const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Collateral, parsed but not believed. The roots of trust are not among it: they are part of this crate.
#[derive(Debug, Clone, Default)]
pub struct Collateral {
    size: usize,
    pub(super) intel: Option<QuoteCollateralV3>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) lists: Vec<RevocationList>,
}

impl Collateral {
    /// Adds a part, recognised by its content: Intel's collateral as JSON (TCB info, QE identity, revocation lists and
    /// their chains), AMD's certificates in PEM or DER, or its revocation lists in DER.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Unusable> {
        let unusable = |why: String| Err(Unusable::Collateral(why));
        self.size = self.size.saturating_add(bytes.len());
        if self.size > MAX_COLLATERAL {
            return Err(Unusable::TooLarge { what: "collateral", limit: MAX_COLLATERAL });
        }
        let trimmed = bytes.trim_ascii();
        if trimmed.starts_with(b"{") {
            if self.intel.is_some() {
                return unusable(
                    "Intel's collateral was given twice: give the one that fits the quote".into(),
                );
            }
            let parsed = serde_json::from_slice(trimmed)
                .map_err(|e| Unusable::Collateral(format!("Intel's collateral: {}", line(&e.to_string()))))?;
            self.intel = Some(parsed);
            return Ok(());
        }
        let certificates = if trimmed.starts_with(PEM) {
            Certificate::from_pem(trimmed)?
        } else if let Ok(list) = RevocationList::from_der(bytes) {
            self.lists.push(list);
            Vec::new()
        } else if bytes.first() == Some(&0x30) {
            vec![Certificate::from_der(bytes)?]
        } else {
            return unusable("neither Intel's JSON nor certificates or a list of AMD".into());
        };
        self.certificates.extend(certificates);
        if self.certificates.len() + self.lists.len() > MAX_CERTIFICATES {
            return unusable(format!("more than {MAX_CERTIFICATES} parts: give those of one platform"));
        }
        Ok(())
    }
}
