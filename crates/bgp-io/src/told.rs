//! Whom we have told of lately: so that one who connects ten thousand times fills neither the events nor the log.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// How long an address is not told of again.
pub const TELL_PAUSE: Duration = Duration::from_secs(60);
/// How many addresses are told of in this time.
pub const MAX_TOLD: usize = 64;

/// Addresses that were told of, and when.
#[derive(Default)]
pub(crate) struct Told(BTreeMap<IpAddr, Instant>);

impl Told {
    /// Whether an address is to be told of now.
    pub(crate) fn tells(&mut self, address: IpAddr, now: Instant) -> bool {
        self.0.retain(|_, at| now.duration_since(*at) < TELL_PAUSE);
        if self.0.len() >= MAX_TOLD || self.0.contains_key(&address) {
            return false;
        }
        self.0.insert(address, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_of_once_a_minute_and_64_of_them_at_most() {
        let mut told = Told::default();
        let now = Instant::now();
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let count = |told: &mut Told, now| (0..10_000).filter(|n| told.tells(address(*n), now)).count();
        assert!(told.tells(address(1), now));
        assert!(!told.tells(address(1), now + TELL_PAUSE / 2));
        assert_eq!(count(&mut told, now), MAX_TOLD - 1);
        assert_eq!(count(&mut told, now + TELL_PAUSE / 2), 0);
        assert_eq!(count(&mut told, now + TELL_PAUSE), MAX_TOLD);
    }
}
