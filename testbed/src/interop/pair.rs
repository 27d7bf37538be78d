//! A pair: the peer and our agent, each in a namespace, joined by one link.
//!
//! Every wait has a bound and says on failure what both sides thought of it.

mod kernel;
mod plan;
mod thirds;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use flatroute_api::control::{self as api, Events, Peers, Routes};
use ipnetwork::IpNetwork;
use rustix::process::Signal;

pub use plan::{Beside, Plan, Third};

use self::plan::{Running, link, router_of};
use super::ours::{self, Ours};
use super::peer::{Community, Large, Neighbour, Peer, PeerRoute};
use crate::control;
use crate::fabric::Fabric;
use crate::speaker::{Speaker, agent};
use crate::topology::{Link, Tier};
use crate::wait::{self, Look};

/// For anything that takes a session to come up, or back after an error: GoBGP stays idle for up to 30 s.
pub const SESSION: Duration = Duration::from_secs(40);
/// For a route to arrive or to leave over a session that is up.
pub const ROUTE: Duration = Duration::from_secs(15);

/// What the peer originates in most cells.
pub const THEIRS: [&str; 2] = ["10.9.0.0/24", "fd00:9::/64"];
/// What we originate: the node's pod CIDRs.
pub const OURS: [&str; 2] = ["10.244.1.0/24", "fd00:244:1::/64"];

/// A prefix of the constants of these tests.
///
/// # Panics
/// It is none.
#[must_use]
pub fn prefix(text: &str) -> IpNetwork {
    text.parse().expect("a prefix in a test")
}

/// The peer and our agent, running.
pub struct Pair {
    pub(super) fabric: Fabric,
    plan: Plan,
    /// The other side.
    pub peer: Box<dyn Peer>,
    pub(super) agent: Speaker,
    thirds: Vec<Running>,
}

impl Pair {
    /// The link between the two; its lower end is ours.
    ///
    /// # Errors
    /// There is none.
    pub fn link(&self) -> Result<&Link> {
        link(&self.fabric)
    }

    /// Waits until what the peer says of us fits.
    ///
    /// # Errors
    /// It does not in time; the error ends with the words of both sides.
    pub fn await_peer(
        &self,
        what: &str,
        bound: Duration,
        fits: impl Fn(&Neighbour) -> bool,
    ) -> Result<Neighbour> {
        self.explained(wait::until(&format!("the peer: {what}"), bound, || {
            let seen = self.peer.neighbour()?;
            Ok(if fits(&seen) {
                Look::Ok(seen)
            } else {
                Err(format!("it says {seen:#?}"))
            })
        }))
    }

