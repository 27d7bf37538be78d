//! Stories that are too long for a row: floods, limits, a neighbour that does not read, and what the kernel holds after
//! an error. Each is bounded, each has a neighbour of its own, and the bystander must come through all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::bystander::{self, Bystander};
use super::neighbour::{Heard, Neighbour, dial};
use super::octets::{to_hex, update};
use super::row::{Context, GOOD_LOOK, HOP, NLRI, ORIGIN, P, PATH, Stage};
use super::scene::{Place, answers, patiently};
use super::table::ground;

/// How many connections one after the other, in how much time; and how many of them must have been made by then.
const CONNECTIONS: usize = 10_000;
const CONNECTIONS_TIME: Duration = Duration::from_secs(10);
const CONNECTIONS_AT_LEAST: usize = 500;
/// How often a route is announced, or announced and withdrawn.
const REPETITIONS: usize = 10_000;
/// The default prefix limit, and one that resets.
const LIMIT: usize = 10_000;
const LOW_LIMIT: usize = 100;
/// What the agent's memory may grow by, in KiB, over all of this.
const GROWTH: u64 = 64 * 1024;

#[test]
fn floods_hurt_nobody_else() {
    let Some(mut agent) = ground(manifests) else {
        return;
    };
    let bystander = Bystander::new(&agent);
    let before = agent.resident();
    let story = |number, play: fn(&Place<'_>)| {
        play(&Place {
            agent: &agent,
            number,
        });
        bystander.is_well(&agent);
        answers(&agent);
    };
    story(1, errors_reach_the_kernel);
    story(2, the_same_route_again_and_again);
    story(3, announced_and_withdrawn);
    story(4, more_prefixes_than_are_taken);
    story(5, more_prefixes_than_are_forgiven);
    story(6, a_neighbour_that_does_not_read);
    story(7, many_connections);
    let grown = agent.resident().saturating_sub(before);
    assert!(grown < GROWTH, "the agent has grown by {grown} KiB");
    bystander.end();
    assert!(agent.terminate().success());
}

fn manifests(agent: &Agent) -> String {
    let mut text = bystander::manifest();
    for number in 1..8 {
        let place = Place { agent, number };
        let more = match number {
            5 => format!(", maxPrefixes: {{limit: {LOW_LIMIT}, action: Restart}}"),
            6 => ", advertise: [PodCIDRs, LearnedRoutes]".to_owned(),
            _ => String::new(),
        };
        write!(
            text,
            "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {}}}\n\
             spec: {{peerAddress: {}, peerASN: 65001, connectMode: Passive{more}}}\n",
            place.name(),
            place.address(Context::External)
        )
        .expect("written");
    }
    text
}

fn established(place: &Place<'_>) -> Neighbour {
    place.neighbour(Context::External, Stage::Established)
}

fn good(nlri: &str) -> Vec<u8> {
    update("", &format!("{ORIGIN}{PATH}{HOP}"), nlri)
}

/// `count` prefixes of 24 bits from 10.`from`.0.0 on, as UPDATEs of 500.
fn many(from: usize, count: usize) -> Vec<u8> {
    let all: Vec<usize> = (0..count).collect();
    let nlri = |n: &usize| format!("180a{:04x}", (from << 8) + n);
    let updates = all
        .chunks(500)
        .map(|chunk| good(&chunk.iter().map(nlri).collect::<String>()));
    updates.collect::<Vec<_>>().concat()
}

fn look_of(place: &Place<'_>, prefix: &str) -> Option<String> {
    place.routes("received").remove(prefix)
}

/// A route that was taken is in the kernel; the error that treats it as withdrawn takes it out of there.
fn errors_reach_the_kernel(place: &Place<'_>) {
    let mut neighbour = established(place);
    let route = ["10.77.0.0/16".to_owned()];
    for malformed in ["40010109", "800401ff", "c00800", "c06302ff"] {
        neighbour.send(&good("100a4d"));
        place.agent.kernel_has(&route, true);
        neighbour.send(&update("", &format!("{ORIGIN}{PATH}{HOP}{malformed}"), "100a4d"));
        if malformed == "40010109" {
            // The second ORIGIN is dropped; the route stays, and only the withdrawal ends it.
            neighbour.send(&update("100a4d", "", ""));
        }
        place.agent.kernel_has(&route, false);
    }
    neighbour.send(&good("100a4d"));
    place.agent.kernel_has(&route, true);
    neighbour.send(&update("", "800f020002", ""));
    assert_eq!(
        neighbour.last_words(),
        (Some(vec![3, 9, 0x80, 0x0f, 2, 0, 2]), Heard::End)
    );
    place.agent.kernel_has(&route, false);
}

fn the_same_route_again_and_again(place: &Place<'_>) {
    let mut neighbour = established(place);
    let one = [
        good(NLRI),
        update("", &format!("{ORIGIN}{PATH}{HOP} 80040400000009"), NLRI),
    ]
    .concat();
    neighbour.send(&one.repeat(REPETITIONS / 2));
    neighbour.send(&good(NLRI));
    patiently("the last one counts", || match look_of(place, P) {
        Some(look) if look == GOOD_LOOK => Ok(()),
        other => Err(format!("{other:?}")),
    });
    neighbour.is_well();
}

