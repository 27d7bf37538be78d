//! What the kernel says: dumps and notifications, sorted into the values that `flatroute-fib` knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flatroute_fib::{KernelNexthop, KernelRoute, Leg, NexthopContent, NexthopId, Settings, Target};
use ipnetwork::IpNetwork;

use super::{
    AF_INET, AF_INET6, Message, NHA_GATEWAY, NHA_GROUP, NHA_ID, NHA_OIF, NLM_F_REPLACE, RTA_DST, RTA_GATEWAY,
    RTA_MULTIPATH, RTA_NH_ID, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTA_TABLE, RTA_VIA, RTM_DELADDR,
    RTM_DELLINK, RTM_DELNEXTHOP, RTM_DELROUTE, RTM_F_CLONED, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEXTHOP,
    RTM_NEWROUTE, RTN_UNICAST, RTN_UNREACHABLE, attributes, u16_at, u32_at,
};

const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 0x1_0000;
const IFLA_IFNAME: u16 = 3;
const IFLA_CARRIER: u16 = 33;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_TENTATIVE: u32 = 0x40;

/// What tells our routes from others'.
pub(crate) type Context<'a> = &'a Settings;

/// One message that concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Link {
        index: u32,
        name: String,
        up: bool,
        carrier: bool,
    },
    LinkGone(u32),
    /// One address, and on point-to-point links the prefix of the other end.
    Address {
        index: u32,
        gone: bool,
        networks: Vec<IpNetwork>,
    },
    Nexthop(KernelNexthop),
    NexthopGone(NexthopId),
    /// A route of our table and metric.
    Route {
        route: KernelRoute,
        ours: bool,
        gone: bool,
        replaced: bool,
    },
}

/// The value of a message; none when it does not concern us or does not parse.
pub(crate) fn decode(message: &Message<'_>, context: Context<'_>) -> Option<Found> {
    match message.kind {
        RTM_NEWLINK | RTM_DELLINK => link(message),
        RTM_NEWADDR | RTM_DELADDR => address(message),
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => nexthop(message, context),
        RTM_NEWROUTE | RTM_DELROUTE => route(message, context),
        _ => None,
    }
}

/// Whither a route led that was deleted, whoever's and in whatever table it was.
pub(crate) fn deleted(message: &Message<'_>) -> Option<IpNetwork> {
    if message.kind != RTM_DELROUTE {
        return None;
    }
    let length = *message.payload.get(1)?;
    let mut all = attributes(message.payload.get(12..)?);
    let address = all
        .find(|(kind, _)| *kind == RTA_DST)
        .and_then(|(_, value)| ip(value))?;
    IpNetwork::new(address, length).ok()
}

fn link(message: &Message<'_>) -> Option<Found> {
    // Bridges and IPv6 send link messages of their own family about their own state.
    if *message.payload.first()? != 0 {
        return None;
    }
    let index = u32_at(message.payload, 4)?;
    if message.kind == RTM_DELLINK {
        return Some(Found::LinkGone(index));
    }
    let flags = u32_at(message.payload, 8)?;
    let mut name = String::new();
    let mut carrier = flags & IFF_LOWER_UP != 0;
    for (kind, value) in attributes(message.payload.get(16..)?) {
        match kind {
            IFLA_IFNAME => name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
            IFLA_CARRIER => carrier = value.first().is_some_and(|value| *value != 0),
            _ => {}
        }
    }
    Some(Found::Link {
        index,
        name,
        up: flags & IFF_UP != 0,
        carrier,
    })
}

fn address(message: &Message<'_>) -> Option<Found> {
    let length = *message.payload.get(1)?;
    let mut flags = u32::from(*message.payload.get(2)?);
    let index = u32_at(message.payload, 4)?;
    let (mut remote, mut local) = (None, None);
    for (kind, value) in attributes(message.payload.get(8..)?) {
        match kind {
            IFA_ADDRESS => remote = ip(value),
            IFA_LOCAL => local = ip(value),
            IFA_FLAGS => flags = u32_at(value, 0).unwrap_or(flags),
            _ => {}
        }
    }
    let gone = message.kind == RTM_DELADDR;
    // The kernel takes no preferred source that is still being checked for duplicates; it tells when it is done.
    if !gone && flags & IFA_F_TENTATIVE != 0 && flags & IFA_F_OPTIMISTIC == 0 {
        return None;
    }
    let remote = remote?;
    let networks = match local {
        Some(local) if local != remote => {
            let host = if local.is_ipv4() { 32 } else { 128 };
            vec![
                IpNetwork::new(local, host).ok()?,
                IpNetwork::new(remote, length).ok()?,
            ]
        }
        Some(_) | None => vec![IpNetwork::new(remote, length).ok()?],
    };
    Some(Found::Address {
        index,
        gone,
        networks,
    })
}

