//! Samplers over AES-256 in counter mode (NIST SP 800-38A): the caller derives one key per purpose and
//! names each polynomial by a number that it never uses twice under that key.

use aes::{Aes256Enc, Block};
use cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::CtrCore;
use ctr::flavors::Ctr64BE;
use zeroize::Zeroize;

use crate::backend::{self, NOISE_BYTES, TERNARY_BYTES};
use crate::modulus::{Q, Q_BITS};
use crate::{Coeff, Domain, Eval, Poly};

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
/// let secret = Stream::new([8; 32]).ternary(0, 2048);
/// let mask = Stream::new([9; 32]).uniform(0, 2048);
///
/// // An encryption of zero: noise - mask secret, point by point.
/// let mut body = poly.into_eval();
/// body.mul_sub(&mask, &secret);
///
/// // The secret takes the mask away; what is left is small.
/// body.mul_add(&mask, &secret);
/// let opened = body.into_coeff();
/// let largest = opened.as_slice().iter().map(|&x| blindsmith_ring::modulus::to_signed(x).abs()).max();
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
        self.ternary_in(number, Poly::<Coeff>::zero(points))
    }

    /// [`Stream::ternary`] in the buffer of a polynomial that is no longer needed.
    pub fn ternary_in<D: Domain>(&mut self, number: u64, buffer: Poly<D>) -> Poly<Eval> {
        let mut poly = buffer.recycle::<Coeff>();
        let bytes = self.bytes(number, TERNARY_BYTES * poly.points());
        backend::active().ternary(poly.as_mut_slice(), bytes);
        poly.into_eval()
    }

    /// Uniform residues by rejection: of each eight little-endian bytes the low 50 bits, if below q. For
    /// public masks: rejection shows in the timing.
    pub fn uniform(&mut self, number: u64, points: usize) -> Poly<Eval> {
        self.uniform_in(number, Poly::<Eval>::zero(points))
    }

    /// [`Stream::uniform`] in the buffer of a polynomial that is no longer needed.
    pub fn uniform_in<D: Domain>(&mut self, number: u64, buffer: Poly<D>) -> Poly<Eval> {
        let mut poly = buffer.recycle();
        let out: &mut [u64] = poly.as_mut_slice();
        let candidate = |word: &[u8; 8]| u64::from_le_bytes(*word) & ((1 << Q_BITS) - 1);
        // A word is rejected with probability 2^-36, so the first ones nearly always serve.
        let words = self.bytes(number, 8 * out.len()).as_chunks::<8>().0;
        out.iter_mut().zip(words).for_each(|(o, word)| *o = candidate(word));
        let mut spare = 0;
        while !backend::active().is_canonical(out) {
            spare = 2 * spare + 8;
            let words = self.bytes(number, 8 * (out.len() + spare)).as_chunks::<8>().0;
            // Where too few are left, the last candidate stays too large and asks for more.
            let mut kept = words.iter().map(candidate).filter(|&v| v < Q);
            out.iter_mut().for_each(|o| *o = kept.next().unwrap_or(Q));
        }
        poly
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

impl Drop for Stream {
    fn drop(&mut self) {
        Block::slice_as_flattened_mut(&mut self.scratch).zeroize();
    }
}
