//! The speaker: configuration, peers and RIB joined into one machine.
//!
//! A driver tells the speaker one fact at a time through [`Speaker::handle`] — a new configuration, octets that
//! arrived, a connection that failed, a deadline that passed — and then asks for everything that the speaker
//! wants to say, in this order:
//!
//! 1. [`Speaker::poll_output`] until it is empty: connections to open and to close, and events for people;
//! 2. [`Speaker::poll_transmit`] for each connection *whose socket has room*: OPEN, KEEPALIVE and NOTIFICATION
//!    first, then UPDATEs, made at this moment from the newest state of the RIB. A neighbour that does not read
//!    therefore costs a set of changed prefixes, never a queue of messages;
//! 3. [`Speaker::poll_fib`] when the kernel has room: the kernel is one more receiver of the same kind;
//! 4. [`Speaker::poll_timeout`] for the moment at which to call `handle(Input::Timeout)` at the latest.
//!
//! Time only enters as an argument and must not go back. Randomness comes from the seed given at the start, so
//! the same inputs at the same moments give the same outputs. Nothing here can fail: what goes wrong becomes a
//! state of a peer, an event and a reason in [`Speaker::status`].
//!
//! A new configuration is compared with the one in force, and only what differs is touched: a filter is
//! evaluated again over the routes that are already there, a session is reset only when what it was negotiated
//! with has changed.

mod accept;
mod allowance;
mod auth;
mod config;
mod drain;
mod dynamic;
mod learn;
mod message;
mod reconfigure;
mod refresh;
mod restart;
mod retention;
mod status;
mod transmit;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;

use crate::peer::{self, LastError, Negotiated, Peer};
use crate::rib::{Batch, LocalAddresses, PeerIndex, PeerSettings, Rib, RouteChange};
use crate::types::{ConnId, Family, FamilySet, Instant, PeerName};
use crate::wire::CeaseSubcode;

use allowance::Allowance;
use dynamic::Dynamic;
use retention::Retained;

pub use crate::policy::{Drain, NextHopMode, PrefixLimit, PrefixLimitAction, Reflection};
pub use crate::rib::Multipath;
pub use allowance::{EVENT_BURST, EVENT_INTERVAL};
pub use auth::{Auth, KeyError, MAX_KEY_LEN, Md5Key};
pub use config::{
    AdminState, Config, GracefulRestart, GracefulRestartMode, Origination, PeerConfig, RangeConfig, Ttl,
};
pub use drain::{DRAIN_TIME, LINGER_TIME};
pub use dynamic::FORGET_AFTER;
pub use message::{Event, EventKind, Input, Output, Sweep, Target};
pub use refresh::REFRESH_TIME;
pub use restart::{RESTARTING_PEER_PATIENCE, Restart, Restarting, SELECTION_DEFERRAL, SILENCE};
pub use retention::STALE_TIME;
pub use status::{PeerSummary, PrefixCounts, RetainedSummary, RouteEntry, RouteQuery, Why};

/// Events kept until they are asked for; further ones are dropped. A driver asks after every input.
const MAX_EVENTS: usize = 4096;
/// How many numbers of dialled connections each peer has before the next peer's begin.
const CONNS_PER_PEER: u64 = 1 << 32;

/// One neighbour, as the speaker keeps it.
struct Neighbour {
    config: PeerConfig,
    peer: Peer,
    /// Events of UPDATEs with errors.
    offences: Allowance,
    /// Events of NOTIFICATIONs.
    notifications: Allowance,
    /// All other events: a peer that comes and goes makes many.
    happenings: Allowance,
    /// The connections that are open or asked for, and our addresses on them.
    conns: BTreeMap<ConnId, LocalAddresses>,
    session: Option<Session>,
    /// Its routes that outlived a session.
    retained: Option<Retained>,
    /// Since when it is being drained.
    draining: Option<drain::Draining>,
    /// Whether it has been Established since it was configured.
    met: bool,
    /// Why a connection from its address was last refused before it was heard.
    refused: Option<LastError>,
}

