//! `flatroute-agent run`: the owner of all state and its loop.
//!
//! Four things can happen: the objects changed, something that acts has something to tell, somebody asks on the
//! control socket, a signal comes. The first two may change the plan; a plan that differs from the one in force
//! is applied, an equal one causes nothing. Nothing is planned before the first full listing of the objects, or a copy
//! of an earlier one; questions are answered all the same.
//!
//! How it ends stands in `ending`.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use flatroute_api::{ClusterState, Problem, control};
use flatroute_plan::{Facts, Links, ObjectSource, Plan, Synced, plan};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::act::{Act, Event, Live, Marker, Seen};
use crate::cli::{LogFormat, RunOptions};
use crate::control::query::Query;
use crate::control::{Answer, Request, server};
use crate::events::{Events, Happening};
use crate::observe::connection::{Connection, own_namespace};
use crate::observe::standalone::Standalone;
use crate::observe::{Observed, Stale, cluster};
use crate::ready::Ready;
use crate::respawn::{self, Predecessors};

mod contest;
mod ending;
mod look;
mod mesh;
mod outlets;
mod problems;
mod settings;
mod sought;
mod tell;

use outlets::Outlets;
use sought::Sought;

/// How long those who act may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many questions may wait for the owner.
const MAX_WAITING: usize = 16;

pub(crate) fn main(options: &RunOptions) -> ExitCode {
    let outcome = log(options).and_then(|()| {
        // Before anything can be missed of its parent's end.
        let predecessors = respawn::follow_parent()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(start(options, predecessors))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flatroute-agent run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log(options: &RunOptions) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&options.log)
        .context("--log")?
        // It logs every failed connection, which the observer tells once and with its causes.
        .add_directive("kube_client::client::builder=off".parse()?);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let set = match options.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("logging: {error}"))
}

async fn start(options: &RunOptions, predecessors: Option<Predecessors>) -> anyhow::Result<()> {
    // The channel holds one: what changes meanwhile adds up where it is observed.
    let (observed, changes) = mpsc::channel(1);
    let mut connection = None;
    let mut following = None;
    let source = match &options.standalone {
        Some(directory) => {
            let (standalone, merged) = Standalone::open(directory).await?;
            observed.send(Ok(merged.into())).await?;
            tokio::spawn(follow(standalone, observed));
            ObjectSource::Standalone
        }
        None => {
            let way = Connection::open(options.kubeconfig.as_deref()).await?;
            connection = Some(way.clone());
            let cluster = cluster::Options {
                connection: way,
                node: options.node_name.clone(),
                namespace: own_namespace(),
                pace: Default::default(),
                state_dir: options.state_dir.clone(),
                secrets_dir: options.control_socket.parent().map(|run| run.join("secrets")),
            };
            following = Some(tokio::spawn(cluster::follow(cluster, observed)));
            ObjectSource::ApiServer
        }
    };
    let outlets = Outlets::open(options, connection).await?;
    let marker = Marker::new(options.state_dir.as_deref(), &options.node_name)
        .context("/proc tells neither the boot nor the network namespace")?;
    let act = Live::open(marker, options.state_dir.as_deref()).await?;
    let links = act.links();
    let (listener, _socket) = server::bind(&options.control_socket)?;
    let (ask, requests) = mpsc::channel(MAX_WAITING);
    let server = tokio::spawn(server::serve(listener, ask));
    let mut owner = Owner::new(act, &options.node_name, source, links);
    owner.outlets = outlets;
    owner.settings = settings::Settings::below("/proc/sys");
    owner.following = following;
    owner.predecessors = predecessors;
    if let Some(predecessors) = owner.predecessors.clone() {
        owner.happened(predecessors.happening());
    }
    let outcome = owner.run(changes, requests, stop_signal()?).await;
    // Who asked last reads the answer before the program is gone.
    let _ = server.await;
    outcome
}

/// Follows manifests. A reading must not be dropped half-way, so this is a task of its own.
async fn follow(mut standalone: Standalone, observed: mpsc::Sender<anyhow::Result<Observed>>) {
    loop {
        let next = standalone.next().await.map(Observed::from);
        let last = next.is_err();
        if observed.send(next).await.is_err() || last {
            return;
        }
    }
}

/// Waits for SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// The owner of all state.
struct Owner<A> {
    act: A,
    node: String,
    /// None until all objects have been listed once, or a copy of an earlier time is taken.
    state: Option<Synced<ClusterState>>,
    stale: Option<Stale>,
    awaited: Vec<String>,
    /// Problems of the objects themselves, and of the way to them.
    object_problems: Vec<Problem>,
    facts: Facts,
    in_force: Option<Plan>,
    problems: Vec<Problem>,
    events: Events,
    settings: settings::Settings,
    contest: contest::Contest,
    outlets: Outlets,
    hand_over: mesh::HandOver,
    sought: Sought,
    /// What follows the objects of an API server; it ends when they are kept.
    following: Option<JoinHandle<()>>,
    /// Every session has ended, for good: no plan is applied any more.
    is_shut_down: bool,
    /// The agents before this one that died, when a parent started this one.
    predecessors: Option<Predecessors>,
    started: Instant,
}

