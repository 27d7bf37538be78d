//! Puts back the routes to pods that another program deleted, and the pods' permanent neighbours.
//!
//! The plugin makes them, and is no daemon that could notice. `ip route flush`, or a network manager that takes all routes which it
//! does not know, cuts running pods off until they start again. What there shall be the kernel says itself: a pod's link is in
//! a group of its own, its alias has the addresses, and the other end of it the MAC. So nothing is asked of the plugin's files,
//! and nothing is done for a pod whose link has gone.
//!
//! A pod that is being made lacks its routes too, for a moment. So a route is put back when the kernel told that it was deleted,
//! or when it has been missing for [`SETTLE`]. A neighbour that is missing is less bad, as the kernel asks the pod
//! then; it is found when it is looked anyway.
//!
//! Each repair is told as a change of a route of ours (`FIBDrift`), so a program that makes a habit of it becomes a problem of the
//! node. Between two repairs there is a pause: nobody is fought at full speed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use flatroute_fib_io::deletions::{Deleted, Deletions};
use flatroute_netlink::{Error, HOST_ROUTE_PROTOCOL, Link, NextHop, POD_LINK_GROUP, PodAlias, Route, Socket};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::Event;
use super::carry::tell;

/// How often it is looked without an occasion.
const LOOK: Duration = Duration::from_mins(1);
/// How soon again, when something was missing of whose deletion nobody told.
const SETTLE: Duration = Duration::from_secs(5);
/// How soon again, when another program's route was in the way: nobody tells when it goes.
const AGAIN: Duration = Duration::from_secs(10);
/// How long between two repairs.
const PAUSE: Duration = Duration::from_secs(1);
/// How long between two looks that find nothing: where pods end, routes are deleted too.
const REST: Duration = Duration::from_millis(100);
/// How long after the first deletion it is looked: they come in crowds.
const COALESCE: Duration = Duration::from_millis(20);
/// How many addresses are told by name.
const MAX_TOLD: usize = 4;

/// What a pod lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    link: Link,
    address: IpAddr,
    route: bool,
    neighbour: bool,
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
struct Memory {
    /// What is missing, and since when that is known.
    missed: BTreeMap<(u32, IpAddr), Instant>,
    /// Where another program's route stands, and that was told.
    foreign: BTreeSet<IpAddr>,
}

/// What a look did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    routes: Vec<(IpAddr, String)>,
    foreign: Vec<(IpAddr, String)>,
}

/// Starts the task; it ends with the program.
///
/// # Errors
/// When netlink is out of reach.
pub(super) fn start(teller: mpsc::Sender<Event>) -> anyhow::Result<()> {
    let deletions = Deletions::observe(HOST_ROUTE_PROTOCOL)?;
    tokio::spawn(async move {
        if let Err(error) = keep(deletions, &teller).await {
            tracing::error!(%error, "routes to pods are no longer looked after");
        }
    });
    Ok(())
}

async fn keep(mut deletions: Deletions, teller: &mpsc::Sender<Event>) -> Result<(), flatroute_fib_io::Error> {
    let mut memory = Memory::default();
    let mut deleted = Deleted::default();
    let mut has_failed = false;
    loop {
        deleted.join(deletions.take()?);
        let began = Instant::now();
        let look = tokio::task::spawn_blocking(move || {
            let done = Socket::open().and_then(|mut host| look(&mut host, &deleted, &mut memory, began));
            (deleted, memory, done)
        });
        // It fails only when the runtime ends.
        let Ok((heard, after, done)) = look.await else {
            return Ok(());
        };
        memory = after;
        // What was heard is good for a look that succeeds.
        deleted = if done.is_ok() { Deleted::default() } else { heard };
        let mut pause = REST;
        match done {
            Ok(done) => {
                has_failed = false;
                if !done.routes.is_empty() {
                    pause = PAUSE;
                }
                note(&done, teller);
            }
            // Most often a link went while it was looked at.
            Err(error) if !has_failed => {
                has_failed = true;
                tracing::debug!(%error, "routes to pods: looked at again soon");
            }
            Err(error) => tracing::warn!(%error, "routes to pods cannot be looked after"),
        }
        let again = match (has_failed || !memory.missed.is_empty(), memory.foreign.is_empty()) {
            (true, _) => SETTLE,
            (false, false) => AGAIN,
            (false, true) => LOOK,
        };
        tokio::select! {
            rung = deletions.ring() => {
                rung?;
                sleep(COALESCE).await;
                sleep_until(began + pause).await;
            }
            () = sleep_until(began + again) => {}
        }
    }
}

