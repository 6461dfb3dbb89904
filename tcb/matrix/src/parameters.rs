//! Security levels.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The ring degree chosen for a security level, at log2 q = 50, ternary secrets, error sigma 3.24.
///
/// | level | N | largest log2 q for the level | core-SVP estimate, classical / quantum |
/// |---|---|---|---|
/// | 128 | 2048 | 54 | 110 / 100 bits |
/// | 256 | 4096 | 58 | 276 / 251 bits |
///
/// The third column is the table for classical attacks and ternary secrets of the Homomorphic Encryption
/// Standard (Albrecht et al., "Homomorphic Encryption Security Standard", HomomorphicEncryption.org,
/// November 2018, table 1): it lists log2 q = 54 for n = 2048 at 128 bits and log2 q = 58 for n = 4096 at
/// 256 bits. The last column is our own estimate of the primal uSVP attack in the core-SVP model, which
/// counts one sieve and ignores its memory: the most cautious figure, given for whoever wants a margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Security {
    /// 128 bits by the standard's cost model: N = 2048.
    Bits128,
    /// 256 bits by the standard's cost model: N = 4096.
    Bits256,
}

/// A security level that does not exist.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no security level of {0} bits: choose 128 or 256")]
pub struct SecurityError(pub u16);

impl Security {
    /// The ring degree N.
    pub const fn degree(self) -> usize {
        match self {
            Security::Bits128 => 2048,
            Security::Bits256 => 4096,
        }
    }

    /// The level in bits.
    pub const fn bits(self) -> u16 {
        match self {
            Security::Bits128 => 128,
            Security::Bits256 => 256,
        }
    }
}

impl TryFrom<u16> for Security {
    type Error = SecurityError;

    fn try_from(bits: u16) -> Result<Self, SecurityError> {
        match bits {
            128 => Ok(Security::Bits128),
            256 => Ok(Security::Bits256),
            other => Err(SecurityError(other)),
        }
    }
}

impl From<Security> for u16 {
    fn from(level: Security) -> u16 {
        level.bits()
    }
}
