//! How much one key may ask for: token buckets.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use blindsmith_identity::PublicKey;

use crate::config::LimitsConfig;

/// Keys whose buckets are kept; of more, those that are full are forgotten, which changes nothing.
const MAX_KEYS: usize = 65_536;

/// Tokens that come back with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// A rate, and how much of it may be used at once.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: f64,
    burst: f64,
}

impl Bucket {
    fn fill(&mut self, rate: &Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.at = self.at.max(now);
    }
}

impl Rate {
    /// Time until `wanted` tokens are there again.
    fn until(&self, tokens: f64, wanted: f64) -> Duration {
        Duration::from_secs_f64(((wanted - tokens) / self.per_second).max(0.0))
    }
}

/// The buckets of all keys.
pub(crate) struct Rates {
    requests: Rate,
    bytes: Rate,
    keys: HashMap<PublicKey, (Bucket, Bucket)>,
}

impl Rates {
    pub fn new(limits: &LimitsConfig) -> Self {
        Rates {
            requests: Rate {
                per_second: limits.requests_per_second.into(),
                burst: limits.request_burst.into(),
            },
            bytes: Rate { per_second: limits.bytes_per_second as f64, burst: limits.byte_burst as f64 },
            keys: HashMap::new(),
        }
    }

    /// Takes a request with a body of so many bytes.
    ///
    /// # Errors
    /// Time to wait, if the key asked for more than it may. Bytes may be borrowed: a body passes if there are tokens at
    /// all, and those after it wait until it is paid for.
    pub fn take(&mut self, key: &PublicKey, bytes: u64, now: Instant) -> Result<(), Duration> {
        let (requests_rate, bytes_rate) = (self.requests, self.bytes);
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            self.keys.retain(|_, (requests, bytes)| {
                requests.fill(&requests_rate, now);
                bytes.fill(&bytes_rate, now);
                requests.tokens < requests_rate.burst || bytes.tokens < bytes_rate.burst
            });
            if self.keys.len() >= MAX_KEYS {
                return Err(Duration::from_secs(1));
            }
        }
        let full = |rate: Rate| Bucket { tokens: rate.burst, at: now };
        let fresh = (full(requests_rate), full(bytes_rate));
        let (requests, sent) = self.keys.entry(*key).or_insert(fresh);
        requests.fill(&requests_rate, now);
        sent.fill(&bytes_rate, now);
        if requests.tokens < 1.0 {
            return Err(requests_rate.until(requests.tokens, 1.0));
        }
        if bytes > 0 && sent.tokens <= 0.0 {
            return Err(bytes_rate.until(sent.tokens, 1.0));
        }
        requests.tokens -= 1.0;
        sent.tokens -= bytes as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        Rates::new(&LimitsConfig {
            requests_per_second: 2,
            request_burst: 3,
            bytes_per_second: 100,
            byte_burst: 1000,
            ..LimitsConfig::default()
        })
    }

    const ONE: PublicKey = PublicKey([1; 32]);
    const OTHER: PublicKey = PublicKey([2; 32]);

    #[test]
    fn requests_beyond_the_burst_wait_for_the_rate() {
        let (mut rates, start) = (rates(), Instant::now());
        for _ in 0..3 {
            assert_eq!(rates.take(&ONE, 0, start), Ok(()));
        }
        assert_eq!(rates.take(&ONE, 0, start), Err(Duration::from_millis(500)));
        assert_eq!(rates.take(&OTHER, 0, start), Ok(()), "another key has a bucket of its own");
        let later = start + Duration::from_millis(500);
        assert_eq!(rates.take(&ONE, 0, later), Ok(()));
        assert_eq!(rates.take(&ONE, 0, later), Err(Duration::from_millis(500)));
        // However long nothing is asked for, no more than the burst is saved.
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| rates.take(&ONE, 0, much_later).is_ok()).count(), 3);
    }

    #[test]
    fn bytes_that_were_borrowed_are_paid_for() {
        let (mut rates, start) = (rates(), Instant::now());
        assert_eq!(rates.take(&ONE, 1500, start), Ok(()));
        let waits = rates.take(&ONE, 1, start).unwrap_err();
        assert!((waits.as_secs_f64() - 5.01).abs() < 1e-9, "{waits:?}");
        assert_eq!(rates.take(&ONE, 0, start), Ok(()), "reading costs no bytes");
        assert_eq!(rates.take(&ONE, 1, start + Duration::from_secs(6)), Ok(()));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let (mut rates, start) = (rates(), Instant::now() + Duration::from_secs(10));
        while rates.take(&ONE, 0, start).is_ok() {}
        assert!(rates.take(&ONE, 0, start - Duration::from_secs(5)).is_err());
        assert!(rates.take(&ONE, 0, start).is_err());
    }
}
