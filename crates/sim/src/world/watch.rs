//! What must hold after each step, also while nothing is at rest.

use std::time::Duration;

use flatroute_bgp::types::{ConnId, Family, FamilySet, PeerName};

use super::World;
use crate::marks::Mark;
use crate::queue::Happening;
use crate::tcp::{Key, Side, Stage};
use crate::topology::{HostId, LinkId, Role};
use crate::verify::{self, HARD_RESET, neighbour};

/// How often it is looked whether octets that wait have waited too long.
const LOOK: Duration = Duration::from_secs(5);

impl World {
    /// After a host's turn: its kernel holds no way by a neighbour with bad intentions, or by nobody, and no way to its own
    /// pods or to what is no pod CIDR at all.
    pub(super) fn watch_turn(&mut self, host: HostId) {
        if self.last_change != self.now {
            return;
        }
        let own = &self.topology.pods[host];
        let routes = self.machines[host].kernel.routes();
        let wrong = routes.iter().find_map(|(prefix, gateways)| {
            let is_pods = self.topology.pods.iter().flatten().any(|p| p == prefix);
            if own.contains(prefix) || !(is_pods || self.renumbered.contains(prefix)) {
                return Some(format!("a route to {prefix}"));
            }
            gateways.iter().find_map(|gateway| {
                let remote = self.topology.neighbour(host, *gateway).map(|p| p.remote);
                let is_good = remote.is_some_and(|r| self.topology.hosts[r].role != Role::Rogue);
                (!is_good).then(|| format!("a route to {prefix} by way of {gateway}"))
            })
        });
        if let Some(wrong) = wrong {
            let name = self.name(host).to_owned();
            self.fail(|| format!("the kernel of {name} has {wrong}"));
        }
    }

    /// After a kernel has changed: where it was promised that no packet is lost, none is.
    pub(super) fn watch_packets(&mut self, host: HostId) {
        let Some(promised) = self.promised.take() else {
            return;
        };
        let found = verify::reach(self, &promised).and_then(|()| verify::packets(self));
        self.promised = Some(promised);
        if let Err(words) = found {
            let name = self.name(host).to_owned();
            self.fail(|| format!("when the kernel of {name} had changed: {words}"));
        }
    }

    /// After a host's turn: of each of its sessions of which nothing is under way, both ends count the same prefixes.
    pub(super) fn watch_sessions(&mut self, host: HostId) {
        let conns: Vec<Key> = self.machines[host].conns.values().map(|(key, _)| *key).collect();
        for key in conns {
            self.watch_session(key);
        }
    }

    /// The link of a session that ends for good with what is read now, and how: the last octets of somebody honest who says a NOTIFICATION;
    /// where both ends take one for a restart, a Hard Reset.
    pub(super) fn farewell(&self, key: Key, side: Side) -> Option<(LinkId, (u8, u8))> {
        let conn = self.conns.get(key).filter(|_| self.options.watches)?;
        let (sender, reader) = (&conn.ends[side.at()], &conn.ends[side.other().at()]);
        let said = conn.farewell[side.at()].filter(|_| conn.flows[side.at()].segments.is_empty())?;
        if self.topology.hosts[sender.host].role == Role::Rogue {
            return None;
        }
        let speaker = self.machines[reader.host].speaker.as_ref()?;
        let peer = speaker.peer(neighbour(self, reader.host, conn.link)?, self.now)?;
        let negotiated = peer.negotiated.filter(|n| Some(n.conn) == reader.conn)?;
        let agreed = negotiated.graceful_restart.is_some_and(|g| g.notification);
        (!agreed || said == HARD_RESET).then_some((conn.link, said))
    }

    /// After a farewell was read: none of the routes that came before it are kept.
    pub(super) fn watch_farewell(&mut self, host: HostId, farewell: Option<(LinkId, (u8, u8))>) {
        let Some((link, said)) = farewell else { return };
        self.marks.reach(Mark::Farewell);
        if said == HARD_RESET {
            self.marks.reach(Mark::HardReset);
        }
        if let Err(words) = verify::forgotten(self, host, link) {
            self.fail(|| words);
        }
    }

    /// Before octets are written: a process that has restarted says nothing too early.
    pub(super) fn watch_early(&mut self, host: HostId, conn: ConnId, octets: &[u8]) {
        if !self.options.watches || !self.machines[host].unchosen {
            return;
        }
        self.marks.reach(Mark::WroteUnchosen);
        if let Err(words) = verify::early(self, host, conn, octets) {
            self.fail(|| words);
        }
    }

    /// After a fact: whether a process that has restarted may choose from now on; then it has.
    pub(super) fn watch_choice(&mut self, host: HostId) {
        if !self.options.watches || !self.machines[host].unchosen || !verify::may_choose(self, host) {
            return;
        }
        let machine = &mut self.machines[host];
        machine.unchosen = false;
        let speaker = machine.speaker.as_ref();
        if speaker.is_some_and(|speaker| speaker.restarting(self.now).is_some()) {
            let name = self.name(host).to_owned();
            self.fail(|| {
                format!("{name} waits on before it chooses its routes, though nobody is left to wait for")
            });
        }
    }

