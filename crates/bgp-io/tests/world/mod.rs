//! What the tests of the driver stand on: a driver with its channels, the addresses of a test, and bounded waits.
//!
//! Everything runs on the loopback. Each process and each test has IPv4 addresses of its own in 127/8, so that tests
//! beside each other, also of two checkouts, never meet; listeners use the ports that the kernel gives them.
//! Nothing waits without a bound, and nothing sleeps to let something else happen: a wait asks again and again.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod raw;
pub mod signed;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use flatroute_bgp::peer::State;
use flatroute_bgp::policy::{Action, Condition, Filter, Rule, Set, Source, Verdict};
use flatroute_bgp::rib::RouteChange;
use flatroute_bgp::session::{ConnectMode, PeerAsn, Settings};
use flatroute_bgp::speaker::{
    AdminState, Auth, Config, Event, EventKind, GracefulRestart, Md5Key, NextHopMode, Origination,
    PeerConfig, PeerSummary, PrefixLimit, PrefixLimitAction, Ttl,
};
use flatroute_bgp::types::{Asn, FamilySet, PeerName, Prefix, RouterId};
use flatroute_bgp_io::{Handle, Interface, Options, RouteBatch, Status, spawn};
use ipnetwork::IpNetwork;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long anything may take that should take no time.
pub const BOUND: Duration = Duration::from_secs(10);
/// Our AS in every test.
pub const OURS: Asn = Asn(65_000);

/// An address that nobody else uses now.
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < 255, "more addresses than a process has");
    IpAddr::V4(Ipv4Addr::new(127, high, low, number))
}

pub fn prefix(text: &str) -> Prefix {
    text.parse::<IpNetwork>().expect("a prefix").into()
}

/// fd00::/64 and its successors. Not IPv4: over 127/8 we would tell a next hop that nobody takes.
pub fn prefixes(count: u32) -> Vec<Prefix> {
    (0..count)
        .map(|n| Prefix::v6((0xfd << 120) + (u128::from(n) << 64), 64).expect("a prefix"))
        .collect()
}

/// Waits for what must come soon.
pub async fn within<T>(what: &str, bound: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(bound, future)
        .await
        .unwrap_or_else(|_| panic!("not within {bound:?}: {what}"))
}

fn accept(sources: &[Source]) -> Filter {
    Filter {
        rules: vec![Rule {
            name: "test".into(),
            condition: Condition {
                sources: Some(sources.to_vec()),
                ..Condition::default()
            },
            action: Action::Accept,
            set: Set::default(),
        }],
        default: Verdict::Reject,
    }
}

/// A neighbour at `address` of AS `asn`, who dials.
pub fn peer(address: IpAddr, asn: u32) -> PeerConfig {
    PeerConfig {
        address,
        interface: None,
        port: 179,
        source_address: None,
        session: Settings {
            local_asn: OURS,
            router_id: RouterId(0x0a00_0001),
            peer_asn: PeerAsn::Exact(Asn(asn)),
            connect_mode: ConnectMode::Passive,
            hold_time: Duration::from_secs(90),
            keepalive_time: None,
            send_hold_time: None,
            connect_retry_time: Duration::from_secs(1),
            families: FamilySet::BOTH,
            extended_next_hop: false,
            add_path: None,
            role: None,
        },
        ttl: Ttl::Direct,
        auth: Auth::None,
        next_hop: NextHopMode::Auto,
        reflection: None,
        allow_own_asn: 0,
        next_hops: None,
        max_prefixes: PrefixLimit {
            limit: 1_000_000,
            action: PrefixLimitAction::Drop,
        },
        import: accept(&[Source::Learned]),
        export: accept(&[Source::PodCidrs, Source::Learned]),
        graceful_restart: GracefulRestart::DISABLED,
        relays: false,
        admin_state: AdminState::Up,
        drained: false,
    }
}

