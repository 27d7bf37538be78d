//! The interfaces of the node and their addresses, as facts: names and indices for the plan, addresses for the next
//! hops that neighbours are told.
//!
//! The kernel's notifications are used as a bell only. Whatever they say, and also when they say that some were lost,
//! all links and addresses are listed anew a moment later. There is no mirror that could drift away from the kernel,
//! and a change that falls into a listing rings again after it. A listing is cheap (a node has some
//! hundred links), and [`COALESCE`] makes one out of a burst. The kernel's FIB machine does keep a mirror of its own:
//! it must tell from each single notification whether the kernel has silently dropped objects of ours, and it reads
//! them on the socket whose order it relies on. Here nobody depends on single events, and one listing gives what
//! belongs together.
//!
//! Only the newest state is kept, in a `watch` channel. The channels inside of rtnetlink have no bound, so the
//! multicast socket is polled by hand, in the task that empties its channel: between two looks nothing is
//! read, and the kernel's queue is the bound. When that overflows, the kernel says so, and that is one more ring.
//!
//! An IPv6 address counts once duplicate address detection is done with it (RFC 4862 §5.4), since a next hop must
//! answer; of a point-to-point address pair only our own end is ours, and it covers nothing but itself.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt as _, TryStreamExt as _};
use ipnetwork::IpNetwork;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::proto::Connection;
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// What rings.
const GROUPS: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];
/// How long after the first ring the listing begins.
const COALESCE: Duration = Duration::from_millis(20);
/// How long the kernel may take for a listing.
const ANSWER: Duration = Duration::from_secs(5);
/// How long after a listing that failed the next one begins.
const RETRY: Duration = Duration::from_secs(1);

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Kernel index.
    pub index: u32,
    /// Kernel name.
    pub name: String,
    /// Administratively up.
    pub up: bool,
    /// The link has a carrier.
    pub carrier: bool,
    /// Our addresses, each with the length of its on-link prefix: first those that are to be preferred (neither
    /// secondary, temporary nor deprecated), and then in numeric order, so that one that comes later does not
    /// displace another without need.
    pub addresses: Vec<IpNetwork>,
}

/// Why the interfaces cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket could not be had.
    #[error("netlink: cannot open a socket for the node's links: {0}")]
    Open(io::Error),
    /// The kernel refused a listing.
    #[error("netlink: the kernel refused to list {what}: {source}")]
    List {
        /// What was asked for.
        what: &'static str,
        /// What came back.
        source: rtnetlink::Error,
    },
    /// The kernel did not answer.
    #[error("netlink: the kernel did not list its links within {} s", ANSWER.as_secs())]
    Silent,
    /// The socket of the notifications failed.
    #[error("netlink: notifications of links have ended")]
    Ended,
}

/// Lists the interfaces of the calling thread's network namespace, ordered by index, and follows them in a task of its
/// own. The receiver always has the newest state. It ends (`changed` fails) when the kernel can no
/// longer be heard; the task ends when no receiver is left.
///
/// # Errors
/// When netlink is out of reach. Needs no privilege.
///
/// # Panics
/// Outside of a tokio runtime with I/O and time.
pub async fn observe() -> Result<watch::Receiver<Vec<Interface>>, Error> {
    // Subscribed first: what changes during the first listing rings after it.
    let (connection, _, messages) = new_multicast_connection(&GROUPS).map_err(Error::Open)?;
    let bell = Bell { connection, messages };
    // Listings have a socket of their own, whose queue no notification can fill.
    let (asking, kernel, _) = new_connection().map_err(Error::Open)?;
    tokio::spawn(asking);
    let (sender, receiver) = watch::channel(list(&kernel).await?);
    tokio::spawn(follow(bell, kernel, sender));
    Ok(receiver)
}

