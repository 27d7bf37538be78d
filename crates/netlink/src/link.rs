//! Links: veth pairs, changes, look-ups, deletion.
//!
//! A veth pair is made by one RTM_NEWLINK that says everything about both ends. Explicit indexes spare the look-ups
//! afterwards; explicit MACs keep other programs (udev's MACAddressPolicy) from choosing their own; a namespace an
//! end spares the move. Two things the kernel does not take in that message: IFF_UP of the peer, and an alias.

mod look;

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use crate::{LinkSettings, Mac, Result, Socket};

/// One end of a veth pair. What is `None` the kernel chooses.
#[derive(Debug, Clone, Copy, Default)]
pub struct VethEnd<'a> {
    /// Interface name, at most 15 bytes.
    pub name: &'a str,
    /// Interface index. Indexes of both ends should differ: with equal ones carrier loss is seen late.
    pub index: Option<u32>,
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Link group.
    pub group: Option<u32>,
    /// Length of the transmit queue in packets.
    pub tx_queue_len: Option<u32>,
    /// How many queues it can have, of each direction. The kernel makes one a processor, and then waits until nobody uses
    /// those that it closes again: a veth begins with one open queue either way.
    pub queues: Option<u32>,
    /// The namespace of this end; that of the socket when `None`.
    pub netns: Option<BorrowedFd<'a>>,
}

/// A veth pair that is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Veth<'a> {
    /// One end.
    pub near: VethEnd<'a>,
    /// The other end.
    pub peer: VethEnd<'a>,
}

/// Changes of one link, sent as one message. What is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkChange<'a> {
    /// Administratively up or down.
    pub up: Option<bool>,
    /// New name (the link must be down).
    pub name: Option<&'a str>,
    /// Alias, at most 255 bytes.
    pub alias: Option<&'a str>,
    /// Link group.
    pub group: Option<u32>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Index of the link (a bridge, a VRF) that this one becomes a port of; 0 for none.
    pub controller: Option<u32>,
    /// Settings of the link. The kernel makes them after everything else in the message, bringing up included.
    pub settings: LinkSettings,
}

/// What is known about a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Ethernet address, for links that have one.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Link group (0 is the default group).
    pub group: u32,
    /// Alias, when one is set.
    pub alias: Option<String>,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// Up and with carrier (IFF_LOWER_UP).
    pub carrier: bool,
    /// Operational state UP (RFC 2863): the kernel has activated the queues, packets pass.
    pub operational: bool,
    /// `net.ipv6.conf.LINK.forwarding`; `None` for links without IPv6.
    pub ipv6_forwarding: Option<bool>,
    /// `net.ipv4.conf.LINK.route_localnet`
    pub route_localnet: bool,
    /// The index of the link that it belongs to: the other end of a veth pair.
    pub other_index: Option<u32>,
    /// The namespace of that link, by the number that this one has for it; `None` when it is this one.
    pub other_netns: Option<i32>,
    /// Kind, such as `veth`, `dummy` or `bridge`; `None` for hardware and loopback.
    pub kind: Option<String>,
}

impl VethEnd<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index.unwrap_or(0);
        message.attributes.push(LinkAttribute::IfName(self.name.into()));
        message
            .attributes
            .extend(self.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        message.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        message.attributes.extend(self.group.map(LinkAttribute::Group));
        message
            .attributes
            .extend(self.tx_queue_len.map(LinkAttribute::TxQueueLen));
        message
            .attributes
            .extend(self.queues.map(LinkAttribute::NumTxQueues));
        message
            .attributes
            .extend(self.queues.map(LinkAttribute::NumRxQueues));
        message
            .attributes
            .extend(self.netns.map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())));
        message
    }
}

impl Socket {
    /// Makes a veth pair, both ends at once. Fails when one of the names or indexes is taken, and then makes nothing.
    ///
    /// # Errors
    /// [`crate::Error::is_exists`] for a name, [`crate::Error::is_busy`] for an index.
    pub fn add_veth(&mut self, veth: &Veth<'_>) -> Result<()> {
        let mut message = veth.near.message();
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(veth.peer.message()))),
        ]));
        self.request(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("create the veth pair {} and {}", veth.near.name, veth.peer.name),
        )
    }

    /// Makes a link of one end only, of a kind that needs no more than what `end` says.
    ///
    /// # Errors
    /// [`crate::Error::is_exists`] when the name is taken.
    pub fn add_single(&mut self, end: &VethEnd<'_>, kind: InfoKind) -> Result<()> {
        let mut message = end.message();
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        self.request(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("create the link {}", end.name),
        )
    }

    /// Makes a link that needs nothing but a kind: `InfoKind::Dummy`, `InfoKind::Bridge`.
    ///
    /// # Errors
    /// [`crate::Error::is_exists`] when the name is taken.
    pub fn add_link(&mut self, name: &str, kind: InfoKind) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        self.request(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("create the link {name}"),
        )
    }

    /// Changes the link with this index.
    ///
    /// # Errors
    /// [`crate::Error::is_missing`] when there is none.
    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        if let Some(up) = change.up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        }
        message
            .attributes
            .extend(change.name.map(|name| LinkAttribute::IfName(name.into())));
        message
            .attributes
            .extend(change.alias.map(|alias| LinkAttribute::IfAlias(alias.into())));
        message.attributes.extend(change.group.map(LinkAttribute::Group));
        message.attributes.extend(change.mtu.map(LinkAttribute::Mtu));
        message
            .attributes
            .extend(change.controller.map(LinkAttribute::Controller));
        message.attributes.extend(change.settings.attribute());
        self.request(RouteNetlinkMessage::SetLink(message), 0, || {
            format!("change the link with index {index}")
        })
    }

    /// Brings the link with this index up.
    ///
    /// # Errors
    /// [`crate::Error::is_missing`] when there is none.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        self.change_link(
            index,
            &LinkChange {
                up: Some(true),
                ..LinkChange::default()
            },
        )
    }

    /// Deletes the link with this index; the other end of a veth pair goes with it.
    ///
    /// # Errors
    /// [`crate::Error::is_missing`] when there is none.
    pub fn delete_link(&mut self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(RouteNetlinkMessage::DelLink(message), 0, || {
            format!("delete the link with index {index}")
        })
    }

    /// Deletes all links of a group with one wait for the kernel's readers; deleting them one by one, each waits alone.
    /// Group 0, where every link begins, is refused.
    ///
    /// # Errors
    /// [`crate::Error::is_missing`] when the group has no link; when one of its links is of a kind that cannot be deleted,
    /// none is.
    pub fn delete_links_of_group(&mut self, group: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        self.request(RouteNetlinkMessage::DelLink(message), 0, || {
            format!("delete the links of group {group}")
        })
    }
}
