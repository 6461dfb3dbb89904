//! The seam between algorithms and instructions: one trait, one place that chooses.
//!
//! Every method takes canonical residues and returns canonical residues; all backends give the same
//! bits. None branches or indexes on residues.

use std::sync::OnceLock;

use crate::Table;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use portable::Portable;

/// Calls a function that is compiled for more instructions than the baseline, from a method of a backend
/// whose values exist only where the processor has them.
#[cfg(target_arch = "x86_64")]
macro_rules! detected {
    ($call:expr) => {
        // SAFETY: `self` was made by `detect`, which found every feature that the function enables.
        unsafe { $call }
    };
}
#[cfg(target_arch = "x86_64")]
use detected;

/// Bytes of randomness that one coefficient of centred binomial noise consumes.
pub const NOISE_BYTES: usize = 6;
/// Bytes of randomness that one ternary coefficient consumes.
pub const TERNARY_BYTES: usize = 8;

/// The most points that [`Backend::dot2_fold`] adds up.
pub const MAX_FOLD: usize = 4096;

/// Operations on slices of residues. Lengths must agree (asserted), and be multiples of eight but for
/// transforms of fewer points.
pub trait Backend: Sync + Send {
    /// The name by which `BLINDSMITH_BACKEND` chooses it.
    fn name(&self) -> &'static str;

    /// Forward negacyclic transform in place: natural order in, bit-reversed order out.
    fn forward(&self, table: &Table, x: &mut [u64]);
    /// Inverse of [`Backend::forward`], the factor 1/N included.
    fn inverse(&self, table: &Table, x: &mut [u64]);
    /// Inverse transform of which only the first `window` coefficients (a power of two up to N) are
    /// wanted: they are left in `x[..window]`, the rest of `x` is unspecified.
    fn inverse_window(&self, table: &Table, x: &mut [u64], window: usize);

    /// out = out + a.
    fn add_assign(&self, out: &mut [u64], a: &[u64]);
    /// out = out - a.
    fn sub_assign(&self, out: &mut [u64], a: &[u64]);
    /// out = a b, point by point.
    fn mul(&self, out: &mut [u64], a: &[u64], b: &[u64]);
    /// out = out + a b.
    fn mul_add(&self, out: &mut [u64], a: &[u64], b: &[u64]);
    /// out = out - a b.
    fn mul_sub(&self, out: &mut [u64], a: &[u64], b: &[u64]);
    /// out = a b + c d.
    fn dot2(&self, out: &mut [u64], a: &[u64], b: &[u64], c: &[u64], d: &[u64]);
    /// out\[i\] = sum of a b + c d over the `fold` neighbouring points of group i (the projection to the
    /// subring of the `fold`-th powers, times `fold`); `out.len() * fold == a.len()`, fold a power of two
    /// up to [`MAX_FOLD`].
    fn dot2_fold(&self, out: &mut [u64], a: &[u64], b: &[u64], c: &[u64], d: &[u64], fold: usize);
    /// lo + 2^52 hi += a b, unreduced; at most [`crate::modulus::MAX_CHAIN`] times.
    fn mul_accumulate(&self, lo: &mut [u64], hi: &mut [u64], a: &[u64], b: &[u64]);
    /// lo + 2^52 hi += the sum over k of scalars\[k\] a_k, unreduced, with a_k the k-th `lo.len()` residues of `a`;
    /// at most [`crate::modulus::MAX_CHAIN`] terms in all.
    fn scale_accumulate(&self, lo: &mut [u64], hi: &mut [u64], a: &[u64], scalars: &[u64]);
    /// out = (lo + 2^52 hi) mod q.
    fn reduce_pairs(&self, out: &mut [u64], lo: &[u64], hi: &[u64]);

    /// out = out + noise, centred binomial with eta = 21: of each six little-endian bytes, the number of
    /// ones in bits 0..21 less the number of ones in bits 21..42. `bytes.len() == 6 * out.len()`.
    fn add_noise(&self, out: &mut [u64], bytes: &[u8]);
    /// out = uniform over {-1, 0, 1}: floor(3 r / 2^64) - 1 for each eight little-endian bytes r (bias
    /// below 2^-63). `bytes.len() == 8 * out.len()`.
    fn ternary(&self, out: &mut [u64], bytes: &[u8]);
    /// Residues of signed integers, |v| < q.
    fn encode_signed(&self, out: &mut [u64], v: &[i64]);

    /// Packs residues to 50 bits each, little-endian, eight residues in 50 bytes.
    fn pack(&self, out: &mut [u8], x: &[u64]);
    /// Unpacks; false if a value is not below q (then `out` holds the values as they came).
    #[must_use]
    fn unpack(&self, out: &mut [u64], bytes: &[u8]) -> bool;
    /// True if every value is below q.
    #[must_use]
    fn is_canonical(&self, x: &[u64]) -> bool;
}

/// The backend that this process uses: the fastest that the processor has, or the one that the
/// environment variable `BLINDSMITH_BACKEND` names.
///
/// # Panics
/// If the variable names a backend that does not exist or that this processor cannot run. Programs ask
/// [`chosen`] first.
pub fn active() -> &'static dyn Backend {
    static ACTIVE: OnceLock<&'static dyn Backend> = OnceLock::new();
    *ACTIVE.get_or_init(|| chosen().unwrap_or_else(|e| panic!("{e}")))
}

/// What [`active`] gives.
///
/// # Errors
/// What is wrong with the variable, in words for whoever set it.
pub fn chosen() -> Result<&'static dyn Backend, String> {
    match std::env::var("BLINDSMITH_BACKEND") {
        Ok(name) if !name.is_empty() => named(&name),
        _ => Ok(available()[0]),
    }
}

fn named(name: &str) -> Result<&'static dyn Backend, String> {
    let found = available().iter().find(|b| b.name() == name);
    found.copied().ok_or_else(|| format!("BLINDSMITH_BACKEND={name}: this machine has {}", names()))
}

/// The backends that this processor can run, the fastest first.
pub fn available() -> &'static [&'static dyn Backend] {
    static AVAILABLE: OnceLock<Vec<&'static dyn Backend>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let mut all: Vec<&'static dyn Backend> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(|b| -> &'static dyn Backend { Box::leak(Box::new(b)) }));
            all.extend(Avx2::detect().map(|b| -> &'static dyn Backend { Box::leak(Box::new(b)) }));
        }
        all.push(&Portable);
        all
    })
}

/// True if the length that all have (asserted) is a multiple of eight, as vector code wants it.
#[cfg(target_arch = "x86_64")]
fn eights<const K: usize>(lengths: [usize; K]) -> bool {
    assert!(lengths.iter().all(|&len| len == lengths[0]), "lengths differ: {lengths:?}");
    lengths[0].is_multiple_of(8)
}

fn names() -> String {
    available().iter().map(|b| b.name()).collect::<Vec<_>>().join(", ")
}
