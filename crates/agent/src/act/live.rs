//! The real world: the speaker's driver and the thread of the kernel's routes, joined by bounded channels.
//!
//! ```text
//!            route changes              Command::Routes
//!  bgp-io ─────────────────► routes ────────────────────► fib-io
//!     ▲  └──── events ─────► sessions (the sweep's word)   │
//!     │                      reports ◄─────── events ──────┘
//!     └──── interfaces ───── links ◄─── newest state ── fib-io::links, fib-io::gateways, nd
//! ```
//!
//! The rules for packets of pods are kept by a task of their own (`pods`), which neither waits for routes nor they for it; so are the
//! routes to pods (`pod_routes`).
//! Four small tasks carry things between them (`carry`, `links`); each waits for room at its receiver, so a busy kernel holds the
//! first one up and the speaker's changes coalesce in its RIB. The links are known before the first plan is made.
//!
//! What the tasks carry and when the sweep is allowed stands in `carry`.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use flatroute_api::control;
use flatroute_bgp::speaker;
use flatroute_bgp::types::{Family, FamilySet, PeerName};
use flatroute_bgp_io as bgp_io;
use flatroute_fib as fib;
use flatroute_fib_io as fib_io;
use flatroute_plan::{FibPlan, Listen, Plan};
use ipnetwork::IpNetwork;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::carry::{carry_reports, carry_routes, carry_sessions, tell, watch_over};
use super::links::{DefaultRoutes, Links, addressed, carry_links, facts, present};
use super::routers::Memory;
use super::why::{Known, why};
use super::{Act, Event, Marker, Seen, pod_routes, pods, words};
use crate::control::query::{RouteQuery, RouteView};

/// How soon to look whether the kernel's routes have been read, at the start.
const READ_LOOK: Duration = Duration::from_millis(2);
/// How long that may take.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// Batches of routes on their way, and commands to the kernel's thread.
const DEPTH: usize = 4;
/// Events on their way.
const EVENTS: usize = 1024;

/// Both, running from the first plan on.
pub(crate) struct Live {
    running: Option<Running>,
    links: Links,
    default_routes: DefaultRoutes,
    /// Who is heard on the interfaces that neighbours are sought on.
    routers: flatroute_nd::Handle,
    state_dir: Option<PathBuf>,
    marker: Marker,
    pods: pods::Keeper,
    /// Every session has ended, for good.
    is_shut_down: bool,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
}

struct Running {
    bgp: bgp_io::Handle,
    fib: mpsc::Sender<fib_io::Command>,
    settings: fib::Settings,
    /// What carries routes to it; none once the kernel shall hear no more of the speaker.
    routes: Option<JoinHandle<()>>,
    /// The way of route changes from the speaker; only looked at, to see whether any are on it.
    handed_over: mpsc::WeakSender<bgp_io::RouteBatch>,
    static_routes: Vec<(IpNetwork, fib::DesiredRoute)>,
    pref_src: fib::PrefSrc,
    listen: Vec<SocketAddr>,
}

