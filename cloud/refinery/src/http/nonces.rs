//! Nonces that were used: no signed request is taken twice.

use std::collections::HashSet;

use blindsmith_identity::PublicKey;
use sha2::{Digest, Sha256};

/// Why a nonce is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceError {
    /// It was used before.
    Replayed,
    /// More nonces than are remembered.
    Full,
}

/// Nonces of requests whose time would still pass, in two generations: one that grows, and the one before it.
pub(crate) struct Nonces {
    /// Half of what is remembered.
    most: usize,
    /// Seconds for which a request may be sent again: from as much in the future as allowed to as much in the past.
    window: u64,
    began: u64,
    current: HashSet<u128>,
    before: HashSet<u128>,
}

impl Nonces {
    pub fn new(most: usize, skew: u64) -> Self {
        Nonces {
            most: most.div_ceil(2),
            window: 2 * skew + 1,
            began: 0,
            current: HashSet::new(),
            before: HashSet::new(),
        }
    }

    /// Remembered at this time.
    pub fn len(&self) -> usize {
        self.current.len() + self.before.len()
    }

    /// Remembers a nonce; `now` is in seconds since 1970.
    pub fn take(&mut self, key: &PublicKey, nonce: &[u8; 16], now: u64) -> Result<(), NonceError> {
        // What is as old as the window is refused by its time already.
        if now.saturating_sub(self.began) >= self.window {
            let twice = now.saturating_sub(self.began) >= 2 * self.window;
            self.before = std::mem::take(&mut self.current);
            if twice {
                self.before = HashSet::new();
            }
            self.began = now;
        }
        let digest = Sha256::new().chain_update(key.0).chain_update(nonce).finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        let short = u128::from_le_bytes(short);
        if self.before.contains(&short) || self.current.contains(&short) {
            return Err(NonceError::Replayed);
        }
        if self.current.len() >= self.most {
            return Err(NonceError::Full);
        }
        self.current.insert(short);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PublicKey = PublicKey([1; 32]);

    #[test]
    fn a_nonce_is_taken_once_while_its_request_could_pass() {
        let mut nonces = Nonces::new(100, 300);
        let start = 1_700_000_000;
        assert_eq!(nonces.take(&KEY, &[1; 16], start), Ok(()));
        // Signed for a time in the future, the request passes for twice the skew.
        for later in [0, 1, 300, 599, 600] {
            assert_eq!(nonces.take(&KEY, &[1; 16], start + later), Err(NonceError::Replayed), "{later}");
        }
        assert_eq!(nonces.take(&PublicKey([2; 32]), &[1; 16], start), Ok(()), "another key's nonce");
        // One that came at the end of a generation outlives it as long.
        assert_eq!(nonces.take(&KEY, &[2; 16], start + 600), Ok(()));
        assert_eq!(nonces.take(&KEY, &[2; 16], start + 1200), Err(NonceError::Replayed));
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let mut nonces = Nonces::new(8, 10);
        let nonce = |i: u8| [i; 16];
        assert!((0..4).all(|i| nonces.take(&KEY, &nonce(i), 1000).is_ok()));
        assert_eq!(nonces.take(&KEY, &nonce(9), 1000), Err(NonceError::Full));
        assert_eq!(nonces.take(&KEY, &nonce(9), 1021), Ok(()));
        assert_eq!(nonces.len(), 5);
        assert_eq!(nonces.take(&KEY, &nonce(8), 9000), Ok(()));
        assert_eq!(nonces.len(), 1);
    }
}
