//! Permanent neighbours: the link-layer address is known, nobody has to ask for it.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;

use crate::address::family_of;
use crate::{Mac, Result, Socket};

/// A neighbour on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the link.
    pub index: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, once known.
    pub mac: Option<Mac>,
    /// Set for good (NUD_PERMANENT).
    pub permanent: bool,
}

impl Socket {
    /// Sets the Ethernet address of a neighbour for good.
    ///
    /// # Errors
    /// [`crate::Error::is_missing`] when the link is gone.
    pub fn add_permanent_neighbour(&mut self, index: u32, address: IpAddr, mac: Mac) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header = NeighbourHeader {
            family: family_of(address),
            ifindex: index,
            state: NeighbourState::Permanent,
            kind: RouteType::Unicast,
            ..NeighbourHeader::default()
        };
        message
            .attributes
            .push(NeighbourAttribute::Destination(address.into()));
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        self.request(
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
            || format!("add the neighbour {address} on the link with index {index}"),
        )
    }

    /// The neighbours on one link, both families.
    ///
    /// # Errors
    /// See [`Socket::dump`].
    pub fn neighbours(&mut self, index: u32) -> Result<Vec<Neighbour>> {
        let mut message = NeighbourMessage::default();
        message.attributes.push(NeighbourAttribute::IfIndex(index));
        let mut found = self.list(message, || {
            format!("list the neighbours on the link with index {index}")
        })?;
        found.retain(|neighbour| neighbour.index == index);
        Ok(found)
    }

    /// The neighbours on all links, both families.
    ///
    /// # Errors
    /// See [`Socket::dump`].
    pub fn all_neighbours(&mut self) -> Result<Vec<Neighbour>> {
        self.list(NeighbourMessage::default(), || "list neighbours".to_owned())
    }

    fn list(&mut self, question: NeighbourMessage, what: impl Fn() -> String) -> Result<Vec<Neighbour>> {
        let found = self.dump(&RouteNetlinkMessage::GetNeighbour(question), what)?;
        Ok(found
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewNeighbour(message) => read(&message),
                _ => None,
            })
            .collect())
    }
}

fn read(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut found, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                found = Some((*address).into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                found = Some((*address).into());
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour {
        index: message.header.ifindex,
        address: found?,
        mac,
        permanent: message.header.state == NeighbourState::Permanent,
    })
}
