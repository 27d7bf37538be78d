//! A kernel in memory, with the rules of the real one.
//!
//! It is strict where the kernel is strict (exclusive creation, objects must exist, a link must be up), silent
//! where the kernel is silent (what goes with a carrier or with a nexthop object goes without a word), and it has
//! other programs in it: the methods that are not verbs of [`Kernel`] are their deeds and the cable's.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::driver::{Answers, Kernel};
use crate::types::{
    Interface, KernelNexthop, KernelRoute, Leg, NexthopContent, NexthopId, Notice, Op, Refusal, RefusalKind,
    Target,
};

/// A route in the fake kernel; at most one a prefix, because all have one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRoute {
    /// Whether it carries our protocol number.
    pub ours: bool,
    /// The route.
    pub route: KernelRoute,
}

/// The fake kernel.
#[derive(Debug, Default)]
pub struct MemoryKernel {
    /// Interfaces by index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// Nexthop objects by identifier.
    pub nexthops: BTreeMap<NexthopId, KernelNexthop>,
    /// Routes by prefix.
    pub routes: BTreeMap<IpNetwork, HeldRoute>,
    /// Writes it was given, in order.
    pub written: Vec<Op>,
    /// Routes of other programs that one of our writes replaced, as the real kernel would let us.
    pub trespasses: Vec<IpNetwork>,
    /// Batches whose answers are held back, to have several under way.
    pub delay: usize,
    notices: VecDeque<Notice>,
    answers: VecDeque<Vec<(Op, Result<(), Refusal>)>>,
}

fn refuse(kind: RefusalKind, text: &str) -> Result<(), Refusal> {
    Err(Refusal {
        kind,
        text: text.to_owned(),
    })
}

impl MemoryKernel {
    /// Adds an interface that is up, or replaces it.
    pub fn add_interface(&mut self, index: u32, addresses: &[IpNetwork]) {
        let name = format!("up{index}");
        let addresses = addresses.iter().copied().collect();
        self.interfaces.insert(
            index,
            Interface {
                index,
                name,
                up: true,
                carrier: true,
                addresses,
            },
        );
        self.tell_link(index);
    }

    /// Plugs or pulls a cable. Losing the carrier deletes, in silence, the objects on the link, their legs in
    /// groups and the routes that lose their last leg.
    pub fn set_carrier(&mut self, index: u32, carrier: bool) {
        if let Some(interface) = self.interfaces.get_mut(&index) {
            interface.carrier = carrier;
        }
        if !carrier {
            let on_link = |content: &NexthopContent| matches!(content, NexthopContent::Gateway(leg) if leg.interface == index);
            let lost: Vec<NexthopId> = self
                .nexthops
                .values()
                .filter(|found| on_link(&found.content))
                .map(|found| found.id)
                .collect();
            for id in lost {
                self.flush_nexthop(id);
            }
        }
        self.tell_link(index);
    }

    /// Takes an address off an interface; routes that prefer it as source go in silence.
    pub fn remove_address(&mut self, index: u32, address: IpNetwork) {
        if let Some(interface) = self.interfaces.get_mut(&index) {
            interface.addresses.remove(&address);
        }
        self.routes
            .retain(|_, held| held.route.pref_src != Some(address.ip()));
        self.notices.push_back(Notice::AddressGone(index, address));
    }

    /// Puts an address on an interface.
    pub fn add_address(&mut self, index: u32, address: IpNetwork) {
        if let Some(interface) = self.interfaces.get_mut(&index) {
            interface.addresses.insert(address);
        }
        self.notices.push_back(Notice::Address(index, address));
    }

    /// Another program deletes whatever route is there.
    pub fn foreign_delete(&mut self, prefix: IpNetwork) {
        if let Some(held) = self.routes.remove(&prefix) {
            self.notices.push_back(if held.ours {
                Notice::RouteGone(prefix)
            } else {
                Notice::ForeignGone(prefix)
            });
        }
    }

