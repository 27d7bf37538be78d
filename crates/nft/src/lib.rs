//! The table `flatroute` of nf_tables: described, compared with what stands in the kernel, and written over netlink.
//!
//! There is no `nft` program in the image, and none is needed: a [`Table`] is a value that says which chains, sets and
//! rules there shall be ([`PodNetwork::table`] makes the one that we have), [`difference`] compares it with what was
//! [`Observed`], and [`Kernel::apply`] writes the difference as one batch, which the kernel takes whole or not at
//! all. Equal tables cost a read and no write. Whoever comes first makes the table; nobody deletes it.
//!
//! * **One family, `inet`.** Since Linux 5.2 its chains do NAT for both families, and the nexthop objects of our routes
//!   need 5.3 anyway. So there is one table to read, to make and to delete, and a rule about a link is one rule.
//! * **What is ours.** The table is shared (chains and sets that a description does not name are never touched, so the
//!   plugin may have its own), and so is a chain: only rules whose comment begins with `flatroute: ` are ours. The
//!   comment ends with a hash of the rule's octets. Two rules are the same when their comments are: newer kernels show
//!   expressions with more attributes than were written, and comparing those would rewrite a rule for ever.
//! * **No lost update.** A batch names the generation of the rules that the comparison was made from. Did anybody change
//!   anything meanwhile, it is refused, and made anew.
//! * **Nothing flickers.** What stands and is right is not touched; what changes changes in one step. The first time
//!   aside, no packet meets half a table.
//!
//! The table has two parts, and each part one owner: [`PodNetwork`] is the agent's, [`host_ports`] is the plugin's. Neither
//! describes what is the other's, so neither touches it.
//!
//! Rooms: `description` (values), `ranges` (prefixes as the intervals of a set), `maps` (tuples and what is in their
//! maps), `encode` (octets of messages and expressions), `observed` (and back), `difference` (pure), `kernel` (read,
//! compare, write), `pods` and `host_ports` (the two parts that there are), `watch` (who else changes them), `conntrack`
//! (flows that began before a change).
#![forbid(unsafe_code)]

mod conntrack;
mod description;
mod difference;
mod encode;
mod error;
pub mod host_ports;
mod kernel;
mod maps;
mod observed;
mod pods;
mod ranges;
mod watch;

pub use conntrack::{Conntrack, Direction, Flow};
pub use description::{Chain, Expression, Fib, Hook, Key, Load, Map, Nat, Part, Rule, Set, Table, Width};
pub use difference::{Operation, difference};
pub use error::Error;
pub use flatroute_netlink::Error as SocketError;
pub use host_ports::{Element, HostPort, Memory, Protocol};
pub use kernel::Kernel;
pub use maps::Kind;
pub use observed::{Observed, ObservedChain, ObservedRule, ObservedSet};
pub use pods::{Masquerade, PodNetwork, TABLE};
pub use ranges::{MAX_RANGES, Range, Ranges};
pub use watch::Watch;

/// What the calls of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
