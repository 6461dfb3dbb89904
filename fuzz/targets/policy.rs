//! The policy of hardware evidence, and its explanation.

#![no_main]

use blindsmith_attest::appraisal::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(policy) = Policy::parse(text) {
        assert!(!blindsmith_attest::explain(&policy).is_empty());
    }
});
