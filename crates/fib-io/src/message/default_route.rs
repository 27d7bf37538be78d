//! Default routes of any author, and the nexthop objects that they may stand on: what a discovery of gateways reads.
//!
//! Unlike the routes of ours ([`super::decode`]) they may be of any metric and any kind of group.

use std::net::IpAddr;

use flatroute_fib::NexthopId;

use super::decode::ip;
use super::{
    AF_INET, AF_INET6, Message, NHA_GATEWAY, NHA_GROUP, NHA_ID, NHA_OIF, RTA_GATEWAY, RTA_MULTIPATH,
    RTA_NH_ID, RTA_OIF, RTA_TABLE, RTA_VIA, RTM_F_CLONED, RTM_NEWNEXTHOP, RTM_NEWROUTE, RTN_UNICAST,
    attributes, u16_at, u32_at,
};

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    pub(crate) protocol: u8,
    /// Its next hops with their interfaces, as far as they are gateways.
    pub(crate) via: Vec<(IpAddr, u32)>,
    /// The nexthop object that stands in their place.
    pub(crate) object: Option<NexthopId>,
}

/// A nexthop object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) id: NexthopId,
    pub(crate) via: Option<(IpAddr, u32)>,
    pub(crate) members: Vec<NexthopId>,
}

/// The default route of this table in a message; none when it is another route or does not parse.
pub(crate) fn default_route(message: &Message<'_>, table: u32) -> Option<DefaultRoute> {
    let bytes = message.payload;
    let (family, length) = (*bytes.first()?, *bytes.get(1)?);
    let (protocol, kind, flags) = (*bytes.get(5)?, *bytes.get(7)?, u32_at(bytes, 8)?);
    let is_default = length == 0 && matches!(family, AF_INET | AF_INET6);
    if message.kind != RTM_NEWROUTE || !is_default || kind != RTN_UNICAST || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let mut found_table = u32::from(*bytes.get(4)?);
    let mut route = DefaultRoute {
        protocol,
        via: Vec::new(),
        object: None,
    };
    let (mut gateway, mut interface) = (None, None);
    for (attribute, value) in attributes(bytes.get(12..)?) {
        match attribute {
            RTA_TABLE => found_table = u32_at(value, 0)?,
            RTA_NH_ID => route.object = u32_at(value, 0).map(NexthopId),
            RTA_GATEWAY => gateway = ip(value),
            RTA_VIA => gateway = value.get(2..).and_then(ip),
            RTA_OIF => interface = u32_at(value, 0),
            RTA_MULTIPATH => route.via = legs(value),
            _ => {}
        }
    }
    route.via.extend(gateway.zip(interface));
    (found_table == table).then_some(route)
}

/// The legs that have a gateway, up to the first that is broken.
fn legs(mut rest: &[u8]) -> Vec<(IpAddr, u32)> {
    std::iter::from_fn(|| {
        let length = usize::from(u16_at(rest, 0)?);
        let interface = u32_at(rest, 4)?;
        let gateway = attributes(rest.get(8..length)?).find_map(|(kind, value)| match kind {
            RTA_GATEWAY => ip(value),
            RTA_VIA => value.get(2..).and_then(ip),
            _ => None,
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(gateway.map(|gateway| (gateway, interface)))
    })
    .flatten()
    .collect()
}

/// The nexthop object in a message.
pub(crate) fn object(message: &Message<'_>) -> Option<Object> {
    if message.kind != RTM_NEWNEXTHOP {
        return None;
    }
    let (mut id, mut gateway, mut interface, mut members) = (None, None, None, Vec::new());
    for (kind, value) in attributes(message.payload.get(8..)?) {
        match kind {
            NHA_ID => id = u32_at(value, 0),
            NHA_OIF => interface = u32_at(value, 0),
            NHA_GATEWAY => gateway = ip(value),
            NHA_GROUP => {
                let member = |member| u32_at(member, 0).map(NexthopId);
                members = value.chunks_exact(8).filter_map(member).collect();
            }
            _ => {}
        }
    }
    Some(Object {
        id: NexthopId(id?),
        via: gateway.zip(interface),
        members,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn route(header: [u8; 12], attributes: &[Vec<u8>]) -> Option<DefaultRoute> {
        let payload = [&header[..], &attributes.concat()].concat();
        let message = Message {
            kind: RTM_NEWROUTE,
            flags: 0,
            sequence: 1,
            payload: &payload,
        };
        for end in 0..payload.len() {
            let cut = Message {
                payload: &payload[..end],
                ..message
            };
            // No cut panics.
            let _ = default_route(&cut, 254);
        }
        default_route(&message, 254)
    }

    #[test]
    fn gateways_of_default_routes_are_found_wherever_they_stand() {
        let v4 = [AF_INET, 0, 0, 0, 254, 16, 0, RTN_UNICAST, 0, 0, 0, 0];
        let (gateway, index) = ("10.0.1.1".parse().expect("ip"), 7_u32.to_ne_bytes());
        let plain = [attribute(RTA_GATEWAY, &[10, 0, 1, 1]), attribute(RTA_OIF, &index)];
        let found = route(v4, &plain).expect("a default route");
        assert_eq!((found.protocol, found.via), (16, vec![(gateway, 7)]));

        let leg = |inner: Vec<u8>| {
            let length = u16::try_from(inner.len() + 8).expect("short");
            [&length.to_ne_bytes()[..], &[0, 0], &index, &inner].concat()
        };
        let via = [&10_u16.to_ne_bytes()[..], &[0xfe, 0x80], &[0; 13], &[1]].concat();
        let legs = [
            leg(attribute(RTA_GATEWAY, &[10, 0, 1, 1])),
            leg(Vec::new()),
            leg(attribute(RTA_VIA, &via)),
        ];
        let found = route(v4, &[attribute(RTA_MULTIPATH, &legs.concat())]).expect("a default route");
        let other = "fe80::1".parse().expect("ip");
        assert_eq!(found.via, [(gateway, 7), (other, 7)]);

        let found = route(v4, &[attribute(RTA_NH_ID, &5_u32.to_ne_bytes())]).expect("a default route");
        assert_eq!((found.via, found.object), (Vec::new(), Some(NexthopId(5))));
    }

    #[test]
    fn other_routes_are_not_default_routes() {
        let gateway = [
            attribute(RTA_GATEWAY, &[10, 0, 1, 1]),
            attribute(RTA_OIF, &7_u32.to_ne_bytes()),
        ];
        for header in [
            [AF_INET, 8, 0, 0, 254, 16, 0, RTN_UNICAST, 0, 0, 0, 0],
            [AF_INET, 0, 0, 0, 255, 16, 0, RTN_UNICAST, 0, 0, 0, 0],
            [
                AF_INET,
                0,
                0,
                0,
                254,
                16,
                0,
                super::super::RTN_UNREACHABLE,
                0,
                0,
                0,
                0,
            ],
            [128, 0, 0, 0, 254, 16, 0, RTN_UNICAST, 0, 0, 0, 0],
        ] {
            assert_eq!(route(header, &gateway), None, "{header:?}");
        }
    }
}
