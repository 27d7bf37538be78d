//! A link that nobody has numbered: no address in either configuration where the peer can do without, routes of both families
//! by link-local next hops in both kernels.
//!
//! FRR does what we do: `neighbor IFACE interface` has its zebra send router advertisements, and both sides find each other. BIRD
//! sends them too (`protocol radv`), so that we find it, but cannot find its neighbour by ours: our link-local address, which the
//! kernel has chosen, stands in its configuration.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use flatroute_api::control::{self as api, Peers};

use crate::control;
use crate::fabric::Fabric;
use crate::interop::pair::{OURS, ROUTE, SESSION, THEIRS, prefix};
use crate::interop::peer::Kind;
use crate::kernel;
use crate::process::{Daemon, locate};
use crate::sandbox;
use crate::speaker::{Speaker, agent, bird, frr};
use crate::topology::{FIRST_TOR_ASN, LinkEnd, NODE_ASN, Router, Size, Tier, Topology};
use crate::wait::{self, Look};

/// For the kernel to give a link its link-local addresses.
const ADDRESS: Duration = Duration::from_secs(5);

/// The two ends, and what the peer runs.
struct Ends {
    fabric: Fabric,
    tor: Router,
    node: Router,
    /// The interfaces, and their link-local addresses: its, ours.
    interfaces: [String; 2],
    addresses: [Ipv6Addr; 2],
    dir: PathBuf,
}

pub(in crate::interop) fn unnumbered(kind: Kind) -> Result<()> {
    let ends = Ends::build()?;
    let _daemons = match kind {
        Kind::Frr => ends.start_frr()?,
        Kind::Bird => vec![bird::spawn(
            &ends.dir,
            ends.fabric.namespace(&ends.tor.name)?,
            &ends.bird(),
            &[],
        )?],
        Kind::Gobgp | Kind::Openbgpd | Kind::Exabgp => bail!("it sends no router advertisements"),
    };
    let agent = Speaker::start_agent(&ends.fabric, &ends.node, &ends.manifests())?;
    let peer = await_peer(&agent)?;
    let [its, ours] = ends.addresses;
    ensure!(
        peer.address == Some(IpAddr::V6(its))
            && peer.interface.as_deref() == Some(ends.interfaces[1].as_str()),
        "another neighbour than the one on the link: {peer:?}"
    );
    let told = |question: &str| match kind {
        Kind::Frr => frr::ask_at(&ends.dir, "bgpd", &[question]),
        Kind::Bird | Kind::Gobgp | Kind::Openbgpd | Kind::Exabgp => bird::ask_at(&ends.dir, question),
    };
    for ours_prefix in OURS {
        let family = if ours_prefix.contains('.') { "ipv4" } else { "ipv6" };
        let question = match kind {
            Kind::Frr => format!("show bgp {family} unicast {ours_prefix}"),
            Kind::Bird | Kind::Gobgp | Kind::Openbgpd | Kind::Exabgp => {
                format!("show route protocol ours all {ours_prefix}")
            }
        };
        explained(
            &agent,
            wait::until(&format!("{ours_prefix} at the peer by {ours}"), ROUTE, || {
                let answer = told(&question).unwrap_or_else(|error| format!("{error:#}"));
                Ok(if answer.contains(&ours.to_string()) {
                    Look::Ok(())
                } else {
                    Err(answer)
                })
            }),
        )?;
        await_kernel(&agent, &ends, &ends.tor, ours_prefix, ours, &ends.interfaces[0])?;
    }
    for its_prefix in THEIRS {
        await_kernel(&agent, &ends, &ends.node, its_prefix, its, &ends.interfaces[1])?;
    }
    let peer = await_peer(&agent)?;
    ensure!(peer.flaps == 0, "it did not stay: {peer:?}");
    Ok(())
}

impl Ends {
    /// A rack of one node whose link has link-local addresses only.
    fn build() -> Result<Self> {
        let fabric = Fabric::build(Topology::leaf_spine(Size {
            racks: 1,
            tors: 1,
            nodes: 1,
            spines: 0,
        }))?;
        let topology = fabric.topology();
        let tor = topology.tier(Tier::Tor).next().context("a ToR")?.clone();
        let node = topology.nodes().next().context("a node")?.clone();
        let link = topology.links.first().context("a link")?;
        let mut addresses = Vec::new();
        for (router, end) in [(&tor, &link.upper), (&node, &link.lower)] {
            let namespace = fabric.namespace(&router.name)?;
            namespace.set("net/ipv4/ip_forward", "1")?;
            namespace.set("net/ipv6/conf/all/forwarding", "1")?;
            addresses.push(alone(&fabric, router, end)?);
        }
        let interfaces = [link.upper.interface.clone(), link.lower.interface.clone()];
        let dir = sandbox::room().join("lab").join(&tor.name);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let addresses = addresses
            .try_into()
            .map_err(|_| anyhow!("two ends have two addresses"))?;
        Ok(Self {
            tor,
            node,
            interfaces,
            addresses,
            dir,
            fabric,
        })
    }

    fn manifests(&self) -> Vec<(String, String)> {
        let Router { name, ipv4, ipv6, .. } = &self.node;
        let [v4, v6] = OURS;
        let node = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{podCIDR: \"{v4}\", podCIDRs: [\"{v4}\", \"{v6}\"]}}\n\
             status: {{addresses: [{{type: InternalIP, address: {ipv4}}}, {{type: InternalIP, address: \"{ipv6}\"}}]}}\n"
        );
        let peer = format!(
            "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: peer}}\n\
             spec: {{interface: {}, peerASN: External}}\n",
            self.interfaces[1]
        );
        vec![("node.yaml".to_owned(), node), ("peer.yaml".to_owned(), peer)]
    }

