//! Interfaces and addresses.
//!
//! Pods come and go with a link each, so that most changes concern nobody here. A change matters when a next hop
//! stands on the interface, when it resolves differently afterwards, when a nexthop object of ours lives on it,
//! or when a preferred source came or went. Then the kernel has, or may have, deleted objects and routes in
//! silence: the objects are read at once, the routes when the repair that follows from the objects is done.
//!
//! A link whose carrier comes back is not yet a link that forwards. The far end may still be restoring its routes,
//! and for some milliseconds it may drop what it sends, the answer of its ARP or ND included; a neighbour that
//! did not answer is asked again only after a second, and of the packets that wait for it so long the kernel keeps
//! a few hundred and drops the rest. So a returned leg carries at once what has no other way, but joins legs that
//! never left only when it is admitted ([`Fib::admit`]); the caller, who has a clock, does that after a pause.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::machine::Fib;
use crate::types::{Interface, NexthopContent, Return, Target};

impl Fib {
    pub(crate) fn link(&mut self, index: u32, name: String, up: bool, carrier: bool) {
        let addresses = self
            .interfaces
            .get(&index)
            .map(|old| old.addresses.clone())
            .unwrap_or_default();
        self.interface_changed(
            index,
            Some(Interface {
                index,
                name,
                up,
                carrier,
                addresses,
            }),
        );
    }

    pub(crate) fn link_gone(&mut self, index: u32) {
        self.interface_changed(index, None);
    }

    pub(crate) fn address(&mut self, index: u32, address: IpNetwork, present: bool) {
        let Some(mut interface) = self.interfaces.get(&index).cloned() else {
            return;
        };
        if present {
            interface.addresses.insert(address);
        } else {
            interface.addresses.remove(&address);
        }
        self.interface_changed(index, Some(interface));
    }

    pub(crate) fn interfaces_read(&mut self, interfaces: Vec<Interface>) {
        let gone: BTreeSet<u32> = self.interfaces.keys().copied().collect();
        let present: BTreeSet<u32> = interfaces.iter().map(|interface| interface.index).collect();
        for index in gone.difference(&present) {
            self.interface_changed(*index, None);
        }
        for interface in interfaces {
            self.interface_changed(interface.index, Some(interface));
        }
    }

    fn interface_changed(&mut self, index: u32, new: Option<Interface>) {
        if self.interfaces.get(&index) == new.as_ref() {
            return;
        }
        self.note_return(index, new.as_ref());
        let sources = self.sources_present();
        match new {
            Some(interface) => self.interfaces.insert(index, interface),
            None => self.interfaces.remove(&index),
        };
        let mut matters = self.stands_on(index);
        for id in self.sets.ids() {
            matters |= self.resolve_set(id);
        }
        if self.sources_present() != sources {
            matters = true;
            self.enqueue_all();
        }
        if matters {
            self.links_matter();
        }
    }

    /// Links that came back and were not admitted yet. Each return is a new value: one that is no longer listed needs
    /// no admission.
    pub fn returned(&self) -> impl Iterator<Item = Return> + '_ {
        let each = |(interface, number): (&u32, &u64)| Return {
            interface: *interface,
            number: *number,
        };
        self.returned.iter().map(each)
    }

    /// The legs on a link that came back join those that never left.
    pub fn admit(&mut self, back: Return) {
        if self.returned.get(&back.interface) == Some(&back.number) {
            self.returned.remove(&back.interface);
            self.sets.mark_all();
        }
    }

    /// Before the change of an interface: is this a link with legs of ours that comes back?
    fn note_return(&mut self, index: u32, new: Option<&Interface>) {
        let carries = |interface: &Interface| interface.up && interface.carrier;
        let was_down = self.interfaces.get(&index).is_some_and(|old| !carries(old));
        if !new.is_some_and(carries) {
            self.returned.remove(&index);
        } else if was_down && self.has_leg(index) {
            self.returns = self.returns.wrapping_add(1);
            self.returned.insert(index, self.returns);
        }
    }

    fn has_leg(&self, index: u32) -> bool {
        self.sets
            .wanted()
            .any(|set| set.legs.iter().flatten().any(|leg| leg.interface == index))
    }

    fn links_matter(&mut self) {
        self.sets.mark_all();
        self.stale.nexthops |= self.objects_in_use;
        self.verify_routes = true;
        self.retry();
        for slot in std::mem::take(&mut self.foreign) {
            self.enqueue_afresh(slot);
        }
    }

    fn stands_on(&self, index: u32) -> bool {
        let by_object = || {
            self.objects.values().any(
                |object| matches!(&object.seen, Some(NexthopContent::Gateway(leg)) if leg.interface == index),
            )
        };
        let by_route = || {
            !self.objects_in_use
                && self
                    .entries
                    .iter()
                    .filter_map(|entry| self.sights.get(entry.seen?))
                    .any(|seen| match &seen.target {
                        Target::Paths(legs) => legs.iter().any(|leg| leg.interface == index),
                        Target::Nexthop(_) | Target::Unreachable | Target::Other => false,
                    })
        };
        self.has_leg(index) || by_object() || by_route()
    }

    /// Which of the node's preferred sources some interface carries.
    fn sources_present(&self) -> [bool; 2] {
        [
            self.pref_src
                .ipv4
                .is_some_and(|source| self.carries(source.into())),
            self.pref_src
                .ipv6
                .is_some_and(|source| self.carries(source.into())),
        ]
    }

    fn carries(&self, source: IpAddr) -> bool {
        self.interfaces
            .values()
            .any(|interface| interface.addresses.iter().any(|address| address.ip() == source))
    }

    /// The source that a route shall prefer: its own, else the node's; none that the kernel would refuse.
    pub(crate) fn source_for(&self, prefix: IpNetwork, own: Option<IpAddr>) -> Option<IpAddr> {
        let source = own.or(match prefix {
            IpNetwork::V4(_) => self.pref_src.ipv4.map(IpAddr::V4),
            IpNetwork::V6(_) => self.pref_src.ipv6.map(IpAddr::V6),
        });
        source.filter(|source| source.is_ipv4() == prefix.is_ipv4() && self.carries(*source))
    }
}
