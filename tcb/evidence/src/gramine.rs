//! Quotes of an Intel SGX enclave by Gramine: files below `/dev/attestation`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::envelope::{answers, system};
use crate::tsm::{read_most, write_once};
use crate::{AttestError, Attester, MAX_REPORT, REPORT_DATA, Report, TeeKind};

const ROOT: &str = "/dev/attestation";
/// Longest name of an attestation type, in bytes.
const MAX_TYPE: usize = 32;

/// Gramine's files: a seam, so that the protocol can be tested where there is no such hardware.
pub trait AttestationFiles: Send + Sync {
    /// Reads a file to its end, but no more than `most` bytes.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, file: &str, most: usize) -> io::Result<Vec<u8>>;

    /// Opens a file write-only, writes once, and closes it.
    ///
    /// # Errors
    /// The system's, and one if not all bytes were taken.
    fn write(&self, file: &str, bytes: &[u8]) -> io::Result<()>;
}

/// The files that Gramine shows to the enclave it runs.
#[derive(Debug, Clone)]
pub struct DevAttestation {
    root: PathBuf,
}

impl DevAttestation {
    /// Where Gramine has them, `/dev/attestation`.
    pub fn system() -> Self {
        DevAttestation { root: Path::new(ROOT).to_owned() }
    }
}

impl AttestationFiles for DevAttestation {
    fn read(&self, file: &str, most: usize) -> io::Result<Vec<u8>> {
        read_most(&self.root.join(file), most)
    }

    fn write(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        write_once(&self.root.join(file), bytes)
    }
}

/// Makes quotes (DCAP) of the enclave that it runs in.
pub struct Gramine<F> {
    files: F,
    /// The files are the enclave's, not a request's: one at a time.
    turn: Mutex<()>,
}

impl<F: AttestationFiles> Gramine<F> {
    /// Nothing is asked of Gramine yet.
    pub fn new(files: F) -> Self {
        Gramine { files, turn: Mutex::default() }
    }
}

impl<F: AttestationFiles> Attester for Gramine<F> {
    fn tee(&self) -> TeeKind {
        TeeKind::Sgx
    }

    fn report(&self, report_data: &[u8; REPORT_DATA]) -> Result<Report, AttestError> {
        // Nothing is kept between requests that a panic could have left half done.
        let _turn = self.turn.lock().unwrap_or_else(|e| e.into_inner());
        let read = |file: &'static str, most: usize| {
            self.files.read(file, most).map_err(system(format!("reading {ROOT}/{file}")))
        };
        let kind = read("attestation_type", MAX_TYPE)?;
        let kind = String::from_utf8_lossy(&kind);
        if kind.trim_end() != "dcap" {
            return Err(AttestError::AttestationType(kind.trim_end().to_owned()));
        }
        let asked = self.files.write("user_report_data", report_data);
        asked.map_err(system(format!("writing {ROOT}/user_report_data")))?;
        let report = read("quote", MAX_REPORT + 1)?;
        if report.len() > MAX_REPORT {
            return Err(AttestError::Oversize { what: "quote", limit: MAX_REPORT });
        }
        answers(TeeKind::Sgx, &report, report_data)?;
        Ok(Report { report, auxblob: Vec::new() })
    }
}
