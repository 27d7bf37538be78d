//! A cluster comes up, step by step, each with a bound and a word of what is waited for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::control::ControlPlane;
use super::ground::Ground;
use super::kubectl::{Kubectl, addresses, unready};
use super::node::{Common, Node};
use super::parts::{Parts, source_tree};
use super::secrets::Secrets;
use super::site::{self, Shape, Site};
use super::{Carrier, Wishes, images, reference, routes};
use crate::demo::Teller;
use crate::speaker::Speaker;
use crate::topology::{Router, Tier};
use crate::wait::{self, Look};
use crate::{paint, sandbox};

/// From a kubelet's start to a node that is ready to take pods: our DaemonSet's start included.
const READY_BOUND: Duration = Duration::from_secs(180);
/// From ready nodes to routes in every kernel.
const ROUTES_BOUND: Duration = Duration::from_secs(90);
/// From there to running pods.
const PODS_BOUND: Duration = Duration::from_secs(120);

/// The one object that configures flatroute.
pub(super) const PEER: &str = include_str!("manifests/peer.yaml");
/// A server on every node.
const HELLO: &str = include_str!("manifests/hello.yaml");
/// The name server.
const COREDNS: &str = include_str!("manifests/coredns.yaml");

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Fabric and switches.
    pub ground: Ground,
    /// etcd, API server and so on.
    pub control: ControlPlane,
    /// In the order of the site.
    pub nodes: Vec<Node>,
    /// The administrator's way in.
    pub kubectl: Kubectl,
    /// What all nodes have in common.
    pub common: Common,
    /// What carries pods' packets.
    pub carrier: Carrier,
    /// BIRD on every node, where it is the carrier.
    others: Vec<Speaker>,
    /// The image archives of every node.
    pub archives: Vec<PathBuf>,
    pub(super) teller: Teller,
}

impl Cluster {
    /// Brings a cluster up, from nothing to pods that talk.
    ///
    /// # Errors
    /// Which step failed, and the end of the logs that belong to it.
    pub fn rise(wishes: &Wishes) -> Result<Self> {
        let teller = Teller::new();
        teller.chapter("The fabric");
        let site = Site::new(wishes.shape, wishes.families, wishes.nodes)?;
        print!("{}", site.drawing());
        let ground = Ground::build(site.clone(), wishes.switches)?;
        match site.shape {
            Shape::Racks => teller.say(&format!(
                "ToRs and the spine run {}; the control plane stands behind the spine",
                paint::bold(ground.software())
            )),
            Shape::Segment => teller.say("no switch here speaks BGP, and none knows a pod"),
        }
        teller.chapter("The control plane and the nodes");
        let state = wishes.state.dir().to_owned();
        let parts = Parts::locate()?;
        let secrets = Secrets::make(&state.join("secrets"), &site)?;
        let archives = [
            images::write(&wishes.state.images(), &parts)?,
            vec![wishes.image.clone()],
        ]
        .concat();
        teller.say(&format!("{} image archives are there", archives.len()));
        let common = Common {
            state,
            cgroup: wishes.state.cgroup(),
            parts: parts.clone(),
            secrets: secrets.clone(),
            site,
            proxy: wishes.proxy,
        };
        let (control, nodes) = start_machines(&teller, &ground, &common, &archives)?;
        let kubectl = Kubectl::new(&ground.control, &parts, &secrets)?;
        let mut cluster = Self {
            ground,
            control,
            nodes,
            kubectl,
            common,
            carrier: wishes.carrier,
            others: Vec::new(),
            archives,
            teller,
        };
        cluster.join()?;
        cluster.install()?;
        cluster.await_ready()?;
        cluster.await_routes(ROUTES_BOUND)?;
        cluster.await_pods("kube-system", "k8s-app=kube-dns", 2)?;
        let all = cluster.nodes.len();
        cluster.await_pods("default", "app=hello", all)?;
        cluster.greet()?;
        Ok(cluster)
    }