impl Live {
    /// Looks at the node's links and default routes; nothing else runs before the first plan.
    ///
    /// # Errors
    /// When they cannot be observed.
    pub(crate) async fn open(marker: Marker, state_dir: Option<&Path>) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS);
        let memory = Memory::open(state_dir, marker.is_left());
        Ok(Self {
            running: None,
            links: fib_io::links::observe().await?,
            default_routes: fib_io::gateways::observe()?,
            routers: flatroute_nd::spawn(memory.routers().clone()),
            state_dir: state_dir.map(Path::to_owned),
            marker,
            pods: pods::Keeper::start(sender.clone()),
            is_shut_down: false,
            sender,
            events,
        })
    }

    /// What the links and default routes show now.
    pub(crate) fn links(&self) -> flatroute_plan::Links {
        let gateways = present(&self.default_routes.borrow());
        facts(&self.links.borrow(), gateways, &self.routers.heard().borrow())
    }

    async fn start(&self, plan: &Plan) -> anyhow::Result<Running> {
        let settings = settings(&plan.fib);
        let (fib, fib_commands) = mpsc::channel(DEPTH);
        let (fib_sender, fib_events) = mpsc::channel(EVENTS);
        let kernel = fib_io::spawn(settings, fib_commands, fib_sender).context(
            "cannot reach the kernel's routes over netlink; the agent needs the capability NET_ADMIN",
        )?;
        pod_routes::start(self.sender.clone())?;
        let restart = if self.marker.is_left() {
            Some(restart(plan, &counts_read(&fib).await?))
        } else {
            None
        };
        let (route_sender, route_changes) = mpsc::channel(DEPTH);
        let handed_over = route_sender.downgrade();
        let (bgp_sender, bgp_events) = mpsc::channel(EVENTS);
        let options = bgp_io::Options {
            // Nobody is let in before it is known who is welcome, and by which key.
            listen: Vec::new(),
            seed: RandomState::new().hash_one("flatroute"),
            restart,
            routes: route_sender,
            events: bgp_sender,
        };
        let (bgp, driver) = bgp_io::spawn(options);
        // Before any session: from them come the next hops.
        let interfaces = addressed(&self.links.borrow());
        bgp.interfaces(interfaces).await?;
        let (sweep, swept) = oneshot::channel();
        let routes = tokio::spawn(carry_routes(route_changes, swept, fib.clone()));
        tokio::spawn(carry_sessions(
            bgp_events,
            bgp.clone(),
            sweep,
            self.sender.clone(),
        ));
        tokio::spawn(carry_reports(fib_events, self.sender.clone()));
        let observed = (
            self.links.clone(),
            self.default_routes.clone(),
            self.routers.heard(),
        );
        let memory = Memory::open(self.state_dir.as_deref(), self.marker.is_left());
        tokio::spawn(carry_links(observed, memory, bgp.clone(), self.sender.clone()));
        tokio::spawn(watch_over(kernel, driver, self.sender.clone()));
        Ok(Running {
            bgp,
            fib,
            settings,
            routes: Some(routes),
            handed_over,
            static_routes: Vec::new(),
            pref_src: fib::PrefSrc::default(),
            listen: Vec::new(),
        })
    }

    fn in_words(&self, status: &bgp_io::Status) -> Vec<control::Peer> {
        let links = self.links.borrow();
        let name_of = |index| links.iter().find(|l| l.index == index).map(|l| l.name.clone());
        let peers = status.peers.iter();
        peers.map(|peer| words::peer(peer, name_of)).collect()
    }

    fn running(&self) -> anyhow::Result<&Running> {
        self.running
            .as_ref()
            .ok_or_else(|| anyhow!("nothing has been planned yet"))
    }
}

impl Running {
    async fn counts(&self) -> anyhow::Result<fib::Counts> {
        counts(&self.fib).await
    }

    /// Takes the kernel's routes out of the speaker's hands: when its sessions end and their routes leave the RIB, the kernel
    /// shall not hear of it.
    async fn let_go(&mut self) {
        if let Some(routes) = self.routes.take() {
            routes.abort();
            // Its end is an error of cancellation, and that is what was asked for.
            _ = routes.await;
        }
    }

    /// Whether the speaker has handed over changes that the kernel's thread has not been sent.
    fn are_routes_on_their_way(&self) -> bool {
        let way = self.handed_over.upgrade();
        way.is_some_and(|way| way.capacity() < way.max_capacity())
    }
}

