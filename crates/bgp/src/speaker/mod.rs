//! The speaker: configuration, peers and RIB joined into one machine.

mod config;

pub use config::{
    AdminState, Config, Multipath, NextHopMode, Origination, PeerConfig, PrefixLimit, PrefixLimitAction, Ttl,
};