/// Neighbours by their names, and prefixes of our own.
pub fn config(
    peers: impl IntoIterator<Item = (&'static str, PeerConfig)>,
    originate: impl IntoIterator<Item = Prefix>,
) -> Config {
    Config {
        peers: peers
            .into_iter()
            .map(|(name, peer)| (PeerName::from(name), peer))
            .collect(),
        originate: originate
            .into_iter()
            .map(|prefix| Origination {
                prefix,
                source: Source::PodCidrs,
            })
            .collect(),
        install: accept(&[Source::Learned]),
        ..Config::default()
    }
}

/// A running driver.
pub struct Node {
    pub handle: Handle,
    pub task: JoinHandle<()>,
    pub routes: mpsc::Receiver<RouteBatch>,
    pub events: mpsc::Receiver<Event>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Node {
    /// A driver that listens on `address`, on a port of the kernel's choice.
    pub async fn start(address: IpAddr, config: Config) -> Self {
        Self::listening(SocketAddr::new(address, 0), config).await
    }

    /// A driver that listens there.
    pub async fn listening(address: SocketAddr, config: Config) -> Self {
        let (route_sender, routes) = mpsc::channel(4);
        let (event_sender, events) = mpsc::channel(4096);
        let (handle, task) = spawn(Options {
            listen: vec![address],
            seed: 7,
            restart: None,
            routes: route_sender,
            events: event_sender,
        });
        let mut node = Self {
            handle,
            task,
            routes,
            events,
            address,
        };
        let status = node.status().await;
        assert_eq!(status.listeners.len(), 1);
        assert_eq!(status.listeners[0].1, None);
        node.address = status.listeners[0].0;
        assert_ne!(node.address.port(), 0, "the status does not say the port");
        let interface = Interface {
            index: 1,
            addresses: vec![
                IpNetwork::from(address.ip()),
                "192.0.2.1/24".parse().unwrap(),
                "2001:db8::1/64".parse().unwrap(),
            ],
        };
        node.handle.interfaces(vec![interface]).await.unwrap();
        node.configure(config).await;
        // When this is answered, the configuration is in force.
        node.status().await;
        node
    }

    pub async fn configure(&self, config: Config) {
        within("configure", BOUND, self.handle.configure(config))
            .await
            .unwrap();
    }

    pub async fn status(&self) -> Status {
        within("status", BOUND, self.handle.status()).await.unwrap()
    }

    /// Waits until `wanted` is true of the status.
    pub async fn until(&self, what: &str, bound: Duration, wanted: impl Fn(&Status) -> bool) {
        let end = tokio::time::Instant::now() + bound;
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "not within {bound:?}: {what}; {status:#?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_established(&self, name: &str) {
        self.until(&format!("{name} Established"), BOUND, |s| {
            state(s, name) == State::Established
        })
        .await;
    }

    /// Waits for an event.
    pub async fn event(
        &mut self,
        what: &str,
        bound: Duration,
        wanted: impl Fn(&EventKind) -> bool,
    ) -> EventKind {
        within(what, bound, async {
            loop {
                let event = self.events.recv().await.expect("the driver runs");
                if wanted(&event.kind) {
                    return event.kind;
                }
            }
        })
        .await
    }

    /// Takes route changes until one concerns `prefix`.
    pub async fn route(&mut self, prefix: Prefix, bound: Duration) -> RouteChange {
        within(&format!("a route change of {prefix}"), bound, async {
            loop {
                let batch = self.routes.recv().await.expect("the driver runs");
                if let Some(change) = batch.changes.into_iter().find(|c| c.prefix == prefix) {
                    return change;
                }
            }
        })
        .await
    }

    pub async fn shutdown(self, text: &str) {
        let Self { handle, task, .. } = self;
        within("shutdown", BOUND, handle.shutdown(text.to_owned()))
            .await
            .unwrap();
        drop(handle);
        within("the end of the task", BOUND, task).await.unwrap();
    }
}

/// A neighbour.
pub fn summary<'a>(status: &'a Status, name: &str) -> &'a PeerSummary {
    let peer = status.peers.iter().find(|p| p.name.as_str() == name);
    peer.unwrap_or_else(|| panic!("no peer {name}"))
}

/// Its last error.
pub fn error(status: &Status, name: &str) -> String {
    let error = summary(status, name).last_error.as_ref();
    error.map_or_else(String::new, |e| e.text.clone())
}

/// A key.
pub fn key(text: &str) -> Auth {
    Auth::Md5(Md5Key::new(text.as_bytes()).expect("a key"))
}

pub fn state(status: &Status, name: &str) -> State {
    let peer = status.peers.iter().find(|p| p.name.as_str() == name);
    peer.unwrap_or_else(|| panic!("no peer {name}")).state
}

/// How many routes of a neighbour are accepted.
pub fn accepted(status: &Status, name: &str) -> u64 {
    let peer = status.peers.iter().find(|p| p.name.as_str() == name);
    let peer = peer.unwrap_or_else(|| panic!("no peer {name}"));
    peer.prefixes
        .iter()
        .map(|p| u64::try_from(p.counts.accepted).expect("few"))
        .sum()
}

pub fn flaps(status: &Status) -> u64 {
    status.peers.iter().map(|p| p.flaps).sum()
}

pub const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
