//! One row, played.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use flatroute_api::control::{Event, Events, Route, Status};

use super::agent::Agent;
use super::neighbour::{Heard, Neighbour};
use super::octets::{hex, keepalive, message, to_hex};
use super::row::{
    Context, Delivery, GOOD_LOOK, GOOD6_LOOK, P, P6, Q, Q6, Row, SENTINEL, SENTINEL6, Stage, Want, base,
    sentinel,
};

/// How long the agent may take to show what has happened.
const PATIENCE: Duration = Duration::from_secs(10);

/// A place for one neighbour: its name, and its address by the transport.
pub(crate) struct Place<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) number: u16,
}

impl Place<'_> {
    pub(crate) fn name(&self) -> String {
        format!("case-{}", self.number)
    }

    pub(crate) fn address(&self, context: Context) -> IpAddr {
        let [high, low] = self.number.to_be_bytes();
        match context {
            Context::OverIpv6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, self.number)),
            Context::External
            | Context::TwoOctet
            | Context::Internal
            | Context::Ipv4Only
            | Context::Ipv6Only
            | Context::Extended
            | Context::Plain
            | Context::Refreshing => IpAddr::V4(Ipv4Addr::new(10, 9, high, low)),
        }
    }

    fn identifier(&self) -> u32 {
        0x0a09_0000 | u32::from(self.number)
    }

    /// Connects, and goes as far as the row wants.
    pub(crate) fn neighbour(&self, context: Context, stage: Stage) -> Neighbour {
        let mut neighbour = Neighbour::connect(&self.agent.namespace, self.address(context));
        neighbour.expect(1);
        if stage == Stage::Connected {
            return neighbour;
        }
        neighbour.send(&context.open(self.identifier()));
        neighbour.expect(4);
        if stage == Stage::Opened {
            return neighbour;
        }
        neighbour.send(&[keepalive(), base(context)].concat());
        self.shows(&before(context));
        neighbour
    }

    /// The routes of this neighbour in a view, as text.
    pub(crate) fn routes(&self, view: &str) -> BTreeMap<String, String> {
        let query = format!("view={view}&peer={}", self.name());
        let routes = self.agent.routes(&query).expect("routes");
        routes
            .iter()
            .map(|route| (route.prefix.clone(), look(route)))
            .collect()
    }

    /// Waits until exactly these routes have been received.
    pub(crate) fn shows(&self, want: &BTreeMap<String, String>) {
        patiently("the routes received", || {
            let found = self.routes("received");
            if found == *want {
                Ok(())
            } else {
                Err(format!("{found:#?}, not {want:#?}"))
            }
        });
    }

    pub(crate) fn events(&self, after: u64) -> Vec<Event> {
        let answer: Events = self.agent.ask("GET /v1/events").expect("events");
        let ours = |event: &Event| event.number > after && event.peer.as_deref() == Some(&self.name());
        answer.events.into_iter().filter(ours).collect()
    }

    fn last_event(&self) -> u64 {
        let answer: Events = self.agent.ask("GET /v1/events").expect("events");
        answer.events.last().map_or(0, |event| event.number)
    }
}

/// The routes that stand before the hostile octets come.
fn before(context: Context) -> BTreeMap<String, String> {
    let mut routes = BTreeMap::new();
    if context.has_ipv4() {
        routes.extend([P, Q].map(|prefix| (prefix.to_owned(), context.look("192.0.2.2"))));
    }
    if context.has_ipv6() {
        routes.extend([P6, Q6].map(|prefix| (prefix.to_owned(), context.look("2001:db8::2"))));
    }
    routes
}

/// A route in one line: next hop, path, origin, and what else it has.
fn look(route: &Route) -> String {
    let path = if route.as_path.is_empty() {
        "-"
    } else {
        &route.as_path
    };
    let mut text = format!("{} {path} {}", route.next_hops.join(","), route.origin);
    if let Some(med) = route.med {
        text += &format!(" med={med}");
    }
    if let Some(pref) = route.local_pref {
        text += &format!(" pref={pref}");
    }
    for (name, list) in [
        ("communities", &route.communities),
        ("extended", &route.extended_communities),
        ("large", &route.large_communities),
        ("clusters", &route.cluster_list),
    ] {
        if !list.is_empty() {
            text += &format!(" {name}={}", list.join(","));
        }
    }
    if let Some(id) = &route.originator_id {
        text += &format!(" originator={id}");
    }
    if let Some(asn) = route.only_to_customer {
        text += &format!(" otc={asn}");
    }
    if let Some(aggregator) = &route.aggregator {
        text += &format!(" aggregator={aggregator}");
    }
    if route.atomic_aggregate {
        text += " atomic";
    }
    // Of the others their codes; of very many their number.
    let code = |other: &String| {
        other
            .split(':')
            .next()
            .unwrap_or_default()
            .replace("attribute ", "")
    };
    let others: Vec<String> = route.other_attributes.iter().map(code).collect();
    match others.len() {
        0 => {}
        1..8 => text += &format!(" other={}", others.join(",")),
        many => text += &format!(" others={many}"),
    }
    text
}

