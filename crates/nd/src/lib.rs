//! Router advertisements (RFC 4861), sent and heard, on the interfaces that are asked for: how two routers on a link that
//! nobody has numbered learn each other's link-local address.
//!
//! Nothing here makes a router of this node for anybody: what is sent has a router lifetime of zero (RFC 4861 §6.2.3), no prefix
//! and no parameter, so a host that hears it takes nothing from it. A router that listens learns one thing, the address that
//! it came from. The kernel is not asked to heed what others send either: it is read from a socket of our own, whatever
//! `accept_ra` says.
//!
//! Rooms: `message` reads and writes what is sent; [`link`] decides, for one interface, what to send when and who the neighbour
//! is, and knows no clock and no socket; `socket` has the raw ICMPv6 socket of an interface; `task` joins them and tells
//! what is heard.
#![forbid(unsafe_code)]

pub mod link;
mod message;
mod socket;
mod task;

pub use message::{Malformed, Message, decode, encode};
pub use task::{Handle, Heard, spawn};
