//! Requests: writes of routes and nexthop objects, and dumps.

use std::net::IpAddr;

use flatroute_fib::{KernelRoute, Leg, NexthopContent, NexthopId, Op, Settings, Target};
use ipnetwork::IpNetwork;

use super::{
    AF_INET, AF_INET6, HEADER, NHA_GATEWAY, NHA_GROUP, NHA_ID, NHA_OIF, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP,
    NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_NH_ID, RTA_OIF,
    RTA_PREFSRC, RTA_PRIORITY, RTA_TABLE, RTA_VIA, RTM_DELNEXTHOP, RTM_DELROUTE, RTM_GETADDR, RTM_GETLINK,
    RTM_GETNEXTHOP, RTM_GETROUTE, RTM_NEWNEXTHOP, RTM_NEWROUTE, RTN_UNICAST, RTN_UNREACHABLE,
};

/// "Any scope" in the deletion of an IPv4 route.
const RT_SCOPE_NOWHERE: u8 = 255;
/// Asks a link dump to leave out statistics: they are most of its bytes.
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

/// What to dump.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Links,
    Addresses,
    Nexthops,
    /// Routes of this address family (`AF_INET`, `AF_INET6`) with our table and protocol.
    Routes(u8),
    /// All routes of this address family in this table.
    Table(u8, u32),
}

/// Appends one write to `buf`.
pub(crate) fn write(buf: &mut Vec<u8>, op: &Op, settings: &Settings, sequence: u32, ack: bool) {
    let ack = if ack { NLM_F_ACK } else { 0 };
    let create = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | ack;
    let replace = NLM_F_REQUEST | NLM_F_REPLACE | ack;
    match op {
        Op::AddNexthop(id, content) => nexthop(buf, create, sequence, *id, content, settings),
        Op::ReplaceNexthop(id, content) => nexthop(buf, replace, sequence, *id, content, settings),
        Op::DeleteNexthop(id) => {
            let start = begin(buf, RTM_DELNEXTHOP, NLM_F_REQUEST | ack, sequence);
            buf.extend_from_slice(&[0; 8]);
            attribute(buf, NHA_ID, &id.0.to_ne_bytes());
            end(buf, start);
        }
        Op::AddRoute(value) => route(buf, create, sequence, value, settings),
        Op::ReplaceRoute(value) => route(buf, replace, sequence, value, settings),
        Op::DeleteRoute(prefix) => {
            let start = begin(buf, RTM_DELROUTE, NLM_F_REQUEST | ack, sequence);
            route_header(buf, *prefix, settings.protocol, RT_SCOPE_NOWHERE, 0);
            route_key(buf, *prefix, settings);
            end(buf, start);
        }
    }
}

