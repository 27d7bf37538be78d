//! Several paths of a prefix between agents (RFC 7911), into the kernel: two nodes have the same pod CIDRs, a switch on their
//! link passes both paths on as they are, and a third node shares its traffic among the two.

use std::collections::BTreeSet;

use super::agent::Agent;
use super::lab::until;
use super::reflection::segment;

/// What two nodes have in common.
const SHARED: [&str; 2] = ["10.244.9.0/24", "fd00:244:9::/64"];
/// The switch.
const SWITCH: u8 = 4;
const SWITCH_ASN: u32 = 65_001;
const NODE_ASN: u32 = 64_512;

fn peer(name: &str, number: u8, asn: u32, further: &str) -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec: {{peerAddress: 10.0.12.{number}, peerASN: {asn}{further}}}\n"
    )
}

/// A node on the link, with these pod CIDRs.
fn node(number: u8, cidrs: &[&str]) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\nspec: {{podCIDRs: {cidrs:?}}}\n\
         status: {{addresses: [{{type: InternalIP, address: 10.0.12.{number}}}, {{type: InternalIP, address: \"fd00:0:12::{number}\"}}]}}\n"
    )
}

/// What the switch tells the third node, with or without path identifiers.
fn told(add_path: &str) -> String {
    let further = format!(", advertise: [LearnedRoutes], nextHop: Unchanged, addPath: {add_path}");
    peer("n3", 3, NODE_ASN, &further)
}

/// The routers by which the kernel shares the traffic to a prefix.
fn gateways(agent: &Agent, prefix: &str) -> BTreeSet<String> {
    let shown = agent.kernel();
    let mut lines = shown.lines().skip_while(|line| !line.starts_with(prefix));
    let first = lines.next().into_iter();
    // The legs of a multipath route follow it, indented.
    let legs = lines.take_while(|line| line.starts_with('\t'));
    let words = first.chain(legs).flat_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pairs: Vec<(String, String)> = words
            .windows(2)
            .filter_map(|pair| Some(((*pair.first()?).to_owned(), (*pair.get(1)?).to_owned())))
            .collect();
        pairs
    });
    words
        .filter_map(|(word, value)| (word == "via").then_some(value))
        .collect()
}

/// Waits until the kernel of an agent shares the traffic to what is shared among these nodes.
fn shares_among(agent: &Agent, numbers: &[u8]) {
    for (prefix, before) in SHARED.iter().zip(["10.0.12.", "fd00:0:12::"]) {
        let wanted: BTreeSet<String> = numbers.iter().map(|n| format!("{before}{n}")).collect();
        until(&format!("n{}: {prefix} via {wanted:?}", agent.number), || {
            let found = gateways(agent, prefix);
            (found == wanted)
                .then_some(())
                .ok_or_else(|| format!("via {found:?}: {}", agent.kernel()))
        });
    }
}

#[test]
fn both_paths_of_a_prefix_become_the_legs_of_one_route() {
    let agents = [1, 2, 3].map(|number| Agent::new(number, None));
    let [Some(mut one), Some(mut two), Some(mut three)] = agents else {
        return;
    };
    let Some(mut switch) = Agent::new(SWITCH, Some(SWITCH_ASN)) else {
        return;
    };
    segment(&[
        (1, &one.namespace),
        (2, &two.namespace),
        (3, &three.namespace),
        (SWITCH, &switch.namespace),
    ]);
    for agent in [&one, &two] {
        agent.write("node.yaml", &node(agent.number, &SHARED));
        agent.write("peers.yaml", &peer("tor", SWITCH, SWITCH_ASN, ""));
    }
    three.write("node.yaml", &node(3, &["10.244.3.0/24", "fd00:244:3::/64"]));
    three.write(
        "peers.yaml",
        &peer("tor", SWITCH, SWITCH_ASN, ", addPath: Receive"),
    );
    let of_nodes = peer("n1", 1, NODE_ASN, "") + &peer("n2", 2, NODE_ASN, "");
    switch.write("peers.yaml", &(of_nodes.clone() + &told("Disabled")));
    for agent in [&mut one, &mut two, &mut three, &mut switch] {
        agent.start();
    }
    for name in ["n1", "n2", "n3"] {
        switch.established(name);
    }

    // One path a prefix: the switch's best, of the lower identifier.
    shares_among(&switch, &[1, 2]);
    shares_among(&three, &[1]);

    switch.write("peers.yaml", &(of_nodes + &told("Send")));
    shares_among(&three, &[1, 2]);
    let session = three.established("tor");
    let agreed = session.negotiated.expect("it is up").add_path;
    assert_eq!(agreed, ["IPv4 received", "IPv6 received"]);
    let paths = three
        .routes("view=received&prefix=10.244.9.0/24")
        .expect("routes");
    let ids: BTreeSet<Option<u32>> = paths.iter().map(|path| path.path_id).collect();
    assert!(ids.len() == 2 && !ids.contains(&None), "{paths:?}");

    // One of the two paths goes, and the other one stays.
    one.write("node.yaml", &node(1, &[]));
    shares_among(&three, &[2]);
    let flaps = three.peer("tor").expect("a peer").flaps;
    assert_eq!(flaps, 1, "the change of addPath, and nothing else");
}
