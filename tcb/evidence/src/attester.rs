//! Where reports come from.

use thiserror::Error;

use crate::claims::Tee;

/// Longest report or quote, in bytes, and longest auxiliary data.
pub const MAX_REPORT: usize = 32 << 10;

/// A report in which an environment vouches for 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The quote or report.
    pub report: Vec<u8>,
    /// What the host adds, such as certificates; empty if nothing. Nobody vouches for it.
    pub auxiliary: Vec<u8>,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum AttestError {
    /// The interface is not there, or does not answer.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// How it ended.
        source: std::io::Error,
    },
    /// The host offers another kind of environment.
    #[error("{found:?} vouches here, where {expected} was expected: choose the kind that this machine has")]
    Provider {
        /// What there should be.
        expected: &'static str,
        /// What there is.
        found: String,
    },
    /// What was written was not taken, or somebody else wrote at the same entry.
    #[error(
        "the kernel took no request, or more than one: its provider refused what was written, or somebody else wrote at the \
         same place; see its log (dmesg), and start again"
    )]
    Race,
    /// The report is about something else.
    #[error("the report vouches for other bytes than those that were asked for")]
    Echo,
    /// Too long, too short, or not what it should be.
    #[error("{0}")]
    Malformed(String),
}

/// Fetches reports.
pub trait Attester: Send + Sync {
    /// The kind of environment that vouches.
    fn tee(&self) -> Tee;
    /// A report that holds these bytes.
    ///
    /// # Errors
    /// [`AttestError`]: no report was made, or not for these bytes.
    fn report(&self, data: &[u8; 64]) -> Result<Report, AttestError>;
}

/// What the environment measured of this program: MRENCLAVE, MRTD or the launch measurement; empty where nothing measures.
///
/// # Errors
/// [`AttestError`]: there is no report, or it is cut off.
pub fn measurement(attester: &dyn Attester) -> Result<Vec<u8>, AttestError> {
    if attester.tee() == Tee::Simulated {
        return Ok(Vec::new());
    }
    let Report { report, .. } = attester.report(&[0; 64])?;
    let range = match (attester.tee(), report.first_chunk::<2>()) {
        (Tee::Sgx, _) => 112..144,
        (Tee::Tdx, Some([5, 0])) => 190..238,
        (Tee::Tdx, _) => 184..232,
        _ => 0x90..0xc0,
    };
    let found = report.get(range).ok_or_else(|| AttestError::Malformed("a report that is cut off".into()));
    found.map(<[u8]>::to_vec)
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> AttestError {
    let what = what.into();
    move |source| AttestError::Io { what, source }
}

/// Makes sure that a report holds the bytes at the place where its kind has them.
pub(crate) fn check_echo(report: &[u8], at: usize, data: &[u8; 64]) -> Result<(), AttestError> {
    match report.get(at..at + 64) {
        Some(found) if found == data => Ok(()),
        Some(_) => Err(AttestError::Echo),
        None => Err(AttestError::Malformed(format!("a report of {} bytes is cut off", report.len()))),
    }
}
