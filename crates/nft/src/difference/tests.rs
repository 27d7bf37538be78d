use super::*;
use crate::observed::ObservedRule;
use crate::pods::{Masquerade, PodNetwork};
use crate::ranges::Ranges;

fn network(direct: &[&str]) -> PodNetwork {
    PodNetwork {
        pod_cidrs: ["10.244.1.0/24".parse().unwrap()].into(),
        masquerade: Some(Masquerade {
            direct: direct.iter().map(|text| text.parse().unwrap()).collect(),
            ..Masquerade::default()
        }),
    }
}

/// A kernel that holds a table.
fn holding(table: &Table) -> Observed {
    let chains = table.chains.iter().map(|chain| {
        let rules = chain.rules.iter().zip(1..);
        let there = ObservedChain {
            kind: chain.kind.to_owned(),
            place: Some((encode::hook_number(chain.hook), chain.priority)),
            drops: false,
            rules: rules
                .map(|(rule, handle)| ObservedRule {
                    handle,
                    comment: rule.comment(),
                })
                .collect(),
        };
        (chain.name.to_owned(), there)
    });
    let sets = table.sets.iter().map(|set| {
        let there = ObservedSet {
            width: Some(set.width),
            kind: crate::Kind::default(),
            ranges: Some(set.ranges.clone()),
        };
        (set.name.to_owned(), there)
    });
    Observed {
        exists: true,
        dormant: false,
        chains: chains.collect(),
        sets: sets.collect(),
    }
}

fn words(table: &Table, observed: &Observed) -> Vec<String> {
    let all = difference(table, observed);
    let hash = |text: String| text.split(" [").next().unwrap_or_default().to_owned();
    all.iter().map(|operation| hash(operation.to_string())).collect()
}

#[test]
fn what_is_there_needs_nothing() {
    let table = network(&["10.0.0.0/8"]).table();
    assert_eq!(words(&table, &holding(&table)), Vec::<String>::new());
}

#[test]
fn from_nothing_all_is_made_in_an_order_that_works() {
    assert_eq!(
        words(&network(&["10.0.0.0/8"]).table(), &Observed::default()),
        [
            "make the table",
            "make the set pods-ipv4",
            "put 1 intervals into the set pods-ipv4",
            "make the set direct-ipv4",
            "put 1 intervals into the set direct-ipv4",
            "make the chain pods-in",
            "add the rule \"flatroute: not from a pod",
            "add the rule \"flatroute: router advertisement",
            "add the rule \"flatroute: DHCPv4 server",
            "add the rule \"flatroute: DHCPv6 server",
            "add the rule \"flatroute: source of another",
            "make the chain pods-out",
            "add the rule \"flatroute: masquerade IPv4",
        ]
    );
}

#[test]
fn only_intervals_that_differ_move() {
    let before = network(&["10.0.0.0/8", "172.16.0.0/12"]).table();
    assert_eq!(
        words(
            &network(&["10.0.0.0/8", "192.168.0.0/16"]).table(),
            &holding(&before)
        ),
        [
            "take 1 intervals out of the set direct-ipv4",
            "put 1 intervals into the set direct-ipv4",
        ]
    );
}

#[test]
fn rules_change_from_the_first_that_differs() {
    let table = network(&[]).table();
    let mut observed = holding(&table);
    let rules = &mut observed.chains.get_mut("pods-in").unwrap().rules;
    rules[3].comment = "flatroute: DHCPv6 server [00000000]".to_owned();
    rules.insert(
        2,
        ObservedRule {
            handle: 99,
            comment: "somebody else's".to_owned(),
        },
    );
    assert_eq!(
        words(&table, &observed),
        [
            "remove the rule \"flatroute: DHCPv6 server",
            "remove the rule \"flatroute: source of another",
            "add the rule \"flatroute: DHCPv6 server",
            "add the rule \"flatroute: source of another",
        ]
    );
}

#[test]
fn without_masquerade_its_chain_and_sets_go_in_an_order_that_works() {
    let table = network(&["10.0.0.0/8"]).table();
    let mut without = network(&[]);
    without.masquerade = None;
    assert_eq!(
        words(&without.table(), &holding(&table)),
        [
            "remove the rules of the chain pods-out",
            "remove the chain pods-out",
            "remove the set direct-ipv4",
            "remove the set pods-ipv4",
        ]
    );
}

#[test]
fn what_sleeps_is_woken_and_what_cannot_be_read_is_filled_anew() {
    let table = network(&["10.0.0.0/8"]).table();
    let mut observed = holding(&table);
    observed.dormant = true;
    observed.sets.get_mut("direct-ipv4").unwrap().ranges = None;
    assert_eq!(
        words(&table, &observed),
        [
            "make the table",
            "empty the set direct-ipv4",
            "put 1 intervals into the set direct-ipv4",
        ]
    );
}

#[test]
fn a_set_of_another_kind_takes_all_our_rules_with_it() {
    let table = network(&["10.0.0.0/8"]).table();
    let mut observed = holding(&table);
    let set = observed.sets.get_mut("direct-ipv4").unwrap();
    (set.width, set.ranges) = (None, Some(Ranges::of(Width::Ipv6, &[])));
    let steps = words(&table, &observed);
    assert_eq!(
        steps
            .iter()
            .filter(|step| step.starts_with("remove the rule"))
            .count(),
        6
    );
    assert_eq!(
        steps
            .iter()
            .filter(|step| step.starts_with("add the rule"))
            .count(),
        6
    );
    assert!(steps.contains(&"remove the set direct-ipv4".to_owned()));
}
