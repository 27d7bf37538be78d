//! The keys of TCP MD5 that listeners need: those of the neighbours that may dial, each where it can dial.
//!
//! A key is set for an address, or for a whole range of them; of several the kernel takes the longest. A link-local address means another neighbour on each interface, and the kernel binds a
//! key only to an interface that is a VRF. So the key of a link-local neighbour is set on a listener of that interface
//! alone, and on no other one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;

use flatroute_bgp::speaker::{Auth, Config, Md5Key};
use flatroute_bgp::types::Prefix;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    anywhere: BTreeMap<Prefix, Md5Key>,
    /// Those of link-local neighbours.
    on: BTreeMap<NonZeroU32, BTreeMap<Prefix, Md5Key>>,
}

impl Keys {
    pub(crate) fn of(config: &Config) -> Self {
        let mut keys = Self::default();
        for range in config.ranges.values() {
            match &range.template.auth {
                Auth::None => {}
                Auth::Md5(key) => _ = keys.anywhere.insert(range.prefix, key.clone()),
            }
        }
        for peer in config.peers.values() {
            let key = match &peer.auth {
                Auth::None => continue,
                Auth::Md5(key) => key.clone(),
            };
            let scope = scope(peer.address, peer.interface);
            let place = match scope {
                Scope::Anywhere => &mut keys.anywhere,
                Scope::On(interface) => keys.on.entry(interface).or_default(),
                // It cannot dial, and whoever has this address is let in nowhere.
                Scope::Nowhere => continue,
            };
            place.insert(host(peer.address), key);
        }
        keys
    }

    /// The interfaces that need a listener of their own.
    pub(crate) fn interfaces(&self) -> BTreeSet<NonZeroU32> {
        self.on.keys().copied().collect()
    }

    /// Those of a listener. One of an interface hears all that arrives there, also from other addresses.
    pub(crate) fn of_listener(&self, ipv4: bool, interface: Option<NonZeroU32>) -> BTreeMap<Prefix, Md5Key> {
        let local = interface.and_then(|i| self.on.get(&i));
        self.anywhere
            .iter()
            .chain(local.into_iter().flatten())
            .filter(|(peers, _)| peers.addr().is_ipv4() == ipv4)
            .map(|(peers, key)| (*peers, key.clone()))
            .collect()
    }
}

/// The address of one neighbour.
pub(crate) fn host(address: IpAddr) -> Prefix {
    match address {
        IpAddr::V4(v4) => Prefix::V4(v4.to_bits(), 32),
        IpAddr::V6(v6) => Prefix::V6(v6.to_bits(), 128),
    }
}

/// Where a neighbour dials from.
pub(crate) enum Scope {
    /// Over any interface.
    Anywhere,
    /// Over this one.
    On(NonZeroU32),
    /// Over one that is not known.
    Nowhere,
}

pub(crate) fn scope(address: IpAddr, interface: Option<u32>) -> Scope {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => interface
            .and_then(NonZeroU32::new)
            .map_or(Scope::Nowhere, Scope::On),
        IpAddr::V4(_) | IpAddr::V6(_) => Scope::Anywhere,
    }
}
