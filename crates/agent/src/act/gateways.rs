//! The default gateways that count: those that there are, and those whose last route went less than [`LINGER`] ago.
//!
//! A link that bounces takes its static default routes along, and who gave them may need a while to give them again. A
//! neighbour that would go with its route for that while would cost a session and all its routes; one that stays has
//! a session that the hold time, the carrier and the peer itself end soon enough.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flatroute_plan::Gateway;
use tokio::time::Instant;

/// How long a gateway counts after its last route went.
pub(crate) const LINGER: Duration = Duration::from_secs(5 * 60);
/// How many gateways without a route are remembered; the one gone longest is forgotten first. Who sits on the link can
/// announce any number of default routers for a moment.
const MAX_GONE: usize = 256;

/// What there is and what there was.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    present: BTreeSet<Gateway>,
    /// When each was last seen.
    gone: BTreeMap<Gateway, Instant>,
}

impl Gateways {
    /// Takes what there is now.
    pub(crate) fn update(&mut self, present: BTreeSet<Gateway>, now: Instant) {
        let lost = self.present.difference(&present).map(|gateway| (*gateway, now));
        self.gone.extend(lost);
        self.gone.retain(|gateway, _| !present.contains(gateway));
        self.present = present;
        while self.gone.len() > MAX_GONE {
            let oldest = self.gone.iter().min_by_key(|(_, seen)| **seen);
            let Some(oldest) = oldest.map(|(gateway, _)| *gateway) else {
                break;
            };
            self.gone.remove(&oldest);
        }
        self.expire(now);
    }

    /// Forgets what has been gone for long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.gone.retain(|_, seen| now < *seen + LINGER);
    }

    /// When the next one is to be forgotten.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.gone.values().min().map(|seen| *seen + LINGER)
    }

    /// All that count.
    pub(crate) fn all(&self) -> BTreeSet<Gateway> {
        self.present.iter().chain(self.gone.keys()).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[u8]) -> BTreeSet<Gateway> {
        let gateway = |last: &u8| Gateway {
            address: [10, 0, 1, *last].into(),
            interface: None,
            protocol: 4,
        };
        of.iter().map(gateway).collect()
    }

    #[test]
    fn a_gateway_stays_for_a_while_after_its_route_went() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut gateways = Gateways::default();
        gateways.update(set(&[1, 2]), at(0));
        assert_eq!((gateways.all(), gateways.next_expiry()), (set(&[1, 2]), None));
        gateways.update(set(&[2]), at(10));
        assert_eq!(
            (gateways.all(), gateways.next_expiry()),
            (set(&[1, 2]), Some(at(310)))
        );
        // It is back, and its time begins anew when it goes again.
        gateways.update(set(&[1, 2]), at(100));
        assert_eq!(gateways.next_expiry(), None);
        gateways.update(set(&[3]), at(200));
        assert_eq!(gateways.all(), set(&[1, 2, 3]));
        gateways.update(set(&[3]), at(499));
        assert_eq!(
            (gateways.all(), gateways.next_expiry()),
            (set(&[1, 2, 3]), Some(at(500)))
        );
        gateways.expire(at(500));
        assert_eq!((gateways.all(), gateways.next_expiry()), (set(&[3]), None));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let start = Instant::now();
        let mut gateways = Gateways::default();
        for number in 0..1000_u32 {
            let one = Gateway {
                address: std::net::Ipv4Addr::from(number).into(),
                interface: None,
                protocol: 9,
            };
            gateways.update([one].into(), start + Duration::from_millis(number.into()));
        }
        assert_eq!(gateways.all().len(), MAX_GONE + 1);
        let newest: std::net::IpAddr = std::net::Ipv4Addr::from(998).into();
        assert!(gateways.all().iter().any(|gateway| gateway.address == newest));
    }
}