    /// Another program writes a route of its own, in place of whatever is there.
    pub fn foreign_write(&mut self, prefix: IpNetwork) {
        let route = KernelRoute {
            prefix,
            target: Target::Other,
            pref_src: None,
        };
        if self
            .routes
            .insert(prefix, HeldRoute { ours: false, route })
            .is_some()
        {
            self.notices.push_back(Notice::ForeignReplaced(prefix));
        }
    }

    /// Another program deletes a nexthop object: what goes with it goes in silence.
    pub fn foreign_delete_nexthop(&mut self, id: NexthopId) {
        if self.nexthops.contains_key(&id) {
            self.flush_nexthop(id);
            self.notices.push_back(Notice::NexthopGone(id));
        }
    }

    /// The queue of notifications overflows.
    pub fn lose_notices(&mut self) {
        self.notices.clear();
        self.notices.push_back(Notice::Lost);
    }

    fn tell_link(&mut self, index: u32) {
        let Some(interface) = self.interfaces.get(&index) else {
            return;
        };
        let Interface {
            name,
            up,
            carrier,
            addresses,
            ..
        } = interface.clone();
        self.notices.push_back(Notice::Link {
            index,
            name,
            up,
            carrier,
        });
        self.notices.extend(
            addresses
                .into_iter()
                .map(|address| Notice::Address(index, address)),
        );
    }