fn announced_and_withdrawn(place: &Place<'_>) {
    let mut neighbour = established(place);
    let both = [good(NLRI), update(NLRI, "", "")].concat();
    neighbour.send(&both.repeat(REPETITIONS));
    patiently("it is gone in the end", || match look_of(place, P) {
        None => Ok(()),
        other => Err(format!("{other:?}")),
    });
    neighbour.send(&good("18c05863"));
    patiently("all is read", || {
        look_of(place, "192.88.99.0/24").ok_or_else(|| "not yet".to_owned())
    });
    assert_eq!(look_of(place, P), None);
    neighbour.is_well();
}

/// Beyond the limit prefixes are refused, those held stay, and it is told once.
fn more_prefixes_than_are_taken(place: &Place<'_>) {
    let mut neighbour = established(place);
    neighbour.send(&many(128, 2 * LIMIT));
    neighbour.send(&update("", "", ""));
    let events = patiently("End-of-RIB", || {
        let events = place.events(0);
        let ended = events.iter().any(|event| event.kind == "EndOfRib");
        if ended {
            Ok(events)
        } else {
            Err(format!("{:?}", events.last()))
        }
    });
    assert_eq!(
        events.iter().filter(|event| event.kind == "PrefixLimit").count(),
        1
    );
    let routes = place.routes("received");
    let v4 = routes.keys().filter(|prefix| prefix.contains('.')).count();
    assert_eq!(v4, LIMIT);
    assert_eq!(place.agent.peer(&place.name()).expect("the peer").flaps, 0);
    neighbour.is_well();
}

/// RFC 4486 §4: Cease/1 with the family and the limit.
fn more_prefixes_than_are_forgiven(place: &Place<'_>) {
    let mut neighbour = established(place);
    neighbour.send(&many(60, 2 * LOW_LIMIT));
    let (notification, _) = neighbour.last_words();
    assert_eq!(
        notification.as_deref().map(to_hex).as_deref(),
        Some("060100010100000064")
    );
    patiently("its routes are gone", || match place.routes("received") {
        routes if routes == BTreeMap::new() => Ok(()),
        routes => Err(format!("{} routes", routes.len())),
    });
}

/// It is told thousands of routes ten times over, reads none of it, and holds up nobody; when it reads at last, all is there.
fn a_neighbour_that_does_not_read(place: &Place<'_>) {
    let mut deaf = established(place);
    let feeder = Place {
        agent: place.agent,
        number: 2,
    };
    let mut talker = established(&feeder);
    for round in 0..10 {
        let med = format!("{ORIGIN}{PATH}{HOP} 800404000000{round:02x}");
        for chunk in 0..8usize {
            let nlri: String = (0..500)
                .map(|n| format!("180a{:04x}", (0xc0 << 8) + 500 * chunk + n))
                .collect();
            talker.send(&update("", &med, &nlri));
        }
        answers(place.agent);
    }
    patiently("the talker's last word counts", || {
        match look_of(&feeder, "10.192.0.0/24") {
            Some(look) if look.ends_with("med=9") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    talker.is_well();
    let start = Instant::now();
    let mut told = String::new();
    while !told.contains("180aceff") && start.elapsed() < Duration::from_secs(10) {
        match deaf.hear(Duration::from_secs(5)) {
            Heard::Message(2, body) => told += &to_hex(&body),
            Heard::Message(4, _) => {}
            other @ (Heard::Message(..) | Heard::End | Heard::Broken(_) | Heard::Silence) => {
                panic!("{other:?}")
            }
        }
    }
    assert!(told.contains("180ac000"), "the first of them");
}

/// One after the other, each broken off at once; half of them from an address that nobody has configured.
fn many_connections(place: &Place<'_>) {
    let own = place.address(Context::External);
    let stranger = "10.9.99.99".parse().expect("an address");
    let start = Instant::now();
    let made = place.agent.namespace.inside(move || {
        let break_off = |stream: TcpStream| {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("SO_LINGER");
        };
        let mut made = 0;
        while made < CONNECTIONS && start.elapsed() < CONNECTIONS_TIME {
            let source = if made.is_multiple_of(2) { own } else { stranger };
            // A connection that was refused before it was there is one too.
            dial(source).map(break_off).ok();
            made += 1;
        }
        made
    });
    println!("{made} connections in {:?}", start.elapsed());
    assert!(
        made >= CONNECTIONS_AT_LEAST,
        "only {made} connections in {CONNECTIONS_TIME:?}"
    );
    answers(place.agent);
    let mut neighbour = patiently("the neighbour is let in again", || {
        let mut neighbour = Neighbour::try_connect(&place.agent.namespace, own).map_err(|e| e.to_string())?;
        match neighbour.hear(Duration::from_secs(2)) {
            Heard::Message(1, _) => Ok(neighbour),
            other @ (Heard::Message(..) | Heard::End | Heard::Broken(_) | Heard::Silence) => {
                Err(format!("{other:?}"))
            }
        }
    });
    neighbour.is_well();
}