impl<A: Act> Owner<A> {
    fn new(act: A, node: &str, source: ObjectSource, links: Links) -> Self {
        Self {
            act,
            node: node.to_owned(),
            state: None,
            stale: None,
            awaited: Vec::new(),
            object_problems: Vec::new(),
            facts: Facts {
                source,
                links,
                ..Facts::default()
            },
            in_force: None,
            problems: Vec::new(),
            events: Events::default(),
            settings: settings::Settings::default(),
            contest: contest::Contest::default(),
            outlets: Outlets::default(),
            hand_over: mesh::HandOver::default(),
            sought: Sought::default(),
            following: None,
            is_shut_down: false,
            predecessors: None,
            started: Instant::now(),
        }
    }

    async fn run(
        &mut self,
        mut changes: mpsc::Receiver<anyhow::Result<Observed>>,
        mut requests: mpsc::Receiver<Request>,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let mut stop = std::pin::pin!(stop);
        let mut looks = tokio::time::interval(look::PERIOD);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut mesh_looks = tokio::time::interval(mesh::PERIOD);
        mesh_looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut setting_looks = tokio::time::interval(settings::PERIOD);
        setting_looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => break,
                event = self.act.event() => self.heard(event).await?,
                change = changes.recv() => {
                    self.observe(change.context("the objects are no longer followed")??).await?;
                }
                _ = looks.tick(), if self.is_looking() => self.look().await,
                _ = mesh_looks.tick(), if self.is_watching_mesh() => self.watch_mesh().await?,
                _ = setting_looks.tick(), if self.is_watching_settings() => self.watch_settings().await?,
                Some(pulse) = self.outlets.pulses.recv() => drop(pulse.send(())),
                Some(happening) = self.outlets.told.recv() => self.happened(happening),
                Some(request) = requests.recv() => self.answer(request).await,
            }
        }
        drop(changes);
        self.end().await
    }

    /// Takes what was observed. Without a state, the one before stays.
    async fn observe(&mut self, observed: Observed) -> anyhow::Result<()> {
        self.awaited = observed.awaited;
        self.object_problems = observed.problems;
        if let Some(state) = observed.state {
            self.state = Some(state);
            self.stale = observed.stale;
            self.facts.source = observed.source;
            self.facts.api_server = observed.api_server;
            self.facts.kubeadm_pod_subnets = observed.kubeadm_pod_subnets;
        }
        self.replan().await
    }

    async fn heard(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Links(links) => {
                if self.facts.links != links {
                    self.facts.links = links;
                    self.replan().await?;
                }
            }
            Event::Happened(happening) => self.happened(happening),
            Event::Failed(why) => anyhow::bail!("{why}"),
        }
        Ok(())
    }

    fn happened(&mut self, happening: Happening) {
        if happening.is_trouble() {
            tracing::warn!(kind = happening.kind, peer = happening.peer, "{}", happening.text);
        } else {
            tracing::info!(kind = happening.kind, peer = happening.peer, "{}", happening.text);
        }
        if happening.kind == "FIBDrift" {
            self.contest.changed(Instant::now());
        }
        self.report_happening(&happening);
        self.events.add(Instant::now(), happening);
    }

    /// Plans, and applies what differs from the plan in force.
    async fn replan(&mut self) -> anyhow::Result<()> {
        self.carry_mesh_over();
        let Some(state) = &self.state else {
            self.tell_problems(&[]);
            return Ok(());
        };
        let mut new = plan(&self.node, state, &self.facts);
        // Which of the node's settings matter is known from the plan; they change what it complains of, and nothing else.
        if self.settings.reads_anew(&new, &mut self.facts) {
            new = plan(&self.node, state, &self.facts);
        }
        self.tell_problems(&new.problems);
        let same = |old: &Plan| {
            (
                &old.speaker,
                &old.fib,
                &old.pod_network,
                old.listen,
                old.local_asn,
                old.router_id,
            ) == (
                &new.speaker,
                &new.fib,
                &new.pod_network,
                new.listen,
                new.local_asn,
                new.router_id,
            ) && old.sought == new.sought
        };
        if !self.is_shut_down && !self.in_force.as_ref().is_some_and(same) {
            self.act
                .apply(&new)
                .await
                .context("the plan cannot be carried out")?;
            tracing::info!(peers = new.speaker.peers.len(), "a new plan is in force");
        }
        self.sought.update(&new, Instant::now());
        self.in_force = Some(new);
        self.tell_pods();
        self.gather_objects();
        Ok(())
    }

    /// What makes the objects in force a copy of an earlier time.
    fn stale_words(&self) -> Option<String> {
        self.stale.map(|stale| format!("a copy of {}", stale.time()))
    }

    /// Where the objects in force come from.
    fn objects(&self) -> control::Objects {
        let from = match (&self.state, &self.stale, self.facts.source) {
            (None, _, _) => "Nowhere",
            (Some(_), Some(_), _) => "LastKnownGood",
            (Some(_), None, ObjectSource::Standalone) => "Manifests",
            (Some(_), None, ObjectSource::ApiServer) => "APIServer",
        };
        control::Objects {
            from: from.to_owned(),
            stale_seconds: self.stale.as_ref().map(|stale| stale.age().as_secs()),
            awaited: self.awaited.clone(),
        }
    }

    async fn answer(&mut self, request: Request) {
        let answer = match timeout(PATIENCE, self.ask(&request.query)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::Unavailable(format!("{error:#}")),
            Err(_) => Answer::Unavailable(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        // Who asked may have gone.
        let _ = request.reply.send(answer);
    }

    async fn ask(&mut self, query: &Query) -> anyhow::Result<Answer> {
        Ok(match query {
            Query::Status => Answer::Status(Box::new(self.status().await?)),
            Query::Peers => Answer::Peers(control::Peers {
                peers: self.peers().await?,
            }),
            Query::Peer(name) => {
                let found = self.peers().await?.into_iter().find(|p| p.name == *name);
                found.map_or_else(|| self.no_peer(name), |peer| Answer::Peer(Box::new(peer)))
            }
            Query::Routes(query) => match &query.peer {
                Some(peer) if !self.has_peer(peer) => self.no_peer(peer),
                Some(_) | None => Answer::Routes(self.act.routes(query).await?),
            },
            Query::Why(address) => Answer::Why(Box::new(self.act.why(*address).await?)),
            Query::Config => {
                let mut config = self.in_force.as_ref().map(Plan::describe).unwrap_or_default();
                config.objects = Some(self.objects());
                config.problems = self.problems.clone();
                Answer::Config(Box::new(config))
            }
            Query::Events => Answer::Events(self.events.list(Instant::now())),
            Query::Refresh(name) if !self.has_peer(name) => self.no_peer(name),
            Query::Refresh(name) => {
                if self.act.refresh(name).await? {
                    Answer::Done(format!("{name} was asked for its routes again"))
                } else {
                    Answer::Conflict(format!(
                        "{name} is not Established, or did not offer route refresh"
                    ))
                }
            }
            Query::Shutdown => {
                self.shut_down().await?;
                Answer::Done(
                    "every neighbour was told; the agent goes on without sessions until it is started again"
                        .to_owned(),
                )
            }
        })
    }

    /// The neighbours, by name, also those that are still sought.
    async fn peers(&mut self) -> anyhow::Result<Vec<control::Peer>> {
        let known = self.act.peers().await?;
        Ok(match &self.in_force {
            Some(plan) if !self.is_shut_down => self.sought.beside(known, plan, Instant::now()),
            Some(_) | None => known,
        })
    }

    fn has_peer(&self, name: &str) -> bool {
        self.in_force.as_ref().is_some_and(|plan| {
            plan.config_of(&flatroute_bgp::types::PeerName::from(name))
                .is_some()
        })
    }

    fn no_peer(&self, name: &str) -> Answer {
        Answer::NotFound(format!(
            "node {} has no BGPPeer {name} in force; see /v1/config for problems",
            self.node
        ))
    }

    async fn status(&mut self) -> anyhow::Result<control::Status> {
        // Nothing acts before the first plan.
        let seen = match &self.in_force {
            Some(_) => self.act.seen().await?,
            None => Seen::default(),
        };
        let (asn, id) = self
            .in_force
            .as_ref()
            .map_or_else(Default::default, |p| (p.local_asn.0, p.router_id.to_string()));
        Ok(control::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node.clone(),
            local_asn: asn,
            router_id: id,
            uptime_seconds: self.started.elapsed().as_secs(),
            peers: seen.peers.len() + self.sought.len(),
            established: seen.peers.iter().filter(|p| p.state == "Established").count(),
            fib: seen.fib,
            pod_rules: seen.pod_rules,
            restarting: seen.restarting,
            shut_down: self.is_shut_down,
            respawned: self.predecessors.as_ref().map(Predecessors::described),
            objects: self.objects(),
            ready: *self.outlets.ready.borrow() == Ready::Yes,
            ready_reason: self.outlets.ready.borrow().reason().map(str::to_owned),
            problems: self.problems.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