/// An Established session.
struct Session {
    conn: ConnId,
    index: PeerIndex,
    negotiated: Negotiated,
    /// When it became Established.
    since: Instant,
    end_of_rib: FamilySet,
    /// When the last UPDATE came; until one has, when it became Established.
    heard: Instant,
    /// The families whose prefix limit was reached, so that it is told once a session.
    limited: FamilySet,
    /// The families of which a prefix had too many paths, likewise.
    crowded: FamilySet,
    /// The families that the peer is sending again (RFC 7313), and until when it may.
    refreshing: BTreeMap<Family, Instant>,
    /// A batch that did not fit into one message yet, and how many of its prefixes are sent.
    batch: Option<(Batch, usize)>,
}

/// The speaker.
pub struct Speaker {
    config: Config,
    neighbours: BTreeMap<PeerName, Neighbour>,
    /// Those that came by themselves.
    dynamic: BTreeMap<PeerName, Dynamic>,
    conns: BTreeMap<ConnId, PeerName>,
    rib: Rib,
    outputs: VecDeque<Output>,
    events: usize,
    /// Events of strangers.
    strangers: Allowance,
    seed: u64,
    peers_made: u64,
    stopped: bool,
    /// Whether there has been a configuration.
    configured: bool,
    /// How many sessions were lost: numbers for the RIB.
    losses: u64,
    /// The process before this one, and when this one began.
    restart: Option<(Restart, Instant)>,
    /// While no routes are chosen yet.
    deferral: Option<restart::Deferral>,
    /// When the kernel is told more of what it has not been told of yet.
    settles_at: Option<Instant>,
}

