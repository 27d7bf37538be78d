//! A node joins: from its registration to the first packet that a pod on it answers to a pod of the other rack.
//!
//! The node begins with nothing: the one that was there before it is drained, deleted and destroyed, its pods are deleted
//! from the API server, and what its kernel still holds of learned routes is flushed. Its images are there before its
//! kubelet starts, as on a machine that was prepared. The clock starts when a watch sees the Node, and stops when the answer
//! arrives. Nobody has to be told the new pod's address: it is read from the pod's network namespace as soon as the plugin
//! has set it, and from then on the pod is asked every few milliseconds. The answer is the pod's program's, and must name
//! the sender's own address.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use ipnetwork::IpNetwork;

use super::figure::Figure;
use super::runtime::{Moment, now};
use super::watch::{Change, Watch};
use crate::cluster::ground::batch;
use crate::cluster::kubectl::unready;
use crate::cluster::rise::start_node;
use crate::cluster::site::POD_CIDRS;
use crate::cluster::{Carrier, Cluster, operations};
use crate::kernel;
use crate::namespace::Namespace;
use crate::pod::Pod;

/// From a kubelet's start to the last answer.
const BOUND: Duration = Duration::from_secs(180);
/// Pause between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(5);
/// Pause between two looks for new pods.
const LOOK: Duration = Duration::from_millis(25);
/// Where the server of `hello` takes datagrams, and the question that it answers with the address and port of who asks.
const SERVER: (u16, &[u8]) = (8081, b"clientip");

/// Takes the last node out of the cluster, and brings it back.
///
/// # Errors
/// A step fails, or the answer does not come in time.
pub(super) fn measure(cluster: &mut Cluster) -> Result<Vec<Figure>> {
    let name = operations::drain_node(cluster)?;
    let router = cluster.router(&name)?.clone();
    forget_pods(cluster, &name)?;
    clean(cluster, &name)?;
    cluster.ground.set_routes(&router)?;
    let asking = asker(cluster, router.rack)?;
    let mut node = start_node(&cluster.ground, &cluster.common, &router, &cluster.archives)?;
    let selector = format!("fieldSelector=metadata.name%3D{name}");
    let watch = Watch::start(&cluster.kubectl, "/api/v1/nodes", &selector)?;
    let selector = format!("fieldSelector=spec.nodeName%3D{name}&labelSelector=app%3Dhello");
    let pods = Watch::start(&cluster.kubectl, "/api/v1/namespaces/default/pods", &selector)?;
    let question = Question::new(cluster, &asking, node.path("/run/netns"))?;
    let answers = std::thread::spawn(move || question.ask());
    node.join()?;
    cluster.nodes.push(node);
    // Whatever fails from here on: the asking thread has its own bound.
    let installed = cluster.install_on_new_node(&name);
    let seen = installed.and_then(|()| {
        Ok((
            registration(&watch)?,
            first(&pods, BOUND, "a pod to be bound to it")?,
        ))
    });
    let answers = answers
        .join()
        .map_err(|_| anyhow!("the asking thread panicked"))?;
    let ((registered, ready), bound) = seen?;
    let answers = answers?;
    cluster.await_ready()?;
    let since = |at: Moment| at.saturating_sub(registered);
    let mut found = vec![
        Figure::new("join: node registered → node Ready", since(ready)),
        Figure::new("join: node registered → pod bound to it", since(bound.at)),
    ];
    for answer in &answers {
        let family = if answer.ipv6 { "IPv6" } else { "IPv4" };
        found.push(Figure::new(
            format!("join: node registered → pod has its {family} address"),
            since(answer.addressed),
        ));
        found.push(Figure::new(
            format!("join: node registered → pod answers the other rack, {family}"),
            since(answer.answered),
        ));
    }
    Ok(found)
}

/// When the Node was registered, and when it was ready.
fn registration(watch: &Watch) -> Result<(Moment, Moment)> {
    let deadline = Instant::now() + BOUND;
    let mut registered = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let change = first(watch, left, "the new node to be ready")?;
        ensure!(
            !change.gone,
            "Node {} was deleted while it was to join",
            change.name()
        );
        let at = *registered.get_or_insert(change.at);
        if unready(&change.object).is_none() {
            return Ok((at, change.at));
        }
    }
}

/// The next change, which must come.
fn first(watch: &Watch, bound: Duration, what: &str) -> Result<Change> {
    let change = watch.next(bound)?;
    change.with_context(|| format!("waited at most {} s for {what}, in vain", BOUND.as_secs()))
}

/// Pods of a node that was deleted stay in the API server for a while, and a node that comes back under the same name would
/// take them up: a new node has none.
fn forget_pods(cluster: &Cluster, name: &str) -> Result<()> {
    let field = format!("--field-selector=spec.nodeName={name}");
    let all = [
        "delete",
        "pods",
        "-A",
        &field,
        "--force",
        "--grace-period=0",
        "--timeout=60s",
    ];
    cluster.kubectl.run(&all)?;
    let left = cluster.kubectl.list(&["pods", "-A", &field])?;
    ensure!(left.is_empty(), "{} pods of {name} are still there", left.len());
    Ok(())
}

