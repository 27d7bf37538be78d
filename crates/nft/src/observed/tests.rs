use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::*;
use crate::description::{Chain, Hook, Set};
use crate::pods::{Masquerade, PodNetwork};

fn network() -> PodNetwork {
    let prefixes = |of: &[&str]| of.iter().map(|text| text.parse().unwrap()).collect();
    PodNetwork {
        pod_cidrs: prefixes(&["10.244.1.0/24", "fd00:244:1::/64"]),
        masquerade: Some(Masquerade {
            direct: prefixes(&["10.0.0.0/8", "240.0.0.0/4", "fc00::/7"]),
            ..Masquerade::default()
        }),
    }
}

/// What is written is read back: the kernel's answers have the attributes of our requests, and more.
#[test]
fn what_is_written_is_what_is_read() {
    let table = network().table();
    let mut observed = Observed::default();
    observed.table("flatroute", &encode::add_table("flatroute").body);
    for chain in &table.chains {
        observed.chain("flatroute", &encode::add_chain("flatroute", chain).body);
        for rule in &chain.rules {
            let message = encode::add_rule("flatroute", chain.name, rule);
            let mut body = message.body;
            body.extend(12_u16.to_ne_bytes());
            body.extend(attr::RULE_HANDLE.to_ne_bytes());
            body.extend(7_u64.to_be_bytes());
            observed.rule("flatroute", &body);
        }
    }
    for set in &table.sets {
        observed.set("flatroute", &encode::add_set("flatroute", set, 1).body);
        let messages = encode::add_elements("flatroute", set.name, set.width, set.ranges.all());
        observed.elements(set.name, messages.iter().map(|message| message.body.as_slice()));
    }
    assert_eq!(crate::difference(&table, &observed), []);
}

#[test]
fn other_tables_are_not_ours() {
    let mut observed = Observed::default();
    observed.table("flatroute", &encode::add_table("others").body);
    let chain = Chain {
        name: "pods-in",
        kind: "filter",
        hook: Hook::Prerouting,
        priority: 0,
        rules: Vec::new(),
    };
    observed.chain("flatroute", &encode::add_chain("others", &chain).body);
    let set = Set {
        name: "pods-ipv4",
        width: Width::Ipv4,
        ranges: Ranges::of(Width::Ipv4, &[]),
    };
    observed.set("flatroute", &encode::add_set("others", &set, 1).body);
    assert_eq!(observed, Observed::default());
}

#[test]
fn intervals_are_pairs_of_starts_and_ends() {
    let read = |of: &[(u128, bool)]| intervals(Width::Ipv4, of.to_vec()).map(|ranges| ranges.to_string());
    for (of, want) in [
        (&[][..], Some("")),
        (&[(0, true)], Some("")),
        (&[(8, true), (4, false)], Some("0.0.0.4-0.0.0.7")),
        (&[(4, false)], Some("0.0.0.4-255.255.255.255")),
        (
            &[(0, true), (4, false), (8, true), (9, false), (10, true)],
            Some("0.0.0.4-0.0.0.7, 0.0.0.9-0.0.0.9"),
        ),
        // Two that touch are made one, anew.
        (&[(4, false), (8, true), (8, false), (9, true)], None),
        (&[(4, true)], None),
        (&[(4, false), (5, false), (6, true)], None),
    ] {
        assert_eq!(read(of).as_deref(), want, "{of:?}");
    }
}

proptest! {
    #[test]
    fn no_octets_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut observed = Observed::default();
        observed.table("flatroute", &bytes);
        observed.chain("", &bytes);
        observed.rule("", &bytes);
        observed.set("", &bytes);
        observed.sets.insert("pods".to_owned(), ObservedSet { width: Some(Width::Ipv6), kind: Kind::default(), ranges: None });
        observed.elements("pods", [bytes.as_slice()].into_iter());
        let _ = (generation(&bytes), comment(&bytes));
    }

    #[test]
    fn any_prefixes_come_back(of in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..40)) {
        let prefixes: Vec<IpNetwork> = of
            .iter()
            .map(|(address, length)| IpNetwork::new(std::net::Ipv4Addr::from_bits(*address).into(), *length).unwrap())
            .collect();
        let ranges = Ranges::of(Width::Ipv4, &prefixes);
        let mut observed = Observed::default();
        observed.sets.insert("set".to_owned(), ObservedSet { width: Some(Width::Ipv4), kind: Kind::default(), ranges: None });
        let messages = encode::add_elements("flatroute", "set", Width::Ipv4, ranges.all());
        observed.elements("set", messages.iter().map(|message| message.body.as_slice()));
        prop_assert_eq!(observed.sets["set"].ranges.as_ref(), Some(&ranges));
    }
}