    fn flush_nexthop(&mut self, id: NexthopId) {
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            self.nexthops.remove(&id);
            self.routes
                .retain(|_, held| held.route.target != Target::Nexthop(id));
            for nexthop in self.nexthops.values_mut() {
                if let NexthopContent::Group(members) = &mut nexthop.content {
                    members.retain(|member| *member != id);
                    if members.is_empty() {
                        gone.push(nexthop.id);
                    }
                }
            }
        }
    }

    fn is_up(&self, leg: &Leg) -> bool {
        self.interfaces
            .get(&leg.interface)
            .is_some_and(|interface| interface.up && interface.carrier)
    }

    fn carries(&self, source: IpAddr) -> bool {
        self.interfaces
            .values()
            .any(|interface| interface.addresses.iter().any(|address| address.ip() == source))
    }

    /// The legs behind a route.
    #[must_use]
    pub fn legs(&self, target: &Target) -> Vec<Leg> {
        let gateway = |id: &NexthopId| match self.nexthops.get(id).map(|found| &found.content) {
            Some(NexthopContent::Gateway(leg)) => Some(*leg),
            Some(NexthopContent::Group(_) | NexthopContent::Other) | None => None,
        };
        let mut legs = match target {
            Target::Paths(legs) => legs.clone(),
            Target::Nexthop(id) => match self.nexthops.get(id).map(|found| &found.content) {
                Some(NexthopContent::Group(members)) => members.iter().filter_map(gateway).collect(),
                Some(NexthopContent::Gateway(leg)) => vec![*leg],
                Some(NexthopContent::Other) | None => Vec::new(),
            },
            Target::Unreachable | Target::Other => Vec::new(),
        };
        legs.sort_unstable();
        legs
    }

    fn check_content(&self, content: &NexthopContent) -> Result<(), Refusal> {
        match content {
            NexthopContent::Gateway(leg) if self.is_up(leg) => Ok(()),
            NexthopContent::Gateway(_) => refuse(RefusalKind::Other, "Carrier for nexthop device is down"),
            NexthopContent::Group(members) => {
                let is_gateway = |id: &NexthopId| {
                    matches!(
                        self.nexthops.get(id).map(|found| &found.content),
                        Some(NexthopContent::Gateway(_))
                    )
                };
                if !members.is_empty() && members.iter().all(is_gateway) {
                    Ok(())
                } else {
                    refuse(RefusalKind::Other, "Invalid nexthop id")
                }
            }
            NexthopContent::Other => refuse(RefusalKind::Other, "no content"),
        }
    }

    fn check_route(&self, route: &KernelRoute) -> Result<(), Refusal> {
        if route.pref_src.is_some_and(|source| !self.carries(source)) {
            return refuse(RefusalKind::Other, "Invalid source address");
        }
        match &route.target {
            Target::Nexthop(id) if !self.nexthops.contains_key(id) => {
                refuse(RefusalKind::Other, "Nexthop id does not exist")
            }
            Target::Paths(legs) if legs.is_empty() => refuse(RefusalKind::Other, "No next hop"),
            Target::Nexthop(_) | Target::Paths(_) | Target::Unreachable => Ok(()),
            Target::Other => refuse(RefusalKind::Other, "no target"),
        }
    }

    fn write(&mut self, op: &Op) -> Result<(), Refusal> {
        self.written.push(op.clone());
        match op {
            Op::AddNexthop(id, _) if self.nexthops.contains_key(id) => {
                refuse(RefusalKind::Exists, "File exists")
            }
            Op::ReplaceNexthop(id, _) if !self.nexthops.contains_key(id) => {
                refuse(RefusalKind::Missing, "No such entry")
            }
            Op::AddNexthop(id, content) | Op::ReplaceNexthop(id, content) => {
                self.check_content(content)?;
                self.nexthops.insert(
                    *id,
                    KernelNexthop {
                        id: *id,
                        ours: true,
                        content: content.clone(),
                    },
                );
                Ok(())
            }
            Op::DeleteNexthop(id) => {
                if !self.nexthops.contains_key(id) {
                    return refuse(RefusalKind::Missing, "No such entry");
                }
                self.flush_nexthop(*id);
                Ok(())
            }
            Op::AddRoute(route) | Op::ReplaceRoute(route) => {
                let is_there = self.routes.contains_key(&route.prefix);
                self.check_route(route)?;
                match (matches!(op, Op::AddRoute(_)), is_there) {
                    (true, true) => return refuse(RefusalKind::Exists, "File exists"),
                    (false, false) => return refuse(RefusalKind::Missing, "No such route"),
                    (true, false) | (false, true) => {}
                }
                let old = self.routes.insert(
                    route.prefix,
                    HeldRoute {
                        ours: true,
                        route: route.clone(),
                    },
                );
                if old.is_some_and(|held| !held.ours) {
                    self.trespasses.push(route.prefix);
                }
                Ok(())
            }
            Op::DeleteRoute(prefix) => {
                if self.routes.get(prefix).is_some_and(|held| held.ours) {
                    self.routes.remove(prefix);
                    return Ok(());
                }
                refuse(RefusalKind::Missing, "No such process")
            }
        }
    }
}

impl Kernel for MemoryKernel {
    type Error = Infallible;

    fn interfaces(&mut self) -> Result<Vec<Interface>, Infallible> {
        Ok(self.interfaces.values().cloned().collect())
    }

    fn nexthops(&mut self) -> Result<Vec<KernelNexthop>, Infallible> {
        Ok(self.nexthops.values().cloned().collect())
    }

    fn routes(&mut self) -> Result<Vec<KernelRoute>, Infallible> {
        Ok(self
            .routes
            .values()
            .filter(|held| held.ours)
            .map(|held| held.route.clone())
            .collect())
    }

    fn notices(&mut self) -> Result<Vec<Notice>, Infallible> {
        Ok(self.notices.drain(..).collect())
    }

    fn apply(&mut self, ops: Vec<Op>) -> Result<Answers, Infallible> {
        let must_answer = ops.is_empty();
        if !must_answer {
            let answered = ops.into_iter().map(|op| {
                let answer = self.write(&op);
                (op, answer)
            });
            let answered = answered.collect();
            self.answers.push_back(answered);
        }
        if must_answer || self.answers.len() > self.delay {
            return Ok(self.answers.pop_front().unwrap_or_default());
        }
        Ok(Vec::new())
    }
}
