//! The exit codes that scripts see.

use blindsmith_client::Failure;

/// Wrong usage where 2 says that evidence is refused: EX_USAGE of sysexits.
pub const USAGE: u8 = 64;

/// The exit code of a failure: 1 other, 2 wrong usage (also of the argument parser), 3 data refused, 4 no refinery, 5 refused
/// by refinery or warden, 6 warden not trusted, 7 keys do not fit, 8 files of the project, policies or receipts that cannot
/// be read, 9 receipts that do not verify. Appraisal has three of its own: 2 evidence refused, 3 input that cannot be
/// appraised, 64 wrong usage.
pub fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::Other(_) | Failure::Interrupted => 1,
        Failure::Settings(_) | Failure::Repeated { .. } | Failure::EvidenceRefused(_) => 2,
        Failure::Data(_) | Failure::Unusable { .. } => 3,
        Failure::Unreachable { .. } | Failure::Connection(_) => 4,
        Failure::Refused(_) => 5,
        Failure::NotTrusted(_) => 6,
        Failure::Keys { .. } => 7,
        Failure::Project { .. } => 8,
        Failure::NotProven(_) => 9,
        Failure::Usage(_) => USAGE,
    }
}
