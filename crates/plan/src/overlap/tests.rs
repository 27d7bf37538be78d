use flatroute_api::{ProblemReason, manifest};

use crate::{Facts, Listing, plan};

const OWN: &str = "
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.1.0/24, 'fd00:244:1::/64']}
status: {addresses: [{type: InternalIP, address: 10.0.1.11}, {type: InternalIP, address: 'fd00:1::11'}]}
";

fn other(name: &str, cidrs: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{podCIDRs: [{cidrs}]}}\n\
         status: {{addresses: [{{type: InternalIP, address: '{address}'}}]}}\n"
    )
}

/// What is said of overlaps, with these Nodes beside the own one.
fn told(others: &str) -> Vec<String> {
    let merged = manifest::merge([manifest::parse("m.yaml", &(OWN.to_owned() + others))]);
    assert_eq!(merged.problems, []);
    let mut listing = Listing::of(flatroute_api::ClusterState::default(), ["manifests"]);
    listing.listed("manifests", |state| *state = merged.state);
    let plan = plan("n1", &listing.synced().unwrap(), &Facts::default());
    assert_eq!(
        plan.pod_network.unwrap().pod_cidrs.len(),
        2,
        "nothing is left out for it"
    );
    let of_overlaps = |p: &flatroute_api::Problem| p.reason == ProblemReason::OverlappingCIDRs;
    let problems = plan.problems.into_iter().filter(of_overlaps);
    problems
        .map(|problem| {
            assert_eq!((problem.kind.as_str(), problem.name.as_str()), ("Node", "n1"));
            assert_eq!(problem.field, "spec.podCIDRs");
            problem.message
        })
        .collect()
}

#[test]
fn neighbours_that_touch_do_not_overlap() {
    assert_eq!(told(""), Vec::<String>::new());
    let beside = other("n2", "10.244.0.0/24, 'fd00:244:2::/64'", "10.244.2.1");
    assert_eq!(told(&beside), Vec::<String>::new());
}

#[test]
fn each_overlap_is_named_with_its_node() {
    for (cidrs, address, want) in [
        (
            "10.244.1.0/24",
            "10.0.1.12",
            "10.244.1.0/24 overlaps with 10.244.1.0/24 of Node n2: ",
        ),
        (
            "10.244.0.0/16",
            "10.0.1.12",
            "10.244.1.0/24 overlaps with 10.244.0.0/16 of Node n2: ",
        ),
        (
            "'fd00:244:1:0:8000::/80'",
            "10.0.1.12",
            "fd00:244:1::/64 overlaps with fd00:244:1:0:8000::/80 of Node n2: ",
        ),
        (
            "10.244.2.0/24",
            "fd00:244:1::5",
            "fd00:244:1::/64 overlaps with the address fd00:244:1::5 of Node n2: ",
        ),
    ] {
        let told = told(&other("n2", cidrs, address));
        let [message] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(message.starts_with(want), "{message}");
    }
    let two = other("n2", "10.244.1.0/25", "10.244.1.7") + &other("n3", "10.244.1.128/25", "10.0.1.13");
    let told = told(&two);
    let [message] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(
        message.contains("10.244.1.0/25 of Node n2 and 2 more: "),
        "{message}"
    );
}
