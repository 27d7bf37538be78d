//! Who a neighbour is, and what holds with it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;

use super::{Report, label_selector};
use crate::objects::{BGPPeerSpec, Kind, State, Toggle};
use crate::problem::Problem;
use crate::values::PeerAsn;

/// The smallest hold time that is not zero (RFC 4271 §4.2).
const MIN_HOLD: Duration = Duration::from_secs(3);
/// The largest hold time: two octets of seconds.
const MAX_HOLD: Duration = Duration::from_secs(65_535);
/// The longest restart time: twelve bits (RFC 4724 §3).
const MAX_RESTART_TIME: Duration = Duration::from_secs(4095);
/// The longest long-lived stale time: 24 bits (RFC 9494 §3).
const MAX_STALE_TIME: Duration = Duration::from_secs(0x00ff_ffff);

/// The problems of a BGPPeer.
#[must_use]
pub fn peer(name: &str, spec: &BGPPeerSpec) -> Vec<Problem> {
    let mut report = Report::new(Kind::BGPPeer, name);
    neighbour(&mut report, spec);
    if spec.ttl_security.is_some() && spec.multihop.is_some() {
        report.add("spec.multihop", "excludes ttlSecurity", "remove one of the two");
    }
    timers(&mut report, spec);
    graceful_restart(&mut report, spec);
    reflection(&mut report, spec);
    role(&mut report, spec);
    for (field, selector) in [
        ("spec.nodeSelector", &spec.node_selector),
        ("spec.peerSelector", &spec.peer_selector),
    ] {
        if let Some(selector) = selector {
            label_selector(&mut report, field, selector);
        }
    }
    for (field, names) in [
        ("importFilters", &spec.import_filters),
        ("exportFilters", &spec.export_filters),
    ] {
        let mut seen = BTreeSet::new();
        for (i, filter) in names.iter().enumerate() {
            if !seen.insert(filter) {
                report.add(
                    format!("spec.{field}[{i}]"),
                    format!("{filter} is there twice"),
                    "remove one",
                );
            }
        }
    }
    if spec.state_message.is_some() && spec.state != Some(State::Down) {
        report.add(
            "spec.stateMessage",
            "is only sent when state is Down",
            "set state: Down, or remove it",
        );
    }
    report.problems
}

/// How a neighbour is said, as a remedy.
const WAYS: &str = "set exactly one of peerAddress, interface, discover, peerSelector and listenRange";

/// Who the neighbour is: one address, whoever is on an interface, what is discovered, other nodes, or who comes.
fn neighbour(report: &mut Report<'_>, spec: &BGPPeerSpec) {
    let ways = [
        ("peerAddress", spec.peer_address.is_some()),
        ("discover", spec.discover.is_some()),
        ("peerSelector", spec.peer_selector.is_some()),
        ("listenRange", spec.listen_range.is_some()),
        (
            "interface",
            spec.interface.is_some() && spec.peer_address.is_none(),
        ),
    ];
    let mut set = ways.iter().filter(|(_, is_set)| *is_set).map(|(field, _)| *field);
    match (set.next(), set.next()) {
        (None, _) => report.required("spec.peerAddress", "nothing says who the neighbour is", WAYS),
        (Some(first), Some(second)) => {
            report.add(format!("spec.{second}"), format!("excludes {first}"), WAYS);
        }
        (Some(_), None) => {}
    }
    range(report, spec);
    if let Some(address) = spec.peer_address {
        addresses(report, spec, address);
    } else if spec.source_address.is_some() {
        report.add(
            "spec.sourceAddress",
            "needs peerAddress in this version",
            "remove it, or set peerAddress",
        );
    }
    if let Some(interface) = &spec.interface {
        interface_name(report, interface);
    }
    if spec.peer_selector.is_some() {
        let from_nodes = [
            ("spec.peerASN", spec.peer_asn.is_some()),
            ("spec.localASN", spec.local_asn.is_some()),
        ];
        for (field, _) in from_nodes.iter().filter(|(_, is_set)| *is_set) {
            report.add(
                *field,
                "excludes peerSelector, with which both ASNs come from the Nodes",
                "remove it",
            );
        }
    } else if spec.peer_asn.is_none() {
        report.required(
            "spec.peerASN",
            "required, but not there",
            "set it: a number, External or Internal",
        );
    }
}

/// Who comes from a range by itself is never dialled.
fn range(report: &mut Report<'_>, spec: &BGPPeerSpec) {
    let Some(range) = spec.listen_range else {
        if spec.listen_limit.is_some() {
            report.add(
                "spec.listenLimit",
                "needs listenRange",
                "remove it, or set listenRange",
            );
        }
        return;
    };
    if matches!(range.0, IpNetwork::V6(v6) if v6.network().is_unicast_link_local()) {
        report.add(
            "spec.listenRange",
            "is link-local, and such an address means another neighbour on each interface",
            "use a prefix of other addresses",
        );
    }
    let of_dialling = [
        ("spec.connectMode", spec.connect_mode.is_some()),
        ("spec.peerPort", spec.peer_port.is_some()),
    ];
    for (field, _) in of_dialling.iter().filter(|(_, is_set)| *is_set) {
        report.add(
            *field,
            "excludes listenRange, whose neighbours are not dialled",
            "remove it",
        );
    }
}

