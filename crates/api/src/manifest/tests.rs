use super::*;

const PEER: &str = "apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {name: tor-a}
spec: {peerAddress: 10.0.1.1, peerASN: 65001}
";

fn problems(text: &str) -> Vec<String> {
    merge([parse("m.yaml", text)])
        .problems
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn documents_are_read_one_by_one_and_a_bad_one_costs_only_itself() {
    let text = format!(
        "# a comment\n---\n{PEER}---\nkind: [\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1}}\nspec: {{podCIDRs: [10.244.1.0/24], taints: []}}\n"
    );
    let parsed = parse("m.yaml", &text);
    let names: Vec<_> = parsed
        .objects
        .iter()
        .map(|o| (o.object.kind(), o.name.as_str(), o.place.to_string()))
        .collect();
    assert_eq!(
        names,
        [
            (Kind::BGPPeer, "tor-a", "m.yaml:1:3".to_owned()),
            (Kind::Node, "n1", "m.yaml:3:10".to_owned())
        ]
    );
    assert_eq!(parsed.problems.len(), 1);
    let place = parsed.problems[0].place.clone().unwrap();
    assert_eq!(
        (place.document, parsed.problems[0].reason.as_str()),
        (2, "NotYAML")
    );
    assert!(place.line >= 7 && place.line <= 9, "{place}");
}

#[test]
fn a_problem_names_file_document_line_object_field_and_remedy() {
    let text = format!(
        "{PEER}---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata:\n  name: tor-b\nspec:\n  peerAddress: 10.0.1.2\n  peerASN: 65002\n  timers:\n    holdTme: 90s\n"
    );
    assert_eq!(
        problems(&text),
        [
            "m.yaml:2:14: BGPPeer/tor-b: spec.timers.holdTme: unknown field; did you mean holdTime? Otherwise remove it"
        ]
    );
}

#[test]
fn an_unreadable_kind_says_what_was_meant() {
    let with = |from: &str, to: &str| problems(&PEER.replace(from, to));
    assert_eq!(
        with("BGPPeer", "BGPPeers"),
        ["m.yaml:1:1: BGPPeers/tor-a: kind: kind BGPPeers of flatroute.io/v1alpha1 is not read here; did you mean BGPPeer? Otherwise remove the object".replace("1:1", "1:2")]
    );
    assert!(
        with("v1alpha1", "v1")[0]
            .contains("\"flatroute.io/v1\" is not the apiVersion of BGPPeer; use flatroute.io/v1alpha1")
    );
    assert!(
        with("kind: BGPPeer\n", "kind: Service\n")[0]
            .contains("not supported yet in this version: kind Service")
    );
    assert!(with("kind: BGPPeer\n", "kind: Deployment\n")[0].contains("remove the object"));
    assert!(with("kind: BGPPeer\n", "")[0].contains("kind: required, but not there"));
    assert!(with("{name: tor-a}", "{}")[0].contains("metadata.name: required"));
    assert!(with("tor-a", "Tor_A")[0].contains("not a name that Kubernetes takes"));
    assert!(problems("- 1\n")[0].contains("not an object"));
    assert!(problems("hello\n")[0].contains("not an object"));
}

#[test]
fn the_first_of_two_objects_of_a_name_counts() {
    let again = PEER.replace("65001", "65009");
    let merged = merge([parse("a.yaml", PEER), parse("b.yaml", &again)]);
    assert_eq!(
        merged.state.peers["tor-a"].spec.peer_asn,
        Some(crate::values::PeerAsn::Number(65001))
    );
    assert_eq!(
        merged.problems[0].to_string(),
        "b.yaml:1:1: BGPPeer/tor-a: metadata.name: is there twice: first at a.yaml:1:1; remove one of the two"
    );
    assert_eq!(merged.problems.len(), 1);
}

#[test]
fn nothing_is_nothing() {
    for text in [
        "",
        "\n",
        "---\n",
        "---\n---\n# nothing\n",
        "# nothing\n",
        "\u{feff}",
    ] {
        assert_eq!(parse("m.yaml", text), Parsed::default(), "{text:?}");
    }
    assert_eq!(parse("m.yaml", &format!("\u{feff}{PEER}")).objects.len(), 1);
    assert_eq!(parse("m.yaml", &PEER.replace('\n', "\r\n")).objects.len(), 1);
    let marked = parse("m.yaml", &format!("--- # first\n{PEER}...\n---\n"));
    assert_eq!(
        (marked.objects.len(), marked.problems.len()),
        (1, 0),
        "{:?}",
        marked.problems
    );
}

#[test]
fn hostile_text_is_refused_in_bounded_time() {
    let started = std::time::Instant::now();
    let deep_flow = "[".repeat(100_000);
    let deep_block = (0..5_000).fold(String::new(), |mut s, i| {
        s.push_str(&" ".repeat(i));
        s.push_str("a:\n");
        s
    });
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let prior = format!("*a{}", i - 1);
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", [prior.as_str(); 10].join(", ")));
    }
    let many = "a: 1\n---\n".repeat(MAX_DOCUMENTS + 10);
    let wide = (0..200_000).fold(String::new(), |s, i| s + &format!("k{i}: 1\n"));
    let huge = "x".repeat(MAX_FILE_BYTES + 1);
    let numbers = PEER.replace("65001", "1e400");
    let nan = PEER.replace("65001", ".nan");
    let recursive = "a: &a [*a]\n".to_owned();
    let twice = PEER.replace("metadata:", "kind: BGPFilter\nmetadata:");
    let binary = "\u{0}\u{1}\u{fffd}".to_owned();
    for (what, text) in [
        ("deep flow", deep_flow),
        ("deep block", deep_block),
        ("bomb", bomb),
        ("many documents", many),
        ("wide", wide),
        ("huge", huge),
        ("infinite", numbers),
        ("nan", nan),
        ("recursive", recursive),
        ("duplicate key", twice),
        ("binary", binary),
    ] {
        let parsed = parse("m.yaml", &text);
        assert!(parsed.objects.is_empty(), "{what}");
        assert!(!parsed.problems.is_empty(), "{what}");
        let text = parsed.problems[0].to_string();
        assert!(text.len() < 1000, "{what}: {text}");
    }
    assert!(
        started.elapsed() < std::time::Duration::from_secs(20),
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn what_a_secret_holds_never_comes_out() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: kube-system}\ndata: {password: hunter2-not-base64}\n";
    let said = problems(text);
    assert_eq!(said.len(), 1);
    assert!(!said[0].contains("hunter2"), "{}", said[0]);
    let good = text.replace("hunter2-not-base64", "aHVudGVyMg==");
    let parsed = parse("m.yaml", &good);
    assert_eq!(parsed.objects[0].namespace, "kube-system");
    let shown = format!("{parsed:?} {:?}", merge([parsed.clone()]));
    assert!(
        !shown.contains("hunter2") && !shown.contains("104, 117"),
        "{shown}"
    );
    assert_eq!(
        problems(&text.replace("hunter2-not-base64", "12345")),
        ["m.yaml:1:4: Secret/s: data.password: is not a string; put the value into quotes"]
    );
}

#[test]
fn what_is_written_reads_back() {
    let mut spec = crate::BGPPeerSpec::new("10.0.1.1".parse().unwrap(), crate::values::PeerAsn::External);
    spec.advertise = Some([crate::objects::Advertise::LearnedRoutes].into());
    spec.set = Some(crate::objects::SetAttributes {
        med: Some(5),
        communities: vec![crate::values::Community(1)],
        ..Default::default()
    });
    let peer = BGPPeer::new("tor-a", spec);
    let mut node = Node::named("n1");
    node.spec.pod_cidrs = Some(vec!["10.244.1.0/24".to_owned(), "fd00:244:1::/64".to_owned()]);
    node.metadata.labels = Some(
        [
            ("on".to_owned(), "yes".to_owned()),
            ("n".to_owned(), "1".to_owned()),
        ]
        .into(),
    );
    let text = to_yaml(Kind::BGPPeer, &peer).unwrap() + &to_yaml(Kind::Node, &node).unwrap();
    let merged = merge([parse("m.yaml", &text)]);
    assert_eq!(merged.problems, [], "{text}");
    assert_eq!(merged.state.peers["tor-a"], peer);
    assert_eq!(merged.state.nodes["n1"], node);
}
