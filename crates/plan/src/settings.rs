//! What the node's kernel has to be set to, and what is wrong on this one.
//!
//! One list for two readers: `flatroute-agent prepare` sets what stands in [`NODE`] and [`IGNORE_LINKDOWN`], and the plan of a
//! running agent says which of it is not so, because another program sets sysctls too, at a boot or much later. Beside
//! them stands what `prepare` leaves alone, because the owner of the machine may want it so: a strict check of sources on an
//! uplink, an uplink that does not forward, IPv6 switched off.
//!
//! Only what concerns the families of the node's pod CIDRs is told, and of interfaces only the uplinks: those on whose link a
//! neighbour or a default gateway is. A sysctl that was not read counts as right; the kernel may not have it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatroute_api::{Kind, Problem, ProblemReason};
use flatroute_bgp::types::{Family, FamilySet};

use crate::identity::Identity;
use crate::targets::Target;
use crate::{Facts, Links, Sought};

/// A sysctl of the whole node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its file, below `/proc/sys`.
    pub path: &'static str,
    /// What it shall be.
    pub value: &'static str,
    /// What it must not be; other values than these two are somebody's choice, and serve as well.
    wrong: &'static str,
    /// The family that it concerns; none: both.
    family: Option<Family>,
    reason: ProblemReason,
    /// What comes of it.
    costs: &'static str,
}

const IPV4_FORWARD: &str = "net/ipv4/ip_forward";
const IPV6_FORWARD: &str = "net/ipv6/conf/all/forwarding";
const IPV6_DISABLED: &str = "net/ipv6/conf/all/disable_ipv6";
const IPV4_ALL_RP_FILTER: &str = "net/ipv4/conf/all/rp_filter";
/// `rp_filter`: the route back to the source has to be over the interface that the packet came by.
const STRICT: u8 = 1;
/// The protocol number of routes that the kernel makes of router advertisements (RTPROT_RA).
const RTPROT_RA: u8 = 9;

/// The sysctls of the whole node, in the order in which they are set.
pub const NODE: [Setting; 5] = [
    Setting {
        path: IPV4_FORWARD,
        value: "1",
        wrong: "0",
        family: Some(Family::Ipv4),
        reason: ProblemReason::ForwardingDisabled,
        costs: "the node forwards no IPv4 packet of its pods",
    },
    Setting {
        path: IPV6_FORWARD,
        value: "1",
        wrong: "0",
        family: Some(Family::Ipv6),
        reason: ProblemReason::ForwardingDisabled,
        costs: "the node forwards no IPv6 packet of its pods",
    },
    Setting {
        path: "net/ipv4/fib_multipath_hash_policy",
        value: "1",
        wrong: "0",
        family: Some(Family::Ipv4),
        reason: ProblemReason::NodeNotPrepared,
        costs: "all IPv4 connections between two addresses share one of several paths",
    },
    Setting {
        path: "net/ipv6/fib_multipath_hash_policy",
        value: "1",
        wrong: "0",
        family: Some(Family::Ipv6),
        reason: ProblemReason::NodeNotPrepared,
        costs: "all IPv6 connections between two addresses share one of several paths",
    },
    Setting {
        path: "net/ipv4/nexthop_compat_mode",
        value: "0",
        wrong: "1",
        family: None,
        reason: ProblemReason::NodeNotPrepared,
        costs: "each change of a path is told once a route by the kernel, which delays the changes after it",
    },
];

/// A sysctl that each interface has, in both families: a path over an interface without carrier is not used. It shall be 1.
pub const IGNORE_LINKDOWN: &str = "ignore_routes_with_linkdown";

/// What was read of them: the contents of files, by path below `/proc/sys`.
pub type Sysctls = BTreeMap<String, String>;

