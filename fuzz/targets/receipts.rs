//! Receipts and reports of wrong answers; as they come, and behind a signature that fits.

#![no_main]

use blindsmith_attest::{open_fault, open_receipt};
use blindsmith_fuzz::{owner, signed};
use blindsmith_receipts::{FAULT, RECEIPT, receipt_digest, sign_fault, sign_receipt};
use libfuzzer_sys::fuzz_target;

/// Whatever opens has one encoding: signing it again gives the same bytes.
fn open(bytes: &[u8]) {
    let (key, public) = (owner(), owner().verifying());
    if let Ok(receipt) = open_receipt(bytes, &public) {
        assert_eq!(sign_receipt(&receipt, &key), bytes);
        receipt_digest(bytes);
    }
    if let Ok(fault) = open_fault(bytes, &public) {
        assert_eq!(sign_fault(&fault, &key), bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let wrapped = match kind % 3 {
        0 => return open(bytes),
        1 => signed(bytes, &RECEIPT),
        _ => signed(bytes, &FAULT),
    };
    if let Some(bytes) = wrapped {
        open(&bytes);
    }
});
