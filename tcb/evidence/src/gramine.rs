//! Quotes of Intel SGX, through the files that Gramine makes inside an enclave (its documentation: *Attestation and secret
//! provisioning*, low-level interface).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::attester::{AttestError, Attester, MAX_REPORT, Report, check_echo, io};
use crate::claims::Tee;

/// Where a quote of version 3 has its report data: a header of 48 bytes, then 320 of the report.
const DATA: usize = 48 + 320;
/// What Gramine says of the kind of quotes.
const DCAP: &str = "dcap";

/// The seam to Gramine's files.
pub trait Devices: Send + Sync {
    /// Reads a file, at most `most` bytes and one more.
    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>>;
    /// Writes all of a file at once.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// The files in a directory.
pub struct DevicesAt(PathBuf);

impl DevicesAt {
    /// `/dev/attestation`.
    pub fn gramine() -> Self {
        DevicesAt(Path::new("/dev/attestation").into())
    }
}

impl Devices for DevicesAt {
    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.0.join(name))?.take(most as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().write(true).open(self.0.join(name))?;
        // One call: what is written is taken as a whole.
        match file.write(bytes)? {
            written if written == bytes.len() => Ok(()),
            written => Err(io::Error::other(format!("{written} of {} bytes were taken", bytes.len()))),
        }
    }
}

/// Quotes of the enclave that this program runs in.
pub struct Gramine<D> {
    devices: D,
    /// The file of report data is one for all threads.
    alone: Mutex<()>,
}

impl<D: Devices> Gramine<D> {
    /// Quotes through these files.
    pub fn new(devices: D) -> Self {
        Gramine { devices, alone: Mutex::default() }
    }
}

impl<D: Devices> Attester for Gramine<D> {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn report(&self, data: &[u8; 64]) -> Result<Report, AttestError> {
        let _alone = self.alone.lock().unwrap_or_else(|e| e.into_inner());
        let kind =
            self.devices.read("attestation_type", 64).map_err(io("/dev/attestation/attestation_type"))?;
        let kind = String::from_utf8_lossy(&kind).trim().chars().take(64).collect::<String>();
        if kind != DCAP {
            return Err(AttestError::Provider { expected: DCAP, found: kind });
        }
        self.devices.write("user_report_data", data).map_err(io("/dev/attestation/user_report_data"))?;
        let quote = self.devices.read("quote", MAX_REPORT).map_err(io("/dev/attestation/quote"))?;
        if quote.len() > MAX_REPORT {
            return Err(AttestError::Malformed(format!("a quote of more than {MAX_REPORT} bytes")));
        }
        if quote.first_chunk::<2>() != Some(&[3, 0]) {
            return Err(AttestError::Malformed("a quote of another version than 3".into()));
        }
        check_echo(&quote, DATA, data)?;
        Ok(Report { report: quote, auxiliary: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Gramine does, with a defect.
    #[derive(Default)]
    struct Fake {
        kind: &'static str,
        written: Mutex<Vec<u8>>,
        stale: bool,
        short: bool,
        long: bool,
        version: u8,
    }

    impl Devices for Fake {
        fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
            let bytes = match name {
                "attestation_type" => format!("{}\n", self.kind).into_bytes(),
                "quote" => {
                    let mut quote = vec![self.version, 0];
                    quote.resize(DATA, 7);
                    quote.extend(if self.stale { vec![9; 64] } else { self.written.lock().unwrap().clone() });
                    quote.resize(if self.long { MAX_REPORT + 5 } else { 4600 }, 8);
                    if self.short {
                        quote.truncate(DATA + 10);
                    }
                    quote
                }
                _ => return Err(io::ErrorKind::NotFound.into()),
            };
            Ok(bytes.into_iter().take(most + 1).collect())
        }

        fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
            assert_eq!((name, bytes.len()), ("user_report_data", 64));
            *self.written.lock().unwrap() = bytes.to_vec();
            Ok(())
        }
    }

    fn quote(fake: Fake) -> Result<Report, AttestError> {
        Gramine::new(fake).report(&[5; 64])
    }

    #[test]
    fn a_quote_holds_what_was_written() {
        let report = quote(Fake { kind: "dcap", version: 3, ..Fake::default() }).unwrap();
        assert_eq!(report.report[DATA..DATA + 64], [5; 64]);
    }

    #[test]
    fn defects_are_refused() {
        let good = || Fake { kind: "dcap", version: 3, ..Fake::default() };
        for kind in ["none", "epid", ""] {
            assert!(matches!(quote(Fake { kind, ..good() }), Err(AttestError::Provider { .. })), "{kind}");
        }
        assert!(matches!(quote(Fake { stale: true, ..good() }), Err(AttestError::Echo)));
        for fake in
            [Fake { short: true, ..good() }, Fake { long: true, ..good() }, Fake { version: 4, ..good() }]
        {
            assert!(matches!(quote(fake), Err(AttestError::Malformed(_))));
        }
    }

    #[test]
    fn without_gramine_the_file_is_named() {
        let outside = Gramine::new(DevicesAt("/nowhere".into()));
        let error = outside.report(&[0; 64]).unwrap_err().to_string();
        assert!(error.contains("attestation_type"), "{error}");
    }
}
