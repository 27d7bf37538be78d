//! Nexthop objects: which links a number in a route stands for.
//!
//! With `net.ipv4.nexthop_compat_mode=0` the kernel says of a route that uses such an object its number only. The
//! message type is unknown to `netlink-packet-route`, so it is read here, as far as a link is needed.

use std::collections::BTreeSet;

use netlink_packet_core::NlasIterator;

use crate::octets::{Octets, number};
use crate::{Result, Socket};

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_GETNEXTHOP: u16 = 106;
/// Octets of `struct nhmsg`.
const HEADER_BYTES: usize = 8;
/// Octets of `struct nexthop_grp`.
const MEMBER_BYTES: usize = 8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;

/// What an object says about links: its own, or the numbers of its members.
#[derive(Debug, Default, PartialEq, Eq)]
struct Nexthop {
    link: Option<u32>,
    members: Vec<u32>,
}

fn read(body: &[u8]) -> Nexthop {
    let mut nexthop = Nexthop::default();
    let attributes = body.get(HEADER_BYTES..).unwrap_or_default();
    for attribute in NlasIterator::new(attributes).flatten() {
        match attribute.kind() {
            NHA_OIF => nexthop.link = number(attribute.value()),
            NHA_GROUP => {
                let members = attribute.value().chunks_exact(MEMBER_BYTES);
                nexthop.members = members.filter_map(number).collect();
            }
            _ => {}
        }
    }
    nexthop
}

impl Socket {
    /// The indexes of the links that a nexthop object leads out of: one, or those of a group's members. None for a
    /// blackhole, and when there is no such object.
    pub(crate) fn nexthop_links(&mut self, id: u32) -> Result<BTreeSet<u32>> {
        let whole = self.nexthop(id)?;
        let mut links: BTreeSet<u32> = whole.link.into_iter().collect();
        for member in whole.members {
            links.extend(self.nexthop(member)?.link);
        }
        Ok(links)
    }

    fn nexthop(&mut self, id: u32) -> Result<Nexthop> {
        let request = Octets::new(RTM_GETNEXTHOP, &[0; HEADER_BYTES]).attribute(NHA_ID, &id.to_ne_bytes());
        match self.find(request, 0, &|| format!("look up the nexthop {id}")) {
            Ok(Some(answer)) if answer.kind == RTM_NEWNEXTHOP => Ok(read(&answer.body)),
            Ok(_) => Ok(Nexthop::default()),
            Err(error) if error.is_missing() => Ok(Nexthop::default()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, NHA_GROUP, NHA_OIF, Nexthop, read};

    fn body(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut body = vec![0; HEADER_BYTES];
        body.extend(u16::try_from(value.len() + 4).expect("short").to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
        body
    }

    #[test]
    fn links_and_members_are_read() {
        let one = read(&body(NHA_OIF, &7_u32.to_ne_bytes()));
        assert_eq!((one.link, one.members), (Some(7), vec![]));
        let mut members = Vec::new();
        for id in [11_u32, 12] {
            members.extend(id.to_ne_bytes());
            members.extend([0; 4]);
        }
        let group = read(&body(NHA_GROUP, &members));
        assert_eq!((group.link, group.members), (None, vec![11, 12]));
        // Cut anywhere: nothing, and no panic.
        let whole = body(NHA_OIF, &7_u32.to_ne_bytes());
        for length in 0..whole.len() {
            assert_eq!(read(whole.get(..length).expect("shorter")), Nexthop::default());
        }
    }
}