/// Looks at all pods, and puts back what was deleted, or has been missing for [`SETTLE`].
fn look(host: &mut Socket, deleted: &Deleted, memory: &mut Memory, now: Instant) -> Result<Done, Error> {
    let is_deleted =
        |address| deleted.are_more || deleted.prefixes.contains(&ipnetwork::IpNetwork::from(address));
    let lacks = lacks(host)?;
    let mut missed = BTreeMap::new();
    let mut foreign = BTreeSet::new();
    let mut done = Done::default();
    for lack in &lacks {
        let key = (lack.link.index, lack.address);
        let was_told = is_deleted(lack.address) || memory.foreign.contains(&lack.address);
        let since = memory.missed.get(&key).copied().unwrap_or(now);
        if !was_told && now.duration_since(since) < SETTLE {
            missed.insert(key, since);
            continue;
        }
        match restore(host, lack) {
            Ok(()) if lack.route => done.routes.push((lack.address, lack.link.name.clone())),
            Ok(()) => {}
            // The plugin was at work, and has made it meanwhile.
            Err(error)
                if error.is_exists()
                    && way(host, lack.address)?.is_some_and(|link| link == lack.link.index) => {}
            Err(error) if error.is_exists() => {
                foreign.insert(lack.address);
                if !memory.foreign.contains(&lack.address) {
                    done.foreign.push((lack.address, lack.link.name.clone()));
                }
            }
            // It went, or down, meanwhile.
            Err(error) => {
                tracing::debug!(%error, "a route to a pod is not put back");
                missed.insert(key, since);
            }
        }
    }
    *memory = Memory { missed, foreign };
    Ok(done)
}

/// The link that an address is reached over without a gateway.
fn way(host: &mut Socket, address: IpAddr) -> Result<Option<u32>, Error> {
    let way = host.route_to(address)?.map(|route| route.next_hop);
    Ok(match way {
        Some(NextHop::Link { index }) => Some(index),
        Some(NextHop::Gateway { .. }) | None => None,
    })
}

/// What pods lack whose link works.
fn lacks(host: &mut Socket) -> Result<Vec<Lack>, Error> {
    let mut links = host.links()?;
    links.retain(|link| link.group == POD_LINK_GROUP && link.up && link.carrier);
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let neighbours: BTreeSet<(u32, IpAddr)> = host
        .all_neighbours()?
        .into_iter()
        .filter(|neighbour| neighbour.permanent)
        .map(|neighbour| (neighbour.index, neighbour.address))
        .collect();
    let mut lacks = Vec::new();
    for link in links {
        let alias = link.alias.as_deref().and_then(PodAlias::parse);
        for address in alias.map(|alias| alias.addresses).unwrap_or_default() {
            let lack = Lack {
                link: link.clone(),
                address,
                route: way(host, address)? != Some(link.index),
                neighbour: !neighbours.contains(&(link.index, address)),
            };
            if lack.route || lack.neighbour {
                lacks.push(lack);
            }
        }
    }
    Ok(lacks)
}

/// The neighbour first, as the plugin does it: with the route packets come.
fn restore(host: &mut Socket, lack: &Lack) -> Result<(), Error> {
    let index = lack.link.index;
    if lack.neighbour
        && let Some(mac) = host.other_end(&lack.link)?.and_then(|pod| pod.mac)
    {
        host.add_permanent_neighbour(index, lack.address, mac)?;
    }
    if lack.route {
        host.add_route(&Route {
            destination: lack.address,
            prefix_len: if lack.address.is_ipv4() { 32 } else { 128 },
            next_hop: NextHop::Link { index },
            source: None,
            protocol: HOST_ROUTE_PROTOCOL,
        })?;
    }
    Ok(())
}

fn note(done: &Done, teller: &mpsc::Sender<Event>) {
    if !done.routes.is_empty() {
        let text = format!(
            "another program deleted routes to pods; put back: {}",
            in_words(&done.routes)
        );
        tell(teller, "FIBDrift", None, text);
    }
    if !done.foreign.is_empty() {
        let text = format!(
            "routes to pods are not in force, because another program's stand in their places: {}; see `ip route get` of them, and remove what is not flatroute's",
            in_words(&done.foreign)
        );
        tell(teller, "ForeignRoute", None, text);
    }
}

fn in_words(routes: &[(IpAddr, String)]) -> String {
    let words = routes.iter().take(MAX_TOLD);
    let mut words: Vec<String> = words
        .map(|(address, link)| format!("{address} over {link}"))
        .collect();
    let more = routes.len().saturating_sub(MAX_TOLD);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join(", ")
}