/// The files that a plan with these uplinks is made from, below `/proc/sys`.
#[must_use]
pub fn paths(uplinks: &BTreeSet<String>) -> Vec<String> {
    let node = NODE.iter().map(|setting| setting.path);
    let node = node.chain([IPV6_DISABLED, IPV4_ALL_RP_FILTER]).map(str::to_owned);
    let of_uplinks = uplinks.iter().flat_map(|uplink| {
        [
            conf(Family::Ipv4, uplink, IGNORE_LINKDOWN),
            conf(Family::Ipv4, uplink, "forwarding"),
            conf(Family::Ipv4, uplink, "rp_filter"),
            conf(Family::Ipv6, uplink, IGNORE_LINKDOWN),
            conf(Family::Ipv6, uplink, "forwarding"),
            conf(Family::Ipv6, uplink, "accept_ra"),
        ]
    });
    node.chain(of_uplinks).collect()
}

/// The name of a sysctl as sysctl(8) has it: a dot in an interface's name is a slash there.
#[must_use]
pub fn name(path: &str) -> String {
    let swapped = path.chars().map(|c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    });
    swapped.collect()
}

/// The file of an interface's sysctl.
#[must_use]
pub fn conf(family: Family, interface: &str, file: &str) -> String {
    let family = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    format!("net/{family}/conf/{interface}/{file}")
}

/// The interfaces on whose link a neighbour, found or not, or a default gateway is.
pub(crate) fn uplinks(
    targets: &[Target<'_>],
    sought: &BTreeMap<String, Sought>,
    links: &Links,
) -> BTreeSet<String> {
    let by_index = |index: u32| {
        let mut found = links.interfaces.iter().filter(move |(_, i)| **i == index);
        found.next().map(|(name, _)| name)
    };
    let by_address = |address: IpAddr| {
        let on = links.networks.iter();
        on.filter(move |(_, networks)| networks.iter().any(|network| network.contains(address)))
            .map(|(name, _)| name)
    };
    let named = targets.iter().filter_map(|target| target.interface.as_ref());
    let named = named.chain(sought.values().map(|sought| &sought.interface));
    let named = named.filter(|name| links.interfaces.contains_key(*name));
    let addressed = targets.iter().filter(|target| target.interface.is_none());
    let addressed = addressed.flat_map(|target| by_address(target.address));
    let gateways = links.default_gateways.iter();
    let gateways = gateways.flat_map(|gateway| match gateway.interface {
        Some(index) => by_index(index).into_iter().collect::<Vec<_>>(),
        None => by_address(gateway.address).collect(),
    });
    named.chain(addressed).chain(gateways).cloned().collect()
}

/// What is wrong on this node.
pub(crate) fn problems(
    identity: &Identity,
    uplinks: &BTreeSet<String>,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) {
    let families: FamilySet = identity.pod_cidrs.iter().map(|cidr| cidr.family()).collect();
    // A node without pods is a host like any other.
    let (Some(sysctls), false) = (&facts.sysctls, identity.pod_cidrs.is_empty()) else {
        return;
    };
    let look = Look {
        node: &identity.name,
        sysctls,
        families,
    };
    look.at_node(problems);
    for uplink in uplinks {
        look.at_uplink(uplink, problems);
        look.at_advertised(uplink, &facts.links, problems);
    }
}

struct Look<'a> {
    node: &'a str,
    sysctls: &'a Sysctls,
    families: FamilySet,
}

