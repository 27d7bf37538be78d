//! A pod's link: planned as a value, then made.
//!
//! One veth pair joins the host and the pod; there is no bridge. The pod has its addresses as /32 and /128 and sends
//! everything to a gateway that is the same in every pod: 169.254.1.1, which no interface has, and fe80::1, which every
//! host end has. Both ends know each other's Ethernet address for good (permanent neighbours), so no ARP and no
//! neighbour discovery happens, proxy ARP is not needed, and the first packet after ADD arrives. The host has a /32 and
//! a /128 route to the host end.
//!
//! The order of the steps matters in two places. The host end comes up before the pod's, so that the pod's end finds its
//! carrier at once. And the host end's carrier, which the kernel reports through a work queue, is waited for before routes
//! are laid over it: until then its queue drops packets, and `ignore_routes_with_linkdown` would hide the routes. Asking
//! for the link makes the kernel finish that report first, so it is no wait but on old kernels.
//!
//! Nothing else waits for a thread of the kernel's, which on a busy machine may not run for a minute. An IPv6 address is
//! there at once, but its route in the local table comes from a work queue, one address of the whole machine after the
//! other, each after the lock of all interfaces; so ADD makes that route itself, and the link-local
//! address before the link is up.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use flatroute_netlink::{
    Link, LinkChange, LinkSettings, Mac, NextHop, Refusal, Route, Socket, Veth, VethEnd, netns,
};
use ipnetwork::IpNetwork;

use crate::bandwidth::Shaping;
use crate::error::{CniError, Code, Result, io_error};
use crate::identity::{HOST_MAC, Identity, LINK_GROUP};
use crate::sysctl;

/// The pod's IPv4 gateway.
pub(crate) const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
/// The pod's IPv6 gateway.
pub(crate) const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// Protocol number of the host's routes to pods.
pub(crate) const ROUTE_PROTOCOL: u8 = flatroute_netlink::HOST_ROUTE_PROTOCOL;
/// Protocol of the routes in the pod (RTPROT_STATIC).
const POD_ROUTE_PROTOCOL: u8 = 4;
const LOOPBACK_INDEX: u32 = 1;
const TX_QUEUE_LEN: u32 = 1000;
/// Another plugin may give hundreds, and refusals of so many would not fit into the socket's buffer at once.
const ROUTES_AT_ONCE: usize = 64;
/// How often other interface indexes are tried when ours are taken.
const INDEX_ATTEMPTS: u8 = 8;
/// How long the kernel's report of the carrier may take. It needs the lock that every change of a link on the machine
/// needs, and who deletes links holds that one for long.
const KERNEL_PATIENCE: Duration = Duration::from_secs(60);
const CARRIER_POLL_MAX: Duration = Duration::from_millis(4);

/// What ADD is going to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodLink {
    /// Name of the host end.
    pub(crate) host_interface: String,
    /// Name of the pod's end.
    pub(crate) pod_interface: String,
    /// The pod's MAC.
    pub(crate) pod_mac: Mac,
    /// MTU of both ends.
    pub(crate) mtu: u32,
    /// Alias of the host end.
    pub(crate) alias: String,
    /// The pod's addresses, in order.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where the pod's routes over this link lead; everywhere when `None`.
    pub(crate) destinations: Option<Vec<IpNetwork>>,
    /// Indexes to try, host's and pod's.
    pub(crate) indexes: Vec<(u32, u32)>,
    /// Its limits; none for most.
    pub(crate) shaping: Option<Shaping>,
}

/// What ADD made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wired {
    /// MTU of the pod's end.
    pub(crate) mtu: u32,
    /// The routes in the pod that this ADD made.
    pub(crate) routes: Vec<Route>,
}

/// The gateway of an address's family.
pub(crate) fn gateway(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { GATEWAY_V4 } else { GATEWAY_V6 }
}

/// The length of a host prefix.
pub(crate) fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The link-local address that follows from a MAC (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        (a ^ 2) << 8 | b,
        c << 8 | 0xff,
        0xfe00 | d,
        e << 8 | f,
    )
}

/// The host's route to a pod's address.
pub(crate) fn host_route(address: IpAddr, host_index: u32) -> Route {
    Route {
        destination: address,
        prefix_len: host_prefix(address),
        next_hop: NextHop::Link { index: host_index },
        source: None,
        protocol: ROUTE_PROTOCOL,
    }
}

