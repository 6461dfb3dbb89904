//! A report of no hardware: it has a form of its own, a key of its own, and proves nothing. `blindsmith-appraisal` reads it.

use blindsmith_identity::SigningKey;

use crate::attester::{AttestError, Attester, Report};
use crate::claims::Tee;

/// What a simulated report begins with; then public key (32 bytes), measurement (32), report data (64), signature (64).
pub const SIMULATED_MAGIC: &[u8; 8] = b"BSSIMEV1";
/// What is signed before key, measurement and report data.
pub const SIMULATED_DOMAIN: &[u8] = b"blindsmith simulated report v1\0";

/// Signs what it is asked to: whoever runs the process has the key.
pub struct Simulated {
    key: SigningKey,
    measurement: [u8; 32],
}

impl Simulated {
    /// One with this key, for a program of which this is the SHA-256.
    pub fn new(key: SigningKey, measurement: [u8; 32]) -> Self {
        Simulated { key, measurement }
    }
}

impl Attester for Simulated {
    fn tee(&self) -> Tee {
        Tee::Simulated
    }

    fn report(&self, data: &[u8; 64]) -> Result<Report, AttestError> {
        let said = [&self.key.verifying().0, &self.measurement, data.as_slice()].concat();
        let signature = self.key.sign(&[SIMULATED_DOMAIN, &said].concat());
        let report = [SIMULATED_MAGIC.as_slice(), &said, &signature].concat();
        Ok(Report { report, auxiliary: Vec::new() })
    }
}
