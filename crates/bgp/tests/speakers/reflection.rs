//! Whole speakers of one AS with route reflectors among them (RFC 4456), over octets.

use std::collections::BTreeMap;

use flatroute_bgp::session::PeerAsn;
use flatroute_bgp::speaker::{Config, Reflection, RouteQuery};
use flatroute_bgp::types::{Asn, RouterId};

use super::SECONDS;
use super::fabric::{Fabric, address, config, prefix};

/// The cluster of a node.
fn cluster(node: usize) -> RouterId {
    RouterId(9000 + u32::try_from(node).unwrap())
}

/// A node of the one AS. `clients` of its neighbours are its clients; a node without any is no reflector.
fn node(node: usize, others: &[usize], clients: &[usize], pods: &[&str]) -> Config {
    let mut config = config(node, others, pods);
    let mut others = others.to_vec();
    others.sort_unstable();
    for (peer, other) in config.peers.values_mut().zip(&others) {
        peer.session.local_asn = Asn(64512);
        peer.session.peer_asn = PeerAsn::Exact(Asn(64512));
        peer.reflection = (!clients.is_empty()).then(|| Reflection {
            cluster_id: cluster(node),
            client: clients.contains(other),
        });
    }
    config
}

/// Each prefix in the kernel of a node and the nodes that it goes by.
fn legs(fabric: &Fabric, node: usize) -> BTreeMap<String, Vec<String>> {
    let routes = fabric.fib(node).iter();
    let legs = |r: &flatroute_bgp::rib::RouteChange| {
        let legs = r.paths.iter();
        legs.map(|p| p.next_hop.addr().to_string()).collect()
    };
    routes.map(|(p, r)| (p.to_string(), legs(r))).collect()
}

fn by(prefix: &str, node: usize) -> (String, Vec<String>) {
    (prefix.to_owned(), vec![address(node).to_string()])
}

#[test]
fn a_reflector_in_the_middle_tells_its_clients_of_each_other_and_carries_nothing() {
    let mut fabric = Fabric::new(3, 21);
    fabric.configure(0, node(0, &[1], &[], &["10.244.0.0/24"]));
    fabric.configure(1, node(1, &[0, 2], &[0, 2], &["10.244.1.0/24"]));
    fabric.configure(2, node(2, &[1], &[], &["10.244.2.0/24"]));
    fabric.run(SECONDS(30));
    // Client to client the next hop is the client, not the reflector.
    assert_eq!(
        legs(&fabric, 0),
        [by("10.244.1.0/24", 1), by("10.244.2.0/24", 2)].into()
    );
    assert_eq!(
        legs(&fabric, 1),
        [by("10.244.0.0/24", 0), by("10.244.2.0/24", 2)].into()
    );
    let query = RouteQuery {
        within: Some(prefix("10.244.2.0/24")),
        limit: 10,
        ..RouteQuery::default()
    };
    let routes = fabric.speaker(0).routes(&query);
    let attributes = &routes[0].attributes;
    assert_eq!(
        (attributes.originator_id, attributes.cluster_list.as_slice()),
        (Some(RouterId::from_addr(address(2))), &[cluster(1)][..])
    );

    // A withdrawal is reflected like an announcement.
    fabric.configure(2, node(2, &[1], &[], &[]));
    fabric.run(SECONDS(1));
    assert_eq!(legs(&fabric, 0), [by("10.244.1.0/24", 1)].into());
    // Whose client leaves the cluster, hears no more, without a reset.
    fabric.configure(2, node(2, &[1], &[], &["10.244.2.0/24"]));
    fabric.configure(1, node(1, &[0, 2], &[], &["10.244.1.0/24"]));
    fabric.run(SECONDS(1));
    assert_eq!(legs(&fabric, 0), [by("10.244.1.0/24", 1)].into());
    assert_eq!(super::flaps(fabric.speaker(0), fabric.now), 0);
}

/// Reflectors that are each other's clients in a ring, which is a mistake: the lists end what would go round for ever.
#[test]
fn reflectors_in_a_ring_converge_and_forget() {
    for seed in 0..20 {
        let mut fabric = Fabric::new(5, seed);
        let ring = |n: usize| [(n + 2) % 3, (n + 1) % 3];
        for n in 0..3 {
            let all: Vec<usize> = ring(n).into_iter().chain([3, 4]).collect();
            fabric.configure(n, node(n, &all, &all, &[]));
        }
        fabric.configure(3, node(3, &[0, 1, 2], &[], &["10.244.3.0/24"]));
        fabric.configure(4, node(4, &[0, 1, 2], &[], &["10.244.4.0/24"]));
        fabric.run(SECONDS(60));
        for n in 0..3 {
            assert_eq!(
                legs(&fabric, n),
                [by("10.244.3.0/24", 3), by("10.244.4.0/24", 4)].into(),
                "seed {seed}, reflector {n}"
            );
        }
        assert_eq!(legs(&fabric, 4), [by("10.244.3.0/24", 3)].into(), "seed {seed}");

        // Two of three reflectors fall silent, and nothing is missing; then the route goes, and no ghost of it stays.
        fabric.black_hole(4, 0, true);
        fabric.black_hole(4, 1, true);
        fabric.run(SECONDS(120));
        assert_eq!(legs(&fabric, 4), [by("10.244.3.0/24", 3)].into(), "seed {seed}");
        fabric.configure(3, node(3, &[0, 1, 2], &[], &[]));
        fabric.run(SECONDS(5));
        for n in [0, 1, 2, 4] {
            assert!(
                !legs(&fabric, n).contains_key("10.244.3.0/24"),
                "seed {seed}, node {n}"
            );
        }
    }
}