    /// Starts kubelets and proxies, and installs what any cluster has.
    fn join(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.join()?;
        }
        let families = self.common.site.families;
        let dns: Vec<String> = families
            .pick(&site::DNS_SERVICE)
            .iter()
            .map(|a| format!("\"{a}\""))
            .collect();
        let first = dns.first().cloned().unwrap_or_default();
        let coredns = COREDNS
            .replace("FIRST_IP", &first)
            .replace("CLUSTER_IPS", &dns.join(", "));
        self.kubectl.apply(&coredns)?;
        self.kubectl.apply(HELLO)?;
        self.teller
            .say("kubelets and kube-proxies run; CoreDNS and a DaemonSet `hello` are applied");
        Ok(())
    }

    /// Installs what carries pods' packets.
    fn install(&mut self) -> Result<()> {
        match self.carrier {
            Carrier::Flatroute => self.install_flatroute(),
            Carrier::Bird => self.install_reference(),
        }
    }

    fn install_reference(&mut self) -> Result<()> {
        self.teller
            .chapter("No flatroute, for comparison: the plugins ptp and host-local, and BIRD on every node");
        let all = self.nodes.len();
        self.await_("pod CIDRs of all nodes", READY_BOUND, |cluster| {
            let cidrs = routes::pod_cidrs(&cluster.kubectl)?;
            let given = cidrs.values().filter(|cidrs| !cidrs.is_empty()).count();
            Ok(if given == all {
                Ok(())
            } else {
                Err(format!("{given} of {all} have theirs"))
            })
        })?;
        let cidrs = routes::pod_cidrs(&self.kubectl)?;
        for node in &self.nodes {
            let own = cidrs.get(&node.name).context("a node's pod CIDRs")?;
            let speaker = reference::install(&self.ground, node, self.router(&node.name)?, own)?;
            self.others.push(speaker);
        }
        Ok(())
    }

    /// What a node that joined later needs beyond what the cluster gives it: nothing, with flatroute.
    pub(super) fn install_on_new_node(&mut self, name: &str) -> Result<()> {
        if self.carrier == Carrier::Flatroute {
            return Ok(());
        }
        self.await_("the new node's pod CIDRs", READY_BOUND, |cluster| {
            let cidrs = routes::pod_cidrs(&cluster.kubectl)?;
            let given = cidrs.get(name).is_some_and(|cidrs| !cidrs.is_empty());
            Ok(if given { Ok(()) } else { Err("none yet".to_owned()) })
        })?;
        let cidrs = routes::pod_cidrs(&self.kubectl)?;
        let own = cidrs.get(name).context("a node's pod CIDRs")?;
        let speaker = reference::install(&self.ground, self.node(name)?, self.router(name)?, own)?;
        self.others.push(speaker);
        Ok(())
    }

    /// Ends what ran for a node beside it.
    pub(super) fn forget_others(&mut self, name: &str) {
        self.others.retain(|speaker| speaker.router() != name);
    }

    /// Installs flatroute as a user does.
    fn install_flatroute(&self) -> Result<()> {
        self.teller.chapter(match self.common.site.shape {
            Shape::Racks => "flatroute: kubectl apply -k deploy/base, and one BGPPeer",
            Shape::Segment => "flatroute: kubectl apply -k deploy/base, and no object at all",
        });
        let base = source_tree().join("deploy/base");
        let base = base.to_str().context("the path of deploy/base")?;
        self.kubectl.run(&["apply", "-k", base])?;
        if self.common.site.shape == Shape::Segment {
            return Ok(());
        }
        self.await_(
            "the API server to know the kind BGPPeer",
            Duration::from_secs(30),
            |cluster| {
                Ok(cluster
                    .kubectl
                    .apply(PEER)
                    .map(drop)
                    .map_err(|error| format!("{error:#}")))
            },
        )?;
        print!("{}", paint::dim(PEER));
        Ok(())
    }

    /// Waits until every node is ready.
    ///
    /// # Errors
    /// Not in time: what the node says, and the end of its logs.
    pub fn await_ready(&mut self) -> Result<()> {
        let what = format!("{} nodes to be ready", self.nodes.len());
        let waited = self.await_(&what, READY_BOUND, |cluster| {
            let nodes = cluster.kubectl.list(&["nodes"])?;
            let lacking = cluster.nodes.iter().find_map(|node| {
                let found = nodes.iter().find(|n| n["metadata"]["name"] == node.name.as_str());
                let reason = found.map_or(Some("not registered".to_owned()), unready);
                reason.map(|reason| format!("{}: {reason}", node.name))
            });
            Ok(lacking.map_or(Ok(()), Err))
        });
        for node in &mut self.nodes {
            node.expect_running()?;
        }
        waited.map_err(|error| {
            let pods = self
                .kubectl
                .run(&["get", "pods", "-A", "-o", "wide"])
                .unwrap_or_default();
            let logs = self.agents_say();
            let kubelet = self.nodes.first().map(Node::last_words).unwrap_or_default();
            anyhow!("{error:#}\n{pods}\n{logs}\n{kubelet}")
        })
    }

    /// Waits until every node holds a route to every other node's pods, over all its ToRs or straight to that node on a
    /// segment, and nothing else that leads there.
    ///
    /// # Errors
    /// Not in time: which node lacks what.
    pub fn await_routes(&self, bound: Duration) -> Result<()> {
        let waited = self.await_("routes to all pods in all kernels", bound, Self::look_at_routes);
        waited.map_err(|error| anyhow!("{error:#}\n{}", self.agents_say()))?;
        let each = self.nodes.len().saturating_sub(1);
        let way = match self.common.site.shape {
            Shape::Racks => "over both ToRs",
            Shape::Segment => "with the other node itself as its one next hop",
        };
        self.teller.say(&format!(
            "every node holds {each} learned pod routes a family, each {way}, above `unreachable` ones"
        ));
        Ok(())
    }

    fn look_at_routes(&self) -> Result<Look<()>> {
        let cidrs = routes::pod_cidrs(&self.kubectl)?;
        for node in &self.nodes {
            let router = self.router(&node.name)?;
            let namespace = self.ground.fabric.namespace(&node.name)?;
            let site = &self.common.site;
            let expected = routes::Expected {
                nodes: self.nodes.len(),
                way: match site.shape {
                    Shape::Racks => routes::Way::Tors(site.topology.neighbours(router).len()),
                    Shape::Segment => routes::Way::Segment(site),
                },
                protocol: self.carrier.route_protocol(),
            };
            if let Err(reason) = routes::complete(namespace, &node.name, &cidrs, &expected)? {
                return Ok(Err(format!("{}: {reason}", node.name)));
            }
        }
        Ok(Ok(()))
    }

    /// A node's place in the fabric.
    ///
    /// # Errors
    /// No such node.
    pub fn router(&self, name: &str) -> Result<&Router> {
        self.common
            .site
            .topology
            .find(name)
            .filter(|router| router.tier == Tier::Node)
            .with_context(|| format!("no node {name} in this site"))
    }

    /// Waits until `count` pods with a label are ready.
    ///
    /// # Errors
    /// Not in time: what the last one says.
    pub fn await_pods(&self, namespace: &str, label: &str, count: usize) -> Result<()> {
        let what = format!("{count} pods with {label} to be ready");
        let waited = self.await_(&what, PODS_BOUND, |cluster| {
            let pods = cluster.kubectl.list(&["pods", "-n", namespace, "-l", label])?;
            let ready = pods.iter().filter(|pod| unready(pod).is_none()).count();
            if ready == count && pods.len() == count {
                return Ok(Ok(()));
            }
            let why = pods.iter().find_map(unready).unwrap_or_default();
            Ok(Err(format!("{ready} of {} are; {why}", pods.len())))
        });
        waited.map_err(|error| {
            let events = self
                .kubectl
                .run(&["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"]);
            let events = events.unwrap_or_default();
            let last: Vec<&str> = events.lines().rev().take(12).collect();
            anyhow!("{error:#}\n{}", last.join("\n"))
        })
    }

    /// Every `hello` asks every other one who it is.
    pub(super) fn greet(&self) -> Result<()> {
        self.teller.chapter("Pods talk");
        let pods = self.kubectl.list(&["pods", "-l", "app=hello"])?;
        let mut pairs = 0;
        for from in &pods {
            let name = from["metadata"]["name"].as_str().context("a pod's name")?;
            let (mut script, mut expected) = (String::new(), Vec::new());
            for to in pods.iter().filter(|to| to["metadata"]["name"] != name) {
                for (own, target) in addresses(from).into_iter().zip(addresses(to)) {
                    let host = if target.contains(':') {
                        format!("[{target}]")
                    } else {
                        target.clone()
                    };
                    script.push_str(&format!(
                        "curl -sg -m 5 http://{host}:8080/clientip || echo failed; echo; "
                    ));
                    expected.push((target, own));
                }
            }
            let answers = self.kubectl.run(&["exec", name, "--", "sh", "-c", &script])?;
            let seen: Vec<&str> = answers.lines().collect();
            for (at, (target, own)) in expected.iter().enumerate() {
                let answer = seen.get(at).copied().unwrap_or_default();
                let saw = answer.rsplit_once(':').map_or(answer, |(host, _)| host);
                let saw = saw.trim_matches(['[', ']']);
                if saw != own {
                    bail!("{name} to {target}: the receiver saw {answer:?} instead of {own}");
                }
                pairs += 1;
            }
        }
        self.teller.say(&format!(
            "{} every pod asked every other, {pairs} times; the receiver saw the sender's own address each time",
            paint::good("reached:")
        ));
        Ok(())
    }

    /// Leaves the cluster up; never returns.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stay(self) -> Result<u8> {
        self.teller.chapter("The cluster stays up");
        std::mem::forget(self);
        match sandbox::keep()? {}
    }

    /// Waits with a bound, and says what for and how long it took.
    pub(super) fn await_(
        &self,
        what: &str,
        bound: Duration,
        mut look: impl FnMut(&Self) -> Result<Look<()>>,
    ) -> Result<()> {
        let start = Instant::now();
        self.teller.say(&paint::dim(&format!(
            "waiting for {what} (at most {} s) …",
            bound.as_secs()
        )));
        let mut said = Instant::now();
        wait::until(what, bound, || {
            let found = look(self)?;
            if let Err(reason) = &found
                && said.elapsed() > Duration::from_secs(10)
            {
                said = Instant::now();
                self.teller.say(&paint::dim(&format!(
                    "  not yet: {}",
                    reason.lines().next().unwrap_or_default()
                )));
            }
            Ok(found)
        })?;
        self.teller
            .say(&format!("{what}: {:.1} s", start.elapsed().as_secs_f64()));
        Ok(())
    }

    /// The ends of the agents' logs.
    pub(super) fn agents_say(&self) -> String {
        let arguments = [
            "-n",
            "flatroute-system",
            "logs",
            "ds/flatroute",
            "--all-containers",
            "--tail=20",
        ];
        self.kubectl
            .run(&arguments)
            .unwrap_or_else(|error| format!("{error:#}"))
    }
}