/// A pod of the other rack.
fn asker(cluster: &Cluster, rack: u16) -> Result<Pod> {
    for pod in cluster.pods("default", "app=hello")? {
        if cluster.router(&pod.node)?.rack != rack {
            return Ok(pod);
        }
    }
    bail!("no pod in another rack than rack {rack}")
}

/// Lets a node's kernel forget what the carrier had put into it, as a machine does that was off.
fn clean(cluster: &Cluster, name: &str) -> Result<()> {
    let namespace = cluster.ground.fabric.namespace(name)?;
    let protocol = cluster.carrier.route_protocol();
    for ipv6 in [false, true] {
        batch(
            namespace,
            ipv6,
            &[format!("route flush table all proto {protocol}")],
        )?;
    }
    if cluster.carrier == Carrier::Flatroute {
        batch(namespace, false, &[format!("nexthop flush proto {protocol}")])?;
    }
    let held = kernel::routes_of_all_tables(namespace)?;
    let left = held.iter().find(|route| route.protocol == protocol);
    ensure!(left.is_none(), "{name} still holds {left:?}");
    Ok(())
}

/// What one family found.
#[derive(Debug, Clone, Copy)]
struct Answer {
    ipv6: bool,
    addressed: Moment,
    answered: Moment,
}

/// A socket of a family, in the pod that asks, and what it has found so far.
#[derive(Debug)]
struct Ear {
    ipv6: bool,
    socket: UdpSocket,
    own: IpAddr,
    addressed: Option<Moment>,
    answered: Option<Moment>,
}

/// What the other thread does.
#[derive(Debug)]
struct Question {
    ears: Vec<Ear>,
    /// Where the node's pods have their namespaces.
    dir: PathBuf,
    pods: Vec<IpNetwork>,
}

impl Question {
    fn new(cluster: &Cluster, from: &Pod, dir: PathBuf) -> Result<Self> {
        let mut ears = Vec::new();
        for ipv6 in cluster.common.site.families.order() {
            let own = from.address(*ipv6);
            let socket = from.namespace.run(|| Ok(UdpSocket::bind((own, 0))?))?;
            socket
                .set_nonblocking(true)
                .context("a socket that does not wait")?;
            ears.push(Ear {
                ipv6: *ipv6,
                socket,
                own,
                addressed: None,
                answered: None,
            });
        }
        let pods = POD_CIDRS.iter().map(|cidr| cidr.parse().context("a pod CIDR"));
        Ok(Self {
            ears,
            dir,
            pods: pods.collect::<Result<_>>()?,
        })
    }

    /// Asks whoever has an address of a pod on the node, until an answer came in every family.
    fn ask(mut self) -> Result<Vec<Answer>> {
        let deadline = Instant::now() + BOUND;
        let mut targets = BTreeSet::new();
        let mut looked: Option<Instant> = None;
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK) {
                targets = self.look();
                looked = Some(Instant::now());
            }
            for ear in self.ears.iter_mut().filter(|ear| ear.answered.is_none()) {
                ear.turn(&targets)?;
            }
            let found = self.ears.iter().map(Ear::answer).collect::<Option<Vec<_>>>();
            if let Some(found) = found {
                return Ok(found);
            }
            ensure!(
                Instant::now() < deadline,
                "waited {} s for a pod of the new node to answer, in vain; it has the addresses {targets:?}",
                BOUND.as_secs()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// The addresses of pods that are on the node now.
    fn look(&self) -> BTreeSet<IpAddr> {
        let is_pods = |address: &IpAddr| self.pods.iter().any(|cidr| cidr.contains(*address));
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        // One that is just coming or going cannot be read, and is looked at again.
        let held = entries.filter_map(|entry| addresses(&entry.path()));
        held.flatten().filter(is_pods).collect()
    }
}

fn addresses(path: &Path) -> Option<Vec<IpAddr>> {
    Namespace::found("a new pod", path.to_owned()).addresses().ok()
}

impl Ear {
    /// Listens, then asks once more.
    fn turn(&mut self, targets: &BTreeSet<IpAddr>) -> Result<()> {
        let mut buffer = [0; 128];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            let at = now();
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            let client: SocketAddr = text
                .trim()
                .parse()
                .with_context(|| format!("{from} answered {text:?}"))?;
            ensure!(
                client.ip().to_canonical() == self.own,
                "{from} saw {client} instead of {}",
                self.own
            );
            self.answered.get_or_insert(at);
        }
        for target in targets.iter().filter(|target| target.is_ipv6() == self.ipv6) {
            self.addressed.get_or_insert_with(now);
            // Without a route yet, the kernel refuses: that is what is waited for.
            drop(self.socket.send_to(SERVER.1, (*target, SERVER.0)));
        }
        Ok(())
    }

    fn answer(&self) -> Option<Answer> {
        Some(Answer {
            ipv6: self.ipv6,
            addressed: self.addressed?,
            answered: self.answered?,
        })
    }
}