impl Act for Live {
    async fn apply(&mut self, plan: &Plan) -> anyhow::Result<()> {
        if self.is_shut_down {
            return Ok(());
        }
        let running = match self.running.take() {
            Some(running) => running,
            None => self.start(plan).await?,
        };
        if running.settings != settings(&plan.fib) {
            let text = "BGPConfiguration/default: spec.kernel: table, metric, protocol, maxPaths and \
                        nexthopObjects take effect when the agent starts; restart it";
            tell(&self.sender, "ConfigurationInvalid", None, text.to_owned());
        }
        let static_routes = static_routes(&plan.fib);
        let pref_src = pref_src(&plan.fib);
        let listen = addresses(plan.listen);
        if running.pref_src != pref_src {
            running.fib.send(fib_io::Command::PrefSrc(pref_src)).await?;
        }
        if running.static_routes != static_routes {
            running
                .fib
                .send(fib_io::Command::Static(static_routes.clone()))
                .await?;
        }
        self.pods.wants(plan.pod_network.as_ref());
        self.routers
            .want(plan.sought.values().filter_map(|sought| sought.index).collect());
        running.bgp.configure(plan.speaker.clone()).await?;
        if running.listen != listen {
            running.bgp.listen(listen.clone()).await?;
        }
        self.running = Some(Running {
            static_routes,
            pref_src,
            listen,
            ..running
        });
        if let Err(error) = self.marker.leave() {
            let text =
                format!("the state directory cannot be written, so the next start is a cold one: {error}");
            tell(&self.sender, "StateNotKept", None, text);
        }
        Ok(())
    }

    async fn event(&mut self) -> Event {
        // `self` holds a sender, so this never ends.
        self.events
            .recv()
            .await
            .unwrap_or_else(|| Event::Failed("no more events".to_owned()))
    }

    async fn peers(&mut self) -> anyhow::Result<Vec<control::Peer>> {
        let status = self.running()?.bgp.status().await?;
        Ok(self.in_words(&status))
    }

    async fn seen(&mut self) -> anyhow::Result<Seen> {
        let running = self.running()?;
        // In the order in which routes go: what is behind is seen before what it would be handed to.
        let status = running.bgp.status().await?;
        let on_their_way = running.are_routes_on_their_way();
        let counts = running.counts().await?;
        Ok(Seen {
            peers: self.in_words(&status),
            restarting: status
                .restarting
                .as_ref()
                .map(|r| words::restarting(r, status.now)),
            sessions: words::sessions(&status.peers),
            fib: words::fib(&counts),
            kernel: words::kernel(&counts, status.routes_pending || on_their_way),
            pod_rules: self.pods.seen(),
        })
    }

    async fn routes(&mut self, query: &RouteQuery) -> anyhow::Result<control::Routes> {
        let running = self.running()?;
        let view = match query.view {
            RouteView::Received => flatroute_bgp::rib::RouteView::Received,
            RouteView::Accepted => flatroute_bgp::rib::RouteView::Accepted,
            RouteView::Best => flatroute_bgp::rib::RouteView::Best,
            RouteView::Advertised => flatroute_bgp::rib::RouteView::Advertised,
            RouteView::Kernel => {
                let (reply, answer) = oneshot::channel();
                running.fib.send(fib_io::Command::Dump { reply }).await?;
                let links = self.links.borrow();
                let name_of = |index| links.iter().find(|l| l.index == index).map(|l| l.name.clone());
                return Ok(words::kernel_routes(answer.await?, query, name_of));
            }
        };
        let asked = speaker::RouteQuery {
            view,
            peer: query.peer.as_deref().map(PeerName::from),
            within: query.prefix.map(Into::into),
            // One more than wanted tells whether there are more.
            limit: query.limit.saturating_add(1),
        };
        let entries = running.bgp.routes(asked).await?;
        Ok(control::Routes {
            truncated: entries.len() > query.limit,
            routes: entries.iter().take(query.limit).map(words::route).collect(),
        })
    }

    async fn why(&mut self, address: IpAddr) -> anyhow::Result<control::Why> {
        let fate = fib_io::lookup::lookup(address).await?;
        let running = self.running()?;
        let ours = running.settings.protocol;
        let mut installed = None;
        if let fib_io::lookup::Fate::Forwarded(found) = &fate
            && found.protocol == ours
        {
            let (reply, answer) = oneshot::channel();
            running.fib.send(fib_io::Command::Dump { reply }).await?;
            let routes = answer.await?;
            installed = routes.into_iter().find(|route| route.prefix == found.prefix);
        }
        let known = Known {
            address,
            fate: &fate,
            ours,
            installed: installed.as_ref(),
            bgp: &running.bgp.why(address).await?,
        };
        let links = self.links.borrow();
        let name_of = |index: u32| {
            let link = links.iter().find(|link| link.index == index);
            link.map_or_else(|| format!("#{index}"), |link| link.name.clone())
        };
        Ok(why(&known, name_of))
    }

