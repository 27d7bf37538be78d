//! A small synchronous rtnetlink client.
//!
//! Two programs of the house talk to the kernel for a moment and then end or go on with something else: the CNI
//! plugin, which lives for two milliseconds, and the testbed, which builds fabrics of namespaces. Neither wants an
//! asynchronous runtime for a dozen requests, so this crate has one blocking [`Socket`]: a request goes out, its
//! acknowledgement comes back. The messages are those of `netlink-packet-route`; the functions here only fill them
//! in where two users need the same thing.
//!
//! What every caller gets:
//!
//! * **Errors that explain.** The kernel's extended acknowledgement text is part of the error, beside the errno and
//!   what was asked ([`Error::Refused`]).
//! * **Batches** ([`Socket::batch`]): a dozen changes for the price of one question and one answer.
//! * **Dumps that are whole.** A dump that the kernel marks as interrupted (NLM_F_DUMP_INTR: something changed
//!   meanwhile) is asked again, up to a bound; strict checking lets the kernel filter.
//! * **Namespaces without surprises.** A socket belongs for its whole life to the namespace in which it was opened.
//!   [`netns::within`] runs a closure in another namespace on a thread of its own, so that no caller's thread can
//!   be left in a wrong place.
//! * **nfnetlink** ([`NetfilterSocket`]): the same manners for nf_tables, whose messages `flatroute-nft` makes.
//! * **Traffic control** ([`TokenBucket`]): as much of it as a pod's bandwidth needs.
//! * **Uplinks** ([`Socket::default_links`]): the links of the default route, without reading the whole table.
//! * **Veth pairs in one message** ([`Veth`]): both ends with names, indexes, addresses and namespaces, so that
//!   nothing has to be looked up, moved or renamed afterwards.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the message enums are foreign, non-exhaustive and have dozens of arms; none of ours is matched so"
)]

mod address;
mod batch;
mod error;
mod link;
mod neighbour;
mod netfilter;
pub mod netns;
mod nexthop;
mod octets;
mod pods;
mod route;
mod settings;
mod socket;
mod traffic;
mod uplink;

pub use address::Address;
pub use batch::Refusal;
pub use error::Error;
pub use link::{Link, LinkChange, Veth, VethEnd};
pub use neighbour::Neighbour;
pub use netfilter::{NetfilterMessage, NetfilterSocket};
pub use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
pub use netlink_packet_route as packet;
pub use pods::{HOST_ROUTE_PROTOCOL, POD_ALIAS_MARK, POD_LINK_GROUP, PodAlias, SHAPER_LINK_GROUP};
pub use route::{NextHop, Route};
pub use settings::LinkSettings;
pub use socket::Socket;
pub use traffic::TokenBucket;

/// A six-byte Ethernet address.
pub type Mac = [u8; 6];

/// What the calls of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
