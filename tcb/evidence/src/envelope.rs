//! Claims with the report that binds them, and who makes reports.

use std::io;

use blindsmith_protocol::{from_cbor, to_cbor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Claims, ClaimsError, MAX_CLAIMS, REPORT_DATA, TeeKind, echoed, report_data};

/// Longest quote or report, in bytes: the Linux kernel's own limit is the same, quotes have about 5000.
pub const MAX_REPORT: usize = 32 << 10;
/// Longest auxiliary data, in bytes: certificates that an SEV-SNP host hands along.
pub const MAX_AUXBLOB: usize = 28 << 10;
/// Longest encoded evidence, in bytes.
pub const MAX_EVIDENCE: usize = 64 << 10;

// What is within the parts' limits is within that of the whole, names and lengths included.
const _: () = assert!(MAX_CLAIMS + MAX_REPORT + MAX_AUXBLOB + 128 <= MAX_EVIDENCE);

/// What a warden shows of itself. Whoever relies on it appraises `report`, and compares what that binds with
/// [`report_data`] of `claims`; until then none of it is to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The kind of `report`.
    pub tee: TeeKind,
    /// [`Claims`], encoded.
    #[serde(with = "serde_bytes")]
    pub claims: Vec<u8>,
    /// The quote or report.
    #[serde(with = "serde_bytes")]
    pub report: Vec<u8>,
    /// What the host adds to it (SEV-SNP: certificates), or nothing. It is signed by nobody.
    #[serde(with = "serde_bytes")]
    pub auxblob: Vec<u8>,
}

/// Evidence that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// Beyond a limit.
    #[error("{what} of {len} bytes: at most {limit} are possible")]
    Long {
        /// Which part.
        what: &'static str,
        /// Its length, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Not the structure.
    #[error("not evidence of a warden: {0}")]
    Malformed(String),
    /// Its claims are none.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// Evidence of one kind for claims of another.
    #[error("evidence of the kind {tee} for claims of the kind {claimed}")]
    Kind {
        /// Of the evidence.
        tee: TeeKind,
        /// Of the claims.
        claimed: TeeKind,
    },
}

impl Evidence {
    /// The encoding: CBOR.
    pub fn encode(&self) -> Vec<u8> {
        to_cbor(self)
    }

    /// Reads evidence from outside: limits are kept, and the claims can be read and are of the same kind.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        within("evidence", bytes, MAX_EVIDENCE)?;
        let evidence: Evidence = from_cbor(bytes).map_err(|e| EvidenceError::Malformed(e.to_string()))?;
        evidence.claims()?;
        Ok(evidence)
    }

    /// What the evidence is for.
    ///
    /// # Errors
    /// [`EvidenceError`] if a part is too long, or the claims cannot be read or are of another kind.
    pub fn claims(&self) -> Result<Claims, EvidenceError> {
        within("a report", &self.report, MAX_REPORT)?;
        within("auxiliary data", &self.auxblob, MAX_AUXBLOB)?;
        let claims = Claims::decode(&self.claims)?;
        if claims.tee != self.tee {
            return Err(EvidenceError::Kind { tee: self.tee, claimed: claims.tee });
        }
        Ok(claims)
    }
}

fn within(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), EvidenceError> {
    let len = bytes.len();
    if len > limit { Err(EvidenceError::Long { what, len, limit }) } else { Ok(()) }
}

/// What an environment signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The quote or report, at most [`MAX_REPORT`] bytes.
    pub report: Vec<u8>,
    /// What comes with it, at most [`MAX_AUXBLOB`] bytes, or nothing.
    pub auxblob: Vec<u8>,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum AttestError {
    /// Claims that cannot be made.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// Claims of another kind than the environment's.
    #[error("claims of the kind {claimed}, where the warden was started with --tee {tee}")]
    Kind {
        /// Of the environment.
        tee: TeeKind,
        /// Of the claims.
        claimed: TeeKind,
    },
    /// This producer makes no such reports.
    #[error("{tee} has no reports by {producer}")]
    Unsupported {
        /// The kind.
        tee: TeeKind,
        /// The interface.
        producer: &'static str,
    },
    /// The operating system refused.
    #[error("{what}: {source}{}", advice(source))]
    System {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// The kernel has nobody who makes reports.
    #[error(
        "the kernel has no provider of reports: this machine is no TDX or SEV-SNP guest, or its module (tdx_guest, sev_guest) is not loaded"
    )]
    NoProvider,
    /// The kernel's provider is not the one of this kind.
    #[error(
        "reports are made by {found:?}, where --tee {tee} needs {expected:?}: start the warden with the kind of this machine"
    )]
    Provider {
        /// The kind.
        tee: TeeKind,
        /// Its provider.
        expected: &'static str,
        /// The provider that there is.
        found: String,
    },
    /// Gramine attests in another way, or not at all.
    #[error("Gramine's attestation type is {0:?}: set sgx.remote_attestation = \"dcap\" in the manifest")]
    AttestationType(String),
    /// Every name for an entry was taken.
    #[error("{0} names for a report's entry were taken: remove old entries, or look for who makes them")]
    Names(usize),
    /// What was written did not arrive, or somebody else wrote too.
    #[error(
        "the report's entry is at generation {found}, not at {expected}: the request was lost or somebody else wrote to it; ask again"
    )]
    Generation {
        /// One more than before.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// Beyond a limit.
    #[error("{what} has more than {limit} bytes")]
    Oversize {
        /// Which part.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// What came is not what the interface promises.
    #[error("{0} is not what it should be: is this kernel or Gramine newer than this program?")]
    Malformed(&'static str),
    /// A report on something else.
    #[error("the report is about other data than were asked for: ask again")]
    Stale,
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => {
            " (is configfs mounted, and is this the environment that --tee names? kernel 6.7 or later)"
        }
        io::ErrorKind::PermissionDenied => " (the warden's user needs to read and write it)",
        _ => "",
    }
}

/// Has its environment sign 64 bytes.
pub trait Attester: Send + Sync {
    /// The kind of its reports.
    fn tee(&self) -> TeeKind;

    /// A fresh report on `report_data`.
    ///
    /// # Errors
    /// [`AttestError`]; a report on anything else is one.
    fn report(&self, report_data: &[u8; REPORT_DATA]) -> Result<Report, AttestError>;
}

/// Evidence for claims.
///
/// # Errors
/// [`AttestError`] if the claims are of another kind than the environment, or there is no report on them.
pub fn attest(attester: &dyn Attester, claims: &Claims) -> Result<Evidence, AttestError> {
    let tee = attester.tee();
    if claims.tee != tee {
        return Err(AttestError::Kind { tee, claimed: claims.tee });
    }
    let encoded = claims.encode()?;
    let expected = report_data(&encoded);
    let Report { report, auxblob } = attester.report(&expected)?;
    answers(tee, &report, &expected)?;
    Ok(Evidence { tee, claims: encoded, report, auxblob })
}

/// Whether a report is on these data.
pub(crate) fn answers(tee: TeeKind, report: &[u8], expected: &[u8; REPORT_DATA]) -> Result<(), AttestError> {
    match echoed(tee, report) {
        None => Err(AttestError::Malformed("the report")),
        Some(found) if found != *expected => Err(AttestError::Stale),
        Some(_) => Ok(()),
    }
}

/// What failed, for [`Result::map_err`].
pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> AttestError {
    |source| AttestError::System { what: what.into(), source }
}
