//! A real Kubernetes cluster of several nodes in two racks, on one machine: no Docker, no virtual machine, no registry.
//!
//! What is real: etcd, the API server, controllers and scheduler; containerd, kubelet and kube-proxy on every node;
//! upstream's programs, built from source by `testbed/scripts/kubernetes`. What is played: machines are namespaces
//! ([`node`]), cables are veth pairs, switches are BIRD ([`ground`]). All of it lives in a [`crate::sandbox`], so that it
//! ends as a whole; what a sandbox does not end (control groups, files) is removed by [`standing`].
//!
//! Pods' packets are carried by flatroute alone: it is installed as a user would do it (`kubectl apply -k deploy/base`)
//! and configured by one BGPPeer of four lines. Nothing stands in for learned routes: a node's default route would carry
//! packets to pods even when every learned route is lost, so under them lies an `unreachable` route for all pods, and
//! before anything is measured every node is shown to hold a route to every other node's pods, over both its ToRs.

pub mod audit;
pub mod bench;
pub mod cgroup;
pub mod control;
pub mod exam;
mod found;
pub mod ground;
pub mod images;
pub mod kubectl;
pub mod model;
pub mod node;
pub mod operations;
pub mod pace;
pub mod parts;
pub mod privileges;
pub mod reference;
mod rise;
pub mod routes;
pub mod secrets;
pub mod site;
pub mod standing;
pub mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

use self::node::Proxy;
use self::parts::Parts;
use self::site::{Families, Site};
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

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Wishes {
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
    Site::new(wishes.families, wishes.nodes)?;
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
            print!("{}", wishes.state.remember(pid, &kubectl)?);
        }
        Ending::Done(_) | Ending::Refused | Ending::Interrupted | Ending::TimedOut => {
            let what = leave(wishes, ending)?;
            println!("{}", paint::bad(&what));
        }
    }
    drop(claim);
    Ok(sandbox::exit_code(ending))
}

/// Brings a cluster up, does `body` with it and takes it down, all within `limit`. By this same call the program comes to
/// the inside of the sandbox, where it does not return.
///
/// # Errors
/// Something is missing, or the system forbids namespaces.
pub fn with(wishes: &Wishes, limit: Duration, body: impl FnOnce(Cluster) -> Result<u8>) -> Result<Ending> {
    let inside = || body(Cluster::rise(wishes)?);
    if sandbox::is_inside() {
        return sandbox::run(limit, inside);
    }
    under_claim(wishes, || sandbox::run(limit, inside))
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