/// The control plane and all nodes at once: they have nothing to say to each other yet.
fn start_machines(
    teller: &Teller,
    ground: &Ground,
    common: &Common,
    archives: &[PathBuf],
) -> Result<(ControlPlane, Vec<Node>)> {
    let (control, nodes) = std::thread::scope(|scope| {
        let dir = common.state.join("control");
        let control = scope.spawn(move || {
            let begun = Instant::now();
            ControlPlane::start(
                &dir,
                &ground.control,
                &common.site,
                &common.parts,
                &common.secrets,
            )
            .map(|plane| (plane, begun.elapsed()))
        });
        let nodes: Vec<_> = common
            .site
            .topology
            .nodes()
            .map(|router| scope.spawn(move || start_node(ground, common, router, archives)))
            .collect();
        let nodes = nodes
            .into_iter()
            .map(|node| node.join().map_err(|_| anyhow!("a starting thread panicked"))?);
        let nodes = nodes.collect::<Result<Vec<_>>>();
        (
            control.join().map_err(|_| anyhow!("a starting thread panicked")),
            nodes,
        )
    });
    let (control, took) = control??;
    let nodes = nodes?;
    teller.say(&format!(
        "the API server was ready after {:.1} s",
        took.as_secs_f64()
    ));
    teller.say(&format!(
        "{} nodes run containerd and have their images",
        nodes.len()
    ));
    Ok((control, nodes))
}

/// Starts one node and gives it its images.
pub(super) fn start_node(
    ground: &Ground,
    common: &Common,
    router: &Router,
    archives: &[PathBuf],
) -> Result<Node> {
    let node = Node::start(common, router, ground.fabric.namespace(&router.name)?)?;
    for archive in archives {
        node.import(archive)?;
    }
    Ok(node)
}
