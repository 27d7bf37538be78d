//! All rows against one agent, several at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::agent::Agent;
use super::bystander::{self, Bystander};
use super::row::Row;
use super::rows;
use super::scene::{Place, answers, play};

/// How many rows are played at once.
const AT_ONCE: usize = 8;
/// The suite is to have so many at least.
const AT_LEAST: usize = 400;

/// A running agent with these neighbours, any of whose addresses may be dialled from, and with next hops on a link.
pub(crate) fn ground(peers: impl Fn(&Agent) -> String) -> Option<Agent> {
    let mut agent = Agent::new(1, None)?;
    let namespace = &agent.namespace;
    namespace.ip("route add local 10.8.0.0/15 dev lo");
    namespace.ip("-6 route add local fd00:9::/64 dev lo");
    namespace.ip("link add d0 type veth peer name d1");
    namespace.ip("addr add 192.0.2.1/24 dev d0");
    namespace.ip("-6 addr add 2001:db8::1/64 dev d0 nodad");
    namespace.ip("link set d1 up");
    namespace.ip("link set d0 up");
    agent.write("peers.yaml", &peers(&agent));
    agent.start();
    Some(agent)
}

#[test]
fn every_row_is_answered_as_its_rfc_says() {
    let rows = rows::all();
    assert!(rows.len() >= AT_LEAST, "only {} rows", rows.len());
    let Some(mut agent) = ground(|agent| manifests(agent, &rows)) else {
        return;
    };
    let bystander = Bystander::new(&agent);
    let failures = play_all(&agent, &bystander, &rows);
    bystander.is_well(&agent);
    assert!(bystander.end() > 100, "the bystander is told what was learned");
    readable(&agent);
    println!("{} rows, {} failed", rows.len(), failures.len());
    assert!(
        failures.is_empty(),
        "{} of {} rows:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n\n")
    );
    assert!(agent.terminate().success());
}

fn play_all(agent: &Agent, bystander: &Bystander, rows: &[Row]) -> Vec<String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, row)) = pick(rows, &next) {
                    let place = Place { agent, number };
                    let played = catch_unwind(AssertUnwindSafe(|| {
                        play(&place, row);
                        bystander.is_well(agent);
                        answers(agent);
                    }));
                    if let Err(panic) = played {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
                        let text = text.unwrap_or_default();
                        let failure = format!("{:?}, {} ({}): {text}", row.context, row.name, row.by);
                        failures.lock().expect("failures").push(failure);
                    }
                }
            });
        }
    });
    failures.into_inner().expect("failures")
}

fn pick<'a>(rows: &'a [Row], next: &AtomicUsize) -> Option<(u16, &'a Row)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((u16::try_from(at + 1).expect("few rows"), rows.get(at)?))
}

/// A neighbour for each row.
fn manifests(agent: &Agent, rows: &[Row]) -> String {
    let mut text = bystander::manifest();
    for (number, row) in (1..).zip(rows) {
        let place = Place { agent, number };
        text += &format!(
            "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {}}}\n\
             spec: {{peerAddress: \"{}\", peerASN: {}, connectMode: Passive}}\n",
            place.name(),
            place.address(row.context),
            row.context.asn(),
        );
    }
    text
}

/// What neighbours wrote has reached neither the log nor the control socket raw.
fn readable(agent: &Agent) {
    let log = std::fs::read(agent.dir_file("agent.log")).expect("a log");
    let log = String::from_utf8(log).expect("the log is UTF-8");
    let (_, events) = agent.ask_raw("GET /v1/events").expect("events");
    let (_, peers) = agent.ask_raw("GET /v1/peers").expect("peers");
    assert!(log.contains("forged line"), "the hostile texts were logged");
    for (name, text) in [("log", &log), ("events", &events), ("peers", &peers)] {
        let raw = text
            .chars()
            .find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
        assert_eq!(raw, None, "in the {name}");
        assert!(
            !text.lines().any(|line| line.starts_with("2026-01-01")),
            "a forged line in the {name}"
        );
    }
}
