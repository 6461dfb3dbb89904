//! Samplers: the bytes they read, and the distributions they give under fixed keys.
//!
//! Bounds of statistical tests lie six standard deviations out; keys are fixed, so they cannot flicker.

use blindsmith_ring::backend::{self, NOISE_BYTES, TERNARY_BYTES};
use blindsmith_ring::sample::Stream;
use blindsmith_ring::{Coeff, Eval, Poly, Q, modulus};

use crate::oracle;

const POINTS: usize = 4096;
const DRAWS: u64 = 64;
/// Six standard deviations.
const SIGMAS: f64 = 6.0;

fn uniform(stream: &mut Stream, number: u64, len: usize) -> Vec<u64> {
    let mut residues = vec![0; len];
    stream.uniform_into(number, &mut residues);
    residues
}

fn coefficients(values: Poly<Eval>) -> Poly<Coeff> {
    values.into_mixed(1).into_coeff(1)
}

#[test]
fn noise_is_the_difference_of_two_counts_of_21_bits() {
    for len in [8, 16, 2048, 3] {
        let edges = (0..len).map(|i| oracle::EDGES[i % oracle::EDGES.len()]).collect();
        for start in [vec![0; len], vec![Q - 1; len], edges] {
            let mut all = vec![oracle::bytes(1, NOISE_BYTES * len)];
            all.extend([0, 0xff, 0x55].map(|b| vec![b; NOISE_BYTES * len]));
            // The first 21 bits set, the next 21 clear; then the reverse; bits 42 to 47 never count.
            for bits in [(1u64 << 21) - 1, ((1 << 21) - 1) << 21, 0x3f << 42] {
                all.push(bits.to_le_bytes()[..NOISE_BYTES].repeat(len));
            }
            for bytes in all {
                let expected: Vec<u64> = (0..len)
                    .map(|i| {
                        let bit = |k: usize| i64::from(bytes[NOISE_BYTES * i + k / 8] >> (k % 8) & 1);
                        let noise = (0..21).map(bit).sum::<i64>() - (21..42).map(bit).sum::<i64>();
                        (start[i] as i64 + noise).rem_euclid(Q as i64) as u64
                    })
                    .collect();
                for backend in backend::available() {
                    let mut x = start.clone();
                    backend.add_noise(&mut x, &bytes);
                    assert_eq!(x, expected, "{}", backend.name());
                }
            }
        }
    }
}

#[test]
fn ternary_values_turn_at_the_thirds_of_2_to_64() {
    let third = (1u128 << 64).div_ceil(3) as u64;
    let two_thirds = (1u128 << 65).div_ceil(3) as u64;
    let mut words = oracle::words(2, 24);
    words.extend([0, 1, third - 1, third, third + 1, two_thirds - 1, two_thirds, u64::MAX]);
    words.extend([1 << 63, (1 << 63) - 1, 5]);
    for len in [words.len(), words.len() / 8 * 8] {
        let expected: Vec<u64> = words[..len]
            .iter()
            .map(|&w| match (3 * w as u128) >> 64 {
                0 => Q - 1,
                above => above as u64 - 1,
            })
            .collect();
        let bytes: Vec<u8> = words[..len].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(bytes.len(), TERNARY_BYTES * len);
        for backend in backend::available() {
            let mut x = vec![9; len];
            backend.ternary(&mut x, &bytes);
            assert_eq!(x, expected, "{}", backend.name());
        }
    }
}

fn noise(stream: &mut Stream, number: u64) -> Vec<i64> {
    let mut poly = Poly::<Coeff>::zero(POINTS);
    stream.add_noise(number, &mut poly);
    poly.as_slice().iter().map(|&x| modulus::to_signed(x)).collect()
}

/// Pearson's statistic, which has the mean `buckets - 1` and the variance twice that.
fn check_chi_square(observed: &[f64], expected: &[f64], what: &str) {
    let statistic: f64 = observed.iter().zip(expected).map(|(o, e)| (o - e) * (o - e) / e).sum();
    let freedom = observed.len() as f64 - 1.0;
    let bound = freedom + SIGMAS * (2.0 * freedom).sqrt();
    assert!(statistic < bound, "{what}: {statistic:.1} with {freedom} degrees of freedom");
    assert!(statistic > 0.0, "{what}: too good to be random");
}

