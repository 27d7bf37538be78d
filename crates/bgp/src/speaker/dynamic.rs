//! Neighbours that nobody has named: whoever dials from within a range that is configured becomes one.
//!
//! A [`RangeConfig`] is a template. A connection from an address that no neighbour has makes a neighbour of it, with the template's
//! settings; from then on it is one among the others, and only here is known that it came by itself: it is forgotten
//! [`FORGET_AFTER`] it was last heard of, at once when its range goes or another one fits better, and when a named neighbour has
//! its address. How many there are at once is bounded by the range; one that is away makes room for one that comes.
//!
//! What is kept for a restart (RFC 4724) counts as being heard of.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{AdminState, Config, EventKind, PeerConfig, RangeConfig, Speaker};
use crate::session::ConnectMode;
use crate::types::{Instant, PeerName};
use crate::wire::CeaseSubcode;

/// How long a neighbour of a range is remembered that has no connection and whose routes are not kept.
pub const FORGET_AFTER: Duration = Duration::from_secs(300);

/// What is known of a neighbour because it came by itself.
pub(super) struct Dynamic {
    range: PeerName,
    address: IpAddr,
    /// Since when it has had nothing; none: it has something.
    idle: Option<Instant>,
}

impl Speaker {
    /// The range that an address belongs to: of several the longest, and of two of one length the first by name.
    pub(super) fn range_of(&self, remote: SocketAddr) -> Option<(&PeerName, &RangeConfig)> {
        range_of(&self.config, remote.ip().to_canonical())
    }

    /// Makes a neighbour of an address within a range, or says why it does not; none: it is in no range.
    pub(super) fn admit(&mut self, remote: SocketAddr, now: Instant) -> Option<Result<PeerName, PeerName>> {
        let address = remote.ip().to_canonical();
        let (range, found) = range_of(&self.config, address)?;
        let (range, limit) = (range.clone(), found.limit);
        let config = made(found, address);
        let refusal = match &config.admin_state {
            AdminState::Up => None,
            AdminState::Down(_) => Some("its range is down".to_owned()),
            AdminState::Held(reason) => Some(reason.clone()),
        };
        let name = PeerName::of_range(&range, address);
        let refusal = refusal.or_else(|| {
            let taken = self.config.peers.contains_key(&name);
            taken.then(|| format!("another neighbour is named {name}"))
        });
        let refusal = refusal.or_else(|| {
            (!self.make_room(&range, limit, now))
                .then(|| format!("{address} is one more than the {limit} neighbours of its range"))
        });
        if let Some(reason) = refusal {
            self.event(Some(range.clone()), EventKind::Refused { reason }, now);
            return Some(Err(range));
        }
        self.config.peers.insert(name.clone(), config.clone());
        self.dynamic.insert(
            name.clone(),
            Dynamic {
                range,
                address,
                idle: None,
            },
        );
        self.add(&name, config, now);
        Some(Ok(name))
    }

    /// Whether a range may have one more; the one that has been idle longest goes for it.
    fn make_room(&mut self, range: &PeerName, limit: usize, now: Instant) -> bool {
        let members = self.dynamic.iter().filter(|(_, d)| d.range == *range);
        if members.clone().count() < limit {
            return true;
        }
        let idlest = members
            .filter_map(|(name, d)| Some((d.idle?, name)))
            .min()
            .map(|(_, name)| name.clone());
        match idlest {
            Some(name) => {
                self.forget_neighbour(&name, now);
                true
            }
            None => false,
        }
    }

    fn forget_neighbour(&mut self, name: &PeerName, now: Instant) {
        self.config.peers.remove(name);
        self.dynamic.remove(name);
        self.remove(name, CeaseSubcode::PeerDeconfigured, now);
    }

    /// The configuration with those that have come by themselves and may stay.
    pub(super) fn with_dynamic(&self, mut new: Config) -> Config {
        for (name, dynamic) in &self.dynamic {
            let named = new
                .peers
                .iter()
                .any(|(other, peer)| other == name || peer.address == dynamic.address);
            let found =
                range_of(&new, dynamic.address).filter(|(range, _)| **range == dynamic.range && !named);
            if let Some(config) = found.map(|(_, range)| made(range, dynamic.address)) {
                new.peers.insert(name.clone(), config);
            }
        }
        new
    }

    /// After a new configuration: forgets what is no neighbour any more.
    pub(super) fn keep_dynamic(&mut self) {
        let peers = &self.config.peers;
        self.dynamic.retain(|name, dynamic| {
            peers
                .get(name)
                .is_some_and(|peer| peer.address == dynamic.address)
        });
    }

    /// Sees who has nothing any more, and forgets who has had nothing for long.
    pub(super) fn mind_dynamic(&mut self, now: Instant) {
        let mut late = Vec::new();
        for (name, dynamic) in &mut self.dynamic {
            let busy = self
                .neighbours
                .get(name)
                .is_some_and(|n| !n.conns.is_empty() || n.session.is_some() || n.retained.is_some());
            dynamic.idle = if busy { None } else { dynamic.idle.or(Some(now)) };
            if dynamic.idle.is_some_and(|since| since + FORGET_AFTER <= now) {
                late.push(name.clone());
            }
        }
        for name in late {
            self.forget_neighbour(&name, now);
        }
    }

    /// When [`Speaker::mind_dynamic`] has something to forget.
    pub(super) fn forgets_at(&self) -> Option<Instant> {
        let idle = self.dynamic.values().filter_map(|dynamic| dynamic.idle);
        idle.min().map(|since| since + FORGET_AFTER)
    }
}

fn range_of(config: &Config, address: IpAddr) -> Option<(&PeerName, &RangeConfig)> {
    // Such an address means another neighbour on each interface.
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return None;
    }
    let mut best: Option<(&PeerName, &RangeConfig)> = None;
    for (name, range) in config.ranges.iter().filter(|(_, r)| r.prefix.contains(address)) {
        if best.is_none_or(|(_, other)| range.prefix.prefix_len() > other.prefix.prefix_len()) {
            best = Some((name, range));
        }
    }
    best
}

/// A neighbour of a range. It dialled; should it go, it will dial again.
fn made(range: &RangeConfig, address: IpAddr) -> PeerConfig {
    let mut config = range.template.clone();
    config.address = address;
    config.session.connect_mode = ConnectMode::Passive;
    config
}
