//! Where in a quote or report its report data lie. Nothing here verifies it: the place is read to notice answers to
//! another question, and to refuse what is no report of the expected kind.

use crate::{REPORT_DATA, SimulatedReport, TeeKind};

/// Bytes of an SEV-SNP report.
pub const SNP_REPORT: usize = 1184;

/// A quote's header.
const QUOTE_HEADER: usize = 48;
/// Of the body of an SGX report.
const SGX_BODY: usize = 384;
const SGX_REPORT_DATA: usize = 320;
/// Of the body of a TD report; later versions of it append fields.
const TD_BODY: usize = 584;
const TD_REPORT_DATA: usize = 520;
/// Type and size of the body, which precede it from version 5 of the quote on.
const BODY_DESCRIPTOR: usize = 6;
const SNP_REPORT_DATA: usize = 0x50;

const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;

/// The report data of a quote (Intel SGX version 3; TDX version 4 or 5), of an SEV-SNP report (versions 2 to 5), or of a
/// simulated one; nothing if it is no such report.
pub fn echoed(tee: TeeKind, report: &[u8]) -> Option<[u8; REPORT_DATA]> {
    let at = match tee {
        TeeKind::Simulated => return SimulatedReport::decode(report).map(|report| report.report_data),
        TeeKind::Tdx => td_body(report)? + TD_REPORT_DATA,
        TeeKind::Snp if report.len() == SNP_REPORT && (2..=5).contains(&u32_at(report, 0)?) => {
            SNP_REPORT_DATA
        }
        TeeKind::Snp => return None,
        TeeKind::Sgx => {
            let is_quote = u16_at(report, 0)? == 3 && quote_of(report)? == TEE_SGX;
            (is_quote && report.len() > QUOTE_HEADER + SGX_BODY).then_some(QUOTE_HEADER + SGX_REPORT_DATA)?
        }
    };
    report.get(at..)?.first_chunk().copied()
}

/// Where the TD report begins in a TDX quote.
fn td_body(quote: &[u8]) -> Option<usize> {
    if quote_of(quote)? != TEE_TDX {
        return None;
    }
    let (at, size) = match u16_at(quote, 0)? {
        4 => (QUOTE_HEADER, TD_BODY),
        5 => {
            // Body types: 2 is TDX 1.0, 3 is 1.5, 4 is 1.5 extended (1 is SGX).
            let is_td = (2..=4).contains(&u16_at(quote, QUOTE_HEADER)?);
            let size = usize::try_from(u32_at(quote, QUOTE_HEADER + 2)?).ok()?;
            is_td.then_some((QUOTE_HEADER + BODY_DESCRIPTOR, size))?
        }
        _ => return None,
    };
    // A signature follows.
    (size >= TD_BODY && at.checked_add(size)? < quote.len()).then_some(at)
}

/// The environment that a quote names. Its kind of key tells it from an SEV-SNP report, which has zero there: 2 and 3 are
/// ECDSA on P-256 and P-384.
fn quote_of(quote: &[u8]) -> Option<u32> {
    (2..=3).contains(&u16_at(quote, 2)?).then_some(u32_at(quote, 4)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}
