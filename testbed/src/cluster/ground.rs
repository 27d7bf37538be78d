//! The site made real: namespaces and links, static routes, and the switches' routing software.
//!
//! ToRs and the spine stand for a data centre's hardware and run BIRD (our own agent in transit role where BIRD is not
//! installed, or where the user says so). Towards a node a ToR has a session for each family, each over its own family,
//! as most switches are set up: that is what `discover: DefaultGateways` meets.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use flatroute_netlink::{Veth, VethEnd};

use super::Switches;
use super::segment;
use super::site::{self, Shape, Site};
use crate::fabric::Fabric;
use crate::namespace::Namespace;
use crate::process::locate;
use crate::speaker::{Software, Speaker, agent, bird};
use crate::topology::{NODE_ASN, Neighbour, Router, Tier};

/// Interface indexes of the link to the control plane: those of the fabric count up from 100.
const CONTROL_INDEX: u32 = 90;
/// What a ToR asks of a node; the smaller of both holds.
pub const HOLD_TIME: Duration = Duration::from_secs(30);
/// The file of an agent's neighbours.
const PEERS: &str = "peers.yaml";
/// The file of its key.
const SECRET: &str = "secret.yaml";

/// The fabric with its switches, and the control plane's place in it.
#[derive(Debug)]
pub struct Ground {
    /// What was built.
    pub site: Site,
    /// Namespaces and links.
    pub fabric: Fabric,
    /// The control plane's machine.
    pub control: Namespace,
    /// Of ToRs and spine.
    pub switches: Vec<Speaker>,
    /// The key of TCP MD5 that ToRs have towards nodes.
    pub key: Option<&'static str>,
}

impl Ground {
    /// Builds everything but the nodes' insides.
    ///
    /// # Errors
    /// The kernel refuses something, or a switch's software does not start.
    pub fn build(site: Site, switches: Switches) -> Result<Self> {
        let fabric = Fabric::build(site.topology.clone())?;
        let control = match site.shape {
            Shape::Racks => join_control(&fabric)?,
            Shape::Segment => segment::join(&fabric, &site)?,
        };
        let mut ground = Self {
            site,
            fabric,
            control,
            switches: Vec::new(),
            key: None,
        };
        for router in ground.site.topology.routers.clone() {
            let namespace = ground.fabric.namespace(&router.name)?;
            if router.tier == Tier::Node {
                ground.limit_families(namespace, &router)?;
            } else {
                namespace.forward()?;
            }
            ground.set_routes(&router)?;
        }
        ground.start_switches(switches.software())?;
        Ok(ground)
    }

    /// Sets a router's static routes, again after its links were down.
    ///
    /// # Errors
    /// `ip` refuses a line.
    pub fn set_routes(&self, router: &Router) -> Result<()> {
        let namespace = self.fabric.namespace(&router.name)?;
        for ipv6 in [false, true] {
            if router.tier != Tier::Node || self.site.families.has(ipv6) {
                batch(namespace, ipv6, &self.site.routes(router, ipv6))?;
            }
        }
        Ok(())
    }

