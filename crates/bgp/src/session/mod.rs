//! One TCP connection's conversation: the finite state machine of RFC 4271 §8.

mod settings;

pub use settings::{ConnectMode, PeerAsn, Settings};
