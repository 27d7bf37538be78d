//! Where the driver listens: the addresses that are wanted, the keys on them, and when to try the others.
//!
//! An address that is refused (in use, or not there yet) keeps its place with the reason, and is tried again every
//! [`LISTEN_RETRY`]. A listener that cannot hand over a connection, as when descriptors run out, stays ready for
//! good, so all are left alone for [`ACCEPT_RETRY`] then: asking again at once would take all of the processor.
//!
//! **Keys fail closed.** A listener has the keys of its neighbours before it takes the first connection. A key that
//! changes is set first; then the connections that wait, made under the old rule, are taken out, and those of the
//! neighbour concerned are closed. A key that the kernel refuses is a reason ([`Listeners::refusal`]) for which the
//! neighbour is held down, and is tried again like an address.
//!
//! **Link-local neighbours with a key** have a listener on their interface beside the one that hears everything
//! (`keys` says why). The kernel hands what arrives there to the former; should it not exist, the latter gets
//! connections without a signature, which are refused when they are prepared.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::task::{Context, Poll};
use std::time::Duration;

use flatroute_bgp::speaker::Md5Key;
use flatroute_bgp::types::Prefix;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::keys::{Keys, Scope, host, scope};
use crate::{LISTEN_RETRY, socket};

/// How long no connection is taken after one could not be.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Connections that were taken out of a listener.
pub(crate) type Waiting = Vec<(TcpStream, SocketAddr)>;

struct Listener {
    wanted: SocketAddr,
    /// The interface that it is bound to.
    interface: Option<NonZeroU32>,
    socket: Result<TcpListener, String>,
    /// The keys that are set on it.
    keys: BTreeMap<Prefix, Md5Key>,
    /// Those that the kernel refused, and why.
    refused: BTreeMap<Prefix, String>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    keys: Keys,
    /// When those that are not open are tried again.
    next_listen: Option<Instant>,
    /// No connection is taken before this moment.
    next_accept: Option<Instant>,
}

impl Listeners {
    /// Opens what is missing among these addresses, closes what is not, keeps the rest.
    pub(crate) fn listen_on(&mut self, addresses: Vec<SocketAddr>, now: Instant) -> Waiting {
        self.addresses = addresses;
        self.update(now)
    }

    /// Puts these keys in force, and opens and closes the listeners of single interfaces.
    pub(crate) fn set_keys(&mut self, keys: Keys, now: Instant) -> Waiting {
        self.keys = keys;
        self.update(now)
    }

    fn update(&mut self, now: Instant) -> Waiting {
        self.next_listen = None;
        let mut waiting = Waiting::new();
        let wanted = self.wanted();
        let mut before = std::mem::take(&mut self.all);
        before.retain(|l| wanted.contains(&(l.wanted, l.interface)));
        for (address, interface) in wanted {
            let found = before
                .iter()
                .position(|l| (l.wanted, l.interface) == (address, interface));
            let keys = self.keys.of_listener(address.is_ipv4(), interface);
            let listener = match found.map(|at| before.swap_remove(at)) {
                Some(open) if open.socket.is_ok() => open.rekey(keys, &mut waiting),
                old => self.open(address, interface, keys, old),
            };
            if listener.socket.is_err() || !listener.refused.is_empty() {
                self.next_listen = Some(now + LISTEN_RETRY);
            }
            self.all.push(listener);
        }
        waiting
    }

    /// Each address once, followed by the interfaces that need a listener beside it.
    fn wanted(&self) -> Vec<(SocketAddr, Option<NonZeroU32>)> {
        let mut wanted = Vec::new();
        for address in &self.addresses {
            if wanted.contains(&(*address, None)) {
                continue;
            }
            wanted.push((*address, None));
            // One that hears only an address of ours hears no link-local neighbour.
            if address.is_ipv6() && address.ip().is_unspecified() {
                wanted.extend(self.keys.interfaces().into_iter().map(|i| (*address, Some(i))));
            }
        }
        wanted
    }

