//! The codec: octets to messages and back (RFC 4271 §4), and what to do about octets that make no sense.
//!
//! A driver hands whatever TCP gave it to [`split`], which says where one message ends; [`decode`] turns that
//! message into a [`Message`]. Both are total functions of their arguments: no state, no clock, no allocation
//! that the octets did not pay for. What two speakers agreed on in their OPENs, and what therefore changes
//! how octets are read, stands in a [`Context`].
//!
//! Every octet is hostile. The module denies itself indexing, `as`, unchecked arithmetic and `unwrap`; a
//! parser takes a slice and gives back the rest of it, or says that it is too short. nom does that for the small
//! fields; the loop over prefixes, which is where the time goes, is written out in `nlri`.
//!
//! There are three kinds of answer to a bad message, from mild to strong (RFC 7606 §2):
//!
//! * an attribute is dropped and the routes live on without it;
//! * the routes of the UPDATE are treated as withdrawn: they stand in [`Update::withdrawn`];
//! * the session ends: [`decode`] fails with a [`DecodeError`] that holds the NOTIFICATION for the peer.
//!
//! Which one applies is decided in one place, the table in `attribute`: a row an attribute. A caller
//! sees good routes, withdrawn routes and a list of what was wrong, and needs to know nothing of RFC 7606.
//!
//! Encoders append to a buffer and cannot fail, but for [`encode_reach`], whose attributes may be larger than a
//! message. They fill messages: one call writes one message with as many prefixes as fit.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::expect_used
)]

mod attribute;
mod capability;
mod context;
mod error;
mod frame;
pub mod limits;
mod message;
mod nlri;
mod notification;
mod open;
mod read;
mod route_refresh;
mod update;

use bytes::BytesMut;

pub use attribute::{display as display_attributes, name as attribute_name};
pub use capability::values::{
    AddPath, AddPathMode, AfiSafi, ExtendedNextHop, Fqdn, GracefulFamily, GracefulRestart, LongLivedFamily,
    MAX_LONG_LIVED_STALE_TIME, MAX_RESTART_TIME, UnknownCapability,
};
pub use context::Context;
pub use error::{AttributeError, DecodeError, Disposition, EncodeError};
pub use frame::{Frame, HEADER_LEN, MAX_EXTENDED_LEN, MAX_LEN, MessageKind, split};
pub use message::{
    Announcement, Capabilities, Message, Notification, Open, RefreshSubtype, RouteRefresh, Update,
};
pub use nlri::Destination;
pub use notification::{CeaseSubcode, FsmErrorState, HeaderError, OpenError, UpdateError};
pub use route_refresh::encode_route_refresh;
pub use update::{encode_end_of_rib, encode_reach, encode_unreach};

/// Decodes one message.
///
/// # Errors
/// When the session has to end; the error holds the NOTIFICATION for the peer (RFC 4271 §6).
pub fn decode(frame: &Frame<'_>, ctx: &Context) -> Result<Message, DecodeError> {
    match frame.kind {
        MessageKind::Open => open::decode(frame.body).map(Message::Open),
        MessageKind::Update => update::decode(frame.body, ctx).map(Message::Update),
        MessageKind::Notification => notification::decode(frame.body).map(Message::Notification),
        MessageKind::Keepalive => Ok(Message::Keepalive),
        MessageKind::RouteRefresh => route_refresh::decode(frame).map(Message::RouteRefresh),
    }
}

/// Appends a KEEPALIVE (RFC 4271 §4.4): a header and nothing else.
pub fn encode_keepalive(out: &mut BytesMut) {
    frame::encode_header(MessageKind::Keepalive, HEADER_LEN, out);
}