    async fn refresh(&mut self, peer: &str) -> anyhow::Result<bool> {
        let bgp = &self.running()?.bgp;
        let able = bgp
            .status()
            .await?
            .peers
            .iter()
            .any(|p| p.name.as_str() == peer && p.negotiated.as_ref().is_some_and(|n| n.route_refresh));
        if able {
            bgp.refresh(PeerName::from(peer)).await?;
        }
        Ok(able)
    }

    async fn leave(&mut self) -> anyhow::Result<()> {
        if let Some(mut running) = self.running.take() {
            running.let_go().await;
        }
        Ok(())
    }

    async fn shutdown(&mut self, text: &str) -> anyhow::Result<()> {
        self.is_shut_down = true;
        // The neighbours are told all the same.
        if let Err(error) = self.marker.remove() {
            tracing::warn!("the next start will be taken for a restart: {error}");
        }
        if let Some(running) = &mut self.running {
            running.let_go().await;
            running.bgp.shutdown(text.to_owned()).await?;
        }
        Ok(())
    }
}

async fn counts(fib: &mpsc::Sender<fib_io::Command>) -> anyhow::Result<fib::Counts> {
    let (reply, answer) = oneshot::channel();
    fib.send(fib_io::Command::Status { reply }).await?;
    Ok(answer.await?)
}

/// The figures when the kernel's routes have been read for the first time.
async fn counts_read(fib: &mpsc::Sender<fib_io::Command>) -> anyhow::Result<fib::Counts> {
    let reading = async {
        loop {
            let counts = counts(fib).await?;
            if counts.resyncs > 0 {
                return Ok(counts);
            }
            tokio::time::sleep(READ_LOOK).await;
        }
    };
    tokio::time::timeout(READ_PATIENCE, reading)
        .await
        .context("the kernel's routes were not read in time")?
}

/// What the agent before this one has left. What is on this node itself needs no route of ours; who passes on what it learned
/// forwards by routes that must still be there.
fn restart(plan: &Plan, counts: &fib::Counts) -> speaker::Restart {
    let relays = plan.speaker.peers.values().any(|peer| peer.relays);
    let is_forwarding = |family: &Family| {
        let installed = match family {
            Family::Ipv4 => counts.installed_ipv4,
            Family::Ipv6 => counts.installed_ipv6,
        };
        !relays || installed > 0
    };
    speaker::Restart {
        forwarding: Family::ALL
            .into_iter()
            .filter(is_forwarding)
            .collect::<FamilySet>(),
    }
}

fn settings(plan: &FibPlan) -> fib::Settings {
    fib::Settings {
        table: plan.table,
        metric: plan.metric,
        protocol: plan.protocol,
        max_paths: plan.max_paths,
        nexthop_objects: if plan.nexthop_objects {
            fib::NexthopObjects::Auto
        } else {
            fib::NexthopObjects::Disabled
        },
    }
}

fn static_routes(plan: &FibPlan) -> Vec<(IpNetwork, fib::DesiredRoute)> {
    let route = fib::DesiredRoute {
        target: fib::RouteTarget::Unreachable,
        pref_src: None,
    };
    plan.unreachable
        .iter()
        .map(|prefix| (*prefix, route.clone()))
        .collect()
}

fn pref_src(plan: &FibPlan) -> fib::PrefSrc {
    fib::PrefSrc {
        ipv4: plan.preferred_source_ipv4,
        ipv6: plan.preferred_source_ipv6,
    }
}

/// Where to listen: on one address, or on all of both families.
fn addresses(listen: Listen) -> Vec<SocketAddr> {
    let all = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let addresses = listen.address.map_or_else(|| all.to_vec(), |one| vec![one]);
    addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, listen.port))
        .collect()
}
