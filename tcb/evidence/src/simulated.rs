//! A report of no hardware: it has a form of its own, a key of its own, and proves nothing.

use blindsmith_identity::{PublicKey, SigningKey};
use thiserror::Error;

use crate::{AttestError, Attester, Report, Tee};

const MAGIC: &[u8; 8] = b"BSSIMEV1";
const DOMAIN: &[u8] = b"blindsmith simulated report v1\0";

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
        let mut report = SimulatedReport {
            key: self.key.verifying(),
            measurement: self.measurement,
            data: *data,
            signature: [0; 64],
        };
        report.signature = self.key.sign(&report.signed());
        Ok(Report { report: report.encode(), auxiliary: Vec::new() })
    }
}

/// A simulated report: `BSSIMEV1`, public key (32 bytes), measurement (32), report data (64), signature (64).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedReport {
    /// The key that signed it: nobody vouches for it.
    pub key: PublicKey,
    /// SHA-256 of the program's file, as the process says.
    pub measurement: [u8; 32],
    /// What was asked for.
    pub data: [u8; 64],
    /// Ed25519, over a domain tag and all of the above.
    pub signature: [u8; 64],
}

/// Bytes that are no simulated report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SimulatedError {
    /// Of another form.
    #[error("not a simulated report")]
    Malformed,
    /// Altered.
    #[error("the simulated report was altered: its signature does not verify")]
    Signature,
}

impl SimulatedReport {
    fn signed(&self) -> Vec<u8> {
        [DOMAIN, &self.key.0, &self.measurement, &self.data].concat()
    }

    fn encode(&self) -> Vec<u8> {
        [MAGIC.as_slice(), &self.key.0, &self.measurement, &self.data, &self.signature].concat()
    }

    /// Whether bytes begin as a simulated report does.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// The report in these bytes, unaltered since somebody signed it.
    ///
    /// # Errors
    /// [`SimulatedError`] if it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, SimulatedError> {
        fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SimulatedError> {
            let (head, tail) = rest.split_first_chunk::<N>().ok_or(SimulatedError::Malformed)?;
            *rest = tail;
            Ok(*head)
        }
        let mut rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or(SimulatedError::Malformed)?;
        let report = SimulatedReport {
            key: PublicKey(take(&mut rest)?),
            measurement: take(&mut rest)?,
            data: take(&mut rest)?,
            signature: take(&mut rest)?,
        };
        if !rest.is_empty() {
            return Err(SimulatedError::Malformed);
        }
        match report.key.verifies(&report.signed(), &report.signature) {
            true => Ok(report),
            false => Err(SimulatedError::Signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_what_was_asked_for_and_no_change_passes() {
        let simulated = Simulated::new(SigningKey::from_seed(&[1; 32]), [2; 32]);
        let Report { report, auxiliary } = simulated.report(&[3; 64]).unwrap();
        assert!(SimulatedReport::begins(&report) && auxiliary.is_empty());
        let decoded = SimulatedReport::decode(&report).unwrap();
        assert_eq!((decoded.measurement, decoded.data), ([2; 32], [3; 64]));
        for bit in 0..8 * report.len() {
            let mut altered = report.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(SimulatedReport::decode(&altered).is_err(), "bit {bit}");
        }
        for len in 0..report.len() {
            assert_eq!(SimulatedReport::decode(&report[..len]), Err(SimulatedError::Malformed));
        }
        assert_eq!(SimulatedReport::decode(&[report, vec![0]].concat()), Err(SimulatedError::Malformed));
    }
}
