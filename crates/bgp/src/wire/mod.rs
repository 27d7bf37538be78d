//! The codec: octets to messages and back (RFC 4271 §4).

mod error;
mod message;

pub use error::{AttributeError, DecodeError, Disposition};
pub use message::{
    Announcement, Capabilities, Message, Notification, Open, RouteRefresh, UnknownCapability, Update,
};