impl Look<'_> {
    fn is(&self, path: &str, value: &str) -> bool {
        self.sysctls.get(path).is_some_and(|found| found == value)
    }

    fn number(&self, path: &str) -> u8 {
        let found = self.sysctls.get(path).and_then(|found| found.parse().ok());
        found.unwrap_or(0)
    }

    fn problem(&self, path: &str, reason: ProblemReason, message: String, remedy: String) -> Problem {
        Problem::new(Kind::Node.as_str(), self.node, name(path), message, remedy).because(reason)
    }

    /// A problem with a sysctl that `prepare` sets.
    fn unprepared(&self, path: &str, want: &str, reason: ProblemReason, costs: &str) -> Problem {
        let found = self.sysctls.get(path).map_or("", String::as_str);
        let remedy = format!(
            "run flatroute-agent prepare on the node, or sysctl -w {}={want}; should it come back, look in /etc/sysctl.d for who sets it",
            name(path)
        );
        self.problem(path, reason, format!("it is {found}: {costs}"), remedy)
    }

    /// A problem with one that only its owner sets.
    fn by_hand(&self, path: &str, want: &str, reason: ProblemReason, message: String) -> Problem {
        let remedy = format!(
            "run sysctl -w {}={want} on the node, and write that to a file in /etc/sysctl.d",
            name(path)
        );
        self.problem(path, reason, message, remedy)
    }

    fn at_node(&self, problems: &mut Vec<Problem>) {
        for setting in NODE {
            let concerns = setting.family.is_none_or(|family| self.families.contains(family));
            if concerns && self.is(setting.path, setting.wrong) {
                problems.push(self.unprepared(setting.path, setting.value, setting.reason, setting.costs));
            }
        }
        if !self.families.contains(Family::Ipv6) {
            return;
        }
        let (reason, costs) = (
            ProblemReason::IPv6Disabled,
            "the node has an IPv6 pod CIDR and no IPv6",
        );
        if self.is(IPV6_DISABLED, "1") {
            problems.push(self.by_hand(IPV6_DISABLED, "0", reason, format!("it is 1: {costs}")));
        } else if self.sysctls.contains_key(IPV4_FORWARD) && !self.sysctls.contains_key(IPV6_DISABLED) {
            let remedy = "start the kernel without ipv6.disable=1, or give the Node IPv4 pod CIDRs only";
            problems.push(self.problem(
                IPV6_DISABLED,
                reason,
                format!("it is not there: {costs}"),
                remedy.to_owned(),
            ));
        }
    }

    fn at_uplink(&self, uplink: &str, problems: &mut Vec<Problem>) {
        for family in self.families.iter() {
            let path = conf(family, uplink, IGNORE_LINKDOWN);
            if self.is(&path, "0") {
                let costs = format!("paths over {uplink} are used while it has no carrier");
                problems.push(self.unprepared(&path, "1", ProblemReason::NodeNotPrepared, &costs));
            }
        }
        if !self.families.contains(Family::Ipv4) {
            return;
        }
        // Off for the whole node, it is off here too, and is told once.
        let path = conf(Family::Ipv4, uplink, "forwarding");
        if self.is(&path, "0") && !self.is(IPV4_FORWARD, "0") {
            let message = format!("it is 0: IPv4 packets to pods that come by {uplink} are dropped");
            problems.push(self.by_hand(&path, "1", ProblemReason::ForwardingDisabled, message));
        }
        let path = conf(Family::Ipv4, uplink, "rp_filter");
        let (everywhere, here) = (self.number(IPV4_ALL_RP_FILTER), self.number(&path));
        // The greater of the two is in force, so 2 on the interface is enough whatever stands on `all`.
        if everywhere.max(here) == STRICT {
            let message = format!(
                "the check of sources on {uplink} is strict: IPv4 packets whose way back is over another uplink are dropped"
            );
            problems.push(self.by_hand(&path, "2", ProblemReason::ReversePathFilter, message));
        }
    }

    /// An uplink whose default route comes from router advertisements, which a kernel that forwards does not heed.
    fn at_advertised(&self, uplink: &str, links: &Links, problems: &mut Vec<Problem>) {
        let index = links.interfaces.get(uplink);
        let mut gateways = links.default_gateways.iter();
        let is_advertised =
            gateways.any(|gateway| gateway.protocol == RTPROT_RA && gateway.interface.as_ref() == index);
        let path = conf(Family::Ipv6, uplink, "accept_ra");
        let forwards = self.is(&conf(Family::Ipv6, uplink, "forwarding"), "1");
        if index.is_some() && is_advertised && forwards && self.is(&path, "1") {
            let message = format!(
                "it is 1: a kernel that forwards heeds no router advertisements on {uplink}, and the default route there comes of them"
            );
            problems.push(self.by_hand(&path, "2", ProblemReason::NodeNotPrepared, message));
        }
    }
}

#[cfg(test)]
mod tests;
