//! When a node can serve pods, who is told, and what is written then.

use std::net::TcpStream;

use flatroute_api::control::Status;

use super::agent::{Agent, bgp_peer};
use super::lab::{http, join, until};

/// Asks the HTTP port.
fn probe(agent: &Agent, path: &str) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<(u16, String)> {
        let stream = agent.namespace.inside(|| TcpStream::connect("127.0.0.1:9179"))?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
        http(stream, &format!("GET {path}"))
    };
    ask().map_err(|error| error.to_string())
}

#[test]
fn a_node_is_ready_once_its_neighbour_has_sent_all_and_stays_so() {
    let (Some(mut one), Some(mut two)) = (Agent::new(1, None), Agent::new(2, Some(65002))) else {
        return;
    };
    one.namespace.ip("link set lo up");
    join(12, &one.namespace, &two.namespace);
    one.write("peers.yaml", &bgp_peer("two", "10.0.12.2", 65002));
    two.write("peers.yaml", &bgp_peer("one", "10.0.12.1", 64512));
    let net_d = one.dir_file("net.d");
    std::fs::create_dir(&net_d).expect("a directory");
    let conflist = net_d.join("10-flatroute.conflist");
    let conf_dir = net_d.to_str().expect("a path").to_owned();
    let options = ["--http-listen", ":9179", "--cni-conf-dir", &conf_dir];
    one.start_with(&options);

    // Its only neighbour is not there: alive, not ready, and no pod is let in.
    until("the reason is told", || {
        let (status, body) = probe(&one, "/readyz")?;
        let told = status == 503 && body.contains("NoRoutes: IPv4: two is not Established");
        told.then_some(()).ok_or(body)
    });
    assert_eq!(
        probe(&one, "/healthz").expect("an answer"),
        (200, "ok\n".to_owned())
    );
    let status: Status = one.ask("GET /v1/status").expect("status");
    assert!(!status.ready && status.ready_reason.is_some_and(|why| why.contains("NoRoutes")));
    assert!(!conflist.exists());

    two.start();
    until("it is ready", || {
        let (status, body) = probe(&one, "/readyz")?;
        (status == 200).then_some(()).ok_or(body)
    });
    one.kernel_has(&two.pod_cidrs(), true);
    let peer = one.peer("two").expect("two");
    assert!(peer.prefixes.iter().all(|family| family.end_of_rib), "{peer:?}");
    let written = |cidr: &str| {
        until("the configuration is written", || {
            let text = std::fs::read_to_string(&conflist).map_err(|error| error.to_string())?;
            text.contains(cidr).then_some(()).ok_or(text)
        });
    };
    let [v4, v6] = one.pod_cidrs();
    written(&v4);
    written(&v6);

    // The Node gets other podCIDRs; then the neighbour goes, and nothing is taken back.
    let node = std::fs::read_to_string(one.manifest("node.yaml")).expect("the Node");
    one.write("node.yaml", &node.replace("10.244.1.0/24", "10.244.77.0/24"));
    written("10.244.77.0/24");
    written("\"mtu\": 0");
    one.write(
        "configuration.yaml",
        "apiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {podNetwork: {mtu: 8900}}\n",
    );
    written("\"mtu\": 8900");
    assert!(two.terminate().success());
    until("the session is down", || {
        let peer = one.peer("two")?;
        (peer.state != "Established").then_some(()).ok_or(peer.state)
    });
    assert_eq!(
        probe(&one, "/readyz").expect("an answer"),
        (200, "ready\n".to_owned())
    );
    let status: Status = one.ask("GET /v1/status").expect("status");
    assert_eq!((status.ready, status.ready_reason), (true, None));
    assert!(conflist.exists());
}
