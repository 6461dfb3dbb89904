//! The names of resumable uploads.

use std::fmt;
use std::str::FromStr;

use super::error::StoreError;

/// Names a resumable upload: random, so that only who began it knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartialId(pub [u8; 16]);

impl fmt::Display for PartialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl FromStr for PartialId {
    type Err = StoreError;

    fn from_str(s: &str) -> Result<Self, StoreError> {
        let bad =
            || StoreError::Missing("upload under way of that name: a name has 32 hexadecimal digits".into());
        if s.len() != 32 || !s.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        Ok(PartialId(u128::from_str_radix(s, 16).map_err(|_| bad())?.to_be_bytes()))
    }
}