impl Speaker {
    /// A speaker without neighbours or routes. `seed` makes its jitter and its hash tables.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let config = Config::default();
        Self {
            rib: Rib::new(config.multipath, Arc::new(config.install.clone()), seed),
            config,
            neighbours: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            conns: BTreeMap::new(),
            outputs: VecDeque::new(),
            events: 0,
            strangers: Allowance::default(),
            seed,
            peers_made: 0,
            stopped: false,
            configured: false,
            losses: 0,
            restart: None,
            deferral: None,
            settles_at: None,
        }
    }

    /// Takes one fact.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        // What is heard makes nobody idle, unless it ends the connection.
        let (heard, conns) = (matches!(input, Input::Received { .. }), self.conns.len());
        match input {
            Input::Configure(config) => {
                self.reconfigure(config, now);
                self.configured = true;
            }
            Input::Connected { conn, local } => {
                if let Some(neighbour) = self.neighbour_of(conn) {
                    neighbour.conns.insert(conn, local);
                    self.feed(conn, peer::Input::Connected { conn }, now);
                }
            }
            Input::ConnectFailed { conn, error } => {
                self.feed(conn, peer::Input::ConnectFailed { conn, error }, now);
                self.forget(conn);
            }
            Input::Accepted { conn, remote, local } => self.accept(conn, remote, local, now),
            Input::Refused { remote, error, tell } => self.refused(remote, error, tell, now),
            Input::Received { conn, bytes } => self.feed(conn, peer::Input::Received { conn, bytes }, now),
            Input::Closed { conn, error } => {
                self.feed(conn, peer::Input::Closed { conn, error }, now);
                self.forget(conn);
            }
            Input::LocalAddresses { conn, local } => self.readdress(conn, local),
            Input::Refresh(name) => self.refresh(&name, now),
            Input::Shutdown { text } => {
                self.stopped = true;
                for name in self.names() {
                    let stop = peer::Input::Stop {
                        subcode: CeaseSubcode::AdministrativeShutdown,
                        text: text.clone(),
                    };
                    self.feed_peer(&name, stop, now);
                    self.drop_retained(&name, now);
                }
            }
            Input::Timeout => {
                for name in self.names() {
                    let due = self.neighbours.get(&name).and_then(|n| n.peer.poll_timeout());
                    if due.is_some_and(|due| due <= now) {
                        self.feed_peer(&name, peer::Input::Timeout, now);
                    }
                    self.expire_refreshes(&name, now);
                    self.expire_retained(&name, now);
                }
                self.expire_drains(now);
                self.stop_lingering(now);
            }
        }
        if self.deferral.is_some() {
            self.consider_choosing(now);
        }
        if !self.dynamic.is_empty() && (!heard || conns != self.conns.len()) {
            self.mind_dynamic(now);
        }
    }

    /// The next order or event.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if matches!(output, Some(Output::Event(_))) {
            self.events = self.events.saturating_sub(1);
        }
        output
    }

    /// Changes of what the kernel shall hold: at most `max`, each prefix at most once.
    pub fn poll_fib(&mut self, max: usize, now: Instant) -> Vec<RouteChange> {
        let changes = self.rib.poll_fib(max);
        self.linger(now);
        changes
    }

    /// Whether [`Speaker::poll_fib`] has something to say.
    #[must_use]
    pub fn has_fib_changes(&self) -> bool {
        self.rib.has_fib_pending()
    }

    /// Says every route to the kernel once more: for a receiver that lost its state.
    pub fn resend_fib(&mut self) {
        self.rib.resend_fib();
    }

    /// When to call `handle(Input::Timeout)` at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.neighbours
            .values()
            .flat_map(|n| {
                let refreshes = n.session.iter().flat_map(|s| s.refreshing.values().copied());
                let retained = n.retained.as_ref().and_then(Retained::next);
                let draining = n.draining.as_ref().and_then(drain::Draining::next);
                refreshes
                    .chain(n.peer.poll_timeout())
                    .chain(retained)
                    .chain(draining)
            })
            .chain(self.chooses_at())
            .chain(self.forgets_at())
            .chain(self.settles_at)
            .min()
    }

    fn names(&self) -> Vec<PeerName> {
        self.neighbours.keys().cloned().collect()
    }

    fn neighbour_of(&mut self, conn: ConnId) -> Option<&mut Neighbour> {
        self.conns
            .get(&conn)
            .and_then(|name| self.neighbours.get_mut(name))
    }

    fn forget(&mut self, conn: ConnId) {
        if let Some(neighbour) = self.neighbour_of(conn) {
            neighbour.conns.remove(&conn);
        }
        self.conns.remove(&conn);
    }

    fn readdress(&mut self, conn: ConnId, local: LocalAddresses) {
        let Some(name) = self.conns.get(&conn).cloned() else {
            return;
        };
        let Some(neighbour) = self.neighbours.get_mut(&name) else {
            return;
        };
        if neighbour.conns.insert(conn, local) == Some(local) {
            return;
        }
        if let Some(session) = neighbour.session.as_ref().filter(|s| s.conn == conn) {
            let settings = rib_settings(&name, neighbour, &session.negotiated, local);
            self.rib.set_peer(session.index, settings);
        }
    }

    fn feed(&mut self, conn: ConnId, input: peer::Input<'_>, now: Instant) {
        if let Some(name) = self.conns.get(&conn).cloned() {
            self.feed_peer(&name, input, now);
        }
    }

    /// Gives a peer one fact and carries out all that it answers.
    fn feed_peer(&mut self, name: &PeerName, input: peer::Input<'_>, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        neighbour.peer.handle(input, now);
        self.drain_peer(name, now);
    }

    fn drain_peer(&mut self, name: &PeerName, now: Instant) {
        while let Some(output) = self.neighbours.get_mut(name).and_then(|n| n.peer.poll_output()) {
            self.carry_out(name, output, now);
        }
    }

    fn carry_out(&mut self, name: &PeerName, output: peer::Output, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        match output {
            peer::Output::Dial(conn) => {
                neighbour.conns.insert(conn, LocalAddresses::default());
                self.conns.insert(conn, name.clone());
                self.outputs.push_back(Output::Dial {
                    conn,
                    target: target(&neighbour.config),
                });
            }
            peer::Output::Close(conn) => {
                let mut last = BytesMut::new();
                neighbour.peer.poll_transmit(conn, &mut last, now);
                self.outputs.push_back(Output::Close {
                    conn,
                    last: last.to_vec(),
                });
                self.forget(conn);
            }
            peer::Output::Established { conn, negotiated } => {
                self.established(name, conn, negotiated, now);
                self.event(Some(name.clone()), EventKind::Established, now);
            }
            peer::Output::Down { reason } => {
                let session = neighbour.session.take();
                let words = reason.to_string();
                self.event(Some(name.clone()), EventKind::Down { reason: words }, now);
                if let Some(session) = session {
                    self.lose(name, session, &reason, now);
                }
            }
            peer::Output::Notified {
                direction,
                notification,
                why,
                message,
            } => {
                let kind = EventKind::Notification {
                    direction,
                    notification,
                    why,
                    message,
                };
                self.event(Some(name.clone()), kind, now);
            }
            peer::Output::Offending(offence) => {
                self.event(Some(name.clone()), EventKind::Malformed { offence }, now);
            }
            peer::Output::Update(update) => self.update(name, &update, now),
            peer::Output::Refresh(family, subtype) => self.refreshed(name, family, subtype, now),
            peer::Output::Transition { from, to, cause } => {
                self.event(Some(name.clone()), EventKind::Transition { from, to, cause }, now);
            }
        }
    }

    fn established(&mut self, name: &PeerName, conn: ConnId, negotiated: Negotiated, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        let local = neighbour.conns.get(&conn).copied().unwrap_or_default();
        if let Some(old) = neighbour.session.take() {
            self.rib.peer_down(old.index);
        }
        let Some(index) = self.come_back(name, &negotiated, local, now) else {
            return;
        };
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        neighbour.met = true;
        neighbour.session = Some(Session {
            conn,
            index,
            negotiated,
            since: now,
            end_of_rib: FamilySet::NONE,
            heard: now,
            limited: FamilySet::NONE,
            crowded: FamilySet::NONE,
            refreshing: BTreeMap::new(),
            batch: None,
        });
        self.renew_offer(name);
    }
}

