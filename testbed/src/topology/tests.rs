use std::collections::BTreeSet;

use super::{NODE_ASN, SPINE_ASN, Size, Tier, Topology};

#[test]
fn two_racks_has_the_shape_of_the_issue() {
    let topology = Topology::two_racks();
    let names = |tier| {
        topology
            .tier(tier)
            .map(|router| router.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(Tier::Spine), ["spine1", "spine2"]);
    assert_eq!(names(Tier::Tor), ["tor1a", "tor1b", "tor2a", "tor2b"]);
    assert_eq!(names(Tier::Node), ["node1", "node2", "node3", "node4"]);
    assert_eq!(
        topology.links.len(),
        8 + 8,
        "four ToRs to two spines, four nodes to two ToRs"
    );
    for router in &topology.routers {
        let neighbours = topology.neighbours(router).len();
        let expected = match router.tier {
            Tier::Spine | Tier::Tor => 4,
            Tier::Node => 2,
        };
        assert_eq!(neighbours, expected, "{}", router.name);
    }
}

#[test]
fn asns_follow_the_issue() {
    let topology = Topology::two_racks();
    assert!(topology.nodes().all(|node| node.asn == NODE_ASN));
    assert!(topology.tier(Tier::Spine).all(|spine| spine.asn == SPINE_ASN));
    let tors: BTreeSet<u32> = topology.tier(Tier::Tor).map(|tor| tor.asn).collect();
    assert_eq!(tors, BTreeSet::from([65001, 65002, 65003, 65004]));
}

#[test]
fn addresses_and_interfaces_are_unique() {
    for topology in [Topology::two_racks(), Topology::one_rack(), large()] {
        let v4: Vec<_> = topology
            .ends()
            .map(|end| end.ipv4)
            .chain(topology.routers.iter().map(|router| router.ipv4))
            .collect();
        assert_eq!(v4.iter().collect::<BTreeSet<_>>().len(), v4.len());
        let v6: Vec<_> = topology
            .ends()
            .map(|end| end.ipv6)
            .chain(topology.routers.iter().map(|router| router.ipv6))
            .collect();
        assert_eq!(v6.iter().collect::<BTreeSet<_>>().len(), v6.len());
        for end in topology.ends() {
            assert!(end.interface.len() <= 15, "{}", end.interface);
        }
    }
}

#[test]
fn nothing_but_pod_cidrs_covers_pods() {
    let topology = large();
    for node in topology.nodes() {
        let cidrs = node.pod_cidrs.expect("a node has pod CIDRs");
        assert!(
            topology
                .ends()
                .all(|end| !cidrs.ipv4.contains(end.ipv4) && !cidrs.ipv6.contains(end.ipv6))
        );
        assert!(
            topology
                .routers
                .iter()
                .all(|r| !cidrs.ipv4.contains(r.ipv4) && !cidrs.ipv6.contains(r.ipv6))
        );
    }
}

#[test]
fn each_link_has_a_subnet_of_its_own() {
    for (number, link) in large().links.iter().enumerate() {
        assert_eq!(u32::from(link.upper.ipv4) % 2, 0, "link {number}");
        assert_eq!(
            u32::from(link.upper.ipv4) + 1,
            u32::from(link.lower.ipv4),
            "link {number}"
        );
        assert_eq!(
            u128::from(link.upper.ipv6) + 1,
            u128::from(link.lower.ipv6),
            "link {number}"
        );
    }
}

#[test]
fn hops_count_both_nodes() {
    let topology = Topology::two_racks();
    let node = |name| topology.find(name).expect("exists");
    assert_eq!(topology.hops(node("node1"), node("node1")), 1);
    assert_eq!(topology.hops(node("node1"), node("node2")), 3);
    assert_eq!(topology.hops(node("node1"), node("node3")), 5);
}

#[test]
fn the_drawing_names_everybody_and_fits_a_terminal() {
    let topology = Topology::two_racks();
    let drawing = topology.drawing();
    for router in &topology.routers {
        assert!(
            drawing.contains(&format!("{} AS{}", router.name, router.asn)),
            "{drawing}"
        );
    }
    assert!(
        drawing.lines().all(|line| line.chars().count() <= 80),
        "{drawing}"
    );
}

fn large() -> Topology {
    Topology::leaf_spine(Size {
        racks: 9,
        tors: 2,
        nodes: 12,
        spines: 4,
    })
}