#[test]
fn noise_is_centred_binomial() {
    let mut stream = Stream::new([3; 32]);
    let samples: Vec<i64> = (0..DRAWS).flat_map(|k| noise(&mut stream, k)).collect();
    let count = samples.len() as f64;
    assert!(samples.iter().all(|x| x.abs() <= 21));
    let (mean, variance) = (
        samples.iter().sum::<i64>() as f64 / count,
        samples.iter().map(|x| x * x).sum::<i64>() as f64 / count,
    );
    assert!(mean.abs() < SIGMAS * (10.5 / count).sqrt(), "mean {mean}");
    // The fourth moment of 42 halves of a sign is 3 variance^2 - 42 / 8.
    let deviation = ((2.0 * 10.5f64.powi(2) - 42.0 / 8.0) / count).sqrt();
    assert!((variance - 10.5).abs() < SIGMAS * deviation, "variance {variance}");

    // Values beyond 13 (expected 4 in a million) go to the last buckets.
    let mut observed = [0.0; 27];
    samples.iter().for_each(|x| observed[(x.clamp(&-13, &13) + 13) as usize] += 1.0);
    let mut expected = [0.0; 27];
    let mut choose = 1.0;
    for k in 0..=42i64 {
        expected[((k - 21).clamp(-13, 13) + 13) as usize] += count * choose / 2f64.powi(42);
        choose *= (42 - k) as f64 / (k + 1) as f64;
    }
    check_chi_square(&observed, &expected, "noise");
}

#[test]
fn ternary_secrets_are_uniform_on_three_values() {
    let mut stream = Stream::new([4; 32]);
    let mut observed = [0.0; 3];
    for number in 0..DRAWS {
        for &x in coefficients(stream.ternary(number, POINTS)).as_slice() {
            observed[(modulus::to_signed(x) + 1) as usize] += 1.0;
        }
    }
    check_chi_square(&observed, &[(DRAWS as usize * POINTS) as f64 / 3.0; 3], "ternary");
}

#[test]
fn uniform_masks_fill_all_residues_evenly() {
    const BUCKETS: usize = 256;
    let mut stream = Stream::new([5; 32]);
    let (mut high, mut low) = ([0.0; BUCKETS], [0.0; BUCKETS]);
    for number in 0..DRAWS {
        for x in uniform(&mut stream, number, POINTS) {
            assert!(x < Q);
            high[(x as u128 * BUCKETS as u128 / Q as u128) as usize] += 1.0;
            low[x as usize % BUCKETS] += 1.0;
        }
    }
    let expected = [(DRAWS as usize * POINTS) as f64 / BUCKETS as f64; BUCKETS];
    check_chi_square(&high, &expected, "high bits");
    check_chi_square(&low, &expected, "low bits");
}

#[test]
fn noise_of_different_numbers_keys_and_places_is_uncorrelated() {
    let (mut stream, mut other) = (Stream::new([6; 32]), Stream::new([7; 32]));
    let first = noise(&mut stream, 0);
    let check = |second: &[i64], what: &str| {
        let product: i64 = first.iter().zip(second).map(|(a, b)| a * b).sum();
        let deviation = 10.5 * (second.len() as f64).sqrt();
        assert!((product as f64).abs() < SIGMAS * deviation, "{what}: {product}");
    };
    for number in [1, 2, 1 << 32, 1 << 63, u64::MAX] {
        check(&noise(&mut stream, number), "number");
        check(&noise(&mut other, number), "key and number");
    }
    check(&noise(&mut other, 0), "key");
    for shift in [1, 2, 8, 64] {
        check(&first[shift..], "place");
    }
    assert_eq!(first, noise(&mut Stream::new([6; 32]), 0), "equal key and number, equal noise");
}

#[test]
fn noise_adds_to_what_is_there() {
    let mut stream = Stream::new([8; 32]);
    let start = oracle::residues(3, POINTS);
    let mut poly = Poly::<Coeff>::zero(POINTS);
    poly.as_mut_slice().copy_from_slice(&start);
    stream.add_noise(5, &mut poly);
    for ((x, start), noise) in poly.as_slice().iter().zip(&start).zip(noise(&mut stream, 5)) {
        assert_eq!(*x as i64, (*start as i64 + noise).rem_euclid(Q as i64));
    }
}

#[test]
fn a_slice_gets_the_residues_of_a_polynomial_or_the_first_of_them() {
    let mut stream = Stream::new([10; 32]);
    let whole = uniform(&mut stream, 3, 2048);
    for len in [0, 1, 7, 8, 100, 2047, 2048] {
        let mut out = vec![Q - 1; len];
        stream.uniform_into(3, &mut out);
        assert!(out == whole[..len], "{len} residues");
    }
    let mut long = vec![0; 3001];
    stream.uniform_into(3, &mut long);
    assert!(long[..2048] == whole);
    assert!(long[2048..].iter().all(|&x| x < Q) && long[2048..] != long[..953]);
}

/// The first words of AES-256 under key 00 01 ... 1f of number 0x0011223344556677 and counters 0 and 1,
/// made with openssl.
#[test]
fn a_mask_is_the_known_stream() {
    let mask = uniform(&mut Stream::new(std::array::from_fn(|i| i as u8)), 0x0011_2233_4455_6677, 8);
    let blocks = [0xed3e_b112_3cbc_b8ad_0164_e6c3_eb0d_c53e_u128, 0xc994_2f30_3067_84d0_e9ea_87ff_d1d3_3a82];
    let words = blocks.into_iter().flat_map(|block| [(block >> 64) as u64, block as u64]);
    for (x, word) in mask.iter().zip(words) {
        assert_eq!(*x, word.swap_bytes() & ((1 << 50) - 1));
    }
}