    /// Takes the family away from a node that the cluster does not have.
    fn limit_families(&self, namespace: &Namespace, node: &Router) -> Result<()> {
        if !self.site.families.has(true) {
            for which in ["all", "default"] {
                namespace.set(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1")?;
            }
        }
        if !self.site.families.has(false) {
            let mut lines = Vec::new();
            if self.site.shape == Shape::Racks {
                lines.push(format!("address del {}/32 dev lo", node.ipv4));
            }
            for neighbour in self.site.topology.neighbours(node) {
                lines.push(format!("address flush dev {}", neighbour.local.interface));
            }
            batch(namespace, false, &lines)?;
        }
        Ok(())
    }

    fn start_switches(&mut self, software: Software) -> Result<()> {
        for router in &self.site.topology.routers {
            if router.tier == Tier::Node {
                continue;
            }
            self.switches.push(self.start_switch(software, router)?);
        }
        Ok(())
    }

    /// Starts a switch's software.
    ///
    /// # Errors
    /// It is missing or does not start.
    pub fn start_switch(&self, software: Software, router: &Router) -> Result<Speaker> {
        match software {
            Software::Bird => Speaker::start_bird(
                &self.fabric,
                router,
                &bird_configuration(&self.site, router, self.key),
            ),
            Software::Agent => {
                let manifests = agent_manifests(&self.site, router, self.key);
                Speaker::start_agent(&self.fabric, router, &manifests)
            }
            Software::Frr => bail!("FRR plays no switch in this cluster"),
        }
    }

    /// Gives the ToRs another key towards nodes, or none: sessions without it end.
    ///
    /// # Errors
    /// A switch does not take it.
    pub fn change_key(&mut self, key: Option<&'static str>) -> Result<()> {
        self.key = key;
        for speaker in &self.switches {
            let router = self.site.topology.find(speaker.router()).context("a switch")?;
            match speaker.software() {
                Software::Bird => bird::reconfigure(speaker, &bird_configuration(&self.site, router, key))?,
                Software::Agent => agent::rewrite(speaker, &agent_manifests(&self.site, router, key))?,
                Software::Frr => bail!("FRR plays no switch in this cluster"),
            }
        }
        Ok(())
    }

    /// What the switches run, for people.
    #[must_use]
    pub fn software(&self) -> &'static str {
        self.switches
            .first()
            .map_or("nothing", |speaker| speaker.software().title())
    }
}

/// Makes the control plane's namespace, wired to the spine.
fn join_control(fabric: &Fabric) -> Result<Namespace> {
    let control = Namespace::create(site::CONTROL_NAME)?;
    let spine = fabric.namespace("spine1")?;
    let (upper, lower) = (spine.file()?, control.file()?);
    let near = VethEnd {
        name: site::TO_CONTROL,
        index: Some(CONTROL_INDEX),
        netns: Some(upper.as_fd()),
        ..VethEnd::default()
    };
    let peer = VethEnd {
        name: site::TO_SPINE,
        index: Some(CONTROL_INDEX + 1),
        netns: Some(lower.as_fd()),
        ..VethEnd::default()
    };
    for which in ["all", "default"] {
        control.set(&format!("net/ipv6/conf/{which}/accept_dad"), "0")?;
    }
    flatroute_netlink::Socket::open()?
        .add_veth(&Veth { near, peer })
        .context("the control plane's link")?;
    for (namespace, index, end) in [
        (spine, CONTROL_INDEX, site::SPINE_END),
        (&control, CONTROL_INDEX + 1, site::CONTROL_END),
    ] {
        let mut netlink = namespace.netlink()?;
        netlink.set_up(index)?;
        netlink.add_address(index, end.0.into(), 31)?;
        netlink.add_address(index, end.1.into(), 127)?;
    }
    let mut netlink = control.netlink()?;
    let loopback = netlink.link_by_name("lo")?.context("a namespace without lo")?;
    netlink.add_address(loopback.index, site::CONTROL.0.into(), 32)?;
    netlink.add_address(loopback.index, site::CONTROL.1.into(), 128)?;
    netlink.add_address(loopback.index, site::WORLD.0.into(), 32)?;
    netlink.add_address(loopback.index, site::WORLD.1.into(), 128)?;
    netlink.add_address(loopback.index, site::METADATA.into(), 32)?;
    for (ipv6, own, via) in [
        (false, site::CONTROL.0.to_string(), site::SPINE_END.0.to_string()),
        (true, site::CONTROL.1.to_string(), site::SPINE_END.1.to_string()),
    ] {
        let line = format!("route replace default via {via} dev {} src {own}", site::TO_SPINE);
        batch(&control, ipv6, &[line])?;
    }
    Ok(control)
}

