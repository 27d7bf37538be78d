//! The starter of the API server itself: it is ready, knows its users, goes and comes back with its objects, and
//! leaves nothing.

use flatroute_lab::apiserver::{ADMIN, AGENT, ApiServer, Parts, STRANGER};

#[test]
fn an_api_server_comes_up_goes_away_and_comes_back() {
    let Some(parts) = Parts::find_or_skip("an_api_server_comes_up_goes_away_and_comes_back") else {
        return;
    };
    let mut server = ApiServer::start(&parts).expect("ready");
    server
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: default}\ndata: {a: b}\n")
        .expect("applied");
    for (user, may) in [(ADMIN, true), (AGENT, false), (STRANGER, false)] {
        let answer = server.kubectl_as(user, &["get", "configmap", "-n", "default", "kept", "-o", "name"]);
        match answer {
            Ok(name) => assert!(may && name.trim() == "configmap/kept", "{user:?}: {name}"),
            Err(error) => assert!(
                !may && error
                    .to_string()
                    .contains(&format!("User \"{}\" cannot get", user.name)),
                "{user:?}: {error}"
            ),
        }
    }
    let dir = server.authority().parent().expect("its folder").to_owned();
    let is_there = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    let port = server.port();
    assert!(is_there(port));
    let is_ready = || {
        server
            .kubectl(&["get", "--raw", "/readyz", "--request-timeout=2s"])
            .is_ok()
    };
    server.pause();
    assert!(!is_ready(), "it answers although it is paused");
    server.resume();
    assert!(is_ready());
    server.stop_server();
    assert!(!is_there(port));
    server.start_server().expect("ready again");
    assert_eq!(server.port(), port);
    let kept = server.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]);
    assert_eq!(kept.expect("it is there"), "b");
    drop(server);
    assert!(!is_there(port) && !dir.exists());
}
