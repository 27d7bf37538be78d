//! An agent that dies and is started again by its parent (`--respawn`).

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use flatroute_api::control::Status;
use rustix::process::{Pid, Signal, kill_process};

use super::agent::{Agent, bgp_peer};
use super::lab::{join, until};

fn signal(process: i32, signal: Signal) {
    let process = Pid::from_raw(process).expect("an id");
    kill_process(process, signal).expect("it runs");
}

/// The child of the process that was started.
fn child(agent: &Agent) -> Result<i32, String> {
    let id = agent.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.map_err(|error| error.to_string())?;
    let children: Vec<&str> = children.split_whitespace().collect();
    match children[..] {
        [one] => one.parse().map_err(|_| format!("{one} is no id")),
        _ => Err(format!("children: {children:?}")),
    }
}

/// What of a process is in memory and is its own, in KiB.
fn private(process: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("it runs");
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        let number = line.split_whitespace().next();
        number.expect("a number").parse::<u64>().expect("a number")
    };
    of("Private_Dirty:")
}

#[test]
fn an_agent_that_dies_is_there_again_at_once_and_keeps_its_routes_everywhere() {
    let (Some(mut one), Some(mut two)) = (Agent::new(1, None), Agent::new(2, Some(65002))) else {
        return;
    };
    join(12, &one.namespace, &two.namespace);
    one.write("peers.yaml", &bgp_peer("two", "10.0.12.2", 65002));
    two.write("peers.yaml", &bgp_peer("one", "10.0.12.1", 64512));
    one.start_with(&["--respawn"]);
    two.start();
    one.established("two");
    two.kernel_has(&one.pod_cidrs(), true);
    assert_eq!(
        one.ask::<Status>("GET /v1/status").expect("status").respawned,
        None
    );
    let parent = private(one.id());
    // Most of it are tables of addresses that the loader fills in; an optimised build has a third of them.
    assert!(parent < 4096, "the parent needs {parent} KiB of its own");

    for deaths in 1..=2 {
        let dead = child(&one).expect("an agent");
        let killed = Instant::now();
        signal(dead, Signal::KILL);
        let respawned = until("the next one answers", || {
            let status = one.ask::<Status>("GET /v1/status")?;
            status
                .respawned
                .filter(|r| r.deaths == deaths)
                .ok_or_else(|| "not yet".to_owned())
        });
        println!("back after {:?}", killed.elapsed());
        assert_eq!(respawned.last, "was ended by SIGKILL");
        assert_ne!(child(&one).expect("an agent"), dead);
        one.established("two");
        let kinds: Vec<String> = one.events().into_iter().map(|event| event.kind).collect();
        assert!(kinds.contains(&"AgentRespawned".to_owned()), "{kinds:?}");
        two.kernel_has(&one.pod_cidrs(), true);
    }
    let swept = two.events().into_iter().find(|event| event.kind == "RoutesSwept");
    assert_eq!(swept, None, "the neighbour kept all");

    // Asked to end, both do, in order.
    let last = child(&one).expect("an agent");
    assert!(one.terminate().success());
    assert!(!fs::exists(format!("/proc/{last}")).expect("/proc"));
    assert!(!one.socket().exists(), "the agent has put its things away");
}

#[test]
fn no_agent_outlives_its_parent() {
    let Some(mut one) = Agent::new(1, None) else {
        return;
    };
    one.start_with(&["--respawn"]);
    let agent = child(&one).expect("an agent");
    one.kill();
    until("the agent ends with it", || {
        // Whoever reaps it may take a moment.
        let state = fs::read_to_string(format!("/proc/{agent}/stat")).unwrap_or_default();
        let is_over = state.is_empty() || state.contains(") Z ");
        is_over.then_some(()).ok_or(state)
    });
}

#[test]
fn an_agent_that_cannot_live_is_given_up_and_its_code_is_the_parents() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flatroute-agent"));
        command
            .args(["run", "--respawn", "--node-name", "n1"])
            .args(arguments);
        command.arg("--control-socket").arg(dir.path().join("agent.sock"));
        command.stdin(Stdio::null()).output().expect("it runs")
    };
    let begun = Instant::now();
    let nowhere = dir.path().join("nowhere");
    let output = run(&["--standalone", nowhere.to_str().expect("a path")]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert_eq!(log.matches("starting it again").count(), 9, "{log}");
    assert!(log.contains("ended with code 1; it died 10 times"), "{log}");
    assert!(begun.elapsed().as_secs() >= 5, "it was not hurried");

    // One that was started wrongly is not started again.
    let output = run(&["--no-such-option"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
