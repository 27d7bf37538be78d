//! Nodes with one thing wrong each.

use ipnetwork::IpNetwork;

use super::*;
use crate::{Gateway, Listing, plan};
use flatroute_api::{ClusterState, manifest};

/// A sysctl and what was read of it; none: it is not there.
type Wrong<'a> = (&'a str, Option<&'a str>);

const DUAL: &str = "['10.244.1.0/24', 'fd00:244:1::/64']";

/// A node with two uplinks, one with a neighbour and one with a default gateway, and a link on which there is nothing.
fn problems(pod_cidrs: &str, wrong: &[Wrong<'_>], gateway: Gateway) -> Vec<Problem> {
    let text = format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1}}\nspec: {{podCIDRs: {pod_cidrs}}}\n\
         status: {{addresses: [{{type: InternalIP, address: 10.0.1.11}}, {{type: InternalIP, address: 'fd00::11'}}]}}\n\
         ---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: tor}}\nspec: {{peerAddress: 10.0.1.1, peerASN: 65001}}\n"
    );
    let merged = manifest::merge([manifest::parse("m.yaml", &text)]);
    let mut listing = Listing::of(ClusterState::default(), ["manifests"]);
    listing.listed("manifests", |state| *state = merged.state);
    let state = listing.synced().unwrap();
    let network = |text: &str| BTreeSet::from([text.parse::<IpNetwork>().unwrap()]);
    let interfaces = [("eth0.5", 5), ("eth1", 6), ("eth2", 7)];
    let mut facts = Facts {
        links: Links {
            interfaces: interfaces.map(|(name, index)| (name.to_owned(), index)).into(),
            networks: [
                ("eth0.5".to_owned(), network("10.0.1.0/24")),
                ("eth2".to_owned(), network("10.0.3.0/24")),
            ]
            .into(),
            default_gateways: [gateway].into(),
            ..Links::default()
        },
        ..Facts::default()
    };
    let first = plan("n1", &state, &facts);
    assert_eq!(first.uplinks, ["eth0.5".to_owned(), "eth1".to_owned()].into());
    assert_eq!(first.problems, [], "nothing is said of what was not read");
    let right = |path: String| {
        let value = match path.rsplit('/').next() {
            Some("nexthop_compat_mode" | "rp_filter" | "disable_ipv6") => "0",
            Some("accept_ra") => "2",
            _ => "1",
        };
        (path, value.to_owned())
    };
    let mut sysctls: Sysctls = paths(&first.uplinks).into_iter().map(right).collect();
    for (path, value) in wrong {
        assert!(sysctls.remove(*path).is_some() || path.contains("eth2"), "{path}");
        sysctls.extend(value.map(|value| ((*path).to_owned(), value.to_owned())));
    }
    facts.sysctls = Some(sysctls);
    let second = plan("n1", &state, &facts);
    assert_eq!(
        (&second.speaker, &second.fib, &second.uplinks),
        (&first.speaker, &first.fib, &first.uplinks)
    );
    second.problems
}

fn gateway(protocol: u8) -> Gateway {
    Gateway {
        address: "fe80::1".parse().unwrap(),
        interface: Some(6),
        protocol,
    }
}

/// A sysctl, the value that is wrong, and what is told: the reason, a part of the message, a part of the remedy.
type Row = (
    &'static str,
    &'static str,
    ProblemReason,
    &'static str,
    &'static str,
);

const ROWS: [Row; 12] = [
    (
        "net/ipv4/ip_forward",
        "0",
        ProblemReason::ForwardingDisabled,
        "forwards no IPv4",
        "flatroute-agent prepare",
    ),
    (
        "net/ipv6/conf/all/forwarding",
        "0",
        ProblemReason::ForwardingDisabled,
        "forwards no IPv6",
        "net.ipv6.conf.all.forwarding=1",
    ),
    (
        "net/ipv4/fib_multipath_hash_policy",
        "0",
        ProblemReason::NodeNotPrepared,
        "one of several paths",
        "policy=1",
    ),
    (
        "net/ipv6/fib_multipath_hash_policy",
        "0",
        ProblemReason::NodeNotPrepared,
        "one of several paths",
        "policy=1",
    ),
    (
        "net/ipv4/nexthop_compat_mode",
        "1",
        ProblemReason::NodeNotPrepared,
        "it is 1",
        "net.ipv4.nexthop_compat_mode=0",
    ),
    (
        "net/ipv6/conf/all/disable_ipv6",
        "1",
        ProblemReason::IPv6Disabled,
        "no IPv6",
        "disable_ipv6=0",
    ),
    (
        "net/ipv4/conf/all/rp_filter",
        "1",
        ProblemReason::ReversePathFilter,
        "strict",
        "rp_filter=2",
    ),
    (
        "net/ipv4/conf/eth1/rp_filter",
        "1",
        ProblemReason::ReversePathFilter,
        "eth1 is strict",
        "net.ipv4.conf.eth1.rp_filter=2",
    ),
    (
        "net/ipv4/conf/eth0.5/forwarding",
        "0",
        ProblemReason::ForwardingDisabled,
        "come by eth0.5",
        "net.ipv4.conf.eth0/5.forwarding=1",
    ),
    (
        "net/ipv4/conf/eth1/ignore_routes_with_linkdown",
        "0",
        ProblemReason::NodeNotPrepared,
        "over eth1",
        "linkdown=1",
    ),
    (
        "net/ipv6/conf/eth1/ignore_routes_with_linkdown",
        "0",
        ProblemReason::NodeNotPrepared,
        "over eth1",
        "linkdown=1",
    ),
    (
        "net/ipv6/conf/eth1/accept_ra",
        "1",
        ProblemReason::NodeNotPrepared,
        "router advertisements on eth1",
        "net.ipv6.conf.eth1.accept_ra=2",
    ),
];