fn target(config: &PeerConfig) -> Target {
    Target {
        address: config.address,
        interface: config.interface,
        port: config.port,
        source: config.source_address,
        ttl: config.ttl,
        auth: config.auth.clone(),
    }
}

fn rib_settings(
    name: &PeerName,
    neighbour: &Neighbour,
    negotiated: &Negotiated,
    mut local: LocalAddresses,
) -> PeerSettings {
    let config = &neighbour.config;
    // A link-local next hop means nothing to a peer that is not on the link (RFC 2545 §3).
    let is_far = matches!(config.ttl, Ttl::Multihop(_)) && config.interface.is_none();
    if is_far {
        local.link_local = None;
    }
    PeerSettings {
        name: name.clone(),
        asn: negotiated.peer_asn,
        local_asn: config.session.local_asn,
        router_id: negotiated.peer_router_id,
        local_router_id: config.session.router_id,
        address: config.address,
        interface: config.interface,
        families: negotiated.families,
        extended_next_hop: negotiated.context.extended_next_hop,
        path_ids: negotiated.context.path_ids,
        role: config.session.role.filter(|_| !negotiated.context.internal),
        drain: drain::phase(neighbour.draining),
        long_lived: negotiated
            .graceful_restart
            .as_ref()
            .is_some_and(|g| !g.long_lived.is_empty()),
        restarted: negotiated.graceful_restart.as_ref().is_some_and(|g| g.restarted),
        relays: config.relays,
        local,
        next_hop: config.next_hop,
        reflection: config.reflection,
        allow_own_asn: config.allow_own_asn,
        next_hops: config.next_hops.clone(),
        limit: config.max_prefixes,
        import: Arc::new(config.import.clone()),
        export: Arc::new(config.export.clone()),
    }
}
