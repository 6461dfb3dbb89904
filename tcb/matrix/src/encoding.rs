//! How the entries of a matrix become coefficients of ring elements.
//!
//! An operand has a *contraction* index, over which a product sums, and a *private* index, which is a row or a
//! column of the result. With powers of two n, m and r whose product is the security parameter N, `n` contraction
//! entries (a *place*) times `m` private entries (a *strip*) fill one element of Z_q\[t\]/(t^(mn) + 1), and masks
//! and secrets are vectors of `r` elements (Module-LWE of rank r: Langlois and Stehlé, DCC 2015).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::parameters::Security;

/// Most contraction entries of an element.
pub const MAX_ROOTS: usize = 128;
/// Largest rank of the masks: the estimates of security hold for ranks up to it.
pub const MAX_RANK: usize = 32;
/// Fewest private entries of an element: one vector register of residues.
pub const MIN_STRIP: usize = 8;
/// Fewest coefficients of an element, below which no estimate of Module-LWE is relied on.
pub const MIN_DEGREE: usize = 64;

/// The three sizes n, m and r; n m r is N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Sizes", into = "Sizes")]
pub struct Encoding {
    roots: u16,
    strip: u16,
    rank: u16,
}

type Sizes = (u16, u16, u16);

/// Sizes that are no encoding.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "no encoding has n = {roots}, m = {strip}, r = {rank}: they are powers of two, n at most {MAX_ROOTS}, m at least \
     {MIN_STRIP}, n m at least {MIN_DEGREE}, r at most {MAX_RANK}, and n m r is 2048 or 4096"
)]
pub struct EncodingError {
    roots: usize,
    strip: usize,
    rank: usize,
}

impl Encoding {
    /// The encoding with these sizes n, m and r.
    ///
    /// # Errors
    /// [`EncodingError`] if the sizes are not powers of two within their limits.
    pub fn new(roots: usize, strip: usize, rank: usize) -> Result<Self, EncodingError> {
        let powers = [roots, strip, rank].iter().all(|size| size.is_power_of_two());
        let limits = roots <= MAX_ROOTS && strip >= MIN_STRIP && rank <= MAX_RANK;
        // Each factor is checked first, so the product does not overflow.
        let total = powers && limits && strip <= 4096 && matches!(roots * strip * rank, 2048 | 4096);
        if total && roots * strip >= MIN_DEGREE {
            Ok(Encoding { roots: roots as u16, strip: strip as u16, rank: rank as u16 })
        } else {
            Err(EncodingError { roots, strip, rank })
        }
    }

    /// The encoding with `roots` contraction entries an element that opens a private index of `width` entries
    /// with the least work: strips as long as the width, while padding and rank do not cost more than they save.
    ///
    /// # Errors
    /// [`EncodingError`] if no encoding has so many roots.
    pub fn fit(security: Security, roots: usize, width: usize) -> Result<Self, EncodingError> {
        let none = EncodingError { roots, strip: 0, rank: 0 };
        let strips = (0..13).map(|log2| 1usize << log2);
        let candidates = strips.filter_map(|m| {
            let rank = security.degree().checked_div(roots.checked_mul(m)?)?;
            Encoding::new(roots, m, rank).ok()
        });
        let work = |e: &Encoding| {
            // In eighths of a nanosecond: a multiply-add for each rank, a level of butterflies for each bit of m.
            let entry = 2 * e.rank() + e.strip().ilog2() as usize;
            (width.max(1).next_multiple_of(e.strip()) * entry, e.rank())
        };
        candidates.min_by_key(work).ok_or(none)
    }

    /// n: contraction entries of an element, and roots of z^n = -1.
    pub const fn roots(&self) -> usize {
        self.roots as usize
    }

    /// m: private entries of an element.
    pub const fn strip(&self) -> usize {
        self.strip as usize
    }

    /// r: elements of a mask or secret.
    pub const fn rank(&self) -> usize {
        self.rank as usize
    }

    /// D = n m: coefficients of an element.
    pub const fn degree(&self) -> usize {
        self.roots() * self.strip()
    }

    /// N = n m r: residues of a mask or secret.
    pub const fn dimension(&self) -> usize {
        self.degree() * self.rank()
    }

    /// N / n: residues of a mask or secret over one root.
    pub const fn per_root(&self) -> usize {
        self.strip() * self.rank()
    }
}

impl TryFrom<Sizes> for Encoding {
    type Error = EncodingError;

    fn try_from((roots, strip, rank): Sizes) -> Result<Self, EncodingError> {
        Encoding::new(roots.into(), strip.into(), rank.into())
    }
}

impl From<Encoding> for Sizes {
    fn from(e: Encoding) -> Sizes {
        (e.roots, e.strip, e.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_the_limits_are_refused() {
        for (n, m, r) in [
            (3, 512, 1),
            (0, 2048, 1),
            (256, 8, 1),
            (4, 4, 128),
            (2, 16, 64),
            (1, 32, 64),
            (4, 512, 2),
            (4, 256, 1),
            (4, 512, 4),
            (1, 8192, 1),
        ] {
            let made = Encoding::new(n, m, r);
            assert_eq!(made.is_ok(), (n, m, r) == (4, 512, 2), "{n} {m} {r}");
        }
        assert!(Encoding::new(usize::MAX, usize::MAX, 2).is_err());
    }

    #[test]
    fn every_fit_has_the_dimension_of_its_level() {
        for security in [Security::Bits128, Security::Bits256] {
            for roots in [1, 2, 4, 8, 16, 32, 64, 128] {
                for width in [0, 1, 7, 10, 30, 64, 100, 128, 500, 784, 5000, 1 << 20] {
                    let fit = Encoding::fit(security, roots, width).unwrap();
                    assert_eq!((fit.roots(), fit.dimension()), (roots, security.degree()));
                    assert!(fit.degree() >= MIN_DEGREE && fit.rank() <= MAX_RANK && fit.strip() >= MIN_STRIP);
                }
            }
            assert!(Encoding::fit(security, 256, 10).is_err());
            assert!(Encoding::fit(security, 3, 10).is_err());
        }
        let narrow = Encoding::fit(Security::Bits128, 64, 10).unwrap();
        assert_eq!((narrow.strip(), narrow.rank()), (16, 2));
        let wide = Encoding::fit(Security::Bits128, 4, 512).unwrap();
        assert_eq!((wide.strip(), wide.rank()), (512, 1));
    }

    #[test]
    fn encodings_that_are_read_are_checked() {
        let good = Encoding::new(4, 128, 4).unwrap();
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(text, "[4,128,4]");
        assert_eq!(serde_json::from_str::<Encoding>(&text).unwrap(), good);
        assert!(serde_json::from_str::<Encoding>("[4,128,8]").is_ok(), "4096");
        assert!(serde_json::from_str::<Encoding>("[4,128,2]").is_err());
    }
}
