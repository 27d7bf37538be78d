//! The executor and observer of kernel routes, the observers of links ([`links`]), of default routes ([`gateways`]) and of
//! deletions ([`deletions`]),
//! and what the kernel says of a single address ([`lookup`]).
//!
//! One thread owns all that concerns routes: the machine of `flatroute-fib`, the netlink sockets and the queue of commands. It
//! runs a small event loop of its own, so that a hundred thousand route writes never stand in the way of the
//! speaker's tasks. The rest of the node talks to it through two bounded channels ([`spawn`]).
//!
//! Commands are taken only while the machine has room. A speaker that keeps its changes in a set of dirty
//! prefixes and sends the next [`Command::Routes`] when the channel accepts it therefore never queues history: a
//! prefix that flaps while the kernel is busy costs nothing.
//!
//! Below the loop lie three rooms: [`netlink`] implements the five verbs of [`flatroute_fib::Kernel`],
//! `message` turns values into rtnetlink bytes and back, `socket` moves those bytes.

pub mod deletions;
pub mod gateways;
pub mod links;
pub mod lookup;
mod message;
pub mod netlink;
mod socket;
mod task;

pub use flatroute_fib as fib;
pub use socket::Error;
pub use task::{Command, Event, Handle, spawn};
