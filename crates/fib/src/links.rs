//! Interfaces and addresses.
//!
//! Pods come and go with a link each, so that most changes concern nobody here. A change matters when a next hop
//! stands on the interface, when it resolves differently afterwards, when a nexthop object of ours lives on it,
//! or when a preferred source came or went. Then the kernel has, or may have, deleted objects and routes in
//! silence: the objects are read at once, the routes when the repair that follows from the objects is done.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::machine::{Fib, Report};
use crate::types::{Interface, NexthopContent, Target};

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
        let sources = self.sources_present();
        match new {
            Some(interface) => self.interfaces.insert(index, interface),
            None => self.interfaces.remove(&index),
        };
        self.report(Report::Interfaces);
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
        let by_leg = || {
            self.sets
                .wanted()
                .any(|set| set.legs.iter().flatten().any(|leg| leg.interface == index))
        };
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
                    .filter_map(|entry| entry.seen.as_ref())
                    .any(|seen| match &seen.target {
                        Target::Paths(legs) => legs.iter().any(|leg| leg.interface == index),
                        Target::Nexthop(_) | Target::Unreachable | Target::Other => false,
                    })
        };
        by_leg() || by_object() || by_route()
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