async fn follow(mut bell: Bell, kernel: Handle, sender: watch::Sender<Vec<Interface>>) {
    loop {
        let rung = tokio::select! {
            rung = bell.ring_once() => rung,
            () = sender.closed() => return,
        };
        if let Err(error) = rung {
            tracing::error!(%error, "links are no longer followed");
            return;
        }
        let new = loop {
            match list(&kernel).await {
                Ok(new) => break new,
                Err(error) => tracing::warn!(%error, "links: tried again"),
            }
            sleep(RETRY).await;
        };
        sender.send_if_modified(|old| {
            let is_new = *old != new;
            *old = new;
            is_new
        });
    }
}

/// The notifications.
struct Bell {
    connection: Connection<RouteNetlinkMessage>,
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Bell {
    /// Waits for a notification, and takes those with it that come right after.
    async fn ring_once(&mut self) -> Result<(), Error> {
        self.notification().await?;
        let quiet = sleep(COALESCE);
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                biased;
                () = &mut quiet => return Ok(()),
                more = self.notification() => more?,
            }
        }
    }

    /// Takes one. The socket is read only when the channel behind it is empty.
    async fn notification(&mut self) -> Result<(), Error> {
        tokio::select! {
            biased;
            message = self.messages.next() => message.map(drop).ok_or(Error::Ended),
            () = &mut self.connection => Err(Error::Ended),
        }
    }
}

async fn list(kernel: &Handle) -> Result<Vec<Interface>, Error> {
    timeout(ANSWER, list_all(kernel))
        .await
        .map_err(|_| Error::Silent)?
}

async fn list_all(kernel: &Handle) -> Result<Vec<Interface>, Error> {
    let refused = |what| move |source| Error::List { what, source };
    let mut interfaces = BTreeMap::new();
    let without_counters = vec![LinkExtentMask::SkipStats];
    let links = kernel
        .link()
        .get()
        .set_filter_mask(AddressFamily::Unspec, without_counters)
        .execute();
    tokio::pin!(links);
    while let Some(message) = links.try_next().await.map_err(refused("links"))? {
        if let Some(interface) = interface(&message) {
            interfaces.insert(interface.index, interface);
        }
    }
    let mut found: Vec<(u32, bool, IpNetwork)> = Vec::new();
    let addresses = kernel.address().get().execute();
    tokio::pin!(addresses);
    while let Some(message) = addresses.try_next().await.map_err(refused("addresses"))? {
        found.extend(address(&message));
    }
    found.sort_unstable();
    for (index, _, network) in found {
        if let Some(interface) = interfaces.get_mut(&index) {
            interface.addresses.push(network);
        }
    }
    Ok(interfaces.into_values().collect())
}

fn interface(message: &LinkMessage) -> Option<Interface> {
    let name = message.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute {
            Some(name.clone())
        } else {
            None
        }
    })?;
    let flags = message.header.flags;
    Some(Interface {
        index: message.header.index,
        name,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        addresses: Vec::new(),
    })
}

/// The interface, whether others are to be preferred, and the address; none while it cannot be used.
fn address(message: &AddressMessage) -> Option<(u32, bool, IpNetwork)> {
    let (mut local, mut remote) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        if let AddressAttribute::Local(ip) = attribute {
            local = Some(*ip);
        } else if let AddressAttribute::Address(ip) = attribute {
            remote = Some(*ip);
        } else if let AddressAttribute::Flags(all) = attribute {
            flags = *all;
        }
    }
    if flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed) {
        return None;
    }
    let own: IpAddr = local.or(remote)?;
    let is_pair = remote.is_some_and(|remote| remote != own);
    let length = match own {
        IpAddr::V4(_) if is_pair => 32,
        IpAddr::V6(_) if is_pair => 128,
        IpAddr::V4(_) | IpAddr::V6(_) => message.header.prefix_len,
    };
    // A temporary address (RFC 8981) carries the flag of a secondary one.
    let is_last_resort = flags.intersects(AddressFlags::Secondary | AddressFlags::Deprecated);
    let network = IpNetwork::new(own, length).ok()?;
    Some((message.header.index, is_last_resort, network))
}

#[cfg(test)]
mod tests;
