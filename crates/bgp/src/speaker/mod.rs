//! The speaker: configuration, peers and RIB joined into one machine.

mod config;

pub use crate::policy::{NextHopMode, PrefixLimit, PrefixLimitAction};
pub use crate::rib::Multipath;
pub use config::{AdminState, Config, Origination, PeerConfig, Ttl};
