//! The machine: wanted routes and observed routes beside each other.
//!
//! Every prefix that anyone wants or that the kernel holds has one [`Entry`] in a slab; a queue holds the entries
//! whose two sides may differ. Everything that happens (a command, a notification, an answer, a read-back)
//! changes one side and puts entries into the queue; [`Fib::next_batch`] takes them out and compares. So the work
//! follows what changed, and a read-back is nothing special: it queues what it found to differ.
//!
//! A route that is in flight is not looked at until its answer is there, hence two answers for one prefix can
//! never be mixed up, even when several batches are under way.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::desired::{SetId, Sets};
use crate::objects::Object;
use crate::report::{Report, Stale};
use crate::shared::{Handle, Shared};
use crate::types::{
    DesiredRoute, InstalledRoute, Interface, NextHop, NexthopContent, NexthopId, Notice, Op, PrefSrc,
    RouteTarget, Settings, Target,
};

/// Most reports that wait to be fetched; more are counted and dropped.
const MAX_REPORTS: usize = 1024;

/// Where a wanted route leads, in interned form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WantTarget {
    Via(SetId),
    Unreachable,
}

/// A wanted route in interned form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Want {
    pub(crate) target: WantTarget,
    pub(crate) pref_src: Option<IpAddr>,
}

/// Why a wanted route is not there although it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// No next hop is usable.
    Waiting,
    /// The exclusive create met a route; whose it is the next read-back will tell.
    Conflict,
    /// That route was another program's.
    Foreign,
    /// The kernel refused.
    Failed,
}

/// What the kernel holds at a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) target: Target,
    pub(crate) pref_src: Option<IpAddr>,
}

/// One prefix, both sides. There are as many as there are routes: what many have in common lies in [`Shared`].
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) prefix: IpNetwork,
    /// What the speaker wants, of [`Fib::wants`].
    pub(crate) learned: Option<Handle>,
    /// What somebody else wants.
    pub(crate) fixed: Option<Handle>,
    /// What the kernel holds, of [`Fib::sights`].
    pub(crate) seen: Option<Handle>,
    pub(crate) trouble: Trouble,
    /// It stands in the queue.
    pub(crate) queued: bool,
    /// Its write is under way.
    pub(crate) in_flight: bool,
    /// It came up in the queue while its write was under way.
    pub(crate) again: bool,
    /// This run wanted it once: its withdrawal needs no permission to sweep.
    pub(crate) claimed: bool,
    /// The read-back that saw it last.
    pub(crate) generation: u32,
}

impl Entry {
    pub(crate) fn want(&self) -> Option<Handle> {
        self.fixed.or(self.learned)
    }
}

/// Kernel routes, wanted and observed, and the way from the second to the first.
#[derive(Debug)]
pub struct Fib {
    pub(crate) settings: Settings,
    /// Whether multipath stands on nexthop objects.
    pub(crate) objects_in_use: bool,
    pub(crate) pref_src: PrefSrc,
    pub(crate) interfaces: BTreeMap<u32, Interface>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) free: Vec<u32>,
    /// The entry of a prefix: for look-up only, never iterated.
    pub(crate) index: HashMap<IpNetwork, u32>,
    pub(crate) queue: VecDeque<u32>,
    pub(crate) wants: Shared<Want>,
    pub(crate) sights: Shared<Seen>,
    pub(crate) sets: Sets,
    pub(crate) objects: BTreeMap<NexthopId, Object>,
    /// Identifiers of our range that other programs use.
    pub(crate) taken: BTreeSet<NexthopId>,
    pub(crate) fixed: BTreeSet<IpNetwork>,
    /// Next hops that were declared dead and not named since.
    pub(crate) down: BTreeSet<IpAddr>,
    /// Interfaces that came back and whose legs do not share load yet, each with the number of that return.
    pub(crate) returned: BTreeMap<u32, u64>,
    pub(crate) returns: u64,
    /// Writes that overtake all others.
    pub(crate) urgent: Vec<Op>,
    pub(crate) sweep: bool,
    pub(crate) sweep_pending: bool,
    /// What must be read before anything else is written.
    pub(crate) stale: Stale,
    /// The routes should be read when nothing else is to do.
    pub(crate) verify_routes: bool,
    pub(crate) in_flight: usize,
    pub(crate) generation: u32,
    /// Objects that the kernel would not delete: left alone until the next retry.
    pub(crate) undeletable: BTreeSet<NexthopId>,
    pub(crate) conflicts: BTreeSet<u32>,
    pub(crate) foreign: BTreeSet<u32>,
    pub(crate) failed: BTreeSet<u32>,
    pub(crate) reports: VecDeque<Report>,
    pub(crate) drift: u64,
    pub(crate) resyncs: u64,
    pub(crate) reports_dropped: u64,
    pub(crate) answers: u64,
    pub(crate) installed: [usize; 2],
}

