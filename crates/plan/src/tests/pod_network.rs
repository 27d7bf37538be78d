use super::*;

/// What is done with packets of pods, in words.
fn told(configuration: &str, node: &str, facts: &Facts) -> (Vec<String>, Vec<ProblemReason>) {
    let manifests = node.to_owned() + configuration;
    let plan = planned(&manifests, facts);
    let reasons = plan.problems.iter().map(|problem| problem.reason).collect();
    (plan.describe().pod_network, reasons)
}

fn configured(pod_network: &str) -> String {
    object(
        "BGPConfiguration",
        "default",
        &format!("{{podNetwork: {pod_network}}}"),
    )
}

fn in_cluster() -> Facts {
    Facts {
        source: ObjectSource::ApiServer,
        ..Facts::default()
    }
}

const DEFAULT: [&str; 5] = [
    "not towards 10.0.0.0/8",
    "not towards 100.64.0.0/10",
    "not towards 172.16.0.0/12",
    "not towards 192.168.0.0/16",
    "not towards fc00::/7",
];

#[test]
fn by_default_what_leaves_a_known_cluster_is_masqueraded() {
    let (lines, reasons) = told("", NODE_V4, &in_cluster());
    let own = [
        "sources of pods in 10.244.1.0/24 are checked",
        "masquerade IPv4 as an address of the link",
        "not towards 10.0.0.0/8",
        "not towards 10.244.1.0/24",
    ];
    assert_eq!(lines[..4], own);
    assert_eq!(lines[4..], DEFAULT[1..]);
    assert_eq!(reasons, []);
}

#[test]
fn the_source_is_the_internal_ip_where_the_machine_has_it() {
    let mut facts = in_cluster();
    facts.links.addresses = ["10.0.1.11".parse().unwrap(), "fd00:1::12".parse().unwrap()].into();
    let (lines, _) = told("", NODE, &facts);
    assert!(
        lines.contains(&"masquerade IPv4 as 10.0.1.11".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"masquerade IPv6 as an address of the link".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn where_nobody_knows_the_cluster_nothing_is_masqueraded() {
    let alone = Facts::default();
    let off = ["sources of pods in 10.244.1.0/24 are checked", "no masquerade"];
    for (configuration, facts, reasons) in [
        (String::new(), &alone, &[][..]),
        (
            configured("{masquerade: {mode: Enabled}}"),
            &alone,
            &[ProblemReason::ClusterCIDRsUnknown],
        ),
        (configured("{masquerade: {mode: Disabled}}"), &in_cluster(), &[]),
    ] {
        let (lines, found) = told(&configuration, NODE_V4, facts);
        assert_eq!(
            (lines, found.as_slice()),
            (off.map(str::to_owned).to_vec(), reasons),
            "{configuration}"
        );
    }
    let known = configured("{clusterCIDRs: [10.244.0.0/16]}");
    assert!(
        told(&known, NODE_V4, &alone)
            .0
            .contains(&"not towards 10.244.0.0/16".to_owned())
    );
}

#[test]
fn a_node_without_pods_has_no_rules() {
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n";
    assert_eq!(planned(node, &in_cluster()).pod_network, None);
}

#[test]
fn a_list_stands_for_the_default_and_nodes_beside_it_are_added() {
    let other = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\nstatus: {addresses: [{type: InternalIP, address: 203.0.113.2}]}\n";
    let list =
        configured("{clusterCIDRs: [10.244.0.0/16], masquerade: {nonMasqueradeCIDRs: [192.0.2.0/24]}}");
    let (lines, _) = told(&(list + other), NODE_V4, &in_cluster());
    let towards = |line: &&String| line.starts_with("not towards");
    assert_eq!(
        lines.iter().filter(towards).collect::<Vec<_>>(),
        [
            "not towards 10.0.1.11/32",
            "not towards 10.244.0.0/16",
            "not towards 10.244.1.0/24",
            "not towards 192.0.2.0/24",
            "not towards 203.0.113.2/32",
        ]
    );
}

#[test]
fn the_other_nodes_are_needed_where_the_list_does_not_hold_our_own_addresses() {
    let public = NODE_V4.replace("10.0.1.11", "203.0.113.1");
    for (node, masquerade, want) in [
        (NODE_V4, "{}", false),
        (&public, "{}", true),
        (&public, "{mode: Disabled}", false),
        (&public, "{nonMasqueradeCIDRs: [203.0.113.0/24]}", false),
        (NODE_V4, "{nonMasqueradeCIDRs: []}", true),
    ] {
        let text = format!(
            "{{nodeMesh: {{mode: Disabled}}, podNetwork: {{clusterCIDRs: [10.244.0.0/16], masquerade: {masquerade}}}}}"
        );
        let state = synced(&(node.to_owned() + &object("BGPConfiguration", "default", &text)));
        assert_eq!(needs_other_nodes(&state, &Facts::default()), want, "{masquerade}");
    }
}

#[test]
fn more_than_fit_is_told_and_nothing_is_masqueraded() {
    let mut manifests = NODE_V4.to_owned()
        + &configured("{clusterCIDRs: [10.244.0.0/16], masquerade: {nonMasqueradeCIDRs: []}}");
    for number in 0..MAX_DIRECT {
        use std::fmt::Write as _;
        let (a, b) = (number / 200, number % 200);
        write!(
            manifests,
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: m{number}}}\nstatus: {{addresses: [{{type: InternalIP, address: 203.0.{a}.{b}}}]}}\n"
        )
        .unwrap();
    }
    let plan = planned(&manifests, &in_cluster());
    assert_eq!(plan.pod_network.as_ref().unwrap().masquerade, None);
    let problem = plan
        .problems
        .iter()
        .find(|p| p.field.contains("masquerade"))
        .unwrap();
    assert!(problem.message.contains("1027 prefixes"), "{problem}");
}
