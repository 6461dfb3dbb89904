//! Packed residues, as uploads bring them: every backend takes the same ones, and gives the same values.

#![no_main]

use blindsmith_ring::{Q, backend};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Whole groups of eight residues of 50 bits.
    let groups = data.len() / 50;
    let packed = &data[..groups * 50];
    let mut first: Option<(bool, Vec<u64>)> = None;
    for backend in backend::available() {
        let mut residues = vec![0; groups * 8];
        let good = backend.unpack(&mut residues, packed);
        assert_eq!(good, residues.iter().all(|r| *r < Q), "{}", backend.name());
        if good {
            let mut again = vec![0; packed.len()];
            backend.pack(&mut again, &residues);
            assert_eq!(again, packed, "{}", backend.name());
        }
        match &first {
            Some((taken, values)) => {
                assert_eq!(*taken, good, "{}", backend.name());
                assert!(!good || *values == residues, "{}", backend.name());
            }
            None => first = Some((good, residues)),
        }
    }
});
