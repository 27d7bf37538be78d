//! A fabric with life in it: routing software on every router, pods on every node.
//!
//! The steps are separate ([`Lab::start`], [`Lab::await_sessions`], [`Lab::await_routes`], [`Lab::add_pods`]) so that
//! the demo can tell what happens between them and a test can break something there. The waits look at what counts:
//! sessions as the software itself reports them, routes as the kernel has them.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use ipnetwork::IpNetwork;

use crate::fabric::Fabric;
use crate::kernel::{self, Action, KernelRoute};
use crate::pod::{self, Pod, Runtime};
use crate::probe;
use crate::speaker::{Session, Software, Speaker, own_program};
use crate::topology::{Router, Tier, Topology};
use crate::traffic::Stream;
use crate::wait::{self, Look};

/// The source ports of one stream.
const FLOWS: u16 = 16;

/// Who runs what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// On nodes.
    pub nodes: Software,
    /// On ToRs and spines.
    pub fabric: Software,
}

/// How pods come to their interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// Through `flatroute-cni`.
    Plugin,
    /// By the testbed itself: for tests of the fabric alone.
    Hand,
}

/// Every router's name and its sessions.
pub type Sessions = Vec<(String, Vec<Session>)>;

/// A fabric, its speakers and its pods.
#[derive(Debug)]
pub struct Lab {
    /// Namespaces and links.
    pub fabric: Fabric,
    /// In the order of the topology's routers.
    pub speakers: Vec<Speaker>,
    /// In the order of their creation.
    pub pods: Vec<Pod>,
    runtimes: Vec<Runtime>,
}

impl Lab {
    /// Builds the fabric and starts the software of every router.
    ///
    /// # Errors
    /// A program is missing or does not start; the kernel refuses something.
    pub fn start(topology: Topology, cast: Cast) -> Result<Self> {
        let mut lab = Self::build(topology)?;
        lab.start_speakers(cast)?;
        Ok(lab)
    }

    /// Our agent, or what `fabric` says on ToRs and spines; a pod on every node; all sessions and routes there: where packets that go
    /// all the while shall tell what something costs.
    ///
    /// # Errors
    /// As [`Lab::start`]; sessions or routes are not there within `bound`.
    pub fn at_rest(topology: Topology, fabric: Software, bound: Duration) -> Result<Self> {
        let cast = Cast {
            nodes: Software::Agent,
            fabric,
        };
        let mut lab = Self::start(topology, cast)?;
        lab.await_sessions(bound)?;
        lab.await_routes(bound, None)?;
        lab.add_pods(Wiring::Hand, 1)?;
        Ok(lab)
    }

    /// Streams of `rate` packets a second between a pod, one of the same rack and one of another, in both families.
    ///
    /// # Errors
    /// A pod is not there, or a socket cannot be opened.
    pub fn streams(&self, rate: u32) -> Result<Vec<Stream>> {
        let (one, near, far) = (
            self.pod("node1-pod1")?,
            self.pod("node2-pod1")?,
            self.pod("node3-pod1")?,
        );
        let mut streams = Vec::new();
        for (from, to) in [(one, far), (far, near), (near, one)] {
            for ipv6 in [false, true] {
                streams.push(Stream::start(from, to, ipv6, rate, FLOWS)?);
            }
        }
        Ok(streams)
    }

