//! Evidence: which kind it is, and its parts.

use blindsmith_evidence::{MAX_CLAIMS, MAX_REPORT, report_data};
use blindsmith_protocol::from_cbor;
use dcap_qvl::quote::Quote;

use super::Unusable;
use super::simulated::SimulatedReport;
use super::snp::{REPORT_LEN, Report};
use super::text::line;

/// Longest evidence, in bytes: quotes with their certificates have about 5000.
pub const MAX_EVIDENCE: usize = 64 << 10;

/// What Azure's paravisor puts before a report: `HCLA`.
const HCL_MAGIC: &[u8] = b"HCLA";

/// Evidence, parsed but not believed.
#[derive(Debug, Clone)]
pub enum Evidence {
    /// A quote of Intel SGX (version 3) or TDX (versions 4 and 5).
    Quote(Box<IntelQuote>),
    /// A report of AMD SEV-SNP (versions 2 to 5).
    Report(Box<Report>),
    /// What Azure's paravisor stores in a virtual TPM. It is recognised in order to be refused with a reason.
    Paravisor,
    /// A simulated report.
    Simulated(SimulatedReport),
}

/// A warden's envelope: evidence, and the report data that would vouch for the claims beside it.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The evidence.
    pub evidence: Evidence,
    /// What its report data has to be, if claims came along.
    pub vouched: Option<[u8; 64]>,
}

impl Envelope {
    /// Parses what [`Evidence::parse`] does, or a warden's envelope: the CBOR of claims, report and auxiliary data.
    ///
    /// # Errors
    /// [`Unusable`] if it is neither.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        if bytes.len() <= MAX_CLAIMS + 2 * MAX_REPORT + 256
            && let Ok(said) = from_cbor::<blindsmith_protocol::Evidence>(bytes)
        {
            let evidence = Evidence::parse(&said.report.0)?;
            return Ok(Envelope { evidence, vouched: Some(report_data(&said.claims.0)) });
        }
        Ok(Envelope { evidence: Evidence::parse(bytes)?, vouched: None })
    }
}

/// A quote: its bytes, which are what is signed, and its parts.
#[derive(Debug, Clone)]
pub struct IntelQuote {
    pub(super) raw: Vec<u8>,
    pub(super) parts: Quote,
}

impl Evidence {
    /// Recognises and parses evidence: a raw quote, a raw report of 1184 bytes, or a simulated report.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let unusable = |why: String| Err(Unusable::Evidence(why));
        if bytes.len() > MAX_EVIDENCE {
            return Err(Unusable::TooLarge { what: "evidence", limit: MAX_EVIDENCE });
        }
        if bytes.starts_with(HCL_MAGIC) {
            return Ok(Evidence::Paravisor);
        }
        if SimulatedReport::begins(bytes) {
            return match SimulatedReport::decode(bytes) {
                Ok(report) => Ok(Evidence::Simulated(report)),
                Err(e) => unusable(e.to_string()),
            };
        }
        let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let Some((version, tee)) = word(0).zip(word(4)) else {
            return unusable(format!("{} bytes are too few", bytes.len()));
        };
        // A report's version has 32 bits; a quote's has 16, and the kind of its key (2, 3) follows. Only where that
        // kind is 0 both read alike: there is no such key.
        match version >> 16 {
            0 => Report::parse(bytes).map(|report| Evidence::Report(Box::new(report))),
            1..=4 if (version & 0xffff) >= 3 && (version & 0xffff) <= 5 => {
                let known = matches!((version & 0xffff, tee), (3, 0) | (4 | 5, 0x81));
                if !known {
                    return unusable(format!(
                        "a quote of version {} for the environment {tee:#x}: known are SGX (0x0) in version 3, and TDX (0x81) in 4 and 5",
                        version & 0xffff
                    ));
                }
                match Quote::parse(bytes) {
                    Ok(parts) => Ok(Evidence::Quote(Box::new(IntelQuote { raw: bytes.to_vec(), parts }))),
                    Err(e) => unusable(format!(
                        "a quote of {} bytes, cut off or damaged ({})",
                        bytes.len(),
                        line(&format!("{e:#}"))
                    )),
                }
            }
            _ => unusable(format!(
                "it begins like neither a quote (version 3 to 5) nor an SNP report ({REPORT_LEN} bytes, version 2 to 5)"
            )),
        }
    }
}
