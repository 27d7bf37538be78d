//! A real Kubernetes cluster of several nodes, in two racks or on one segment, on one machine: no Docker, no virtual machine, no registry.
//!
//! What is real: etcd, the API server, controllers and scheduler; containerd, kubelet and kube-proxy on every node;
//! upstream's programs, built from source by `testbed/scripts/kubernetes`. What is played: machines are namespaces
//! ([`node`]), cables are veth pairs, switches are BIRD ([`ground`]). All of it lives in a [`crate::sandbox`], so that it
//! ends as a whole; what a sandbox does not end (control groups, files) is removed by [`standing`].
//!
//! Pods' packets are carried by flatroute alone: it is installed as a user would do it (`kubectl apply -k deploy/base`)
//! and configured by one BGPPeer of four lines, or on a segment by nothing. Nothing stands in for learned routes: a node's default route would carry
//! packets to pods even when every learned route is lost, so under them lies an `unreachable` route for all pods, and
//! before anything is measured every node is shown to hold a route to every other node's pods, over both its ToRs or straight
//! to that node.

mod annotations;
pub mod audit;
pub mod bench;
pub mod cgroup;
pub mod control;
mod deaths;
pub mod exam;
mod found;
pub mod ground;
pub mod images;
mod keys;
pub mod kubectl;
pub mod mesh;
pub mod model;
mod networks;
pub mod node;
pub mod operations;
pub mod pace;
pub mod parts;
pub mod privileges;
pub mod reference;
mod remove;
mod rise;
pub mod routes;
pub mod secrets;
pub mod segment;
pub mod site;
pub mod standing;
pub mod upstream;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

use self::node::Proxy;
use self::parts::Parts;
use self::site::{Families, Shape, Site};
use self::standing::State;
use crate::paint;
use crate::process::locate;
use crate::sandbox::{self, Ending};
use crate::speaker::Software;

pub use self::rise::Cluster;

/// Nothing in bringing a cluster up may take longer than this altogether.
const UP_LIMIT: Duration = Duration::from_secs(600);

/// What carries pods' packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// We do.
    Flatroute,
    /// ptp, host-local and BIRD, for comparison.
    Bird,
}

impl std::str::FromStr for Carrier {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "flatroute" => Ok(Self::Flatroute),
            "bird" => Ok(Self::Bird),
            _ => bail!(
                "CARRIER={text}: there is no such choice; it may be flatroute, or bird (ptp, host-local and BIRD, for comparison)"
            ),
        }
    }
}

impl Carrier {
    /// As the user says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Flatroute => "flatroute",
            Self::Bird => "bird",
        }
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Flatroute => "flatroute",
            Self::Bird => "ptp, host-local, BIRD",
        }
    }

    /// The protocol number of its routes (RTPROT_*).
    #[must_use]
    pub fn route_protocol(self) -> u8 {
        match self {
            Self::Flatroute => Software::Agent.route_protocol(),
            Self::Bird => Software::Bird.route_protocol(),
        }
    }
}

/// What runs on ToRs and spine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Switches {
    /// BIRD where it is installed, and otherwise our agent.
    #[default]
    Installed,
    /// BIRD.
    Bird,
    /// Our agent in transit role.
    Flatroute,
}

impl std::str::FromStr for Switches {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::Installed),
            "bird" => Ok(Self::Bird),
            "flatroute" => Ok(Self::Flatroute),
            _ => bail!(
                "SWITCHES={text}: there is no such choice; it may be bird or flatroute, and without it BIRD is taken where it is installed"
            ),
        }
    }
}

impl Switches {
    /// As on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Installed => "",
            Self::Bird => "bird",
            Self::Flatroute => "flatroute",
        }
    }

    fn software(self) -> Software {
        match self {
            Self::Installed if Software::Bird.find().is_err() => Software::Agent,
            Self::Installed | Self::Bird => Software::Bird,
            Self::Flatroute => Software::Agent,
        }
    }
}

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// How machines are wired.
    pub shape: Shape,
    /// What runs on ToRs and spine.
    pub switches: Switches,
    /// Which families.
    pub families: Families,
    /// How many nodes.
    pub nodes: u16,
    /// How Services are made.
    pub proxy: Proxy,
    /// What carries pods' packets.
    pub carrier: Carrier,
    /// The archive with our own image.
    pub image: PathBuf,
    /// The cluster's place.
    pub state: State,
}

