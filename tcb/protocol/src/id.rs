//! Identifiers of projects, uploads, contributors and wardens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::project::SpecError;

/// A 256-bit digest that names a project or an upload; zero where there is none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Id {
    type Err = SpecError;

    fn from_str(s: &str) -> Result<Self, SpecError> {
        let bad = || SpecError("an identifier has 64 hexadecimal digits".into());
        if s.len() != 64 || !s.is_ascii() {
            return Err(bad());
        }
        let mut id = [0; 32];
        for (byte, digits) in id.iter_mut().zip(s.as_bytes().as_chunks::<2>().0) {
            let digit = |d: u8| (d as char).to_digit(16).ok_or_else(bad);
            *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
        }
        Ok(Id(id))
    }
}