    /// Builds the fabric alone.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn build(topology: Topology) -> Result<Self> {
        Ok(Self {
            fabric: Fabric::build(topology)?,
            speakers: Vec::new(),
            pods: Vec::new(),
            runtimes: Vec::new(),
        })
    }

    /// Starts the software of every router.
    ///
    /// # Errors
    /// A program is missing or does not start.
    pub fn start_speakers(&mut self, cast: Cast) -> Result<()> {
        for router in self.fabric.topology().routers.clone() {
            let software = if router.tier == Tier::Node {
                cast.nodes
            } else {
                cast.fabric
            };
            if software != Software::Agent {
                self.prepare(&router)?;
            }
            self.speakers
                .push(Speaker::start(software, &self.fabric, &router)?);
        }
        Ok(())
    }

    /// What `flatroute-agent prepare` sets on its routers, for those that run other software.
    ///
    /// # Errors
    /// The kernel has no such setting.
    pub fn prepare(&self, router: &Router) -> Result<()> {
        self.fabric.namespace(&router.name)?.forward()
    }

    /// The speaker of a router.
    ///
    /// # Errors
    /// No such router, or nothing runs there.
    pub fn speaker(&mut self, router: &str) -> Result<&mut Speaker> {
        let found = self
            .speakers
            .iter_mut()
            .find(|speaker| speaker.router() == router);
        found.with_context(|| format!("nothing runs on {router}"))
    }

    /// Waits until all sessions of all routers are established; they and how long it took.
    ///
    /// # Errors
    /// Not within `bound`: which session is in which state, and the log of its router.
    pub fn await_sessions(&mut self, bound: Duration) -> Result<(Sessions, Duration)> {
        let mut worst = None;
        let waited = wait::until("all BGP sessions", bound, || {
            let mut all = Vec::new();
            for (number, speaker) in self.speakers.iter_mut().enumerate() {
                worst = Some(number);
                let sessions = speaker.sessions()?;
                let up = |session: &&Session| !session.is_established();
                if let Some(session) = sessions.iter().find(up) {
                    let (router, Session { neighbour, state, .. }) = (speaker.router(), session);
                    return Ok(Err(format!("{router} to {neighbour} is in state {state}")));
                }
                all.push((speaker.router().to_owned(), sessions));
            }
            Ok(Ok(all))
        });
        waited.map_err(|error| match worst.and_then(|number| self.speakers.get(number)) {
            Some(speaker) => anyhow!("{error:#}\n{}", speaker.last_words()),
            None => error,
        })
    }

    /// Waits until the kernel of every node routes to every other node's pod CIDRs, over as many next hops as it has
    /// ToRs (`but` not counted). How long that took.
    ///
    /// # Errors
    /// Not within `bound`: which node lacks what, and the log of its router.
    pub fn await_routes(&mut self, bound: Duration, but: Option<&str>) -> Result<Duration> {
        let mut worst = None;
        let waited = wait::until("routes to all pods in all kernels", bound, || {
            for node in self.fabric.topology().nodes() {
                if let Err(reason) = self.look_at_routes(node, but)? {
                    worst = Some(node.name.clone());
                    return Ok(Err(format!("{}: {reason}", node.name)));
                }
            }
            Ok(Ok(()))
        });
        let waited = waited.map(|((), took)| took);
        waited.map_err(|error| {
            match self
                .speakers
                .iter()
                .find(|speaker| Some(speaker.router()) == worst.as_deref())
            {
                Some(speaker) => anyhow!("{error:#}\n{}", speaker.last_words()),
                None => error,
            }
        })
    }

    fn look_at_routes(&self, node: &Router, but: Option<&str>) -> Result<Look<()>> {
        let topology = self.fabric.topology();
        let legs = topology
            .neighbours(node)
            .iter()
            .filter(|n| Some(n.router.name.as_str()) != but)
            .count();
        let routes = self.routes_to_pods(&node.name)?;
        for other in topology.nodes().filter(|other| other.name != node.name) {
            for prefix in prefixes(other) {
                let found = routes
                    .iter()
                    .find(|route| route.prefix == prefix && route.action == Action::Forward);
                match found.map(|route| route.hops.len()) {
                    None => return Ok(Err(format!("no route to {prefix} of {}", other.name))),
                    Some(hops) if hops != legs => {
                        return Ok(Err(format!(
                            "the route to {prefix} has {hops} next hops, not {legs}"
                        )));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(Ok(()))
    }

    /// A router's routes to pod CIDRs.
    ///
    /// # Errors
    /// The kernel refuses to be read.
    pub fn routes_to_pods(&self, router: &str) -> Result<Vec<KernelRoute>> {
        let all = kernel::routes(self.fabric.namespace(router)?)?;
        let of_pods: Vec<IpNetwork> = self.fabric.topology().nodes().flat_map(prefixes).collect();
        Ok(all
            .into_iter()
            .filter(|route| of_pods.contains(&route.prefix))
            .collect())
    }

    /// Routes by which a node would send packets to pods of another node although BGP did not teach them, in whatever
    /// table and of whatever length: each with the node's name. `learned` is the protocol number of those that it did.
    ///
    /// # Errors
    /// The kernel refuses to be read.
    pub fn other_routes_to_pods(&self, learned: Option<u8>) -> Result<Vec<String>> {
        let topology = self.fabric.topology();
        let mut found = Vec::new();
        for node in topology.nodes() {
            let elsewhere: Vec<IpNetwork> = topology
                .nodes()
                .filter(|other| other.name != node.name)
                .flat_map(prefixes)
                .collect();
            for route in kernel::routes_of_all_tables(self.fabric.namespace(&node.name)?)? {
                let is_learned = learned == Some(route.protocol);
                if !is_learned && elsewhere.iter().any(|network| route.touches(*network)) {
                    let (table, protocol) = (route.table, route.protocol);
                    found.push(format!(
                        "{}: {route} (table {table}, protocol {protocol})",
                        node.name
                    ));
                }
            }
        }
        Ok(found)
    }

    /// Creates pods on every node, with servers that answer probes.
    ///
    /// # Errors
    /// The plugin fails, or an address does not work at once.
    pub fn add_pods(&mut self, wiring: Wiring, each: u16) -> Result<()> {
        let nodes: Vec<Router> = self.fabric.topology().nodes().cloned().collect();
        if wiring == Wiring::Plugin {
            let plugin = own_program("flatroute-cni")?;
            self.runtimes = nodes
                .iter()
                .map(|node| Runtime::new(&self.fabric, node, &plugin))
                .collect::<Result<_>>()?;
        }
        for (at, node) in nodes.iter().enumerate() {
            for number in 1..=each {
                let pod = match self.runtimes.get(at) {
                    Some(runtime) => runtime.add(&format!("{}-pod{number}", node.name))?,
                    None => pod::wire_by_hand(&self.fabric, node, number)?,
                };
                probe::serve(&pod)?;
                self.pods.push(pod);
            }
        }
        Ok(())
    }

    /// A pod by its name.
    ///
    /// # Errors
    /// No such pod.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.pods
            .iter()
            .find(|pod| pod.name == name)
            .with_context(|| format!("no pod {name}"))
    }

    /// Deletes the pods, through the plugin if it made them, and stops all software in order.
    ///
    /// # Errors
    /// The first that failed; the rest is still done.
    pub fn stop(mut self) -> Result<()> {
        let mut result = Ok(());
        for pod in std::mem::take(&mut self.pods) {
            let node = self
                .fabric
                .topology()
                .nodes()
                .position(|node| node.name == pod.node);
            result = result.and(match node.and_then(|at| self.runtimes.get(at)) {
                Some(runtime) => runtime.delete(pod),
                None => pod.namespace.delete(),
            });
        }
        for speaker in self.speakers {
            result = result.and(speaker.stop());
        }
        result
    }
}

/// A node's pod CIDRs, IPv4 first.
#[must_use]
pub fn prefixes(node: &Router) -> Vec<IpNetwork> {
    node.pod_cidrs
        .map_or_else(Vec::new, |cidrs| vec![cidrs.ipv4.into(), cidrs.ipv6.into()])
}