    /// Established with both families in the eyes of both sides.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_session(&self) -> Result<Neighbour> {
        let seen = self.await_peer("Established, both families", SESSION, |seen| {
            seen.established && seen.families == [true, true]
        })?;
        // A peer that was stopped may still speak of the session before.
        self.await_ours("Established", ROUTE, |ours| ours.state == "Established")?;
        Ok(seen)
    }

    /// Waits until what we say of the peer fits.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_ours(
        &self,
        what: &str,
        bound: Duration,
        fits: impl Fn(&api::Peer) -> bool,
    ) -> Result<api::Peer> {
        self.explained(wait::until(&format!("our agent: {what}"), bound, || {
            let seen = self.ours()?;
            Ok(if fits(&seen) {
                Look::Ok(seen)
            } else {
                Err(format!("it says {seen:?}"))
            })
        }))
    }

    /// Waits until the last error that we tell of is this NOTIFICATION.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_our_error(&self, direction: &str, code: (u8, u8)) -> Result<api::LastError> {
        let what = format!("{direction} {}/{}", code.0, code.1);
        let fits = |peer: &api::Peer| {
            peer.last_error.as_ref().is_some_and(|error| {
                error.direction == direction && (error.code, error.subcode) == (Some(code.0), Some(code.1))
            })
        };
        let peer = self.await_ours(&what, SESSION, fits)?;
        peer.last_error.context("an error")
    }

    /// Waits until the peer has told of this NOTIFICATION.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_notice(&self, from_us: bool, code: (u8, u8)) -> Result<()> {
        let what = format!(
            "NOTIFICATION {}/{} {}",
            code.0,
            code.1,
            if from_us { "from us" } else { "from it" }
        );
        self.await_peer(&what, SESSION, |seen| {
            seen.notice.as_ref().is_some_and(|notice| {
                notice.from_us == from_us && notice.code.is_none_or(|told| told == code)
            })
        })
        .map(drop)
    }

    /// Waits until the peer shows a route of ours that fits.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_route(&self, of: &str, what: &str, fits: impl Fn(&PeerRoute) -> bool) -> Result<PeerRoute> {
        self.explained(wait::until(&format!("the peer's {of}: {what}"), ROUTE, || {
            Ok(match self.peer.route(prefix(of))? {
                Some(route) if fits(&route) => Look::Ok(route),
                Some(route) => Err(format!("it has {route:?}")),
                None => Err("it does not have it".to_owned()),
            })
        }))
    }

    /// Waits until a route of ours at the peer carries exactly these communities.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_communities(&self, of: &str, communities: &[Community], large: &[Large]) -> Result<()> {
        self.explained(wait::until(
            &format!("the peer's {of} with all communities"),
            ROUTE,
            || {
                Ok(if self.peer.has_communities(prefix(of), communities, large)? {
                    Look::Ok(())
                } else {
                    Err(format!("it has {:?}", self.peer.route(prefix(of))?))
                })
            },
        ))
    }

    /// Waits until the paths of a prefix that the peer has from us fit.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_paths(&self, of: &str, what: &str, fits: impl Fn(&[PeerRoute]) -> bool) -> Result<()> {
        self.explained(wait::until(&format!("the peer's {of}: {what}"), ROUTE, || {
            let paths = self.peer.routes(prefix(of))?;
            Ok(if fits(&paths) {
                Look::Ok(())
            } else {
                Err(format!("it has {paths:?}"))
            })
        }))
    }

    /// Waits until the peer does not have a route from us any more.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_no_route(&self, of: &str) -> Result<()> {
        self.explained(wait::until(&format!("the peer without {of}"), ROUTE, || {
            Ok(match self.peer.route(prefix(of))? {
                Some(route) => Err(format!("it has {route:?}")),
                None => Look::Ok(()),
            })
        }))
    }

    /// Ends our agent as a crash would.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.end(Signal::KILL)
    }

    /// Starts our agent again, with what it left behind.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_agent_again(&mut self) -> Result<()> {
        self.agent.start_again(&self.fabric)
    }

    /// Waits until we show a route received from the peer that fits.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_received(
        &self,
        of: &str,
        what: &str,
        fits: impl Fn(&api::Route) -> bool,
    ) -> Result<api::Route> {
        self.explained(wait::until(&format!("our {of}: {what}"), ROUTE, || {
            let route = self.received()?.into_iter().find(|route| route.prefix == of);
            Ok(match route {
                Some(route) if fits(&route) => Look::Ok(route),
                Some(route) => Err(format!("we have {route:?}")),
                None => Err("we do not have it".to_owned()),
            })
        }))
    }

    /// Waits until the paths of a prefix that we have received from the peer fit.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_received_paths(
        &self,
        of: &str,
        what: &str,
        fits: impl Fn(&[api::Route]) -> bool,
    ) -> Result<()> {
        self.explained(wait::until(&format!("our {of}: {what}"), ROUTE, || {
            let mut paths = self.received()?;
            paths.retain(|route| route.prefix == of);
            Ok(if fits(&paths) {
                Look::Ok(())
            } else {
                Err(format!("we have {paths:?}"))
            })
        }))
    }

    /// Waits until we tell the peer of a prefix, as we say.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_advertised(&self, of: &str) -> Result<()> {
        let path = format!("/v1/routes?view=advertised&peer={}", ours::PEER);
        self.explained(wait::until(&format!("{of} told to the peer"), ROUTE, || {
            let answer: Routes = control::fetch(&agent::socket(&self.agent), &path)?;
            Ok(if answer.routes.iter().any(|route| route.prefix == of) {
                Look::Ok(())
            } else {
                Err(format!("it is told {:?}", answer.routes))
            })
        }))
    }

    /// Waits until the route that we use for a prefix fits.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_best(&self, of: &str, what: &str, fits: impl Fn(&api::Route) -> bool) -> Result<()> {
        self.explained(wait::until(&format!("our best {of}: {what}"), ROUTE, || {
            let answer: Routes = control::fetch(&agent::socket(&self.agent), "/v1/routes?view=best")?;
            let found = answer.routes.into_iter().find(|route| route.prefix == of);
            Ok(match found {
                Some(route) if fits(&route) => Look::Ok(()),
                Some(route) => Err(format!("we have {route:?}")),
                None => Err("we do not have it".to_owned()),
            })
        }))
    }

    /// What we have received from the peer.
    ///
    /// # Errors
    /// The agent does not answer.
    pub fn received(&self) -> Result<Vec<api::Route>> {
        let answer: Routes = control::fetch(&agent::socket(&self.agent), "/v1/routes?view=received")?;
        let from_it = |route: &api::Route| {
            let name = route.peer.as_deref().unwrap_or_default();
            name.starts_with(ours::PEER)
        };
        Ok(answer.routes.into_iter().filter(from_it).collect())
    }

    /// What we say of the peer.
    ///
    /// # Errors
    /// The agent does not answer.
    pub fn ours(&self) -> Result<api::Peer> {
        let answer: Peers = control::fetch(&agent::socket(&self.agent), "/v1/peers")?;
        let peer = answer
            .peers
            .into_iter()
            .find(|peer| peer.name.starts_with(ours::PEER));
        peer.with_context(|| format!("our agent has no peer\n{}", self.agent.last_words()))
    }

    /// Waits until our agent has told of an event of this kind with these words.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_event(&self, kind: &str, words: &str) -> Result<()> {
        self.explained(wait::until(&format!("event {kind} \"{words}\""), ROUTE, || {
            let answer: Events = control::fetch(&agent::socket(&self.agent), "/v1/events")?;
            let found = answer
                .events
                .iter()
                .any(|event| event.kind == kind && event.text.contains(words));
            let texts = || {
                answer
                    .events
                    .iter()
                    .map(|event| format!("\n    {} {}", event.kind, event.text))
            };
            Ok(if found {
                Look::Ok(())
            } else {
                Err(format!("there are{}", texts().collect::<String>()))
            })
        }))
    }

    /// Waits until the plan in force speaks of this.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_plan(&self, words: &str) -> Result<()> {
        self.explained(wait::until(&format!("a plan with {words}"), ROUTE, || {
            let plan: serde_json::Value = control::fetch(&agent::socket(&self.agent), "/v1/config")?;
            Ok(if plan.to_string().contains(words) {
                Look::Ok(())
            } else {
                Err("it is not there yet".to_owned())
            })
        }))
    }

    /// Asks our agent to ask the peer for its routes again.
    ///
    /// # Errors
    /// It refuses.
    pub fn refresh(&self) -> Result<()> {
        let path = format!("/v1/peers/{}:refresh", ours::PEER);
        control::post::<serde_json::Value>(&agent::socket(&self.agent), &path).map(drop)
    }

    /// Changes our configuration while the agent runs.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn change(&mut self, change: impl FnOnce(Ours) -> Ours) -> Result<()> {
        self.plan.ours = change(self.plan.ours.clone());
        let address = self.plan.its.transport.of(&link(&self.fabric)?.upper);
        ours::replace(self.agent.dir(), ours::FILE, &self.plan.ours.peer(address))
    }

    /// Takes the pod CIDRs from our Node, or gives them back.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn originate(&self, yes: bool) -> Result<()> {
        let mut node = router_of(&self.fabric, Tier::Node)?.clone();
        if !yes {
            node.pod_cidrs = None;
        }
        let files = self
            .plan
            .ours
            .manifests(&node, self.plan.its.transport.of(&self.link()?.upper));
        let (_, text) = files.first().context("the Node")?;
        ours::replace(self.agent.dir(), ours::NODE_FILE, text)
    }

    /// Starts the peer anew, after the old one was killed.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart_peer(&mut self) -> Result<()> {
        self.plan.its.restarted = self.plan.its.graceful_restart.is_some();
        self.peer.end_rest()?;
        self.peer = self.plan.start_peer(&self.fabric)?;
        Ok(())
    }

    /// The result of a wait, with the words of both sides below an error.
    ///
    /// # Errors
    /// That of `result`.
    pub fn explained<T>(&self, result: Result<(T, Duration)>) -> Result<T> {
        let words = || {
            format!(
                "{}{}  our view: {:?}\n  the peer's configuration:\n{}",
                self.peer.daemon().last_words(),
                self.agent.last_words(),
                self.ours().map(|peer| format!("{peer:?}")),
                shortened(&self.peer.configuration())
            )
        };
        result
            .map(|(value, _)| value)
            .map_err(|error| anyhow!("{}\n{}", shortened(&format!("{error:#}")), words()))
    }
}

/// Long lines cut: a thousand communities tell nobody anything.
fn shortened(text: &str) -> String {
    const MOST: usize = 300;
    text.lines()
        .map(|line| match line.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}…\n", line.get(..end).unwrap_or_default()),
            None => format!("{line}\n"),
        })
        .collect()
}
