use flatroute_bgp::speaker::RouteEntry;
use flatroute_bgp::types::{AsPath, Asn, NextHop, PathAttributes, PeerName, Prefix};

use super::*;

const ADDRESS: &str = "10.244.3.7";

fn prefix(text: &str) -> Prefix {
    text.parse::<ipnetwork::IpNetwork>().unwrap().into()
}

fn path(of: &str, peer: Option<&str>, used: bool, reason: &str) -> RouteEntry {
    let mut attributes = PathAttributes::local();
    attributes.as_path = AsPath::sequence([Asn(65001)]);
    attributes.next_hop = Some(NextHop::V4("10.0.1.1".parse().unwrap()));
    RouteEntry {
        path_id: None,
        prefix: prefix(of),
        peer: peer.map(PeerName::from),
        attributes,
        best: used,
        multipath: used,
        installed: used,
        stale: false,
        reason: reason.to_owned(),
    }
}

fn found(of: &str, protocol: u8, hops: &[&str], interfaces: &[u32]) -> Fate {
    Fate::Forwarded(Match {
        prefix: of.parse().unwrap(),
        protocol,
        table: 254,
        next_hops: hops.iter().map(|hop| hop.parse().unwrap()).collect(),
        interfaces: interfaces.to_vec(),
        nexthop: None,
    })
}

fn says(fate: &Fate, in_use: Option<&str>, paths: &[RouteEntry], want: &str) {
    let bgp = speaker::Why {
        prefix: in_use.map(prefix),
        paths: paths.to_vec(),
        told: Vec::new(),
    };
    let known = Known {
        address: ADDRESS.parse().unwrap(),
        fate,
        ours: 79,
        installed: None,
        bgp: &bgp,
    };
    let answer = why(&known, |index| format!("eth{index}"));
    assert_eq!(answer.verdict, want);
    assert_eq!(answer.paths.len(), paths.len());
}

const NET: &str = "10.244.3.0/24";
const USED: Option<&str> = Some(NET);

fn from_both() -> [RouteEntry; 2] {
    [
        path(NET, Some("tor-a"), true, "best"),
        path(NET, Some("tor-b"), true, "equal"),
    ]
}

#[test]
fn one_sentence_says_where_an_address_goes() {
    let own = [path(NET, None, true, "best: our own route")];
    says(
        &found(NET, 79, &["10.0.1.1", "10.0.2.1"], &[1, 2]),
        USED,
        &from_both(),
        "10.244.3.7 goes to 10.0.1.1 and 10.0.2.1 by 10.244.3.0/24, from tor-a and tor-b",
    );
    says(
        &found("10.244.3.7/32", 80, &[], &[2]),
        USED,
        &own,
        "10.244.3.7 is a pod of this node, on eth2",
    );
    says(
        &found("0.0.0.0/0", 16, &["10.0.1.1"], &[1]),
        USED,
        &[path(
            NET,
            Some("tor-a"),
            true,
            "best; not installed: filter: default",
        )],
        "10.244.3.7 goes to 10.0.1.1 by 0.0.0.0/0 of protocol dhcp, no route of ours: in BGP it is in 10.244.3.0/24, from \
         tor-a: best; not installed: filter: default",
    );
    says(
        &found(NET, 2, &[], &[1]),
        None,
        &[],
        "10.244.3.7 goes on eth1 by 10.244.3.0/24 of protocol kernel, no route of ours: no neighbour has sent a route to it",
    );
    says(
        &found("10.244.0.0/16", 79, &["10.0.1.1"], &[1]),
        None,
        &[],
        "10.244.3.7 goes to 10.0.1.1 by 10.244.0.0/16, a route of ours that no neighbour announces at the moment",
    );
    says(&Fate::Local, None, &[], "10.244.3.7 is an address of this node");
}

#[test]
fn one_sentence_says_why_an_address_goes_nowhere() {
    says(
        &Fate::Unreachable,
        USED,
        &[path(NET, None, true, "best: our own route")],
        "10.244.3.7 is in 10.244.3.0/24, which is this node's own, and no pod has it: unreachable",
    );
    says(
        &Fate::NoRoute,
        None,
        &[],
        "the kernel has no route to 10.244.3.7: no neighbour has sent a route to it",
    );
    says(
        &Fate::NoRoute,
        None,
        &[path(NET, Some("tor-a"), false, "filter: rail OwnPodCIDR")],
        "the kernel has no route to 10.244.3.7: its only path in BGP is not used: 10.244.3.0/24 from tor-a: filter: rail \
         OwnPodCIDR",
    );
    says(
        &Fate::Dropped,
        USED,
        &from_both(),
        "a route of this node (blackhole or prohibit) drops packets to 10.244.3.7: in BGP it is in 10.244.3.0/24, from \
         tor-a: best",
    );
}
