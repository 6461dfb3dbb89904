//! A key that AMD's firmware derives for a SEV-SNP guest (SEV Secure Nested Paging Firmware ABI Specification, MSG_KEY_REQ),
//! through Linux's `/dev/sev-guest` (its documentation: *The Definitive SEV Guest API Documentation*).
//!
//! Guest and firmware speak under a key that the host does not have: it carries messages, and reads none.

use std::fs::File;
use std::io;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use zeroize::Zeroizing;

use crate::attester::{AttestError, io as failed};

/// What the key depends on beside the chip, as bits of a request: the guest's policy, its measurement, its security version
/// and the versions of firmware and microcode.
const FIELDS: u64 = 1 | 1 << 3 | 1 << 4 | 1 << 5;
/// Bytes of a report.
const REPORT: usize = 1184;
/// Where a report has the guest's security version, in its ID block.
const GUEST_SVN: usize = 0x04;
/// Where it has the versions below which the firmware cannot be taken back any more.
const COMMITTED_TCB: usize = 0x1e0;
/// Of a response.
const STATUS: std::ops::Range<usize> = 0..4;
const KEY: std::ops::Range<usize> = 0x20..0x40;

/// A request as the kernel takes it (`struct snp_derived_key_req`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct KeyRequest {
    /// Zero: derived from the key of the chip, or of its provider where one is installed.
    pub root: u32,
    reserved: u32,
    /// What is mixed in.
    pub fields: u64,
    /// Zero: the most privileged level.
    pub vmpl: u32,
    /// At most the guest's own.
    pub guest_svn: u32,
    /// At most the committed one.
    pub tcb_version: u64,
}

/// The seam to the firmware.
pub trait Firmware {
    /// Derives a key; the response as it comes.
    ///
    /// # Errors
    /// The device is not there, or the firmware refuses.
    fn derived_key(&self, request: &KeyRequest) -> io::Result<Zeroizing<[u8; 64]>>;
}

/// `/dev/sev-guest`.
pub struct SevGuest;

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct Message {
    version: u8,
    request: u64,
    response: u64,
    error: u64,
}

/// `SNP_GET_DERIVED_KEY`.
const GET_DERIVED_KEY: Opcode = opcode::read_write::<Message>(b'S', 1);

impl Firmware for SevGuest {
    #[expect(unsafe_code, reason = "an operation of a device that no library knows")]
    fn derived_key(&self, request: &KeyRequest) -> io::Result<Zeroizing<[u8; 64]>> {
        let device = File::options().read(true).write(true).open("/dev/sev-guest")?;
        let mut response = Zeroizing::new([0; 64]);
        let mut message = Message {
            version: 1,
            request: std::ptr::from_ref(request).expose_provenance() as u64,
            response: std::ptr::from_mut(&mut *response).expose_provenance() as u64,
            error: 0,
        };
        // SAFETY: the device takes this structure with this operation, reads a request and writes 64 bytes; both places live
        // until it returns.
        let done = unsafe { ioctl(&device, Updater::<GET_DERIVED_KEY, Message>::new(&mut message)) };
        done.map_err(|e| match message.error {
            0 => e.into(),
            error => io::Error::other(format!("{e}; the firmware says {error:#x}")),
        })?;
        Ok(response)
    }
}