/// Gives lines to `ip -batch` in a namespace.
///
/// # Errors
/// It refuses one.
pub fn batch(namespace: &Namespace, ipv6: bool, lines: &[String]) -> Result<()> {
    let ip = locate("ip").context("`ip` is not installed: sudo apt-get install iproute2")?;
    let mut command = namespace.command(&ip);
    command.args([if ipv6 { "-6" } else { "-4" }, "-batch", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run ip")?;
    let mut stdin = child.stdin.take().context("the input of ip")?;
    stdin
        .write_all(lines.join("\n").as_bytes())
        .context("write to ip")?;
    stdin.write_all(b"\n").context("write to ip")?;
    drop(stdin);
    let output = child.wait_with_output().context("wait for ip")?;
    if !output.status.success() {
        bail!(
            "{}: ip {}: {}\n{}",
            namespace.name(),
            if ipv6 { "-6" } else { "-4" },
            String::from_utf8_lossy(&output.stderr).trim(),
            lines.join("\n")
        );
    }
    Ok(())
}

/// Our agent on a ToR or the spine. Towards nodes it gets two objects where the demo's one would carry both families, as
/// BIRD here has two sessions.
fn agent_manifests(site: &Site, router: &Router, key: Option<&str>) -> Vec<(String, String)> {
    let mut files = agent::manifests(&site.topology, router);
    files.retain(|(name, _)| name != PEERS);
    let mut peers = String::new();
    for neighbour in site.topology.neighbours(router) {
        let to_node = neighbour.router.tier == Tier::Node;
        let families = if to_node { site.families.order() } else { &[false] };
        for ipv6 in families {
            let (family, address) = if *ipv6 {
                ("IPv6", neighbour.remote.ipv6.to_string())
            } else {
                ("IPv4", neighbour.remote.ipv4.to_string())
            };
            let suffix = if to_node {
                format!("-{}", family.to_lowercase())
            } else {
                String::new()
            };
            let _ = write!(
                peers,
                "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {}{suffix}}}\nspec:\n  peerAddress: \"{address}\"\n  peerASN: {}\n  advertise: [LearnedRoutes]\n  installRoutes: [All]\n",
                neighbour.router.name, neighbour.router.asn
            );
            if to_node {
                // What the configuration of BIRD says too.
                let _ = writeln!(
                    peers,
                    "  families: [{family}]\n  timers: {{holdTime: {}s}}",
                    HOLD_TIME.as_secs()
                );
                if key.is_some() {
                    peers.push_str("  auth: {md5: {secretRef: {name: nodes}}}\n");
                }
            }
        }
    }
    if let Some(key) = key {
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: nodes}}\nstringData: {{password: {key}}}\n"
        );
        files.push((SECRET.to_owned(), secret));
    }
    files.push((PEERS.to_owned(), peers));
    files
}

/// BIRD on a ToR or the spine.
fn bird_configuration(site: &Site, router: &Router, key: Option<&str>) -> String {
    let mut text = bird::preamble(router);
    for neighbour in site.topology.neighbours(router) {
        if neighbour.router.tier == Tier::Node {
            for ipv6 in site.families.order() {
                text.push_str(&session_to_node(router, &neighbour, *ipv6, key));
            }
        } else {
            text.push_str(&bird::session(router, &neighbour, neighbour.router.asn));
        }
    }
    text
}

/// A ToR's session with a node, one family over itself. The limit is what a careful switch would have.
fn session_to_node(router: &Router, neighbour: &Neighbour<'_>, ipv6: bool, key: Option<&str>) -> String {
    let (family, local, remote) = if ipv6 {
        (
            "ipv6",
            neighbour.local.ipv6.to_string(),
            neighbour.remote.ipv6.to_string(),
        )
    } else {
        (
            "ipv4",
            neighbour.local.ipv4.to_string(),
            neighbour.remote.ipv4.to_string(),
        )
    };
    let mut text = String::new();
    let _ = write!(
        text,
        "
protocol bgp to_{name}_{family} {{
    local {local} as {asn};
    neighbor {remote} as {NODE_ASN};
    hold time {hold};
    connect delay time 1;
    connect retry time 2;
    error wait time 1, 4;
{password}    {family} {{ import limit 1000 action restart; import all; export where source = RTS_BGP; }};
}}
",
        name = neighbour.router.name,
        asn = router.asn,
        hold = HOLD_TIME.as_secs(),
        password = key.map_or_else(String::new, |key| format!("    password \"{key}\";\n")),
    );
    text
}
