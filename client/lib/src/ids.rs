//! Identifiers as people give them: whole, or by digits that begin no other.

use std::str::FromStr;

use blindsmith_identity::PublicKey;
use blindsmith_protocol::Id;

use crate::failure::Failure;
use crate::workspace::Workspace;

/// Fewest digits: fewer are soon the beginning of two.
const FEWEST: usize = 6;
/// Digits of a whole identifier.
const WHOLE: usize = 64;

/// The first digits of an identifier, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.to_ascii_lowercase();
        match digits.bytes().all(|b| b.is_ascii_hexdigit()) && (FEWEST..=WHOLE).contains(&digits.len()) {
            true => Ok(Prefix(digits)),
            false => Err(format!("give {FEWEST} to {WHOLE} hexadecimal digits, the first of the identifier")),
        }
    }
}

impl Prefix {
    /// The whole identifier among `known` that begins so. One that is given whole need not be known.
    fn among<T: FromStr + ToString>(&self, what: &str, known: impl Iterator<Item = T>) -> Result<T, Failure> {
        let Prefix(digits) = self;
        if digits.len() == WHOLE {
            return digits.parse().map_err(|_| Failure::Settings(format!("{digits} identifies no {what}")));
        }
        let mut found: Vec<(String, T)> = known.map(|id| (id.to_string(), id)).collect();
        found.retain(|(id, _)| id.starts_with(digits));
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.dedup_by(|(a, _), (b, _)| a == b);
        match found.len() {
            0 => Err(Failure::Settings(format!("no {what} of this project begins with {digits}"))),
            1 => Ok(found.swap_remove(0).1),
            _ => {
                let all: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
                Err(Failure::Settings(format!("{digits} begins more than one {what}: {}", all.join(", "))))
            }
        }
    }

    /// An upload of the project.
    ///
    /// # Errors
    /// If no upload begins so, or more than one.
    pub fn upload(&self, workspace: &mut Workspace) -> Result<Id, Failure> {
        let known = match self.0.len() {
            WHOLE => Vec::new(),
            _ => workspace.fetch_status()?.uploads,
        };
        self.among("upload", known.into_iter().map(|upload| upload.upload))
    }

    /// A member of the project, by the owner's signed orders.
    ///
    /// # Errors
    /// If no member begins so, or more than one.
    pub fn member(&self, workspace: &mut Workspace) -> Result<PublicKey, Failure> {
        let known: Vec<PublicKey> = match self.0.len() {
            WHOLE => Vec::new(),
            _ => workspace.roster()?.members().map(|(key, _)| *key).collect(),
        };
        self.among("member", known.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: &str) -> Id {
        format!("{first:0<64}").parse().unwrap()
    }

    #[test]
    fn digits_that_begin_one_identifier_stand_for_it() {
        let known = || [id("abcdef1"), id("abcdef2"), id("123456"), id("123456")].into_iter();
        let among = |text: &str| text.parse::<Prefix>().unwrap().among("upload", known());
        assert_eq!(among("123456").unwrap(), id("123456"));
        assert_eq!(among("ABCDEF2").unwrap(), id("abcdef2"));
        let failure = among("abcdef").unwrap_err().to_string();
        assert!(
            failure.contains("begins more than one upload") && failure.contains(&id("abcdef1").to_string())
        );
        assert!(
            among("fedcba").unwrap_err().to_string().contains("no upload of this project begins with fedcba")
        );
        // Whole, it is taken at its word.
        assert_eq!(among(&id("77").to_string()).unwrap(), id("77"));
    }

    #[test]
    fn few_digits_and_others_are_refused() {
        for text in ["", "12345", "12345g", "é12345", &"0".repeat(65)] {
            assert!(text.parse::<Prefix>().is_err(), "{text:?}");
        }
    }
}
