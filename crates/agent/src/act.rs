//! Act: the boundary between the owner of the plan and those who carry it out.
//!
//! [`Act`] is all that the loop in `run` knows of the speaker and of the kernel's routes. It hands over plans, asks
//! for what it is asked for, and hears what happens. Behind it stand the driver of the speaker and
//! the thread of the kernel's routes, each with its bounded channel; in the tests stands a fake.
//!
//! The methods that ask must answer soon (the loop waits at most a few seconds for one) and may be dropped while
//! they wait.

mod carry;
mod gateways;
mod links;
mod live;
mod marker;
mod pod_routes;
mod pods;
mod routers;
mod why;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;

use flatroute_api::control;
use flatroute_plan::{Links, Plan};

use crate::control::query::RouteQuery;
use crate::events::Happening;
use crate::ready;

pub(crate) use live::Live;
pub(crate) use marker::Marker;

/// Who carries plans out.
pub(crate) trait Act {
    /// Makes this plan the one in force. Called only with plans that differ from the one before.
    async fn apply(&mut self, plan: &Plan) -> anyhow::Result<()>;

    /// Waits for the next thing to tell. Safe to be dropped while it waits.
    async fn event(&mut self) -> Event;

    /// The neighbours, by name.
    async fn peers(&mut self) -> anyhow::Result<Vec<control::Peer>>;

    /// Both at one moment, with what readiness depends on.
    async fn seen(&mut self) -> anyhow::Result<Seen>;

    /// Routes, in prefix order.
    async fn routes(&mut self, query: &RouteQuery) -> anyhow::Result<control::Routes>;

    /// What becomes of a packet to an address.
    async fn why(&mut self, address: IpAddr) -> anyhow::Result<control::Why>;

    /// Asks a neighbour for its routes again (RFC 2918). `false`: it has no session or did not offer that.
    async fn refresh(&mut self, peer: &str) -> anyhow::Result<bool>;

    /// Leaves without a word: sessions end with their connections, routes in the kernel stay, and neighbours that agreed on
    /// it keep this node's until the next agent is there (RFC 4724).
    async fn leave(&mut self) -> anyhow::Result<()>;

    /// Ends every session with a Cease and this text (RFC 9003) and returns when that is sent: none comes up again, whatever is
    /// applied. Routes in the kernel stay, and questions are answered.
    async fn shutdown(&mut self, text: &str) -> anyhow::Result<()>;
}

/// The neighbours and the kernel's routes at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// The neighbours, by name.
    pub(crate) peers: Vec<control::Peer>,
    /// After a restart: what is waited for before routes are chosen.
    pub(crate) restarting: Option<control::Restarting>,
    /// The sessions of those that are Established.
    pub(crate) sessions: BTreeMap<String, ready::Session>,
    /// The kernel's routes, counted.
    pub(crate) fib: control::FibStatus,
    /// How far they are behind what was chosen.
    pub(crate) kernel: ready::Kernel,
    /// The rules for packets of pods; none: the node has no pods.
    pub(crate) pod_rules: Option<control::PodRules>,
}

/// What those who act have to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// What the links and the routing table show: at the start and after each change.
    Links(Links),
    /// Something worth remembering.
    Happened(Happening),
    /// Nothing can be carried out any more.
    Failed(String),
}
