//! The tasks that carry things between the speaker's driver, the thread of the kernel's routes, and the agent's loop.
//!
//! What is worth telling goes to the loop; when that has no room, it is dropped, never waited for.
//!
//! Routes that nobody wants any more are swept when routes have been chosen and every neighbour has sent End-of-RIB, or
//! after [`SWEEP_AFTER`]: until then those of a previous life of this agent carry the traffic. A neighbour that has
//! restarted too may say End-of-RIB before it has heard of everything itself: where there is one, all must have been quiet
//! for [`QUIET`] as well. The word goes the way of the routes, behind
//! all of them: overtaking, it would sweep adopted routes that are wanted again a moment later.

use std::time::Duration;

use flatroute_bgp::rib::RouteChange;
use flatroute_bgp::speaker::{self, EventKind, PeerSummary};
use flatroute_bgp_io as bgp_io;
use flatroute_fib as fib;
use flatroute_fib_io as fib_io;
use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Event, words};
use crate::events::Happening;

/// When routes that nobody wants are removed at the latest.
const SWEEP_AFTER: Duration = Duration::from_secs(120);
/// How soon to look again, when all was said but the kernel has not had all of it.
const SWEEP_LOOK: Duration = Duration::from_millis(50);
/// How long no neighbour has said anything new, where one of them has restarted too.
const QUIET: Duration = Duration::from_secs(10);

/// Carries routes to the kernel's thread, and behind all that have arrived, once, the word that the rest may be swept.
/// Room is had before a batch is taken, so that each batch is always in one of the two channels and can be seen there.
pub(super) async fn carry_routes(
    mut changes: mpsc::Receiver<bgp_io::RouteBatch>,
    sweep: oneshot::Receiver<()>,
    fib: mpsc::Sender<fib_io::Command>,
) {
    let mut sweep = std::pin::pin!(sweep);
    let mut swept = false;
    loop {
        let Ok(room) = fib.reserve().await else { return };
        let command = tokio::select! {
            biased;
            batch = changes.recv() => match batch {
                Some(batch) => fib_io::Command::Routes {
                    routes: batch.changes.iter().map(desired).collect(),
                    written: Some(batch.written),
                },
                None => return,
            },
            allowed = &mut sweep, if !swept => {
                swept = true;
                match allowed {
                    Ok(()) => fib_io::Command::SweepAllowed,
                    // Whoever would have allowed it is gone, and the program ends.
                    Err(_) => continue,
                }
            }
        };
        room.send(command);
    }
}

/// Tells of sessions, and allows the sweep when all have said all and the speaker has handed all of it over.
pub(super) async fn carry_sessions(
    mut events: mpsc::Receiver<speaker::Event>,
    bgp: bgp_io::Handle,
    sweep: oneshot::Sender<()>,
    teller: mpsc::Sender<Event>,
) {
    let latest = Instant::now() + SWEEP_AFTER;
    let mut sweep = Some(sweep);
    // When to look whether all has been said; far away until somebody has said all.
    let mut look = latest;
    loop {
        let event = tokio::select! {
            event = events.recv() => match event {
                Some(event) => Some(event),
                None => return,
            },
            () = tokio::time::sleep_until(look), if sweep.is_some() => None,
        };
        let said_all = event
            .as_ref()
            .is_none_or(|e| matches!(e.kind, EventKind::EndOfRib(_) | EventKind::DeferralEnded { .. }));
        if said_all && sweep.is_some() {
            let now = Instant::now();
            let patience = bgp.status().await.map_or(Some(SWEEP_LOOK), |s| patience(&s));
            match patience.filter(|_| now < latest) {
                Some(patience) => look = latest.min(now + patience),
                // Nobody listens any more only when the program ends.
                None => _ = sweep.take().map(|sweep| sweep.send(())),
            }
        }
        if let Some(event) = event {
            hand_over(&teller, words::event(event));
        }
    }
}

/// How long to wait before asking again whether what nobody wants may be swept; none: it may.
fn patience(status: &bgp_io::Status) -> Option<Duration> {
    // Somebody's word is missing, and it will be heard.
    if !status.end_of_rib_from_all || status.restarting.is_some() {
        return Some(SWEEP_AFTER);
    }
    if status.routes_pending {
        return Some(SWEEP_LOOK);
    }
    let sessions = status.peers.iter().filter(|peer| peer.negotiated.is_some());
    let has_restarted = |peer: &PeerSummary| {
        let graceful = peer.negotiated.as_ref().and_then(|n| n.graceful_restart.as_ref());
        graceful.is_some_and(|g| g.restarted)
    };
    if !status.peers.iter().any(has_restarted) {
        return None;
    }
    let quiet = sessions.map(|peer| peer.silent).min().unwrap_or(QUIET);
    (quiet < QUIET).then(|| QUIET - quiet)
}

/// Tells of refusals and repairs.
pub(super) async fn carry_reports(mut events: mpsc::Receiver<fib_io::Event>, teller: mpsc::Sender<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            fib_io::Event::Settled(_) => {}
            fib_io::Event::Report(report) => {
                let (kind, text) = words::report(&report);
                tell(&teller, kind, None, text);
            }
        }
    }
}

/// Says it when one of the two ends.
pub(super) async fn watch_over(kernel: fib_io::Handle, driver: JoinHandle<()>, teller: mpsc::Sender<Event>) {
    let text = tokio::select! {
        ended = kernel.join() => match ended {
            Ok(()) => return,
            Err(error) => format!("the kernel's routes are out of reach: {error}"),
        },
        ended = driver => match ended {
            Ok(()) => return,
            Err(error) => format!("the BGP task has failed: {error}"),
        },
    };
    _ = teller.send(Event::Failed(text)).await;
}

pub(super) fn tell(teller: &mpsc::Sender<Event>, kind: &str, peer: Option<String>, text: String) {
    let kind = kind.to_owned();
    hand_over(
        teller,
        Happening {
            kind,
            peer,
            text,
            ..Happening::default()
        },
    );
}

fn hand_over(teller: &mpsc::Sender<Event>, happening: Happening) {
    if teller.try_send(Event::Happened(happening)).is_err() {
        tracing::warn!("an event was dropped: the agent's loop is busy");
    }
}

fn desired(change: &RouteChange) -> (IpNetwork, Option<fib::DesiredRoute>) {
    let next_hops: Vec<fib::NextHop> = change
        .paths
        .iter()
        .map(|p| fib::NextHop {
            gateway: p.next_hop.addr(),
            interface: p.interface,
        })
        .collect();
    let route = (!next_hops.is_empty()).then_some(fib::DesiredRoute {
        target: fib::RouteTarget::Via(next_hops),
        pref_src: None,
    });
    (change.prefix.into(), route)
}
