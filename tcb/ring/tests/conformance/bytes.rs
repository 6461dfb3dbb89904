//! The 50-bit packing and the check of residues from outside.

use blindsmith_ring::{PACKED_BYTES_PER_LANES as PACKED, Q, backend};
use proptest::prelude::*;

use crate::oracle;

/// Bit 50 i + k of the packing is bit k of value i.
fn pack_bit_by_bit(x: &[u64]) -> Vec<u8> {
    let mut out = vec![0; x.len() / 8 * PACKED];
    for (i, v) in x.iter().enumerate() {
        for k in 0..50 {
            out[(50 * i + k) / 8] |= ((v >> k & 1) << ((50 * i + k) % 8)) as u8;
        }
    }
    out
}

#[test]
fn eight_known_residues_pack_to_fifty_known_bytes() {
    let x = [1, Q - 1, 0x2_aaaa_aaaa_aaaa, 0x1_5555_5555_5555, Q - 1, 0, 1 << 49, 123_456_789_012_345];
    #[rustfmt::skip]
    let golden: [u8; 50] = [
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xaf,
        0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0x6a, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x00,
        0xc0, 0xff, 0xff, 0xff, 0xff, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x60, 0xde, 0x77, 0x83, 0x21, 0x12, 0x1c,
    ];
    for backend in backend::available() {
        let mut packed = [0xee; 50];
        backend.pack(&mut packed, &x);
        assert_eq!(packed, golden, "{}", backend.name());
        let mut unpacked = [7; 8];
        assert!(backend.unpack(&mut unpacked, &golden));
        assert_eq!(unpacked, x, "{}", backend.name());
    }
}

#[test]
fn packing_puts_every_bit_in_its_place() {
    for len in [8, 16, 24, 2048, 0] {
        for x in [oracle::residues(1, len), vec![Q - 1; len], vec![0; len]] {
            let expected = pack_bit_by_bit(&x);
            for backend in backend::available() {
                let mut packed = vec![0xa5; expected.len()];
                backend.pack(&mut packed, &x);
                assert!(packed == expected, "{len} residues on {}", backend.name());
                let mut unpacked = vec![0xa5; len];
                assert!(backend.unpack(&mut unpacked, &packed));
                assert!(unpacked == x, "{len} residues on {}", backend.name());
            }
        }
    }
}

#[test]
fn a_residue_that_is_not_below_q_is_refused_wherever_it_stands() {
    let good = oracle::residues(2, 32);
    for backend in backend::available() {
        for place in 0..good.len() {
            for bad in [Q, Q + 1, (1 << 50) - 1] {
                let mut x = good.clone();
                x[place] = bad;
                let packed = pack_bit_by_bit(&x);
                let mut unpacked = vec![0; x.len()];
                assert!(!backend.unpack(&mut unpacked, &packed), "{bad} at {place} on {}", backend.name());
                assert_eq!(unpacked, x, "the values are left as they came");
                assert!(!backend.is_canonical(&x), "{bad} at {place} on {}", backend.name());
            }
            let mut x = good.clone();
            x[place] = Q - 1;
            assert!(backend.unpack(&mut vec![0; x.len()], &pack_bit_by_bit(&x)));
            assert!(backend.is_canonical(&x));
        }
    }
}

#[test]
fn the_check_looks_at_all_64_bits() {
    for backend in backend::available() {
        for len in [1, 7, 8, 9, 2048] {
            for bad in [Q, 1 << 50, 1 << 52, 1 << 63, (1 << 63) + 5, u64::MAX] {
                let mut x = vec![Q - 1; len];
                assert!(backend.is_canonical(&x), "{len} on {}", backend.name());
                x[len - 1] = bad;
                assert!(!backend.is_canonical(&x), "{bad} in {len} on {}", backend.name());
            }
        }
        assert!(backend.is_canonical(&[]));
    }
}

proptest! {
    #[test]
    fn any_fifty_bytes_unpack_alike_and_pack_back(bytes in proptest::array::uniform::<_, 50>(any::<u8>())) {
        let mut expected = [0; 8];
        for (i, v) in expected.iter_mut().enumerate() {
            *v = (0..50).map(|k| u64::from(bytes[(50 * i + k) / 8] >> ((50 * i + k) % 8) & 1) << k).sum();
        }
        for backend in backend::available() {
            let mut x = [0; 8];
            prop_assert_eq!(backend.unpack(&mut x, &bytes), expected.iter().all(|&v| v < Q));
            prop_assert_eq!(x, expected, "{}", backend.name());
            let mut packed = [0; 50];
            backend.pack(&mut packed, &x);
            prop_assert_eq!(packed, bytes, "{}", backend.name());
        }
    }
}
