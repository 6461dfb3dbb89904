//! Samplers over AES-256 in counter mode (NIST SP 800-38A): the caller derives one key per purpose and
//! names each polynomial by a number that it never uses twice under that key.

use aes::{Aes256Enc, Block};
use cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::CtrCore;
use ctr::flavors::Ctr64BE;
use zeroize::Zeroize;

use crate::backend::{self, NOISE_BYTES, TERNARY_BYTES};
use crate::modulus::{Q, Q_BITS};
use crate::poly::{Coeff, Eval, Poly};

const BLOCK_BYTES: usize = 16;

/// A keyed stream of bytes for each 64-bit number. Deterministic: equal key and number give equal bytes.
///
/// The key schedule is kept and wiped when dropped; so is the buffer of random bytes, which is reused.
///
/// ```
/// use blindsmith_ring::{Coeff, Poly, sample::Stream};
///
/// let mut noise = Stream::new([7; 32]);
/// let mut poly = Poly::<Coeff>::zero(2048);
/// noise.add_noise(0, &mut poly);
/// let largest = poly.as_slice().iter().map(|&x| blindsmith_ring::modulus::to_signed(x).abs()).max();
/// assert!(largest.is_some_and(|x| 0 < x && x <= 21));
/// ```
pub struct Stream {
    cipher: Aes256Enc,
    scratch: Vec<Block>,
}

impl Stream {
    /// A family of streams under a 256-bit key.
    pub fn new(mut key: [u8; 32]) -> Self {
        let cipher = Aes256Enc::new((&key).into());
        key.zeroize();
        Stream { cipher, scratch: Vec::new() }
    }

    /// poly + centred binomial noise, eta = 21 (standard deviation sqrt(10.5) = 3.24).
    pub fn add_noise(&mut self, number: u64, poly: &mut Poly<Coeff>) {
        let bytes = self.bytes(number, NOISE_BYTES * poly.points());
        backend::active().add_noise(poly.as_mut_slice(), bytes);
    }

    /// A uniformly ternary polynomial, as the values of its transform.
    pub fn ternary(&mut self, number: u64, points: usize) -> Poly<Eval> {
        let mut poly = Poly::<Coeff>::zero(points);
        let bytes = self.bytes(number, TERNARY_BYTES * points);
        backend::active().ternary(poly.as_mut_slice(), bytes);
        poly.into_eval()
    }

    /// Uniform residues by rejection: of each eight little-endian bytes the low 50 bits, if below q. For
    /// public masks: rejection shows in the timing. A shorter slice gets the first of them.
    pub fn uniform_into(&mut self, number: u64, out: &mut [u64]) {
        let mut spare = 0;
        loop {
            let words = self.bytes(number, 8 * (out.len() + spare)).as_chunks::<8>().0;
            if accept(out, words) {
                return;
            }
            spare = 2 * spare + 8;
        }
    }

    /// The first `len` bytes of a stream: blocks of AES of the number (high half, big-endian) and a
    /// counter from zero (low half), so that streams do not overlap.
    fn bytes(&mut self, number: u64, len: usize) -> &[u8] {
        let blocks = len.div_ceil(BLOCK_BYTES);
        if self.scratch.len() < blocks {
            // Wiped before it moves: a vector that grows would leave its bytes behind.
            Block::slice_as_flattened_mut(&mut self.scratch).zeroize();
            self.scratch = vec![Block::default(); blocks];
        }
        let mut iv = Block::default();
        iv[..8].copy_from_slice(&number.to_be_bytes());
        let mut counter = CtrCore::<&Aes256Enc, Ctr64BE>::inner_iv_init(&self.cipher, &iv);
        counter.write_keystream_blocks(&mut self.scratch[..blocks]);
        &Block::slice_as_flattened(&self.scratch)[..len]
    }
}

/// Fills `out` with the words whose low 50 bits are below q, in order; false if they are too few.
fn accept(out: &mut [u64], words: &[[u8; 8]]) -> bool {
    let candidates = words.iter().map(|word| u64::from_le_bytes(*word) & ((1 << Q_BITS) - 1));
    // A word is rejected with probability 2^-36: the first ones nearly always serve.
    out.iter_mut().zip(candidates.clone()).for_each(|(o, v)| *o = v);
    if backend::active().is_canonical(out) {
        return true;
    }
    let mut kept = candidates.filter(|&v| v < Q);
    out.iter_mut().all(|o| kept.next().map(|v| *o = v).is_some())
}

impl Drop for Stream {
    fn drop(&mut self) {
        Block::slice_as_flattened_mut(&mut self.scratch).zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
    }

    /// Made with `openssl enc -aes-256-ecb -nopad` of number and counter, both big-endian.
    #[test]
    fn streams_are_aes_256_of_number_and_counter() {
        let mut stream = Stream::new(std::array::from_fn(|i| i as u8));
        let bytes = stream.bytes(0x0011_2233_4455_6677, 1024 * BLOCK_BYTES);
        for (counter, block) in [
            (0, "ed3eb1123cbcb8ad0164e6c3eb0dc53e"),
            (1, "c9942f30306784d0e9ea87ffd1d33a82"),
            (2, "34ff0b13560333adb82ad98a0b3cef3a"),
            (1023, "5e8f28f709b8a50d44796d3c16cef9f2"),
        ] {
            assert_eq!(bytes[counter * BLOCK_BYTES..][..BLOCK_BYTES], bytes_of(block), "block {counter}");
        }
        assert_eq!(stream.bytes(u64::MAX, BLOCK_BYTES), bytes_of("91658d77eba9ef4e2a4d5619c6c186b7"));
    }

    #[test]
    fn a_stream_does_not_depend_on_what_was_drawn_before() {
        let mut fresh = Stream::new([1; 32]);
        let mut used = Stream::new([1; 32]);
        used.bytes(9, 4096);
        for len in [16, 17, 1000, 4096, 8192] {
            assert_eq!(fresh.bytes(3, len), used.bytes(3, len));
            assert_eq!(used.bytes(3, len).len(), len);
        }
    }

    #[test]
    fn words_with_50_bits_not_below_q_are_skipped() {
        let word = |v: u64| (v | 0xabc << 52).to_le_bytes();
        let words = [word(5), word(Q), word(6), word((1 << 50) - 1), word(Q - 1), word(0), word(7)];
        let mut out = [0; 5];
        assert!(accept(&mut out, &words));
        assert_eq!(out, [5, 6, Q - 1, 0, 7]);
        assert!(accept(&mut out[..1], &words));
        assert_eq!(out[0], 5);
        assert!(!accept(&mut [0; 6], &words), "five words are left");
        assert!(!accept(&mut [0; 1], &[word(Q)]));
    }
}