fn nexthop(message: &Message<'_>, context: Context<'_>) -> Option<Found> {
    let protocol = *message.payload.get(2)?;
    let (mut id, mut interface, mut gateway, mut group) = (None, None, None, None);
    for (kind, value) in attributes(message.payload.get(8..)?) {
        match kind {
            NHA_ID => id = u32_at(value, 0),
            NHA_OIF => interface = u32_at(value, 0),
            NHA_GATEWAY => gateway = ip(value),
            NHA_GROUP => group = Some(members(value)),
            _ => {}
        }
    }
    let id = NexthopId(id?);
    if message.kind == RTM_DELNEXTHOP {
        return Some(Found::NexthopGone(id));
    }
    let content = match (group, gateway, interface) {
        (Some(Some(members)), _, _) => NexthopContent::Group(members),
        (None, Some(gateway), Some(interface)) => NexthopContent::Gateway(Leg { gateway, interface }),
        _ => NexthopContent::Other,
    };
    Some(Found::Nexthop(KernelNexthop {
        id,
        ours: protocol == context.protocol,
        content,
    }))
}

/// The members of a group, ordered; none when their weights differ.
fn members(value: &[u8]) -> Option<Vec<NexthopId>> {
    let mut members = Vec::new();
    for member in value.chunks_exact(8) {
        if member.get(4..6)? != [0, 0] {
            return None;
        }
        members.push(NexthopId(u32_at(member, 0)?));
    }
    members.sort_unstable();
    Some(members)
}

fn route(message: &Message<'_>, context: Context<'_>) -> Option<Found> {
    let bytes = message.payload;
    let (family, length, tos) = (*bytes.first()?, *bytes.get(1)?, *bytes.get(3)?);
    let (protocol, kind, flags) = (*bytes.get(5)?, *bytes.get(7)?, u32_at(bytes, 8)?);
    if flags & RTM_F_CLONED != 0 || tos != 0 {
        return None;
    }
    let mut table = u32::from(*bytes.get(4)?);
    let mut metric = 0;
    let mut destination = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut pref_src, mut named, mut gateway, mut interface, mut legs) = (None, None, None, None, None);
    for (attribute, value) in attributes(bytes.get(12..)?) {
        match attribute {
            RTA_DST => destination = ip(value)?,
            RTA_TABLE => table = u32_at(value, 0)?,
            RTA_PRIORITY => metric = u32_at(value, 0)?,
            RTA_PREFSRC => pref_src = ip(value),
            RTA_NH_ID => named = u32_at(value, 0),
            RTA_GATEWAY => gateway = ip(value),
            RTA_VIA => gateway = value.get(2..).and_then(ip),
            RTA_OIF => interface = u32_at(value, 0),
            RTA_MULTIPATH => legs = multipath(value),
            _ => {}
        }
    }
    if table != context.table || metric != context.metric {
        return None;
    }
    let target = match (kind, named, legs, gateway, interface) {
        (RTN_UNREACHABLE, ..) => Target::Unreachable,
        (RTN_UNICAST, Some(id), ..) => Target::Nexthop(NexthopId(id)),
        (RTN_UNICAST, None, Some(legs), ..) => Target::Paths(legs),
        (RTN_UNICAST, None, None, Some(gateway), Some(interface)) => {
            Target::Paths(vec![Leg { gateway, interface }])
        }
        _ => Target::Other,
    };
    let prefix = IpNetwork::new(destination, length).ok()?;
    Some(Found::Route {
        route: KernelRoute {
            prefix,
            target,
            pref_src,
        },
        ours: protocol == context.protocol,
        gone: message.kind == RTM_DELROUTE,
        replaced: message.flags & NLM_F_REPLACE != 0,
    })
}

fn multipath(mut rest: &[u8]) -> Option<Vec<Leg>> {
    let mut legs = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(u16_at(rest, 0)?);
        let interface = u32_at(rest, 4)?;
        let mut gateway = None;
        for (kind, value) in attributes(rest.get(8..length)?) {
            match kind {
                RTA_GATEWAY => gateway = ip(value),
                RTA_VIA => gateway = value.get(2..).and_then(ip),
                _ => {}
            }
        }
        legs.push(Leg {
            gateway: gateway?,
            interface,
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    legs.sort_unstable();
    Some(legs)
}

pub(super) fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}
