//! TCP MD5 as a user sets it up: a BGPPeer that names a Secret, and the Secret, which comes, changes and goes.

use std::os::unix::fs::PermissionsExt as _;

use flatroute_api::control::{Config, Peer};

use super::agent::{Agent, bgp_peer};
use super::lab::{join, until};

/// What must stand nowhere.
const SECRETS: [&str; 2] = ["hunter-the-first", "hunter-the-second"];

fn signed(name: &str, address: &str, asn: u32) -> String {
    bgp_peer(name, address, asn).replace("peerASN", "auth: {md5: {secretRef: {name: tor}}}, peerASN")
}

fn write_secret(agent: &Agent, text: &str) {
    let manifest =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: tor}}\nstringData: {{password: {text}}}\n");
    // Beside it and renamed, so that nobody can read it at any time.
    let draft = agent.manifest("secret.tmp");
    std::fs::write(&draft, "").expect("written");
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600)).expect("allowed");
    std::fs::write(&draft, manifest).expect("written");
    std::fs::rename(&draft, agent.manifest("secret.yaml")).expect("renamed");
}

/// Waits until a neighbour is held down for a reason.
fn held(agent: &Agent, name: &str, reason: &str) -> Peer {
    until(&format!("{name} is held: {reason}"), || {
        let peer = agent.peer(name)?;
        match &peer.reason {
            Some(found) if found.starts_with(reason) => Ok(peer),
            Some(_) | None => Err(format!("{peer:?}")),
        }
    })
}

#[test]
fn a_secret_that_comes_changes_and_goes_takes_the_session_with_it_and_is_shown_nowhere() {
    let (Some(mut one), Some(mut two)) = (Agent::new(1, None), Agent::new(2, Some(65002))) else {
        return;
    };
    join(12, &one.namespace, &two.namespace);
    one.write("peers.yaml", &signed("two", "10.0.12.2", 65002));
    two.write("peers.yaml", &signed("one", "10.0.12.1", 64512));
    write_secret(&two, SECRETS[0]);
    one.start();
    two.start();

    // Missing.
    let peer = held(&one, "two", "SecretNotFound: there is no Secret tor");
    assert_eq!(peer.state, "Idle");
    let problems = one.problems().expect("status");
    let problem = problems.first().expect("a problem");
    assert_eq!(
        (problem.reason.as_str(), problem.name.as_str()),
        ("SecretNotFound", "two")
    );
    assert_eq!(two.peer("one").expect("one").flaps, 0);

    // It comes.
    write_secret(&one, SECRETS[0]);
    assert_eq!(one.established("two").reason, None);
    one.kernel_has(&two.pod_cidrs(), true);
    let config: Config = one.ask("GET /v1/config").expect("config");
    assert!(config.peers["two"].policy.starts_with("TCP MD5, "), "{config:?}");
    assert_eq!(one.problems().expect("status"), []);

    // It changes, on one side first.
    write_secret(&one, SECRETS[1]);
    let error = until("the neighbour hears of the change", || {
        two.peer("one")?.last_error.ok_or_else(|| "no error".to_owned())
    });
    assert_eq!(
        (error.direction.as_str(), error.code, error.subcode),
        ("Received", Some(6), Some(6)),
        "{error:?}"
    );
    write_secret(&two, SECRETS[1]);
    one.established("two");
    two.established("one");
    one.kernel_has(&two.pod_cidrs(), true);

    // It goes, and the file is readable by all when it comes back.
    std::fs::remove_file(one.manifest("secret.yaml")).expect("removed");
    held(&one, "two", "SecretNotFound");
    one.kernel_has(&two.pod_cidrs(), false);
    let line_break = format!("\"{}\\n\"", SECRETS[1]);
    write_secret(&one, &line_break);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(one.manifest("secret.yaml"), open).expect("allowed");
    let reasons = until("both warnings", || {
        let mut reasons: Vec<String> = one
            .problems()?
            .into_iter()
            .map(|p| p.reason.to_string())
            .collect();
        reasons.sort();
        if reasons.len() == 2 {
            Ok(reasons)
        } else {
            Err(format!("{reasons:?}"))
        }
    });
    assert_eq!(reasons, ["SecretEndsWithLineBreak", "SecretReadableByOthers"]);
    write_secret(&one, SECRETS[1]);
    one.established("two");
    assert_eq!(one.problems().expect("status"), []);
    shown_nowhere(&[&one, &two]);
}

/// No answer and no log has a key.
fn shown_nowhere(agents: &[&Agent]) {
    for agent in agents {
        let paths = ["status", "peers", "config", "events"];
        let mut said: Vec<String> = paths
            .iter()
            .map(|path| agent.ask_raw(&format!("GET /v1/{path}")).expect("an answer").1)
            .collect();
        said.push(std::fs::read_to_string(agent.dir_file("agent.log")).expect("the log"));
        for (text, secret) in said.iter().flat_map(|t| SECRETS.map(|s| (t, s))) {
            assert!(!text.is_empty() && !text.contains(secret), "{text}");
        }
    }
}

#[test]
fn link_local_neighbours_have_keys_too() {
    let (Some(mut one), Some(mut two)) = (Agent::new(1, None), Agent::new(2, Some(65002))) else {
        return;
    };
    join(12, &one.namespace, &two.namespace);
    let through = |peer: String| peer.replace("auth", "interface: link12, auth");
    one.write("peers.yaml", &through(signed("two", "\"fe80::2\"", 65002)));
    // Who waits has to listen on the interface.
    let passive = signed("one", "\"fe80::1\"", 64512).replace("auth", "connectMode: Passive, auth");
    two.write("peers.yaml", &through(passive));
    write_secret(&one, SECRETS[0]);
    write_secret(&two, SECRETS[0]);
    one.start();
    two.start();
    one.established("two");
    // The interface goes and comes back as another one.
    two.namespace.ip("link del link12");
    until("both have noticed", || {
        let peer = one.ask_raw("GET /v1/peers/two").map_err(|e| e.to_string())?;
        if peer.0 == 404 { Ok(()) } else { Err(peer.1) }
    });
    join(12, &one.namespace, &two.namespace);
    one.established("two");
    two.established("one");
}
