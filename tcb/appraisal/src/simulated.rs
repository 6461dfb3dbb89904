//! Reports of no hardware, read.

use blindsmith_evidence::{SIMULATED_DOMAIN, SIMULATED_MAGIC};
use blindsmith_identity::PublicKey;
use thiserror::Error;

/// A simulated report.
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
    /// Whether bytes begin as a simulated report does.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(SIMULATED_MAGIC)
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
        let mut rest = bytes.strip_prefix(SIMULATED_MAGIC.as_slice()).ok_or(SimulatedError::Malformed)?;
        let report = SimulatedReport {
            key: PublicKey(take(&mut rest)?),
            measurement: take(&mut rest)?,
            data: take(&mut rest)?,
            signature: take(&mut rest)?,
        };
        if !rest.is_empty() {
            return Err(SimulatedError::Malformed);
        }
        let signed = [SIMULATED_DOMAIN, &report.key.0, &report.measurement, &report.data].concat();
        match report.key.verifies(&signed, &report.signature) {
            true => Ok(report),
            false => Err(SimulatedError::Signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_evidence::{Attester, Report, Simulated};
    use blindsmith_identity::SigningKey;

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
