//! Interface addresses.
//!
//! Every address is added with IFA_F_NODAD: on links of ours nobody else can hold it, and duplicate address detection
//! (RFC 4862 §5.4) would leave an IPv6 address unusable for one to two seconds.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::{Result, Socket};

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub index: u32,
    /// The address itself.
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix_len: u8,
    /// Still under duplicate address detection, or found to be a duplicate: not usable.
    pub tentative: bool,
}

pub(crate) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

impl Socket {
    /// Adds an address to an interface; usable at once.
    ///
    /// # Errors
    /// [`crate::Error::is_exists`] when the interface has it.
    pub fn add_address(&mut self, index: u32, address: IpAddr, prefix_len: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family_of(address);
        message.header.prefix_len = prefix_len;
        message.header.index = index;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.scope = match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => AddressScope::Link,
            IpAddr::V6(_) => AddressScope::Universe,
            IpAddr::V4(address) if address.is_loopback() => AddressScope::Host,
            IpAddr::V4(_) => AddressScope::Universe,
        };
        message.attributes.push(AddressAttribute::Address(address));
        message.attributes.push(AddressAttribute::Local(address));
        if prefix_len == if address.is_ipv4() { 32 } else { 128 } {
            // A route from a host address to itself over its link would only be in the way of the one in the local table.
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        self.request(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("add {address}/{prefix_len} to the link with index {index}"),
        )
    }

    /// The addresses of one interface, both families.
    ///
    /// # Errors
    /// See [`Socket::dump`].
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        let found = self.dump(&RouteNetlinkMessage::GetAddress(message), || {
            format!("list the addresses of the link with index {index}")
        })?;
        Ok(found
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(message) => read(&message),
                _ => None,
            })
            .filter(|address| address.index == index)
            .collect())
    }
}

fn read(message: &AddressMessage) -> Option<Address> {
    let mut remote = None;
    let mut local = None;
    let mut tentative = message.header.flags.contains(AddressHeaderFlags::Tentative)
        || message.header.flags.contains(AddressHeaderFlags::Dadfailed);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => remote = Some(*address),
            AddressAttribute::Flags(flags) => {
                tentative |= flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
            }
            _ => {}
        }
    }
    Some(Address {
        index: message.header.index,
        address: local.or(remote)?,
        prefix_len: message.header.prefix_len,
        tentative,
    })
}