    /// Opens a listener; a reason that has been told already is not told again.
    fn open(
        &self,
        wanted: SocketAddr,
        interface: Option<NonZeroU32>,
        keys: BTreeMap<Prefix, Md5Key>,
        old: Option<Listener>,
    ) -> Listener {
        let opened = match interface {
            None => socket::listen(wanted, None, &keys),
            Some(interface) => match self.shared(wanted) {
                Some(shared) => shared
                    .local_addr()
                    .and_then(|address| socket::listen(address, Some((interface, shared)), &keys)),
                None => Err(io::Error::other("waits for the listener of all interfaces")),
            },
        };
        let mut listener = Listener {
            wanted,
            interface,
            socket: Err(String::new()),
            keys,
            refused: BTreeMap::new(),
        };
        let told = old.and_then(|l| l.socket.err());
        match opened {
            Ok((socket, refused)) => {
                tracing::info!(address = %listener.shown(), "listening");
                listener.socket = Ok(socket);
                listener.keys.retain(|peer, _| !refused.contains_key(peer));
                listener.refuse(refused);
            }
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    tracing::warn!(address = %listener.shown(), %error, "cannot listen; neighbours cannot dial this node, trying again");
                }
                listener.socket = Err(error);
            }
        }
        listener
    }

    /// The open listener of all interfaces.
    fn shared(&self, wanted: SocketAddr) -> Option<&TcpListener> {
        let found = self
            .all
            .iter()
            .find(|l| l.wanted == wanted && l.interface.is_none());
        found.and_then(|l| l.socket.as_ref().ok())
    }

    /// Why a neighbour's key is not in force where it should be, if so.
    pub(crate) fn refusal(&self, address: IpAddr, interface: Option<u32>) -> Option<String> {
        match scope(address, interface) {
            Scope::Nowhere => Some("its link-local address needs an interface".to_owned()),
            Scope::Anywhere => self.refusal_of(host(address)),
            Scope::On(interface) => {
                let own = |l: &&Listener| l.interface == Some(interface);
                self.all.iter().filter(own).find_map(|l| match &l.socket {
                    Ok(_) => l.refused.get(&host(address)).cloned(),
                    // Without the listener of all interfaces nobody can dial, which is no matter of keys.
                    Err(error) => self
                        .shared(l.wanted)
                        .map(|_| format!("no listener on interface {interface}: {error}")),
                })
            }
        }
    }

    /// The same of all that share this key.
    pub(crate) fn refusal_of(&self, peers: Prefix) -> Option<String> {
        self.all.iter().find_map(|l| l.refused.get(&peers)).cloned()
    }

    /// Closes all.
    pub(crate) fn close(&mut self) {
        *self = Self::default();
    }

    /// When [`Listeners::expire`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_listen.into_iter().chain(self.next_accept).min()
    }

    /// Does what waited for a moment that is over. None: nothing was tried again.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Waiting> {
        self.next_accept = self.next_accept.filter(|at| *at > now);
        self.next_listen
            .is_some_and(|at| at <= now)
            .then(|| self.update(now))
    }

    /// The next connection. An error of the connection itself is passed over by calling again.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        if self.next_accept.is_none() {
            for listener in self.all.iter().filter_map(|l| l.socket.as_ref().ok()) {
                if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
        }
        Poll::Pending
    }

    /// A connection could not be taken.
    pub(crate) fn failed(&mut self, error: &io::Error, now: Instant) {
        let gone = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::Interrupted,
        ];
        // The dialler went before we came; the next one may be well.
        if gone.contains(&error.kind()) {
            return;
        }
        tracing::warn!(%error, "cannot take a connection; neighbours that dial have to wait");
        self.next_accept = Some(now + ACCEPT_RETRY);
    }

    /// Each address, with the interface as its scope where it has one, and why it is not listened on.
    pub(crate) fn status(&self) -> Vec<(SocketAddr, Option<String>)> {
        self.all
            .iter()
            .map(|l| (l.shown(), l.socket.as_ref().err().cloned()))
            .collect()
    }
}

impl Listener {
    /// Its address, with the interface as the scope.
    fn shown(&self) -> SocketAddr {
        let mut address = self.wanted;
        if let Ok(Ok(local)) = self.socket.as_ref().map(TcpListener::local_addr) {
            address = local;
        }
        if let (SocketAddr::V6(v6), Some(interface)) = (&mut address, self.interface) {
            v6.set_scope_id(interface.get());
        }
        address
    }

    fn refuse(&mut self, refused: BTreeMap<Prefix, String>) {
        for (peer, error) in &refused {
            if self.refused.get(peer) != Some(error) {
                tracing::warn!(listener = %self.shown(), %error, "the neighbour is held down, trying again");
            }
        }
        self.refused = refused;
    }

    /// Puts other keys in force. What waits here was made under the old ones: it is taken out, and of it only the
    /// connections of neighbours whose keys stay are given back.
    fn rekey(mut self, keys: BTreeMap<Prefix, Md5Key>, waiting: &mut Waiting) -> Self {
        let Ok(socket) = &self.socket else { return self };
        match change(socket, &self.keys, &keys) {
            Ok(change) => {
                self.keys = keys;
                self.keys.retain(|peer, _| !change.refused.contains_key(peer));
                waiting.extend(change.waiting);
                self.refuse(change.refused);
            }
            // Closed with all that waits in it, and soon opened again with the right keys.
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(listener = %self.shown(), %error, "closed, trying again");
                self.socket = Err(error);
            }
        }
        self
    }
}

/// What became of a change of keys.
struct Change {
    refused: BTreeMap<Prefix, String>,
    waiting: Waiting,
}

fn change(
    listener: &TcpListener,
    old: &BTreeMap<Prefix, Md5Key>,
    new: &BTreeMap<Prefix, Md5Key>,
) -> io::Result<Change> {
    let mut changed: BTreeSet<Prefix> = BTreeSet::new();
    let mut refused = BTreeMap::new();
    for peer in old.keys().filter(|peer| !new.contains_key(peer)) {
        socket::set_key(listener, *peer, None)?;
        changed.insert(*peer);
    }
    for (peer, key) in new.iter().filter(|(peer, key)| old.get(peer) != Some(key)) {
        match socket::set_key(listener, *peer, Some(key)) {
            Ok(()) => _ = changed.insert(*peer),
            // The old key must not stay in force either.
            Err(error) if old.contains_key(peer) => return Err(error),
            Err(error) => _ = refused.insert(*peer, error.to_string()),
        }
    }
    let mut waiting = Waiting::new();
    if !changed.is_empty() {
        waiting = socket::take_waiting(listener)?;
        waiting.retain(|(_, remote)| !changed.iter().any(|peers| peers.contains(remote.ip())));
    }
    Ok(Change { refused, waiting })
}
