//! How much of what all share one client has at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// Places that are held, by whom.
pub(crate) struct Shares<K> {
    most: usize,
    held: Mutex<HashMap<K, usize>>,
}

/// One of them; free again when it is dropped.
pub(crate) struct Share<K: Copy + Eq + Hash> {
    shares: Arc<Shares<K>>,
    who: K,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    /// So many for each.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Shares { most, held: Mutex::default() })
    }

    /// A place; None if this one has all that it may.
    pub fn take(self: &Arc<Self>, who: K) -> Option<Share<K>> {
        let mut held = self.held.lock().unwrap_or_else(|e| e.into_inner());
        let count = held.entry(who).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Share { shares: self.clone(), who })
    }
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(count) = held.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.who);
            }
        }
    }
}

/// What counts as one address: of IPv6 the network, as whoever has one has 2^64 addresses in it.
pub(crate) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_and_nothing_is_remembered_of_who_has_none() {
        let shares = Shares::new(2);
        let held = [shares.take(1), shares.take(1), shares.take(2)];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take(1).is_none());
        assert!(shares.take(2).is_some(), "another has places of its own");
        drop(held);
        assert!(shares.take(1).is_some());
        assert!(shares.held.lock().unwrap().is_empty());
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
