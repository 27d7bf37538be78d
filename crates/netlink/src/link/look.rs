//! Links looked up.
//!
//! The kernel says some sixty things about a link, a thousand octets and more. Here are read the ten that somebody asks for, so that one
//! of the others, in a form that a newer kernel gives it, spoils none.

use netlink_packet_core::NlasIterator;

use super::Link;
use crate::octets::{Octets, number};
use crate::{Error, Result, Socket};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// Octets of `struct ifinfomsg`, and where index and flags are in it.
const HEADER_BYTES: usize = 16;
const INDEX: usize = 4;
const FLAGS: usize = 8;
/// `IFF_UP`, `IFF_LOWER_UP`
const UP: u32 = 1;
const LOWER_UP: u32 = 1 << 16;
/// `IFLA_*`
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const OTHER_INDEX: u16 = 5;
const OPERATIONAL_STATE: u16 = 16;
const INFO: u16 = 18;
const ALIAS: u16 = 20;
const FAMILIES: u16 = 26;
const GROUP: u16 = 27;
const MASK: u16 = 29;
const OTHER_NETNS: u16 = 37;
/// `IFLA_TARGET_NETNSID`: the namespace that a question is about.
const IN_NETNS: u16 = 46;
/// `RTEXT_FILTER_SKIP_STATS`
const NO_STATISTICS: u32 = 1 << 3;
/// `IF_OPER_UP`
const OPERATIONAL: u8 = 6;
/// In [`INFO`]: `IFLA_INFO_KIND`.
const KIND: u16 = 1;
/// In [`FAMILIES`]: `AF_INET6`, and therein `IFLA_INET6_CONF`, whose first number is `forwarding`.
const INET6: u16 = 10;
const INET6_SETTINGS: u16 = 2;
/// In [`FAMILIES`]: `AF_INET`, therein `IFLA_INET_CONF`, and where `route_localnet` is among its numbers.
const INET: u16 = 2;
const INET_SETTINGS: u16 = 1;
const ROUTE_LOCALNET: usize = 25 * 4;

fn text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.trim_end_matches('\0').to_owned()
}

/// The value of the first attribute of a kind.
fn value_in(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let mut all = NlasIterator::new(attributes).flatten();
    all.find(|found| found.kind() == kind)
        .map(|found| found.value().to_vec())
}

/// What a message says about a link; none when it is cut.
fn read(body: &[u8]) -> Option<Link> {
    let flags = number(body.get(FLAGS..)?)?;
    let mut link = Link {
        index: number(body.get(INDEX..)?)?,
        up: flags & UP != 0,
        carrier: flags & LOWER_UP != 0,
        ..Link::default()
    };
    for attribute in NlasIterator::new(body.get(HEADER_BYTES..)?).flatten() {
        let value = attribute.value();
        match attribute.kind() {
            NAME => link.name = text(value),
            ADDRESS => link.mac = value.try_into().ok(),
            MTU => link.mtu = number(value)?,
            GROUP => link.group = number(value)?,
            ALIAS => link.alias = Some(text(value)),
            OPERATIONAL_STATE => link.operational = value.first() == Some(&OPERATIONAL),
            INFO => link.kind = value_in(value, KIND).map(|kind| text(&kind)),
            OTHER_INDEX => link.other_index = number(value),
            OTHER_NETNS => link.other_netns = number(value).map(u32::cast_signed),
            FAMILIES => {
                let inet = value_in(value, INET).and_then(|inet| value_in(&inet, INET_SETTINGS));
                let localnet = inet.and_then(|settings| number(settings.get(ROUTE_LOCALNET..)?));
                link.route_localnet = localnet.is_some_and(|localnet| localnet != 0);
                let settings = value_in(value, INET6).and_then(|inet6| value_in(&inet6, INET6_SETTINGS));
                link.ipv6_forwarding = settings
                    .and_then(|settings| number(&settings))
                    .map(|forwarding| forwarding != 0);
            }
            _ => {}
        }
    }
    Some(link)
}

/// A question about the link with this index; about any when 0.
fn question(index: u32) -> Octets {
    let mut header = [0; HEADER_BYTES];
    if let Some(place) = header.get_mut(INDEX..FLAGS) {
        place.copy_from_slice(&index.to_ne_bytes());
    }
    Octets::new(RTM_GETLINK, &header).attribute(MASK, &NO_STATISTICS.to_ne_bytes())
}