    /// After a kernel has all that its process wants, or a session was lost: no stale leg is in it beside a fresh one.
    pub(super) fn watch_stale(&mut self, host: HostId) {
        let machine = &self.machines[host];
        let is_settled =
            machine.swept && !machine.unchosen && !machine.retry_set && !machine.kernel.refuses();
        let is_news = machine.kept_lately || self.last_change == self.now;
        if !machine.keeps || !is_settled || !is_news || self.may_hold(host) {
            return;
        }
        self.machines[host].kept_lately = false;
        match verify::stale(self, host) {
            Err(words) => self.fail(|| words),
            Ok(found) => {
                self.machines[host].keeps = found.stale > 0;
                if found.left > 0 {
                    self.marks.reach(Mark::StaleGaveWay);
                }
            }
        }
    }

    /// Looks later whether octets that wait now still do.
    pub(super) fn look_later(&mut self, key: Key, side: Side) {
        let Some(conn) = self.conns.get_mut(key).filter(|_| self.options.watches) else {
            return;
        };
        if !std::mem::replace(&mut conn.ends[side.at()].looked_at, true) {
            self.order(LOOK, Happening::Overdue(key, side));
        }
    }

    /// Octets that waited may have waited for too long.
    pub(super) fn overdue(&mut self, key: Key, side: Side) {
        if let Err(words) = verify::waiting(self, key, side) {
            self.fail(|| words);
        }
        let Some(end) = self.conns.get_mut(key).map(|conn| &mut conn.ends[side.at()]) else {
            return;
        };
        end.looked_at = false;
        if end.stage == Stage::Open && end.waiting_since.is_some() {
            self.look_later(key, side);
        }
    }

    /// After a session became Established: nothing is kept of a neighbour whose machine has lost its routes since they were told
    /// (RFC 4724 §4.2, the F bit).
    pub(super) fn watch_return(&mut self, host: HostId, name: &PeerName) {
        let machine = &self.machines[host];
        let address = machine
            .neighbours
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(a, _)| *a);
        let port = address.and_then(|address| self.topology.neighbour(host, address));
        let peer = machine
            .speaker
            .as_ref()
            .and_then(|speaker| speaker.peer(name, self.now));
        let (Some(port), Some(peer)) = (port, peer) else {
            return;
        };
        let (link, remote) = (port.link, port.remote);
        let conn = peer.negotiated.as_ref().and_then(|n| machine.conns.get(&n.conn));
        let is_alive = conn
            .and_then(|(key, side)| Some(&self.conns.get(*key)?.ends[side.other().at()]))
            .is_some_and(|end| end.stage == Stage::Open);
        let boot = self.machines[remote].boots;
        if !is_alive || self.topology.hosts[remote].role == Role::Rogue {
            return;
        }
        let before = self.machines[host].met.insert(link, boot);
        if self.machines[remote].fresh && before.is_some_and(|before| before != boot) {
            self.marks.reach(Mark::BackWithoutRoutes);
            if peer.retained.is_some() {
                let (name, remote) = (self.name(host).to_owned(), self.name(remote).to_owned());
                self.fail(|| format!("{name} keeps routes of {remote}, whose machine has lost its own"));
            }
        }
    }

    fn watch_session(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let is_quiet = Side::BOTH.into_iter().all(|side| {
            let end = &conn.ends[side.at()];
            let machine = &self.machines[end.host];
            end.stage == Stage::Open
                && end.unsent.is_empty()
                && conn.flows[side.at()].is_quiet()
                && !machine.turn_set
                && !self.may_hold(end.host)
                && machine.speaker.is_some()
        });
        if !is_quiet || !conn.news {
            return;
        }
        let (link, hosts) = (conn.link, conn.ends.each_ref().map(|end| end.host));
        let summary = |side: Side| {
            let end = &conn.ends[side.at()];
            let speaker = self.machines[end.host].speaker.as_ref()?;
            let summary = speaker.peer(neighbour(self, end.host, link)?, self.now)?;
            let is_this = summary
                .negotiated
                .as_ref()
                .is_some_and(|n| Some(n.conn) == end.conn);
            (is_this && summary.end_of_rib).then_some(summary)
        };
        let (Some(one), Some(other)) = (summary(Side::Dialled), summary(Side::Accepted)) else {
            return;
        };
        self.marks.reach(Mark::BothEndsCounted);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.news = false;
        }
        let wrong = Family::ALL.into_iter().find(|family| {
            let of = |summary: &flatroute_bgp::speaker::PeerSummary| {
                let found = summary.prefixes.iter().find(|p| p.family == *family);
                found.map_or((0, 0), |p| (p.counts.received, p.counts.advertised))
            };
            let ((received, advertised), (their_received, their_advertised)) = (of(&one), of(&other));
            (received, advertised) != (their_advertised, their_received)
        });
        if let Some(family) = wrong {
            let hosts = hosts.map(|host| self.name(host).to_owned());
            self.fail(|| {
                format!(
                    "{} and {} do not count the same {family} prefixes: {:?} and {:?}",
                    hosts[0], hosts[1], one.prefixes, other.prefixes
                )
            });
        }
    }

    /// Gives a node other pod CIDRs, of a number that no node has.
    pub(crate) fn renumber(&mut self, host: HostId, number: usize) {
        let families: FamilySet = self.topology.families;
        let new = crate::topology::pods(families, number);
        let old = std::mem::replace(&mut self.topology.pods[host], new.clone());
        self.renumbered.extend(old);
        let (state, name) = (self.topology.hosts[host].state, self.name(host).to_owned());
        self.edit(state, |state| {
            if let Some(node) = state.nodes.get_mut(&name) {
                node.spec.pod_cidrs = Some(new.iter().map(ToString::to_string).collect());
            }
        });
    }
}