    fn start_frr(&self) -> Result<Vec<Daemon>> {
        let namespace = self.fabric.namespace(&self.tor.name)?;
        let head = "hostname peer\nlog stdout informational\n";
        let zebra = frr::spawn(&self.dir, namespace, "zebra", head, &[])?;
        let us = &self.interfaces[0];
        let families: String = [("ipv4", THEIRS[0]), ("ipv6", THEIRS[1])]
            .map(|(family, theirs)| {
                format!(
                    " address-family {family} unicast\n  neighbor {us} activate\n  network {theirs}\n exit-address-family\n"
                )
            })
            .concat();
        let bgpd = format!(
            "{head}router bgp {FIRST_TOR_ASN}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
             no bgp network import-check\n neighbor {us} interface remote-as external\n neighbor {us} timers connect 1\n{families}exit\n",
            self.tor.ipv4
        );
        let bgpd = frr::spawn(&self.dir, namespace, "bgpd", &bgpd, &[])?;
        Ok(vec![bgpd, zebra])
    }

    fn bird(&self) -> String {
        let ([interface, _], [its, ours]) = (&self.interfaces, &self.addresses);
        format!(
            "log stderr all;\nrouter id {id};\nprotocol device {{ }}\n\
             protocol kernel {{ ipv4 {{ export all; }}; }}\nprotocol kernel {{ ipv6 {{ export all; }}; }}\n\
             protocol static {{ ipv4; route {v4} blackhole; }}\nprotocol static {{ ipv6; route {v6} blackhole; }}\n\
             protocol radv {{ interface \"{interface}\" {{ min ra interval 3; max ra interval 10; default lifetime 0; }}; }}\n\
             protocol bgp ours {{\n  local {its} as {FIRST_TOR_ASN};\n  neighbor {ours} as {NODE_ASN};\n  interface \"{interface}\";\n  \
             connect delay time 1;\n  connect retry time 1;\n  error wait time 1, 2;\n  \
             ipv4 {{ import all; export where source = RTS_STATIC; extended next hop on; }};\n  \
             ipv6 {{ import all; export where source = RTS_STATIC; }};\n}}\n",
            id = self.tor.ipv4,
            v4 = THEIRS[0],
            v6 = THEIRS[1],
        )
    }
}

/// Takes all addresses from an end of the link but the one that the kernel gave it, and says which that is.
fn alone(fabric: &Fabric, router: &Router, end: &LinkEnd) -> Result<Ipv6Addr> {
    let namespace = fabric.namespace(&router.name)?;
    let ip = locate("ip").context("the ip tool (iproute2) is not installed")?;
    for address in [format!("{}/31", end.ipv4), format!("{}/127", end.ipv6)] {
        let mut command: Command = namespace.command(&ip);
        let output = command
            .args(["addr", "del", &address, "dev", &end.interface])
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{}: ip addr del {address}: {error}",
            router.name
        );
    }
    let found = wait::until(&format!("{}: a link-local address", router.name), ADDRESS, || {
        let mut netlink = namespace.netlink()?;
        let link = netlink.link_by_name(&end.interface)?.context("the link")?;
        let addresses = netlink.addresses(link.index)?;
        let found = addresses.iter().find_map(|address| match address.address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        Ok(found.map_or_else(|| Err(format!("{addresses:?}")), Look::Ok))
    });
    Ok(found?.0)
}

/// Our neighbour, once it is Established with both families.
fn await_peer(agent: &Speaker) -> Result<api::Peer> {
    let waited = wait::until("Established, both families", SESSION, || {
        let answer: Peers = control::fetch(&agent::socket(agent), "/v1/peers")?;
        let families = |peer: &api::Peer| peer.negotiated.as_ref().map_or(0, |n| n.families.len());
        Ok(match answer.peers.into_iter().next() {
            Some(peer) if peer.state == "Established" && families(&peer) == 2 => Look::Ok(peer),
            peer => Err(format!("{peer:?}")),
        })
    });
    explained(agent, waited)
}

fn await_kernel(
    agent: &Speaker,
    ends: &Ends,
    router: &Router,
    of: &str,
    via: Ipv6Addr,
    interface: &str,
) -> Result<()> {
    let namespace = ends.fabric.namespace(&router.name)?;
    let what = format!("{of} via {via} dev {interface} in the kernel of {}", router.name);
    let waited = wait::until(&what, ROUTE, || {
        let routes = kernel::routes(namespace)?;
        let route = routes.iter().find(|route| route.prefix == prefix(of));
        let is_there = route.is_some_and(|route| {
            let mut hops = route.hops.iter();
            hops.any(|hop| hop.gateway == Some(via.into()) && hop.interface == interface)
        });
        Ok(if is_there {
            Look::Ok(())
        } else {
            Err(format!("it has {route:?}"))
        })
    });
    explained(agent, waited)
}

fn explained<T>(agent: &Speaker, waited: Result<(T, Duration)>) -> Result<T> {
    waited
        .map(|(value, _)| value)
        .map_err(|error| anyhow!("{error:#}\n{}", agent.last_words()))
}