/// Whether this machine can carry a cluster: rights, programs of others, parts of Kubernetes.
///
/// # Errors
/// What is missing, and the remedy.
pub fn check_machine() -> Result<Parts> {
    if !geteuid().is_root() {
        bail!(
            "a cluster needs root: mounts, control groups and containers are made for real (sudo make cluster)"
        );
    }
    for (program, package) in [
        ("etcd", "etcd-server"),
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
        ("conntrack", "conntrack"),
        ("iptables", "iptables"),
        ("nft", "nftables"),
        ("openssl", "openssl"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
    ] {
        locate(program).with_context(|| {
            format!("{program} is not installed (package {package}); all that a cluster needs, services masked: sudo make test-deps")
        })?;
    }
    let parts = Parts::locate()?;
    for part in [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
        "agnhost",
        "coredns",
        "pause",
    ] {
        parts.find(part)?;
    }
    Ok(parts)
}

/// Everything that can be known to fail before anything is built: the machine, the wishes, another cluster.
///
/// # Errors
/// What is wrong, and the remedy.
pub fn check(wishes: &Wishes) -> Result<()> {
    check_machine()?;
    Site::new(wishes.shape, wishes.families, wishes.nodes)?;
    match wishes.shape {
        Shape::Racks => drop(wishes.switches.software().find()?),
        Shape::Segment if wishes.switches != Switches::Installed => {
            bail!("SWITCHES: on a segment no switch speaks BGP; leave it out, or say SHAPE=racks");
        }
        Shape::Segment if wishes.carrier == Carrier::Bird => {
            bail!(
                "CARRIER=bird: BIRD on nodes has sessions with ToRs, and a segment has none; say SHAPE=racks"
            );
        }
        Shape::Segment => {}
    }
    if !wishes.image.is_file() {
        bail!(
            "our own image is not built: {} is not there. To build it:  make image",
            wishes.image.display()
        );
    }
    if let Some(pid) = wishes.state.standing() {
        bail!("a cluster is already up (process {pid}). To remove it:  make cluster-down");
    }
    Ok(())
}

/// `make cluster`: brings a cluster up and leaves it.
///
/// # Errors
/// Something is missing, or the system forbids namespaces.
pub fn up(wishes: &Wishes) -> Result<ExitCode> {
    let body = || {
        let cluster = Cluster::rise(wishes)?;
        cluster.stay()
    };
    if sandbox::is_inside() {
        return sandbox::run(UP_LIMIT, body).map(sandbox::exit_code);
    }
    check(wishes)?;
    let claim = wishes.state.claim()?;
    wishes.state.remove()?;
    let ending = sandbox::run(UP_LIMIT, body)?;
    match ending {
        Ending::Kept(pid) => {
            let kubectl = Parts::locate()?.find("kubectl")?;
            let site = Site::new(wishes.shape, wishes.families, wishes.nodes)?;
            let control = (kubectl.as_path(), site.control().0);
            print!("{}", wishes.state.remember(pid, control, &hints(wishes))?);
        }
        Ending::Done(_) | Ending::Refused | Ending::Interrupted | Ending::TimedOut => {
            let what = leave(wishes, ending)?;
            println!("{}", paint::bad(&what));
        }
    }
    drop(claim);
    Ok(sandbox::exit_code(ending))
}

/// What to try in this cluster and in no other: commands and what they show.
fn hints(wishes: &Wishes) -> Vec<(&'static str, &'static str)> {
    match (wishes.shape, wishes.switches.software()) {
        (Shape::Segment, _) => vec![
            (
                "kubectl get bgppeers,bgpconfigurations",
                "none: nobody configured anything",
            ),
            (
                "node node1 curl -s --unix-socket /run/flatroute/agent.sock http://localhost/v1/peers",
                "",
            ),
            ("switch segment bridge link", ""),
        ],
        (Shape::Racks, Software::Bird) => vec![
            ("kubectl get bgppeers", "one object configures all of it"),
            ("switch tor1a birdc -s /run/lab/tor1a/bird.ctl show protocols", ""),
            (
                "switch tor1a ip route",
                "a switch, as the node's neighbour sees it",
            ),
        ],
        (Shape::Racks, Software::Agent | Software::Frr) => vec![
            ("kubectl get bgppeers", "one object configures all of it"),
            (
                "switch tor1a curl -s --unix-socket /run/lab/tor1a/agent.sock http://localhost/v1/peers",
                "",
            ),
            (
                "switch tor1a ip route",
                "a switch, as the node's neighbour sees it",
            ),
        ],
    }
}

/// Brings a cluster up, does `body` with it and takes it down, all within `limit`. By this same call the program comes to
/// the inside of the sandbox, where it does not return.
///
/// # Errors
/// Something is missing, or the system forbids namespaces.
pub fn with(wishes: &Wishes, limit: Duration, body: impl FnOnce(Cluster) -> Result<u8>) -> Result<Ending> {
    let arguments = std::env::args_os().skip(1).collect();
    with_arguments(wishes, limit, arguments, body)
}

/// As [`with`], for a caller that comes to this same call by another command line than its own.
///
/// # Errors
/// As [`with`].
pub fn with_arguments(
    wishes: &Wishes,
    limit: Duration,
    arguments: Vec<OsString>,
    body: impl FnOnce(Cluster) -> Result<u8>,
) -> Result<Ending> {
    let inside = || body(Cluster::rise(wishes)?);
    if sandbox::is_inside() {
        return sandbox::run(limit, inside);
    }
    under_claim(wishes, || sandbox::run_with_arguments(limit, arguments))
}

/// Does `act`, in which a cluster comes and goes, while nobody else may build one in this place; removes what it left.
fn under_claim(wishes: &Wishes, act: impl FnOnce() -> Result<Ending>) -> Result<Ending> {
    check(wishes)?;
    let claim = wishes.state.claim()?;
    wishes.state.remove()?;
    let ending = act()?;
    let words = leave(wishes, ending)?;
    if ending != Ending::Done(0) {
        println!("{}", paint::bad(&words));
    }
    drop(claim);
    Ok(ending)
}

/// Removes what a cluster that did not stay has left, but its logs; says where they are.
fn leave(wishes: &Wishes, ending: Ending) -> Result<String> {
    let logs = wishes.state.keep_logs()?;
    wishes.state.remove()?;
    let why = match ending {
        Ending::Done(0) | Ending::Kept(_) => "The cluster is down.",
        Ending::Done(_) => "Not all went well; the reason stands above.",
        Ending::Refused => "This system gives us no namespaces.",
        Ending::Interrupted => "Interrupted.",
        Ending::TimedOut => "It took too long and was ended.",
    };
    Ok(format!(
        "{why} Nothing is left of it but its logs, in {}.",
        logs.display()
    ))
}

/// `make cluster-down`.
///
/// # Errors
/// Something does not go away.
pub fn down(state: &State) -> Result<String> {
    let claim = state.claim()?;
    let words = state.remove()?;
    state.forget_logs()?;
    drop(claim);
    Ok(words)
}
