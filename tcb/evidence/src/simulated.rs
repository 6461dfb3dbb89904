//! Reports of wardens without any trusted execution environment.
//!
//! They have the form of evidence and prove nothing: whoever runs the warden has its key, and can sign any measurement.
//! They are a kind of their own, so that nobody takes them for another's, and owners have to allow them by name.

use blindsmith_identity::{PublicKey, SigningKey};

use crate::{AttestError, Attester, REPORT_DATA, Report, TeeKind};

/// Bytes of a simulated report.
pub const SIMULATED_REPORT: usize = SIGNED + 64;
/// What it begins with.
const MAGIC: &[u8; 8] = b"BSSIMEV1";
/// Bytes that are signed.
const SIGNED: usize = MAGIC.len() + 32 + 32 + REPORT_DATA;
/// Enters the signature, so that it is one of nothing else.
const DOMAIN: &[u8] = b"blindsmith simulated evidence v1";

/// Makes simulated reports.
pub struct Simulated {
    key: SigningKey,
    measurement: [u8; 32],
}

impl Simulated {
    /// With a key for nothing else, and the SHA-256 of the running program's file.
    pub fn new(key: SigningKey, measurement: [u8; 32]) -> Self {
        Simulated { key, measurement }
    }
}

impl Attester for Simulated {
    fn tee(&self) -> TeeKind {
        TeeKind::Simulated
    }

    fn report(&self, report_data: &[u8; REPORT_DATA]) -> Result<Report, AttestError> {
        let key = self.key.verifying().0;
        let mut report = [&MAGIC[..], &key, &self.measurement, report_data].concat();
        let signature = self.key.sign(&[DOMAIN, &report].concat());
        report.extend_from_slice(&signature);
        Ok(Report { report, auxblob: Vec::new() })
    }
}

/// A simulated report, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedReport {
    /// The key that should have signed it.
    pub key: PublicKey,
    /// What it says that the program's SHA-256 is.
    pub measurement: [u8; 32],
    /// What it is about.
    pub report_data: [u8; REPORT_DATA],
    signature: [u8; 64],
}

impl SimulatedReport {
    /// Takes one apart; nothing if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (key, rest) = rest.split_first_chunk()?;
        let (measurement, rest) = rest.split_first_chunk()?;
        let (report_data, rest) = rest.split_first_chunk()?;
        let signature = rest.try_into().ok()?;
        let (measurement, report_data) = (*measurement, *report_data);
        Some(SimulatedReport { key: PublicKey(*key), measurement, report_data, signature })
    }

    /// Whether its key signed it. **This proves nothing about a program or a machine**: it shows that the report was
    /// not damaged, and that reports with one key are of whoever has that key.
    pub fn verify(&self) -> bool {
        let signed = [DOMAIN, MAGIC, &self.key.0, &self.measurement, &self.report_data].concat();
        self.key.verifies(&signed, &self.signature)
    }
}
