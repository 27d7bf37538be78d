//! The next hops of the node's default routes: with `discover` they are its neighbours.
//!
//! As with the links ([`crate::links`]) the kernel's notifications are only a bell, and all default routes of the main table
//! are listed anew after it. A table may hold a hundred thousand routes, most of them our own, so two things differ. A filter
//! in the kernel lets no route ring but a default route. And a listing, for which the kernel has no filter and has to
//! show the whole table, runs on a thread for blocking work and is followed by a pause of [`REST`] times its length.
//!
//! Links and addresses ring too: when a carrier or an address goes, routes go with it without a word of their own. So do
//! nexthop objects, since a route may stand on one and be shown without its gateways (`nexthop_compat_mode=0`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use flatroute_fib::{NexthopId, Settings};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::message::{AF_INET, AF_INET6, Ask, Object, default_route, object};
use crate::socket::{Error, Listener, Requests};

/// The main routing table.
const MAIN: u32 = 254;
/// How long after the first ring the listing begins.
const COALESCE: Duration = Duration::from_millis(20);
/// How long a pause follows a listing, in lengths of the listing.
const REST: u32 = 10;
/// How long after a listing that failed the next one begins.
const RETRY: Duration = Duration::from_secs(1);
/// How deep groups of nexthop objects are followed; the kernel has no groups of groups.
const DEPTH: usize = 2;

/// A next hop of a default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gateway {
    /// Its address.
    pub address: IpAddr,
    /// The index of the interface that leads to it.
    pub interface: u32,
    /// The protocol number of the route.
    pub protocol: u8,
}

/// Lists the next hops of the default routes of the calling thread's network namespace and follows them in a task of its own.
/// The receiver always has the newest state. It ends (`changed` fails) when the kernel can no longer be heard; the
/// task ends when no receiver is left.
///
/// # Errors
/// When netlink is out of reach. Needs no privilege.
///
/// # Panics
/// Outside of a tokio runtime with I/O and time.
pub fn observe() -> Result<watch::Receiver<BTreeSet<Gateway>>, Error> {
    // Subscribed first: what changes during the first listing rings after it.
    let bell = Listener::of_default_routes()?;
    let mut requests = Requests::open(Settings::default())?;
    let (sender, receiver) = watch::channel(list(&mut requests)?);
    tokio::spawn(follow(bell, requests, sender));
    Ok(receiver)
}

async fn follow(mut bell: Listener, mut requests: Requests, sender: watch::Sender<BTreeSet<Gateway>>) {
    let descriptor = bell.as_fd().try_clone_to_owned();
    let descriptor = match descriptor.and_then(crate::task::watch) {
        Ok(descriptor) => descriptor,
        Err(error) => return tracing::error!(%error, "default routes are not followed"),
    };
    let mut has_failed = false;
    loop {
        if !has_failed {
            tokio::select! {
                rung = ring(&mut bell, &descriptor) => if let Err(error) = rung {
                    return tracing::error!(%error, "default routes are no longer followed");
                },
                () = sender.closed() => return,
            }
        }
        let began = Instant::now();
        let listed = tokio::task::spawn_blocking(move || {
            let found = list(&mut requests);
            (requests, found)
        });
        // It fails only when the runtime ends.
        let Ok((again, found)) = listed.await else {
            return;
        };
        requests = again;
        has_failed = found.is_err();
        let pause = match found {
            Ok(new) => {
                sender.send_if_modified(|old| {
                    let is_new = *old != new;
                    *old = new;
                    is_new
                });
                began.elapsed().saturating_mul(REST)
            }
            Err(error) => {
                tracing::warn!(%error, "default routes: tried again");
                RETRY
            }
        };
        sleep(pause).await;
    }
}

/// Waits for a notification, and takes those with it that come right after.
async fn ring(bell: &mut Listener, descriptor: &AsyncFd<OwnedFd>) -> Result<(), Error> {
    let socket = |source| Error::Socket {
        what: "wait for notifications",
        source,
    };
    let mut rung = false;
    while !rung {
        let mut ready = descriptor.readable().await.map_err(socket)?;
        ready.clear_ready();
        let is_complete = bell.drain(|_| rung = true)?;
        rung |= !is_complete;
    }
    sleep(COALESCE).await;
    bell.drain(|_| {})?;
    Ok(())
}

fn list(requests: &mut Requests) -> Result<BTreeSet<Gateway>, Error> {
    let mut routes = Vec::new();
    for family in [AF_INET, AF_INET6] {
        routes.extend(requests.dump(Ask::Table(family, MAIN), |message, _| {
            default_route(message, MAIN)
        })?);
    }
    let stands_on_objects = routes.iter().any(|r| r.via.is_empty() && r.object.is_some());
    let objects: BTreeMap<NexthopId, Object> = if stands_on_objects {
        let all = requests.dump(Ask::Nexthops, |message, _| object(message))?;
        all.into_iter().map(|object| (object.id, object)).collect()
    } else {
        BTreeMap::new()
    };
    let mut gateways = BTreeSet::new();
    for route in routes {
        let mut via = route.via;
        if via.is_empty()
            && let Some(id) = route.object
        {
            resolve(&objects, id, DEPTH, &mut via);
        }
        gateways.extend(via.into_iter().map(|(address, interface)| Gateway {
            address,
            interface,
            protocol: route.protocol,
        }));
    }
    Ok(gateways)
}

fn resolve(objects: &BTreeMap<NexthopId, Object>, id: NexthopId, depth: usize, via: &mut Vec<(IpAddr, u32)>) {
    let Some((object, depth)) = objects.get(&id).zip(depth.checked_sub(1)) else {
        return;
    };
    via.extend(object.via);
    for member in &object.members {
        resolve(objects, *member, depth, via);
    }
}