impl Fib {
    /// An empty machine that knows nothing of the kernel yet: everything is [stale](Self::stale).
    /// `objects_available`: the kernel has nexthop objects.
    #[must_use]
    pub fn new(settings: Settings, objects_available: bool) -> Self {
        let objects_in_use =
            objects_available && settings.nexthop_objects == crate::types::NexthopObjects::Auto;
        Self {
            settings,
            objects_in_use,
            pref_src: PrefSrc::default(),
            interfaces: BTreeMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            queue: VecDeque::new(),
            wants: Shared::default(),
            sights: Shared::default(),
            sets: Sets::default(),
            objects: BTreeMap::new(),
            taken: BTreeSet::new(),
            fixed: BTreeSet::new(),
            down: BTreeSet::new(),
            returned: BTreeMap::new(),
            returns: 0,
            urgent: Vec::new(),
            sweep: false,
            sweep_pending: false,
            stale: Stale {
                interfaces: true,
                nexthops: true,
                routes: true,
            },
            verify_routes: false,
            in_flight: 0,
            generation: 0,
            undeletable: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            foreign: BTreeSet::new(),
            failed: BTreeSet::new(),
            reports: VecDeque::new(),
            drift: 0,
            resyncs: 0,
            reports_dropped: 0,
            answers: 0,
            installed: [0, 0],
        }
    }