/// The pod's routes for one family, to `destinations` or everywhere.
fn pod_routes(ipv4: bool, index: u32, destinations: Option<&[IpNetwork]>) -> Vec<Route> {
    let via = if ipv4 { GATEWAY_V4 } else { GATEWAY_V6 };
    let any = if ipv4 {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let destinations: Vec<_> = match destinations {
        None => vec![(any, 0)],
        Some(some) => some
            .iter()
            .filter(|network| network.is_ipv4() == ipv4)
            .map(|network| (network.network(), network.prefix()))
            .collect(),
    };
    let route = |destination, prefix_len, next_hop| Route {
        destination,
        prefix_len,
        next_hop,
        source: None,
        protocol: POD_ROUTE_PROTOCOL,
    };
    // Link-local addresses of IPv6 are on every link.
    let to_gateway = (ipv4 && !destinations.is_empty()).then(|| route(via, 32, NextHop::Link { index }));
    let over_gateway = NextHop::Gateway {
        via,
        index: Some(index),
        onlink: true,
    };
    let others = destinations
        .iter()
        .map(|(destination, prefix_len)| route(*destination, *prefix_len, over_gateway));
    to_gateway.into_iter().chain(others).collect()
}

fn is_on_link(route: &Route) -> bool {
    match route.next_hop {
        NextHop::Link { .. } => true,
        NextHop::Gateway { .. } => false,
    }
}

/// A pod with an IPv6 address needs a kernel that has IPv6. Asked before anything else is asked of the kernel in that family, so
/// that this is what the pod's events say.
///
/// # Errors
/// Code 7.
pub(crate) fn check_families(is_ipv4: &[bool]) -> Result<()> {
    if !is_ipv4.contains(&false) || sysctl::ipv6_exists() {
        return Ok(());
    }
    Err(CniError::new(
        Code::InvalidConfig,
        "the pod is to have an IPv6 address, but the kernel has no IPv6",
    )
    .because("remove IPv6 from podCIDRs or ipam, or boot without ipv6.disable=1"))
}

impl PodLink {
    /// The plan for an attachment.
    pub(crate) fn plan(
        identity: &Identity,
        prefix: &str,
        addresses: Vec<IpAddr>,
        mac: Option<Mac>,
        mtu: u32,
    ) -> Self {
        Self {
            host_interface: identity.host_interface(prefix),
            pod_interface: identity.attachment.interface.clone(),
            pod_mac: mac.unwrap_or_else(|| identity.pod_mac()),
            mtu,
            alias: identity.alias(&addresses),
            addresses,
            destinations: None,
            indexes: (0..INDEX_ATTEMPTS)
                .map(|attempt| identity.indexes(attempt))
                .collect(),
            shaping: None,
        }
    }

    fn has_v6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }

    /// Makes it all. What was made when a step fails is taken down again by the caller: the host end is enough.
    ///
    /// # Errors
    /// The first step that failed.
    pub(crate) fn apply(&self, host: &mut Socket, own_netns: &File, pod_netns: &File) -> Result<Wired> {
        let (host_index, pod_index) = self.create(host, pod_netns)?;
        if let Some(shaping) = &self.shaping {
            shaping.apply(host, host_index)?;
        }
        let mut pod = netns::visit(pod_netns.as_fd(), own_netns.as_fd(), Socket::open)
            .map_err(io_error("enter the pod's network namespace"))??;
        self.bring_up_host(host, host_index)?;
        let routes = self.wire_pod(&mut pod, pod_netns, pod_index)?;
        // Both ends were made with the same MTU.
        let mtu = self.wire_host(host, host_index)?;
        Ok(Wired { mtu, routes })
    }

    fn create(&self, host: &mut Socket, pod_netns: &File) -> Result<(u32, u32)> {
        let mut result = Err(CniError::new(Code::Io, "no interface index to try"));
        for (host_index, pod_index) in &self.indexes {
            let veth = Veth {
                near: VethEnd {
                    name: &self.host_interface,
                    index: Some(*host_index),
                    mac: Some(HOST_MAC),
                    mtu: Some(self.mtu),
                    group: Some(LINK_GROUP),
                    tx_queue_len: Some(TX_QUEUE_LEN),
                    queues: Some(1),
                    netns: None,
                },
                peer: VethEnd {
                    name: &self.pod_interface,
                    index: Some(*pod_index),
                    mac: Some(self.pod_mac),
                    mtu: Some(self.mtu),
                    group: None,
                    tx_queue_len: Some(TX_QUEUE_LEN),
                    queues: Some(1),
                    netns: Some(pod_netns.as_fd()),
                },
            };
            match host.add_veth(&veth) {
                Ok(()) => return Ok((*host_index, *pod_index)),
                Err(error) if error.is_busy() => result = Err(error.into()),
                Err(error) if error.is_exists() => return Err(self.taken(host, &error)),
                Err(error) => return Err(error.into()),
            }
        }
        result
    }

    /// Says which of the two names is taken.
    fn taken(&self, host: &mut Socket, error: &flatroute_netlink::Error) -> CniError {
        match host.link_by_name(&self.host_interface) {
            Ok(Some(link)) => {
                let alias = link.alias.unwrap_or_else(|| "none".into());
                CniError::new(
                    Code::Exists,
                    format!("the host interface {} exists already", link.name),
                )
                .because(format!(
                    "its alias: {alias}; DEL that attachment or remove the link"
                ))
            }
            Ok(None) | Err(_) => {
                let msg = format!(
                    "the interface {} exists already in the pod (CNI_IFNAME)",
                    self.pod_interface
                );
                CniError::new(Code::Exists, msg).because(error.to_string())
            }
        }
    }

    /// In a pod where IPv6 is disabled.
    fn enable_ipv6(&self, pod_netns: &File) -> Result<()> {
        netns::within(pod_netns.as_fd(), || {
            sysctl::set_ipv6("lo", "disable_ipv6", "0")?;
            sysctl::set_ipv6(&self.pod_interface, "disable_ipv6", "0")
        })
        .map_err(io_error("enter the pod's network namespace"))?
    }

    /// In the host's namespace. What the kernel takes in a message goes there; see [`LinkSettings`]. All of it is in force
    /// before the host end is up.
    fn bring_up_host(&self, socket: &mut Socket, index: u32) -> Result<()> {
        let host = &self.host_interface;
        // A pod must not configure the host by router advertisements, whatever its own families are.
        let has_ipv6 = sysctl::set_ipv6_if_exists(host, "accept_ra", "0")?;
        let settings = LinkSettings {
            forwarding: Some(true),
            proxy_arp: Some(false),
            // Loose, and the kernel is strict all the same on a link without an IPv4 address, as ours is (a test shows it). The
            // check to rely on is one nf_tables rule, for both families.
            rp_filter: Some(2),
            link_local: has_ipv6.then_some(false),
            ..LinkSettings::default()
        };
        let change = LinkChange {
            alias: Some(&self.alias),
            settings,
            ..LinkChange::default()
        };
        all(socket.batch(|socket| {
            socket.change_link(index, &change)?;
            socket.set_up(index)
        })?)
    }

    fn wire_pod(&self, pod: &mut Socket, pod_netns: &File, index: u32) -> Result<Vec<Route>> {
        if self.has_v6() {
            // The one that the kernel makes when the link comes up is tentative until a work queue says otherwise.
            let own = link_local(self.pod_mac).into();
            add_address(pod, index, own, 64, || self.enable_ipv6(pod_netns))?;
        }
        all(pod.batch(|pod| {
            pod.set_up(LOOPBACK_INDEX)?;
            pod.set_up(index)?;
            for address in &self.addresses {
                pod.add_address(index, *address, host_prefix(*address))?;
                if let IpAddr::V6(address) = address {
                    pod.add_local_route(index, *address, POD_ROUTE_PROTOCOL)?;
                }
                pod.add_permanent_neighbour(index, gateway(*address), HOST_MAC)?;
            }
            Ok(())
        })?)?;
        let each = self.addresses.iter().map(IpAddr::is_ipv4);
        let routes: Vec<_> = each
            .flat_map(|ipv4| pod_routes(ipv4, index, self.destinations.as_deref()))
            .collect();
        let mut made = Vec::with_capacity(routes.len());
        for some in routes.chunks(ROUTES_AT_ONCE) {
            let refusals = pod.batch(|pod| some.iter().try_for_each(|route| pod.add_route(route)))?;
            let mut refusals = refusals.into_iter().peekable();
            for (place, route) in some.iter().enumerate() {
                let added = match refusals.next_if(|refusal| refusal.number == place) {
                    None => Ok(()),
                    // Each link needs its own way to the gateway: who routes by source (the plugin sbr) asks for it.
                    Some(Refusal { error, .. }) if error.is_exists() && is_on_link(route) => {
                        pod.append_route(route)
                    }
                    Some(Refusal { error, .. }) => Err(error),
                };
                match added {
                    Ok(()) => made.push(*route),
                    // A second interface of a pod leaves the first one's routes alone, the default route above all.
                    Err(error) if error.is_exists() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(made)
    }

    /// Returns the MTU of the host end.
    fn wire_host(&self, host: &mut Socket, index: u32) -> Result<u32> {
        let link = self.await_carrier(host, index)?;
        if self.has_v6() {
            let name = &self.host_interface;
            if link.ipv6_forwarding != Some(true) {
                sysctl::set_ipv6(name, "forwarding", "1")?;
            }
            add_address(host, index, GATEWAY_V6, 64, || {
                sysctl::set_ipv6(name, "disable_ipv6", "0")
            })?;
        }
        let refusals = host.batch(|host| {
            self.addresses.iter().try_for_each(|address| {
                host.add_permanent_neighbour(index, *address, self.pod_mac)?;
                host.add_route(&host_route(*address, index))
            })
        })?;
        // Two changes an address; only a route can exist already.
        for Refusal { number, error } in refusals {
            match self.addresses.get(number / 2) {
                Some(address) if error.is_exists() => stands(host, *address, index)?,
                _ => return Err(error.into()),
            }
        }
        Ok(link.mtu)
    }

    /// Asking for a link makes newer kernels finish its pending state first; older ones need to be asked again.
    fn await_carrier(&self, host: &mut Socket, index: u32) -> Result<Link> {
        let deadline = Instant::now() + KERNEL_PATIENCE;
        let mut pause = Duration::from_micros(30);
        while Instant::now() < deadline {
            if let Some(link) = host.link_by_index(index)?.filter(|link| link.operational) {
                return Ok(link);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(CARRIER_POLL_MAX);
        }
        let msg = format!(
            "the host interface {} does not get its carrier",
            self.host_interface
        );
        Err(CniError::new(Code::TryAgainLater, msg).because("was the pod's end removed meanwhile?"))
    }
}

/// The first refusal, where none is expected.
fn all(refusals: Vec<Refusal>) -> Result<()> {
    match refusals.into_iter().next() {
        None => Ok(()),
        Some(Refusal { error, .. }) => Err(error.into()),
    }
}

/// Adds an address; `enable` is for links where IPv6 is disabled.
fn add_address(
    socket: &mut Socket,
    index: u32,
    address: IpAddr,
    prefix_len: u8,
    enable: impl FnOnce() -> Result<()>,
) -> Result<()> {
    match socket.add_address(index, address, prefix_len) {
        Err(error) if error.is_denied() => enable()?,
        result => return Ok(result?),
    }
    Ok(socket.add_address(index, address, prefix_len)?)
}

/// Whether a route that exists already is the one that we wanted to make: the agent puts back what others delete, and may have
/// been quicker.
fn stands(host: &mut Socket, address: IpAddr, index: u32) -> Result<()> {
    match host.route_to(address)?.map(|route| route.next_hop) {
        Some(NextHop::Link { index: found }) if found == index => Ok(()),
        Some(NextHop::Link { .. } | NextHop::Gateway { .. }) | None => Err(conflict(host, address)),
    }
}

/// Says who holds a route that we wanted to make.
fn conflict(host: &mut Socket, address: IpAddr) -> CniError {
    let holder = host
        .route_to(address)
        .ok()
        .flatten()
        .and_then(|route| match route.next_hop {
            NextHop::Link { index }
            | NextHop::Gateway {
                index: Some(index), ..
            } => host.link_by_index(index).ok()?,
            NextHop::Gateway { index: None, .. } => None,
        });
    let holder = holder.map_or_else(
        || "an unknown link".into(),
        |link| {
            format!(
                "{} (alias {})",
                link.name,
                link.alias.unwrap_or_else(|| "none".into())
            )
        },
    );
    CniError::new(
        Code::TryAgainLater,
        format!("the host has a route to {address} already, over {holder}"),
    )
    .because("that address now rests for the cool-down; remove the stale route or link")
}