/// Looks until it is so, a while at most.
pub(crate) fn patiently<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(start.elapsed() < PATIENCE, "never: {what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Plays a row from its beginning to its end.
pub(crate) fn play(place: &Place<'_>, row: &Row) {
    let mut neighbour = place.neighbour(row.context, row.stage);
    let number = place.last_event();
    match row.delivery {
        Delivery::Whole => neighbour.send(&row.octets),
        Delivery::Trickled => neighbour.trickle(&row.octets),
        Delivery::ThenClosed => {
            neighbour.send(&row.octets);
            neighbour.close();
        }
        Delivery::ThenReset => {
            neighbour.send(&row.octets);
            neighbour.reset();
            return ended(place, row, number, None);
        }
    }
    match &row.want {
        Want::Reset(..) | Want::End => {
            let (notification, end) = neighbour.last_words();
            assert_eq!(end, Heard::End, "after {notification:?}");
            ended(place, row, number, notification.as_deref());
        }
        Want::Established => {
            patiently("Established", || {
                match place.agent.peer(&place.name())?.state.as_str() {
                    "Established" => Ok(()),
                    other => Err(other.to_owned()),
                }
            });
            neighbour.send(&base(row.context));
            place.shows(&before(row.context));
            neighbour.is_well();
        }
        Want::Announce(_)
        | Want::Withdraw(_)
        | Want::Gone(_)
        | Want::Swap(..)
        | Want::Nothing
        | Want::Refuse(..) => {
            lives(place, row, number, &mut neighbour);
        }
    }
}

/// The session lives on with the routes that the row wants.
fn lives(place: &Place<'_>, row: &Row, number: u64, neighbour: &mut Neighbour) {
    let (arrived, hop) = if row.context.has_ipv4() {
        (SENTINEL, "192.0.2.2")
    } else {
        (SENTINEL6, "2001:db8::2")
    };
    neighbour.send(&sentinel(row.context));
    let mut received = patiently("the octets are read", || {
        let found = place.routes("received");
        if found.contains_key(arrived) {
            Ok(found)
        } else {
            Err(format!("{:?}", place.agent.peer(&place.name())?))
        }
    });
    let accepted = place.routes("accepted");
    let mut want = before(row.context);
    want.insert(arrived.to_owned(), row.context.look(hop));
    match &row.want {
        Want::Announce(routes) => want.extend(routes.iter().map(|(p, l)| ((*p).to_owned(), (*l).to_owned()))),
        Want::Swap(gone, come) => {
            want.remove(*gone);
            let good = if come.contains(':') { GOOD6_LOOK } else { GOOD_LOOK };
            want.insert((*come).to_owned(), good.to_owned());
        }
        Want::Withdraw(prefixes) | Want::Gone(prefixes) => {
            want.retain(|prefix, _| !prefixes.contains(&prefix.as_str()));
        }
        Want::Refuse(prefix, reason) => {
            is_refused(place, prefix, reason);
            want.remove(*prefix);
            assert!(received.remove(*prefix).is_some(), "{prefix} is not received");
        }
        Want::Nothing | Want::Established | Want::Reset(..) | Want::End => {}
    }
    assert_eq!(received, want, "the routes received");
    assert_eq!(accepted, want, "the routes accepted");
    let peer = place.agent.peer(&place.name()).expect("the peer");
    let standing = (peer.state.as_str(), peer.flaps);
    assert_eq!(standing, ("Established", 0), "{:?}", peer.last_error);
    neighbour.is_well();
    let told = malformed(place, number);
    let texts: Vec<String> = told.iter().map(|event| event.text.clone()).collect();
    is_told(row, &texts);
    is_readable(row, &told);
}

/// The message with an error is there to be read, octet for octet.
fn is_readable(row: &Row, told: &[Event]) {
    let octets = to_hex(&row.octets);
    for event in told {
        let message = event.message.as_deref().unwrap_or_default();
        assert!(!message.is_empty() && octets.contains(message), "{event:?}");
        let withdrawn = event.text.contains("treated as withdrawn");
        let want = if withdrawn {
            "TreatAsWithdraw"
        } else {
            "DiscardAttribute"
        };
        assert_eq!(event.disposition.as_deref(), Some(want), "{event:?}");
    }
}

/// The route is received, with a reason why it is not used.
fn is_refused(place: &Place<'_>, prefix: &str, reason: &str) {
    let routes = place
        .agent
        .routes(&format!("view=received&peer={}", place.name()));
    let route = routes.expect("routes").into_iter().find(|r| r.prefix == prefix);
    let why = route.map(|r| r.reason).unwrap_or_default();
    assert!(why.contains(reason), "{prefix}: \"{why}\" without \"{reason}\"");
}

/// The events tell of the error, and of none where there is none.
fn is_told(row: &Row, told: &[String]) {
    let text = match (&row.want, row.told) {
        (_, Some(text)) => text,
        (Want::Withdraw(_), None) => "treated as withdrawn",
        (Want::Announce(_) | Want::Gone(_) | Want::Swap(..) | Want::Nothing | Want::Refuse(..), None) => {
            assert_eq!(told, [""; 0], "told for nothing");
            return;
        }
        (Want::Established | Want::Reset(..) | Want::End, None) => return,
    };
    assert!(
        told.iter().any(|t| t.contains(text)),
        "{told:?} without \"{text}\""
    );
}

/// What was told of malformed UPDATEs up to the sentinel.
fn malformed(place: &Place<'_>, number: u64) -> Vec<Event> {
    let events = patiently("End-of-RIB is told", || {
        let events = place.events(number);
        let told = events.iter().any(|event| event.kind == "EndOfRib");
        if told {
            Ok(events)
        } else {
            Err(format!("{events:#?}"))
        }
    });
    events
        .into_iter()
        .filter(|event| event.kind == "MalformedUpdate")
        .collect()
}

/// The session is over as the row wants, its routes are gone, and the neighbour may come back at once.
fn ended(place: &Place<'_>, row: &Row, number: u64, notification: Option<&[u8]>) {
    let want = if let Want::Reset(code, subcode, data) = &row.want {
        Some([vec![*code, *subcode], hex(data)].concat())
    } else {
        None
    };
    assert_eq!(
        notification.map(to_hex),
        want.as_deref().map(to_hex),
        "the NOTIFICATION"
    );
    let peer = patiently("the session is over", || {
        let peer = place.agent.peer(&place.name())?;
        if peer.state == "Active" {
            Ok(peer)
        } else {
            Err(format!("{peer:?}"))
        }
    });
    assert_eq!(peer.flaps, u64::from(row.stage == Stage::Established));
    assert_eq!(
        place.routes("received"),
        BTreeMap::new(),
        "no route outlives its session"
    );
    let error = peer.last_error.expect("an error is kept");
    if let Some(want) = want {
        assert_eq!(
            (error.direction.as_str(), error.code, error.subcode),
            ("Sent", Some(want[0]), Some(want[1])),
            "{error:?}"
        );
        let codes = format!("({}/{})", want[0], want[1]);
        let event = patiently("it is told", || {
            let events = place.events(number);
            let sent = events.iter().find(|event| event.kind == "NotificationSent");
            sent.cloned().ok_or_else(|| format!("{events:#?}"))
        });
        assert!(event.text.contains(&codes), "{event:?}");
        assert_eq!(event.bytes, Some(to_hex(&message(3, &want))), "{event:?}");
        let octets = event.message.as_deref().unwrap_or_default();
        assert!(
            !octets.is_empty() && to_hex(&row.octets).contains(octets),
            "{event:?}"
        );
    }
    if let Some(text) = row.told {
        assert!(error.text.contains(text), "\"{}\" without \"{text}\"", error.text);
    }
    let mut again = place.neighbour(row.context, Stage::Established);
    again.is_well();
}

/// The agent lives and answers.
pub(crate) fn answers(agent: &Agent) {
    let status: Status = agent.ask("GET /v1/status").expect("the agent answers");
    assert_eq!(status.node, "n1");
}
