//! The values that the FIB speaks in: what is wanted, what is there, and the writes between them.
//!
//! All of them are plain data with an order, so that tests can compare and print them. Table, metric and protocol
//! are absent from routes and operations: one [`Fib`](crate::Fib) owns exactly one combination
//! ([`Settings`]), and whatever carries another one belongs to somebody else.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// Whether multipath routes are built on nexthop objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NexthopObjects {
    /// Where the kernel has them (Linux 5.3 and later).
    #[default]
    Auto,
    /// Never: each route carries its next hops itself.
    Disabled,
}

/// How learned routes are written into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Routing table; 254 is `main`.
    pub table: u32,
    /// Metric (kernel priority) of all our routes.
    pub metric: u32,
    /// Route protocol number that marks a route as ours.
    pub protocol: u8,
    /// Most next hops of one route; 1 means no ECMP.
    pub max_paths: u16,
    /// Use of nexthop objects.
    pub nexthop_objects: NexthopObjects,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            table: 254,
            metric: 512,
            protocol: 79,
            max_paths: 16,
            nexthop_objects: NexthopObjects::Auto,
        }
    }
}

/// One next hop as the speaker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// Address of the router to send to. An IPv4 route may have an IPv6 gateway (RFC 8950).
    pub gateway: IpAddr,
    /// Interface index; absent: the interface whose connected prefix covers the gateway, the longest one.
    pub interface: Option<u32>,
}

/// Where a wanted route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Through these next hops, in equal shares.
    Via(Vec<NextHop>),
    /// Nowhere: the sender gets an ICMP "unreachable".
    Unreachable,
}

/// One wanted route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredRoute {
    /// Where it leads.
    pub target: RouteTarget,
    /// Source address for packets of this node; absent: the one of [`PrefSrc`].
    pub pref_src: Option<IpAddr>,
}

/// The node's addresses, preferred as source on every route. One that no interface carries is left out until it
/// appears, because the kernel refuses routes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefSrc {
    /// For IPv4 routes.
    pub ipv4: Option<Ipv4Addr>,
    /// For IPv6 routes.
    pub ipv6: Option<Ipv6Addr>,
}

/// A network interface as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Kernel index.
    pub index: u32,
    /// Kernel name.
    pub name: String,
    /// Administratively up.
    pub up: bool,
    /// The link has a carrier.
    pub carrier: bool,
    /// Addresses with their on-link prefix (the peer's one on point-to-point addresses), ordered.
    pub addresses: BTreeSet<IpNetwork>,
}

/// One return of a link: its carrier was gone and came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Return {
    /// Kernel index.
    pub interface: u32,
    /// Counts the returns of all links.
    pub number: u64,
}

/// A next hop with its interface: what the kernel calls a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg {
    /// Address of the router to send to.
    pub gateway: IpAddr,
    /// Interface index.
    pub interface: u32,
}

/// Identifier of a kernel nexthop object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NexthopId(pub u32);

/// What a nexthop object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopContent {
    /// One leg.
    Gateway(Leg),
    /// A group of equal weight; the members, ordered.
    Group(Vec<NexthopId>),
    /// Something that we never write (a blackhole, unequal weights, …).
    Other,
}

/// A nexthop object in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelNexthop {
    /// Its identifier.
    pub id: NexthopId,
    /// Whether it carries our protocol number.
    pub ours: bool,
    /// What it is.
    pub content: NexthopContent,
}

/// Where a route in the kernel leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A nexthop object.
    Nexthop(NexthopId),
    /// Its own legs, ordered.
    Paths(Vec<Leg>),
    /// Nowhere.
    Unreachable,
    /// Something that we never write; it is replaced.
    Other,
}

/// A route of ours in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    /// Destination.
    pub prefix: IpNetwork,
    /// Where it leads.
    pub target: Target,
    /// Preferred source.
    pub pref_src: Option<IpAddr>,
}

/// A route as people want to read it: nexthop objects resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledRoute {
    /// Destination.
    pub prefix: IpNetwork,
    /// The legs that it has now; empty for `unreachable`.
    pub legs: Vec<Leg>,
    /// Preferred source.
    pub pref_src: Option<IpAddr>,
    /// The nexthop object that it names, if any.
    pub nexthop: Option<NexthopId>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Create a nexthop object; fails when the identifier is in use.
    AddNexthop(NexthopId, NexthopContent),
    /// Give an existing nexthop object another content.
    ReplaceNexthop(NexthopId, NexthopContent),
    /// Delete a nexthop object. It leaves all groups; routes that name it are deleted by the kernel.
    DeleteNexthop(NexthopId),
    /// Create a route; fails when any route of that prefix and metric exists.
    AddRoute(KernelRoute),
    /// Replace our route; fails when there is none.
    ReplaceRoute(KernelRoute),
    /// Delete our route (by prefix, metric and protocol).
    DeleteRoute(IpNetwork),
}

/// What kind of refusal the kernel answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Something is already there (EEXIST).
    Exists,
    /// The thing to change is not there (ENOENT, ESRCH).
    Missing,
    /// Anything else.
    Other,
}

/// A write that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The class that decides what happens next.
    pub kind: RefusalKind,
    /// The kernel's own words (error name and extended acknowledgement).
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Something that happened in the kernel without us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An interface appeared or changed (its addresses come separately).
    Link {
        /// Kernel index.
        index: u32,
        /// Kernel name.
        name: String,
        /// Administratively up.
        up: bool,
        /// The link has a carrier.
        carrier: bool,
    },
    /// An interface went.
    LinkGone(u32),
    /// An address came to an interface.
    Address(u32, IpNetwork),
    /// An address left an interface.
    AddressGone(u32, IpNetwork),
    /// A nexthop object was created or changed.
    Nexthop(KernelNexthop),
    /// A nexthop object was deleted.
    NexthopGone(NexthopId),
    /// Another program wrote a route with our table, metric and protocol.
    Route(KernelRoute),
    /// A route with our table, metric and protocol was deleted.
    RouteGone(IpNetwork),
    /// A route of our table and metric, but another protocol, replaced what was there.
    ForeignReplaced(IpNetwork),
    /// A route of our table and metric, but another protocol, was deleted.
    ForeignGone(IpNetwork),
    /// Notifications were lost: everything must be read again.
    Lost,
}

/// What one read-back found. Parts that were not read are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All interfaces.
    pub interfaces: Option<Vec<Interface>>,
    /// All nexthop objects, ours and others'.
    pub nexthops: Option<Vec<KernelNexthop>>,
    /// All routes of our table, metric and protocol.
    pub routes: Option<Vec<KernelRoute>>,
}