    /// A learned route, or its withdrawal.
    pub fn desire(&mut self, prefix: IpNetwork, route: Option<&DesiredRoute>) {
        let want = route.and_then(|route| self.want(route));
        let slot = self.slot(prefix);
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            let old = std::mem::replace(&mut entry.learned, want);
            entry.claimed |= want.is_some();
            self.release(old);
        }
        self.enqueue(slot);
    }

    /// The whole set of routes that do not come from the speaker. They win over learned ones.
    pub fn desire_static(&mut self, routes: &[(IpNetwork, DesiredRoute)]) {
        let mut gone = std::mem::take(&mut self.fixed);
        for (prefix, route) in routes {
            gone.remove(prefix);
            self.fixed.insert(*prefix);
            self.fix(*prefix, Some(route));
        }
        for prefix in gone {
            self.fix(prefix, None);
        }
    }

    fn fix(&mut self, prefix: IpNetwork, route: Option<&DesiredRoute>) {
        let want = route.and_then(|route| self.want(route));
        let slot = self.slot(prefix);
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            let old = std::mem::replace(&mut entry.fixed, want);
            entry.claimed |= want.is_some();
            self.release(old);
        }
        self.enqueue(slot);
    }

    /// The node's own addresses, preferred as source.
    pub fn prefer_source(&mut self, pref_src: PrefSrc) {
        if self.pref_src != pref_src {
            self.pref_src = pref_src;
            self.enqueue_all();
        }
    }

    /// From now on what nothing wants is removed, also what was there before this run.
    pub fn allow_sweep(&mut self) {
        if !self.sweep {
            self.sweep = true;
            self.sweep_pending = true;
            self.enqueue_all();
        }
    }

    /// The routes as the kernel holds them, by prefix.
    #[must_use]
    pub fn installed(&self) -> Vec<InstalledRoute> {
        let mut routes: Vec<_> = self
            .entries
            .iter()
            .filter_map(|entry| self.installed_route(entry))
            .collect();
        routes.sort_by_key(|route| route.prefix);
        routes
    }

    fn installed_route(&self, entry: &Entry) -> Option<InstalledRoute> {
        let seen = self.sights.get(entry.seen?)?;
        let (legs, nexthop) = match &seen.target {
            Target::Nexthop(id) => (self.legs_of(*id), Some(*id)),
            Target::Paths(legs) => (legs.clone(), None),
            Target::Unreachable | Target::Other => (Vec::new(), None),
        };
        Some(InstalledRoute {
            prefix: entry.prefix,
            legs,
            pref_src: seen.pref_src,
            nexthop,
        })
    }

    /// The interfaces as they are now, by index.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Interface> {
        self.interfaces.values().cloned().collect()
    }

    /// The group members by which this gateway is reached: deleting them takes it out of all groups and can
    /// flush no route that has another path.
    #[must_use]
    pub fn members(&self, gateway: IpAddr) -> Vec<NexthopId> {
        let is_member = |object: &Object| {
            object.role == crate::ids::Role::Member
                && matches!(&object.seen, Some(NexthopContent::Gateway(leg)) if leg.gateway == gateway)
        };
        self.objects
            .iter()
            .filter(|(_, object)| is_member(object))
            .map(|(id, _)| *id)
            .collect()
    }

    /// How many entries wait to be compared or answered. The source of new routes should hold back while this
    /// is more than a few batches.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len() + self.in_flight
    }

    /// How many writes were answered since the start.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// What must be read from the kernel now. Empty while writes are under way or overtaking ones wait, because
    /// answers and read-back could not be told apart in time.
    #[must_use]
    pub fn stale(&self) -> Stale {
        if self.in_flight > 0 || !self.urgent.is_empty() {
            return Stale::default();
        }
        let routes = self.stale.routes || (self.verify_routes && self.is_idle());
        Stale { routes, ..self.stale }
    }

    pub(crate) fn must_read(&self) -> bool {
        self.stale != Stale::default()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.queue.is_empty() && self.urgent.is_empty() && self.sets.dirty.is_empty()
    }

    /// Whether nothing is left to write, to read or to wait for but the outside world.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_idle() && !self.must_read() && !self.verify_routes && !self.sweep_pending
    }

    /// Whether some write was refused and [`Self::retry`] has something to do.
    #[must_use]
    pub fn wants_retry(&self) -> bool {
        !self.failed.is_empty() || !self.undeletable.is_empty() || self.sets.any_failed()
    }

    /// Tries again what the kernel refused.
    pub fn retry(&mut self) {
        // Not afresh: a route that is refused again was told of already.
        for slot in std::mem::take(&mut self.failed) {
            self.enqueue(slot);
        }
        self.sets.retry_failed();
        self.sweep_pending |= self.sweep && !self.undeletable.is_empty();
        self.undeletable.clear();
    }

    /// The oldest report that was not fetched yet.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    pub(crate) fn report(&mut self, report: Report) {
        if self.reports.len() >= MAX_REPORTS {
            self.reports_dropped = self.reports_dropped.saturating_add(1);
        } else {
            self.reports.push_back(report);
        }
    }

    pub(crate) fn slot(&mut self, prefix: IpNetwork) -> u32 {
        if let Some(slot) = self.index.get(&prefix) {
            return *slot;
        }
        let entry = Entry {
            prefix,
            learned: None,
            fixed: None,
            seen: None,
            trouble: Trouble::None,
            queued: false,
            in_flight: false,
            again: false,
            claimed: false,
            generation: 0,
        };
        let reused = self.free.pop();
        let slot = match reused {
            Some(slot) => slot,
            None => u32::try_from(self.entries.len()).unwrap_or(u32::MAX),
        };
        match self.entries.get_mut(slot as usize) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        self.index.insert(prefix, slot);
        slot
    }

    pub(crate) fn enqueue(&mut self, slot: u32) {
        if let Some(entry) = self.entries.get_mut(slot as usize)
            && !entry.queued
        {
            entry.queued = true;
            self.queue.push_back(slot);
        }
    }

    /// Queues an entry and forgets why it was left alone.
    pub(crate) fn enqueue_afresh(&mut self, slot: u32) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.trouble = Trouble::None;
        }
        self.enqueue(slot);
    }

    pub(crate) fn enqueue_all(&mut self) {
        self.enqueue_where(|_| true);
    }

    pub(crate) fn enqueue_where(&mut self, choose: impl Fn(&Entry) -> bool) {
        for (slot, entry) in (0_u32..).zip(self.entries.iter_mut()) {
            if !entry.queued && choose(entry) {
                entry.queued = true;
                self.queue.push_back(slot);
            }
        }
    }

    fn want(&mut self, route: &DesiredRoute) -> Option<Handle> {
        let target = match &route.target {
            RouteTarget::Unreachable => WantTarget::Unreachable,
            RouteTarget::Via(hops) => {
                if hops.is_empty() {
                    return None;
                }
                self.revive(hops);
                WantTarget::Via(self.intern(hops))
            }
        };
        Some(self.wants.hold(Want {
            target,
            pref_src: route.pref_src,
        }))
    }

    /// A next hop that is named again is alive again.
    fn revive(&mut self, hops: &[NextHop]) {
        if self.down.is_empty() {
            return;
        }
        for hop in hops {
            if self.down.remove(&hop.gateway) {
                self.sets.mark_gateway(hop.gateway);
            }
        }
    }

    /// An entry wants this no more: each that does has its share of the set too.
    fn release(&mut self, want: Option<Handle>) {
        let Some(handle) = want else { return };
        if let Some(WantTarget::Via(set)) = self.wants.get(handle).map(|want| want.target) {
            self.sets.release(set);
        }
        self.wants.release(handle);
    }

    /// Anything may have happened, also to the routes that stood in our way.
    fn lost(&mut self) {
        self.stale = Stale {
            interfaces: true,
            nexthops: true,
            routes: true,
        };
        let mut blocked = std::mem::take(&mut self.foreign);
        blocked.append(&mut self.conflicts);
        for slot in blocked {
            self.enqueue_afresh(slot);
        }
        for entry in &mut self.entries {
            entry.again |= entry.in_flight;
        }
    }

    /// Takes in what happened in the kernel.
    pub fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Link {
                index,
                name,
                up,
                carrier,
            } => self.link(index, name, up, carrier),
            Notice::LinkGone(index) => self.link_gone(index),
            Notice::Address(index, address) => self.address(index, address, true),
            Notice::AddressGone(index, address) => self.address(index, address, false),
            Notice::Nexthop(nexthop) => self.nexthop_seen(nexthop),
            Notice::NexthopGone(id) => self.nexthop_gone(id),
            Notice::Route(route) => self.route_changed(route),
            Notice::RouteGone(prefix) | Notice::ForeignReplaced(prefix) => self.route_gone(prefix),
            Notice::ForeignGone(prefix) => self.foreign_gone(prefix),
            Notice::Lost => self.lost(),
        }
    }
}
