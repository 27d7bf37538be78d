use serde_json::json;

use super::*;

const BOTH: [&str; 2] = ["10.244.1.7", "fd00:244:1::7"];

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn shown(list: &Value, pod: &[&str]) -> Vec<String> {
    let ports = ports(&read(list).unwrap(), &addresses(pod)).unwrap();
    let shown = |port| flatroute_nft::Element::Port(port).to_string();
    ports.into_iter().map(shown).collect()
}

#[test]
fn each_mapping_becomes_a_port_a_family() {
    let rows = [
        (json!(null), &BOTH[..], vec![]),
        (json!([]), &BOTH, vec![]),
        (
            json!([{"hostPort": 8080, "containerPort": 80}]),
            &BOTH,
            vec![
                "hostPort 8080 tcp of IPv4 to 10.244.1.7:80",
                "hostPort 8080 tcp of IPv6 to [fd00:244:1::7]:80",
            ],
        ),
        (
            json!([{"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": ""}]),
            &BOTH[1..],
            vec!["hostPort 53 udp of IPv6 to [fd00:244:1::7]:5353"],
        ),
        (
            json!([{"hostPort": 1, "containerPort": 65535, "protocol": "sctp", "hostIP": "0.0.0.0"},
                {"hostPort": 1, "containerPort": 2, "protocol": "sctp", "hostIP": "::"}]),
            &BOTH,
            vec![
                "hostPort 1 sctp of IPv4 to 10.244.1.7:65535",
                "hostPort 1 sctp of IPv6 to [fd00:244:1::7]:2",
            ],
        ),
        // By address and protocol a port is several; unknown keys mean nothing.
        (
            json!([{"hostPort": 80, "containerPort": 1, "hostIP": "192.0.2.1", "name": "x"},
                {"hostPort": 80, "containerPort": 2, "hostIP": "127.0.0.1"},
                {"hostPort": 80, "containerPort": 3, "hostIP": null},
                {"hostPort": 80, "containerPort": 3},
                {"hostPort": 80, "containerPort": 4, "protocol": "udp"}]),
            &BOTH[..1],
            vec![
                "hostPort 80 tcp of 192.0.2.1 to 10.244.1.7:1",
                "hostPort 80 tcp of 127.0.0.1 to 10.244.1.7:2",
                "hostPort 80 tcp of IPv4 to 10.244.1.7:3",
                "hostPort 80 tcp of IPv4 to 10.244.1.7:3",
                "hostPort 80 udp of IPv4 to 10.244.1.7:4",
            ],
        ),
        (
            json!([{"hostPort": 80, "containerPort": 1, "hostIP": "::ffff:192.0.2.1"}]),
            &BOTH,
            vec!["hostPort 80 tcp of 192.0.2.1 to 10.244.1.7:1"],
        ),
    ];
    for (list, pod, want) in rows {
        assert_eq!(shown(&list, pod), want, "{list}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_its_place() {
    let good = json!({"hostPort": 1, "containerPort": 1});
    let with = |key: &str, value: Value| {
        let mut one = json!({"hostPort": 8080, "containerPort": 80});
        one[key] = value;
        json!([good, one])
    };
    let rows = [
        (json!("8080:80"), "portMappings: \"8080:80\" is no list"),
        (json!(["8080:80"]), "portMappings[0]: \"8080:80\" is no object"),
        (
            json!([{"containerPort": 80}]),
            "portMappings[0].hostPort: missing",
        ),
        (
            with("hostPort", json!(0)),
            "portMappings[1].hostPort: 0 is no port",
        ),
        (
            with("hostPort", json!(65536)),
            "portMappings[1].hostPort: 65536 is no port",
        ),
        (
            with("hostPort", json!("80")),
            "portMappings[1].hostPort: \"80\" is no port",
        ),
        (
            with("containerPort", json!(-1)),
            "portMappings[1].containerPort: -1 is no port",
        ),
        (
            with("containerPort", json!(null)),
            "portMappings[1].containerPort: missing",
        ),
        (
            with("protocol", json!("icmp")),
            "portMappings[1].protocol: \"icmp\" is none of tcp, udp, sctp",
        ),
        (
            with("protocol", json!(6)),
            "portMappings[1].protocol: 6 is no text",
        ),
        (
            with("hostIP", json!("node1")),
            "portMappings[1].hostIP: \"node1\" is no address",
        ),
        (
            with("hostIP", json!(["::"])),
            "portMappings[1].hostIP: [\"::\"] is no text",
        ),
        (with("hostIP", json!("::1")), "portMappings[1].hostIP: ::1 cannot"),
        (
            with("hostIP", json!("224.0.0.1")),
            "portMappings[1].hostIP: 224.0.0.1 is no address of one host",
        ),
        (
            json!([{"hostPort": 80, "containerPort": 1}, {"hostPort": 80, "containerPort": 2, "hostIP": "::"}]),
            "portMappings[1].hostPort: 80 leads to containerPort 1 already, by portMappings[0]",
        ),
        (
            json!(vec![good.clone(); MAX_MAPPINGS + 1]),
            "portMappings: 257 mappings; at most 256",
        ),
    ];
    for (list, want) in rows {
        let error = read(&list).unwrap_err();
        let want = format!("network configuration: runtimeConfig.{want}");
        assert!(error.msg.starts_with(&want), "{list}: {error}");
    }
    read(&json!(vec![good; MAX_MAPPINGS])).unwrap();
}

#[test]
fn an_address_of_a_family_that_the_pod_lacks_is_refused() {
    for (at, pod, want) in [
        (
            "192.0.2.1",
            BOTH[1],
            "192.0.2.1 cannot lead to the pod, which has no IPv4 address",
        ),
        (
            "0.0.0.0",
            BOTH[1],
            "0.0.0.0 cannot lead to the pod, which has no IPv4 address",
        ),
        (
            "::",
            BOTH[0],
            ":: cannot lead to the pod, which has no IPv6 address",
        ),
    ] {
        let list = json!([{"hostPort": 1, "containerPort": 1, "hostIP": at}]);
        let error = ports(&read(&list).unwrap(), &addresses(&[pod])).unwrap_err();
        let want = format!("network configuration: runtimeConfig.portMappings[0].hostIP: {want}");
        assert_eq!(error.msg, want);
    }
}