impl Socket {
    /// The link of this name, if there is one.
    ///
    /// # Errors
    /// Anything but its absence.
    pub fn link_by_name(&mut self, name: &str) -> Result<Option<Link>> {
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.link(question(0).attribute(NAME, &value), || {
            format!("look up the link {name}")
        })
    }

    /// The link with this index, if there is one.
    ///
    /// # Errors
    /// Anything but its absence.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        self.link(question(index), || format!("look up the link with index {index}"))
    }

    /// The other end of a veth pair, in whichever namespace it is.
    ///
    /// # Errors
    /// Anything but its absence; a namespace that may not be looked into.
    pub fn other_end(&mut self, link: &Link) -> Result<Option<Link>> {
        let Some(index) = link.other_index else {
            return Ok(None);
        };
        let mut asked = question(index);
        if let Some(netns) = link.other_netns {
            asked = asked.attribute(IN_NETNS, &netns.to_ne_bytes());
        }
        self.link(asked, || format!("look up the other end of {}", link.name))
    }

    fn link(&mut self, question: Octets, what: impl Fn() -> String) -> Result<Option<Link>> {
        let found = match self.find(question, 0, &what) {
            Err(error) if error.is_missing() => return Ok(None),
            found => found?,
        };
        let read = found
            .filter(|answer| answer.kind == RTM_NEWLINK)
            .and_then(|answer| read(&answer.body));
        read.map(Some).ok_or_else(|| Error::Unreadable {
            what: what(),
            reason: "it is about no link".into(),
        })
    }

    /// All links of the namespace. Costs milliseconds when there are hundreds.
    ///
    /// # Errors
    /// See [`Socket::dump`].
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let found = self.dump_of(&question(0), || "list links".into())?;
        let links = found.iter().filter(|answer| answer.kind == RTM_NEWLINK);
        Ok(links.filter_map(|answer| read(&answer.body)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        Octets::new(0, &[]).attribute(kind, value).body
    }

    #[test]
    fn what_is_asked_for_is_read_among_what_is_not() {
        let mut header = vec![0; INDEX];
        for number in [7_u32, UP | LOWER_UP, 0] {
            header.extend(number.to_ne_bytes());
        }
        let mut inet = vec![0; ROUTE_LOCALNET + 4];
        inet[ROUTE_LOCALNET] = 1;
        let inet = attribute(INET_SETTINGS, &inet);
        let settings = attribute(INET6_SETTINGS, &[1, 0, 0, 0, 64, 0, 0, 0]);
        let message = Octets::new(RTM_NEWLINK, &header)
            .attribute(NAME, b"eth0\0")
            .attribute(9999, &[1; 7])
            .attribute(ADDRESS, &[2, 0, 0, 0, 0, 9])
            .attribute(MTU, &1400_u32.to_ne_bytes())
            .attribute(GROUP, &79_u32.to_ne_bytes())
            .attribute(ALIAS, b"an alias\0")
            .attribute(OPERATIONAL_STATE, &[OPERATIONAL])
            .attribute(INFO, &attribute(KIND, b"veth\0"))
            .attribute(OTHER_INDEX, &8_u32.to_ne_bytes())
            .attribute(OTHER_NETNS, &(-1_i32).to_ne_bytes())
            .attribute(
                FAMILIES,
                &[attribute(INET, &inet), attribute(INET6, &settings)].concat(),
            );
        let whole = Link {
            index: 7,
            name: "eth0".into(),
            mac: Some([2, 0, 0, 0, 0, 9]),
            mtu: 1400,
            group: 79,
            alias: Some("an alias".into()),
            up: true,
            carrier: true,
            operational: true,
            other_index: Some(8),
            other_netns: Some(-1),
            ipv6_forwarding: Some(true),
            route_localnet: true,
            kind: Some("veth".into()),
        };
        assert_eq!(read(&message.body), Some(whole.clone()));
        // Cut anywhere: less, and no panic.
        for length in 0..message.body.len() {
            assert_ne!(
                read(message.body.get(..length).expect("shorter")),
                Some(whole.clone())
            );
        }
    }
}
