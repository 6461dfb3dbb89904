//! Samplers over AES-256 in counter mode (NIST SP 800-38A): the caller derives one key per purpose and
//! names each polynomial by a number that it never uses twice under that key.

use aes::Aes256;
use cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroize;

use crate::backend::{self, NOISE_BYTES, TERNARY_BYTES};
use crate::modulus::{Q, Q_BITS};
use crate::{Coeff, Eval, Poly};

/// A keyed stream for each 64-bit number. Deterministic: equal key and number give equal bytes.
pub struct Stream {
    key: [u8; 32],
    scratch: Vec<u8>,
}

impl Stream {
    /// A family of streams under a 256-bit key.
    pub fn new(key: [u8; 32]) -> Self {
        Stream { key, scratch: Vec::new() }
    }

    fn bytes(&mut self, number: u64, len: usize) -> &[u8] {
        // Big-endian counter in the low 64 bits, the number in the high ones: streams do not overlap.
        let mut iv = [0; 16];
        iv[..8].copy_from_slice(&number.to_be_bytes());
        self.scratch.clear();
        self.scratch.resize(len, 0);
        let mut cipher = ctr::Ctr64BE::<Aes256>::new(&self.key.into(), &iv.into());
        cipher.apply_keystream(&mut self.scratch);
        &self.scratch
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
    /// public masks: rejection shows in the timing.
    pub fn uniform(&mut self, number: u64, points: usize) -> Poly<Eval> {
        let mut poly = Poly::zero(points);
        let out = poly.as_mut_slice();
        // A word is rejected with probability 2^-36: one spare block nearly always does.
        let mut spare = 8;
        loop {
            let words = self.bytes(number, 8 * (out.len() + spare)).as_chunks::<8>().0;
            let mut kept =
                words.iter().map(|w| u64::from_le_bytes(*w) & ((1 << Q_BITS) - 1)).filter(|&v| v < Q);
            if out.iter_mut().all(|o| kept.next().map(|v| *o = v).is_some()) {
                return poly;
            }
            spare *= 2;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.key.zeroize();
        self.scratch.zeroize();
    }
}