/// Appends a dump request to `buf`.
pub(crate) fn ask(buf: &mut Vec<u8>, what: Ask, settings: &Settings, sequence: u32) {
    let flags = NLM_F_REQUEST | NLM_F_DUMP;
    let start = match what {
        Ask::Links => {
            let start = begin(buf, RTM_GETLINK, flags, sequence);
            buf.extend_from_slice(&[0; 16]);
            attribute(buf, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
            start
        }
        Ask::Addresses => {
            let start = begin(buf, RTM_GETADDR, flags, sequence);
            buf.extend_from_slice(&[0; 8]);
            start
        }
        Ask::Nexthops => {
            let start = begin(buf, RTM_GETNEXTHOP, flags, sequence);
            buf.extend_from_slice(&[0; 8]);
            start
        }
        Ask::Routes(family) => {
            let start = begin(buf, RTM_GETROUTE, flags, sequence);
            buf.extend_from_slice(&[family, 0, 0, 0, 0, settings.protocol, 0, 0, 0, 0, 0, 0]);
            attribute(buf, RTA_TABLE, &settings.table.to_ne_bytes());
            start
        }
        Ask::Table(family, table) => {
            let start = begin(buf, RTM_GETROUTE, flags, sequence);
            buf.extend_from_slice(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            attribute(buf, RTA_TABLE, &table.to_ne_bytes());
            start
        }
    };
    end(buf, start);
}

fn nexthop(
    buf: &mut Vec<u8>,
    flags: u16,
    sequence: u32,
    id: NexthopId,
    content: &NexthopContent,
    settings: &Settings,
) {
    let start = begin(buf, RTM_NEWNEXTHOP, flags, sequence);
    let family = match content {
        NexthopContent::Gateway(leg) => family(leg.gateway),
        NexthopContent::Group(_) | NexthopContent::Other => 0,
    };
    buf.extend_from_slice(&[family, 0, settings.protocol, 0, 0, 0, 0, 0]);
    attribute(buf, NHA_ID, &id.0.to_ne_bytes());
    match content {
        NexthopContent::Gateway(leg) => {
            attribute(buf, NHA_OIF, &leg.interface.to_ne_bytes());
            address(buf, NHA_GATEWAY, leg.gateway);
        }
        NexthopContent::Group(members) => {
            let start = nest(buf, NHA_GROUP);
            for member in members {
                buf.extend_from_slice(&member.0.to_ne_bytes());
                // Weight minus one, its high byte, and two reserved bytes.
                buf.extend_from_slice(&[0; 4]);
            }
            unnest(buf, start);
        }
        NexthopContent::Other => {}
    }
    end(buf, start);
}

fn route(buf: &mut Vec<u8>, flags: u16, sequence: u32, route: &KernelRoute, settings: &Settings) {
    let start = begin(buf, RTM_NEWROUTE, flags, sequence);
    let kind = match route.target {
        Target::Unreachable => RTN_UNREACHABLE,
        Target::Nexthop(_) | Target::Paths(_) | Target::Other => RTN_UNICAST,
    };
    route_header(buf, route.prefix, settings.protocol, 0, kind);
    route_key(buf, route.prefix, settings);
    if let Some(source) = route.pref_src {
        address(buf, RTA_PREFSRC, source);
    }
    match &route.target {
        Target::Nexthop(id) => attribute(buf, RTA_NH_ID, &id.0.to_ne_bytes()),
        Target::Paths(legs) => paths(buf, route.prefix, legs),
        Target::Unreachable | Target::Other => {}
    }
    end(buf, start);
}

fn paths(buf: &mut Vec<u8>, prefix: IpNetwork, legs: &[Leg]) {
    if let [leg] = legs {
        attribute(buf, RTA_OIF, &leg.interface.to_ne_bytes());
        gateway(buf, prefix, leg.gateway);
        return;
    }
    let list = nest(buf, RTA_MULTIPATH);
    for leg in legs {
        let start = buf.len();
        buf.extend_from_slice(&[0; 4]);
        buf.extend_from_slice(&leg.interface.to_ne_bytes());
        gateway(buf, prefix, leg.gateway);
        let length = u16::try_from(buf.len() - start).unwrap_or(u16::MAX);
        patch(buf, start, &length.to_ne_bytes());
    }
    unnest(buf, list);
}

/// A gateway of the route's own family, or of the other one (RFC 8950).
fn gateway(buf: &mut Vec<u8>, prefix: IpNetwork, gateway: IpAddr) {
    if prefix.is_ipv4() == gateway.is_ipv4() {
        address(buf, RTA_GATEWAY, gateway);
        return;
    }
    let start = nest(buf, RTA_VIA);
    buf.extend_from_slice(&u16::from(family(gateway)).to_ne_bytes());
    match gateway {
        IpAddr::V4(gateway) => buf.extend_from_slice(&gateway.octets()),
        IpAddr::V6(gateway) => buf.extend_from_slice(&gateway.octets()),
    }
    unnest(buf, start);
}

fn route_header(buf: &mut Vec<u8>, prefix: IpNetwork, protocol: u8, scope: u8, kind: u8) {
    // The table stands in an attribute: this field has eight bits only.
    buf.extend_from_slice(&[
        family(prefix.network()),
        prefix.prefix(),
        0,
        0,
        0,
        protocol,
        scope,
        kind,
        0,
        0,
        0,
        0,
    ]);
}

fn route_key(buf: &mut Vec<u8>, prefix: IpNetwork, settings: &Settings) {
    address(buf, RTA_DST, prefix.network());
    attribute(buf, RTA_TABLE, &settings.table.to_ne_bytes());
    attribute(buf, RTA_PRIORITY, &settings.metric.to_ne_bytes());
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

fn begin(buf: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32) -> usize {
    let start = buf.len();
    buf.extend_from_slice(&[0; 4]);
    buf.extend_from_slice(&kind.to_ne_bytes());
    buf.extend_from_slice(&flags.to_ne_bytes());
    buf.extend_from_slice(&sequence.to_ne_bytes());
    buf.extend_from_slice(&[0; 4]);
    debug_assert_eq!(buf.len() - start, HEADER);
    start
}

fn end(buf: &mut [u8], start: usize) {
    let length = u32::try_from(buf.len() - start).unwrap_or(u32::MAX);
    patch(buf, start, &length.to_ne_bytes());
}

fn patch(buf: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buf.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn attribute(buf: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let start = nest(buf, kind);
    buf.extend_from_slice(value);
    unnest(buf, start);
}

fn address(buf: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => attribute(buf, kind, &address.octets()),
        IpAddr::V6(address) => attribute(buf, kind, &address.octets()),
    }
}

fn nest(buf: &mut Vec<u8>, kind: u16) -> usize {
    let start = buf.len();
    buf.extend_from_slice(&[0; 2]);
    buf.extend_from_slice(&kind.to_ne_bytes());
    start
}

fn unnest(buf: &mut Vec<u8>, start: usize) {
    let length = u16::try_from(buf.len() - start).unwrap_or(u16::MAX);
    patch(buf, start, &length.to_ne_bytes());
    buf.resize(buf.len().next_multiple_of(4), 0);
}