/// The secret from which a warden in a SEV-SNP guest derives its sealing key: only a guest with the same measurement, policy
/// and security version, on the same chip with the same versions of firmware and microcode, gets it again. `report` is one
/// of its own.
///
/// The versions are the committed ones as they are now, and never older ones that the host could name: who broke an older
/// version could forge what was sealed under it. After an update of the firmware what was sealed before is lost.
///
/// # Errors
/// [`AttestError`]: no report, no device, or a refusal.
pub fn sealing_secret(firmware: &dyn Firmware, report: &[u8]) -> Result<Zeroizing<[u8; 32]>, AttestError> {
    const WHAT: &str = "/dev/sev-guest: a derived key";
    let svn = report.get(GUEST_SVN..).and_then(<[u8]>::first_chunk::<4>);
    let tcb = report.get(COMMITTED_TCB..).and_then(<[u8]>::first_chunk::<8>);
    let (REPORT, Some(svn), Some(tcb)) = (report.len(), svn, tcb) else {
        let found = report.len();
        return Err(AttestError::Malformed(format!("a report of {found} bytes, where {REPORT} are one")));
    };
    let request = KeyRequest {
        root: 0,
        reserved: 0,
        fields: FIELDS,
        vmpl: 0,
        guest_svn: u32::from_le_bytes(*svn),
        tcb_version: u64::from_le_bytes(*tcb),
    };
    let response = firmware.derived_key(&request).map_err(failed(WHAT))?;
    if response[STATUS] != [0; 4] {
        let status = &response[STATUS];
        return Err(failed(WHAT)(io::Error::other(format!("the firmware refuses with status {status:?}"))));
    }
    // What no firmware derives.
    if response[KEY].iter().fold(0, |all, byte| all | byte) == 0 {
        return Err(failed(WHAT)(io::Error::other("the response holds no key")));
    }
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&response[KEY]);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use sha2::{Digest, Sha256};

    use super::*;

    /// Derives as the firmware does, for a guest on a chip.
    struct Fake {
        chip: u8,
        svn: u32,
        committed: u64,
        status: u8,
        empty: bool,
    }

    const GOOD: Fake = Fake { chip: 1, svn: 3, committed: 0xdb19_0000_0000_0009, status: 0, empty: false };

    impl Firmware for Fake {
        fn derived_key(&self, request: &KeyRequest) -> io::Result<Zeroizing<[u8; 64]>> {
            let KeyRequest { root, reserved, fields, vmpl, guest_svn, tcb_version } = *request;
            assert_eq!((root, reserved, vmpl), (0, 0, 0));
            // Policy, measurement, SVN, TCB; neither the family's nor the image's number, which nobody measures.
            assert_eq!(fields, 0b11_1001);
            let mut response = Zeroizing::new([0; 64]);
            let refused = guest_svn > self.svn || tcb_version > self.committed;
            response[0] = if refused { 0x16 } else { self.status };
            if !refused && !self.empty {
                let mixed = Sha256::new().chain_update([self.chip]).chain_update(guest_svn.to_le_bytes());
                response[KEY].copy_from_slice(&mixed.chain_update(tcb_version.to_le_bytes()).finalize());
            }
            Ok(response)
        }
    }

    fn report(svn: u32, committed: u64) -> Vec<u8> {
        let mut report = vec![0xee; REPORT];
        report[4..8].copy_from_slice(&svn.to_le_bytes());
        report[0x1e0..0x1e8].copy_from_slice(&committed.to_le_bytes());
        report
    }

    #[test]
    fn structures_are_the_kernels() {
        assert_eq!((size_of::<KeyRequest>(), size_of::<Message>()), (32, 32));
        let at = (
            offset_of!(KeyRequest, fields),
            offset_of!(KeyRequest, vmpl),
            offset_of!(KeyRequest, guest_svn),
            offset_of!(KeyRequest, tcb_version),
        );
        assert_eq!(at, (8, 16, 20, 24));
        let at = (offset_of!(Message, request), offset_of!(Message, response), offset_of!(Message, error));
        assert_eq!(at, (8, 16, 24));
        // _IOWR('S', 1, 32 bytes).
        assert_eq!(GET_DERIVED_KEY, 0xc020_5301);
    }

    #[test]
    fn the_same_guest_on_the_same_chip_gets_the_same_and_others_do_not() {
        let secret = |fake: &Fake| sealing_secret(fake, &report(fake.svn, fake.committed)).unwrap();
        let known = *secret(&GOOD);
        assert_eq!(*secret(&GOOD), known);
        for other in [Fake { chip: 2, ..GOOD }, Fake { svn: 4, ..GOOD }, Fake { committed: 10, ..GOOD }] {
            assert_ne!(*secret(&other), known);
        }
    }

    #[test]
    fn refusals_and_what_is_no_key_are_errors() {
        let good = report(GOOD.svn, GOOD.committed);
        let error = |fake: &Fake, report: &[u8]| sealing_secret(fake, report).unwrap_err().to_string();
        assert!(error(&GOOD, &report(4, GOOD.committed)).contains("status [22, 0, 0, 0]"));
        assert!(error(&GOOD, &report(3, GOOD.committed + 1)).contains("refuses"));
        assert!(error(&Fake { status: 0x27, ..GOOD }, &good).contains("status [39, 0, 0, 0]"));
        assert!(error(&Fake { empty: true, ..GOOD }, &good).contains("no key"));
        for len in [0, 4, 0x1e8, REPORT - 1] {
            assert!(error(&GOOD, &good[..len]).contains("1184"), "{len}");
        }
        assert!(error(&GOOD, &[good.as_slice(), &[0]].concat()).contains("1185 bytes"));
    }

    #[test]
    fn outside_of_a_guest_the_device_is_named() {
        let error = sealing_secret(&SevGuest, &report(0, 0)).unwrap_err().to_string();
        assert!(error.contains("/dev/sev-guest"), "{error}");
    }
}
