//! Bundles of receipts as `blindsmith verify` takes them; as they come, and of receipts whose signatures fit.

#![no_main]

use blindsmith_attest::chain::{Bundle, Measured, OwnerPolicy, verify, verify_against};
use blindsmith_attest::open_receipt;
use blindsmith_evidence::Tee;
use blindsmith_fuzz::{owner, trust};
use blindsmith_identity::{Kind, sign};
use blindsmith_protocol::{Blob, Id, from_cbor};
use blindsmith_receipts::{FAULT, PublicKey, RECEIPT, Rules};
use ciborium::Value;
use libfuzzer_sys::fuzz_target;

/// A policy that fits as much of the bundle as a policy can.
fn policy(bundle: &Bundle) -> OwnerPolicy {
    let key = bundle.trust.opened().map_or(PublicKey([0; 32]), |(_, _, key)| key);
    let first = bundle.receipts.first().and_then(|bytes| open_receipt(&bytes.0, &key).ok());
    let wardens = first.iter().filter_map(|receipt| {
        Some(Measured { tee: Tee::named(&receipt.tee)?, measurement: receipt.measurement.clone() })
    });
    OwnerPolicy {
        recipe: first.as_ref().map_or(Id([1; 32]), |receipt| receipt.recipe),
        wardens: wardens.collect(),
        project: first.map_or(Id([1; 32]), |receipt| receipt.project),
        accept_simulated: true,
        receipts: key,
        rules: Rules::default(),
        newest: None,
        orders: Vec::new(),
    }
}

fn check(bundle: &Bundle) {
    let policy = policy(bundle);
    let verdict = verify(bundle, &policy);
    assert_eq!(verdict.valid, verdict.first_fault.is_none());
    assert_eq!(verify_against(bundle, bundle, &policy).valid, verdict.valid);
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    if kind % 2 == 0 {
        if let Ok(bundle) = Bundle::from_bytes(bytes) {
            check(&bundle);
        }
        return;
    }
    let Ok((receipts, faults)) = from_cbor::<(Vec<Value>, Vec<Value>)>(bytes) else { return };
    let all = |values: &[Value], kind: &Kind| values.iter().map(|v| Blob(sign(v, kind, &owner()))).collect();
    let bundle = Bundle::new(trust(), all(&receipts, &RECEIPT), all(&faults, &FAULT));
    if let Ok(read) = Bundle::from_bytes(&bundle.to_bytes()) {
        check(&read);
    }
});
