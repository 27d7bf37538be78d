//! How connections begin: a SYN, the answer to it, the answer to that; each may be lost and is sent again.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use flatroute_bgp::rib::LocalAddresses;
use flatroute_bgp::types::ConnId;

use super::World;
use crate::marks::Mark;
use crate::queue::Happening;
use crate::tcp::{Conn, End, Flow, Key, SYN_RETRY, Side, Stage, pause};
use crate::topology::{HostId, Role};
use crate::verify::neighbour;

/// The port that a connection comes from.
const EPHEMERAL: u16 = 50_000;
/// The window of whoever means harm: small, so that it is full soon when nobody reads.
const ROGUE_WINDOW: usize = 128;

impl World {
    /// A process asks for a connection.
    pub(crate) fn dial(&mut self, host: HostId, conn: ConnId, address: IpAddr) {
        let Some(port) = self.topology.neighbour(host, address) else {
            let name = self.name(host).to_owned();
            self.fail(|| format!("{name} dials {address}, which no link of it leads to"));
            return;
        };
        let (link, remote) = (port.link, port.remote);
        let end = |host, conn| End {
            host,
            conn,
            stage: Stage::Opening,
            unsent: BytesMut::new(),
            waiting_since: None,
            looked_at: false,
        };
        let is_rogue = |host: HostId| self.topology.hosts[host].role == Role::Rogue;
        let key = self.conns.insert(Conn {
            link,
            window: if is_rogue(host) || is_rogue(remote) {
                ROGUE_WINDOW
            } else {
                self.options.window
            },
            ends: [end(host, Some(conn)), end(remote, None)],
            flows: [Flow::default(), Flow::default()],
            lost: 0,
            news: false,
            farewell: [None; 2],
        });
        self.machines[host].conns.insert(conn, (key, Side::Dialled));
        self.trace
            .fact(self.now, "dial", &[host as u64, key.number()], || {
                format!(
                    "{} to {}",
                    self.topology.hosts[host].name, self.topology.hosts[remote].name
                )
            });
        let latency = self.latency(key);
        self.order(latency, Happening::Syn(key));
    }

    /// A part of the handshake that is lost is sent again, with what follows from it.
    fn handshake_lost(&mut self, key: Key, from: Side) -> bool {
        let Some(conn) = self.conns.get(key) else {
            return true;
        };
        if self.passes(conn, from) {
            return false;
        }
        if let Some(conn) = self.conns.get_mut(key) {
            let after = pause(SYN_RETRY, conn.lost);
            conn.lost += 1;
            self.marks.reach(Mark::SynLost);
            self.order(after, Happening::Syn(key));
        }
        true
    }

    pub(super) fn syn(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        if conn.ends[0].stage != Stage::Opening {
            // Who dialled has given up.
            self.abandon(key, Side::Accepted);
            return;
        }
        if self.handshake_lost(key, Side::Dialled) {
            return;
        }
        let latency = self.latency(key);
        let Some(conn) = self.conns.get(key) else { return };
        if self.machines[conn.ends[1].host].listens() {
            self.order(latency, Happening::SynAck(key));
        } else {
            self.order(latency, Happening::Reset(key, Side::Dialled));
        }
    }

    pub(super) fn syn_ack(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        if conn.ends[0].stage != Stage::Opening {
            self.abandon(key, Side::Accepted);
            return;
        }
        if self.handshake_lost(key, Side::Accepted) {
            return;
        }
        let Some(conn) = self.conns.get(key) else { return };
        let (host, name) = (conn.ends[0].host, conn.ends[0].conn);
        if self.postpone(host, Happening::SynAck(key)) {
            return;
        }
        let latency = self.latency(key);
        self.order(latency, Happening::Ack(key));
        let local = self.local(key, Side::Dialled).0;
        if let (Some(conn), Some(name)) = (self.conns.get_mut(key), name) {
            conn.ends[0].stage = Stage::Open;
            self.trace
                .fact(self.now, "connected", &[host as u64, key.number()], || {
                    self.topology.hosts[host].name.clone()
                });
            self.opened(host, name, local, None);
        }
    }

    /// Our addresses on the link of a connection, and the other end's.
    fn local(&self, key: Key, side: Side) -> (LocalAddresses, Option<IpAddr>) {
        let port = self.conns.get(key).and_then(|conn| {
            let ports = &self.topology.hosts[conn.ends[side.at()].host].ports;
            ports.iter().find(|port| port.link == conn.link)
        });
        port.map_or_else(Default::default, |port| {
            (port.local, port.remote_addresses.first().copied())
        })
    }

    pub(super) fn ack(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let host = conn.ends[1].host;
        if conn.ends[1].stage != Stage::Opening {
            return;
        }
        if !self.passes(conn, Side::Dialled) {
            self.order(SYN_RETRY, Happening::Ack(key));
            return;
        }
        if !self.machines[host].listens() {
            let latency = self.latency(key);
            self.abandon(key, Side::Accepted);
            self.order(latency, Happening::Reset(key, Side::Dialled));
            return;
        }
        if self.postpone(host, Happening::Ack(key)) {
            return;
        }
        let (local, remote) = self.local(key, Side::Accepted);
        let machine = &mut self.machines[host];
        let name = ConnId::Accepted(machine.accepted);
        machine.accepted += 1;
        machine.conns.insert(name, (key, Side::Accepted));
        if let Some(conn) = self.conns.get_mut(key) {
            conn.ends[1].stage = Stage::Open;
            conn.ends[1].conn = Some(name);
        }
        self.mark_simultaneous(key);
        self.trace
            .fact(self.now, "accepted", &[host as u64, key.number()], || {
                self.topology.hosts[host].name.clone()
            });
        if let Some(remote) = remote {
            let remote = SocketAddr::new(remote, EPHEMERAL);
            self.opened(host, name, local, Some(remote));
        }
    }

    /// Whether another connection of the same pair is open, or about to be.
    fn mark_simultaneous(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let (host, link) = (conn.ends[1].host, conn.link);
        let others = self.machines[host].conns.values();
        let same = others.filter(|(other, _)| self.conns.get(*other).is_some_and(|c| c.link == link));
        if same.count() > 1 {
            self.marks.reach(Mark::SimultaneousConnect);
        }
        let speaker = self.machines[host].speaker.as_ref();
        let peer = speaker
            .zip(neighbour(self, host, link))
            .and_then(|(speaker, name)| speaker.peer(name, self.now));
        if self.options.watches && peer.is_some_and(|peer| peer.negotiated.is_some()) {
            self.marks.reach(Mark::ConnectionBesideSession);
        }
    }
}