#[test]
fn each_thing_that_is_wrong_is_said_with_its_remedy() {
    for (path, value, reason, message, remedy) in ROWS {
        let found = problems(DUAL, &[(path, Some(value))], gateway(RTPROT_RA));
        // What stands on `all` holds on both uplinks.
        let count = if path.ends_with("all/rp_filter") { 2 } else { 1 };
        assert_eq!(found.len(), count, "{path}: {found:?}");
        let problem = &found[0];
        assert_eq!((problem.kind.as_str(), problem.name.as_str()), ("Node", "n1"));
        assert_eq!(problem.reason, reason, "{path}");
        if count == 1 {
            assert_eq!(problem.field, name(path));
        }
        assert!(problem.message.contains(message), "{problem}");
        assert!(problem.remedy.contains(remedy), "{problem}");
    }
}

#[test]
fn what_serves_or_does_not_concern_the_node_is_not_told() {
    let ipv4 = "[10.244.1.0/24]";
    let rows: &[(&str, &[Wrong<'_>], u8)] = &[
        (DUAL, &[], RTPROT_RA),
        // Another policy than ours hashes over flows too.
        (
            DUAL,
            &[("net/ipv4/fib_multipath_hash_policy", Some("3"))],
            RTPROT_RA,
        ),
        // A loose check on the interface prevails over a strict one on all of them.
        (
            DUAL,
            &[
                ("net/ipv4/conf/all/rp_filter", Some("1")),
                ("net/ipv4/conf/eth0.5/rp_filter", Some("2")),
                ("net/ipv4/conf/eth1/rp_filter", Some("2")),
            ],
            RTPROT_RA,
        ),
        // Not an uplink.
        (DUAL, &[("net/ipv4/conf/eth2/rp_filter", Some("1"))], RTPROT_RA),
        // The default route is somebody else's, or the interface's own forwarding is off.
        (DUAL, &[("net/ipv6/conf/eth1/accept_ra", Some("1"))], 16),
        (
            DUAL,
            &[
                ("net/ipv6/conf/eth1/accept_ra", Some("1")),
                ("net/ipv6/conf/eth1/forwarding", Some("0")),
            ],
            RTPROT_RA,
        ),
        // A kernel that does not have it.
        (DUAL, &[("net/ipv4/nexthop_compat_mode", None)], RTPROT_RA),
        // A family without pods.
        (ipv4, &[("net/ipv6/conf/all/forwarding", Some("0"))], 16),
        (ipv4, &[("net/ipv6/conf/all/disable_ipv6", None)], 16),
        ("['fd00:244:1::/64']", &[("net/ipv4/ip_forward", Some("0"))], 16),
    ];
    for (cidrs, wrong, protocol) in rows {
        assert_eq!(problems(cidrs, wrong, gateway(*protocol)), [], "{wrong:?}");
    }
}

#[test]
fn a_kernel_without_ipv6_is_said_and_a_node_that_does_not_forward_is_said_once() {
    let found = problems(DUAL, &[("net/ipv6/conf/all/disable_ipv6", None)], gateway(16));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].remedy.contains("ipv6.disable=1"));
    let off = [
        ("net/ipv4/ip_forward", Some("0")),
        ("net/ipv4/conf/eth0.5/forwarding", Some("0")),
        ("net/ipv4/conf/eth1/forwarding", Some("0")),
    ];
    let found = problems(DUAL, &off, gateway(16));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].field, "net.ipv4.ip_forward");
}