fn addresses(report: &mut Report<'_>, spec: &BGPPeerSpec, peer_address: IpAddr) {
    let link_local = matches!(peer_address, IpAddr::V6(a) if a.is_unicast_link_local());
    match (&spec.interface, link_local) {
        (None, true) => report.add(
            "spec.interface",
            format!("{peer_address} is a link-local address, which needs the interface that it is on"),
            "set interface, such as eth0",
        ),
        (Some(_), false) => report.add(
            "spec.interface",
            "only a link-local peerAddress has an interface in this version",
            "remove it, or use the neighbour's fe80:: address",
        ),
        (Some(_), true) | (None, false) => {}
    }
    if !can_be_neighbour(peer_address) {
        report.add(
            "spec.peerAddress",
            format!("{peer_address} is not the address of a single neighbour"),
            "use the neighbour's unicast address",
        );
    }
    let Some(source) = spec.source_address else { return };
    if source.is_ipv4() != peer_address.is_ipv4() {
        report.add(
            "spec.sourceAddress",
            "is of another family than peerAddress",
            "use one of the same family",
        );
    } else if !can_be_neighbour(source) {
        report.add(
            "spec.sourceAddress",
            format!("{source} is not a unicast address"),
            "use one of the node's",
        );
    }
}

fn interface_name(report: &mut Report<'_>, interface: &str) {
    if interface.contains(['/', ':'])
        || interface.contains(char::is_whitespace)
        || interface == "."
        || interface == ".."
    {
        report.add(
            "spec.interface",
            format!("\"{interface}\" is not an interface name"),
            "correct it",
        );
    }
}

fn can_be_neighbour(address: IpAddr) -> bool {
    let mapped = matches!(address, IpAddr::V6(a) if a.to_ipv4_mapped().is_some());
    let broadcast = matches!(address, IpAddr::V4(a) if a.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !mapped && !broadcast
}

fn timers(report: &mut Report<'_>, spec: &BGPPeerSpec) {
    let Some(timers) = &spec.timers else { return };
    let hold = timers.hold_time.map(|d| d.0);
    if let Some(hold) = hold
        && (hold.subsec_nanos() != 0 || (!hold.is_zero() && !(MIN_HOLD..=MAX_HOLD).contains(&hold)))
    {
        report.add(
            "spec.timers.holdTime",
            "is neither 0s nor from 3s to 65535s in whole seconds",
            "choose such a value, or remove it for 90s",
        );
    }
    if let Some(keepalive) = timers.keepalive_time.map(|d| d.0) {
        let hold = hold.unwrap_or(Duration::from_secs(90));
        if keepalive < Duration::from_secs(1) || keepalive > MAX_HOLD {
            report.add(
                "spec.timers.keepaliveTime",
                "is not from 1s to 65535s",
                "remove it for a third of holdTime",
            );
        } else if !hold.is_zero() && keepalive >= hold {
            report.add(
                "spec.timers.keepaliveTime",
                "is not shorter than holdTime, so the neighbour would give up between two KEEPALIVEs",
                "remove it for a third of holdTime",
            );
        }
    }
    if let Some(send) = timers.send_hold_time.map(|d| d.0)
        && !send.is_zero()
    {
        let hold = hold.unwrap_or(Duration::from_secs(90));
        if !(MIN_HOLD..=MAX_HOLD).contains(&send) {
            report.add(
                "spec.timers.sendHoldTime",
                "is neither 0s nor from 3s to 65535s",
                "remove it for twice the hold time",
            );
        } else if send < hold {
            report.add(
                "spec.timers.sendHoldTime",
                "is shorter than holdTime, so a neighbour that is only slow would be given up before a silent one",
                "remove it for twice the hold time",
            );
        }
    }
    if let Some(retry) = timers.connect_retry_time.map(|d| d.0)
        && !(Duration::from_secs(1)..=MAX_HOLD).contains(&retry)
    {
        report.add(
            "spec.timers.connectRetryTime",
            "is not from 1s to 65535s",
            "remove it for 5s",
        );
    }
}

fn graceful_restart(report: &mut Report<'_>, spec: &BGPPeerSpec) {
    let Some(graceful) = &spec.graceful_restart else {
        return;
    };
    for (field, time, least, most, remedy) in [
        (
            "restartTime",
            graceful.restart_time,
            1,
            MAX_RESTART_TIME,
            "remove it for 120s",
        ),
        (
            "longLivedStaleTime",
            graceful.long_lived_stale_time,
            0,
            MAX_STALE_TIME,
            "remove it for 0s",
        ),
    ] {
        let is_possible =
            |time: Duration| (Duration::from_secs(least)..=most).contains(&time) && time.subsec_nanos() == 0;
        if time.is_some_and(|time| !is_possible(time.0)) {
            let most = most.as_secs();
            report.add(
                format!("spec.gracefulRestart.{field}"),
                format!("is not from {least}s to {most}s in whole seconds"),
                remedy,
            );
        }
    }
}

fn reflection(report: &mut Report<'_>, spec: &BGPPeerSpec) {
    if spec.route_reflector_client.is_some() && spec.peer_selector.is_some() {
        report.add(
            "spec.routeReflectorClient",
            "excludes peerSelector, with which the Nodes say who reflects",
            "remove it, and annotate the Nodes that reflect with flatroute.io/cluster-id",
        );
    }
    if spec.route_reflector_client == Some(Toggle::Enabled) && spec.peer_asn == Some(PeerAsn::External) {
        report.add(
            "spec.routeReflectorClient",
            "a neighbour of another ASN cannot be a client",
            "remove it, or set peerASN: Internal",
        );
    }
}

/// Roles are between ASes, and the two ends of a pair of nodes cannot both have the same one.
fn role(report: &mut Report<'_>, spec: &BGPPeerSpec) {
    if spec.role.is_none() {
        return;
    }
    if spec.peer_selector.is_some() {
        report.add(
            "spec.role",
            "excludes peerSelector, with which both ends have the same object",
            "remove it",
        );
    } else if spec.peer_asn == Some(PeerAsn::Internal) {
        report.add(
            "spec.role",
            "means nothing between two of one AS, and peerASN is Internal",
            "remove it, or correct peerASN",
        );
    }
}
