//! Elements as they lie in their maps: tuples of octets, written and read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Element, HostPort, IPV4, IPV6, Protocol};
use crate::description::{Map, Part};
use crate::maps::Entry;

impl HostPort {
    fn key(&self) -> Vec<u8> {
        let mut key = self.address.map(octets).unwrap_or_default();
        key.extend([self.protocol.number(), 0, 0, 0]);
        key.extend(port_octets(self.port));
        key
    }
}

impl Element {
    pub(super) fn map(&self) -> Map {
        let family = if self.pod().is_ipv4() { IPV4 } else { IPV6 };
        match self {
            Self::Port(port) if port.address.is_some() => family.ports_at,
            Self::Port(_) => family.ports,
            Self::Hairpin(_) => family.hairpin,
        }
    }

    pub(super) fn entry(&self, owner: &str) -> Entry {
        let (key, data) = match self {
            Self::Port(port) => {
                let mut data = octets(port.to.ip());
                data.extend(port_octets(port.to.port()));
                (port.key(), data)
            }
            Self::Hairpin(address) => ([octets(*address), octets(*address)].concat(), Vec::new()),
        };
        Entry {
            key,
            data,
            comment: owner.to_owned(),
        }
    }

    /// What an entry of a map says; nothing when it makes no sense there.
    pub(super) fn read(map: &Map, entry: &Entry) -> Option<Self> {
        let is = |maps: [Map; 2]| maps.iter().any(|one| one.name == map.name);
        let mut key = Tuple(&entry.key);
        if is([IPV4.hairpin, IPV6.hairpin]) {
            let (one, two) = (key.address(map.key.first()?)?, key.address(map.key.get(1)?)?);
            return (one == two).then_some(Self::Hairpin(one));
        }
        let address = if is([IPV4.ports_at, IPV6.ports_at]) {
            Some(key.address(map.key.first()?)?)
        } else {
            None
        };
        let protocol = key.protocol()?;
        let port = key.port()?;
        let mut data = Tuple(&entry.data);
        let to = SocketAddr::new(data.address(map.data.first()?)?, data.port()?);
        HostPort::new(protocol, address, port, to).map(Self::Port)
    }
}

/// The rest of a tuple that is read.
struct Tuple<'a>(&'a [u8]);

impl Tuple<'_> {
    fn address(&mut self, part: &Part) -> Option<IpAddr> {
        match part {
            Part::Ipv4 => self.word().map(|octets| Ipv4Addr::from(octets).into()),
            Part::Ipv6 => {
                let (address, rest) = self.0.split_first_chunk::<16>()?;
                self.0 = rest;
                Some(Ipv6Addr::from(*address).into())
            }
            Part::Protocol | Part::Port => None,
        }
    }

    fn protocol(&mut self) -> Option<Protocol> {
        let [number, 0, 0, 0] = self.word()? else {
            return None;
        };
        Protocol::ALL.into_iter().find(|one| one.number() == number)
    }

    fn port(&mut self) -> Option<u16> {
        let [high, low, 0, 0] = self.word()? else {
            return None;
        };
        Some(u16::from_be_bytes([high, low]))
    }

    fn word(&mut self) -> Option<[u8; 4]> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(*word)
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn port_octets(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}
