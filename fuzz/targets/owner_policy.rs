//! The owner's policy file of receipts and rules: what is read, is written and read again as the same.

#![no_main]

use blindsmith_attest::chain::OwnerPolicy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(policy) = OwnerPolicy::parse(text) else { return };
    assert_eq!(OwnerPolicy::parse(&policy.to_toml()), Ok(policy));
});
