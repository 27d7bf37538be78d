use std::fmt;

use super::Notification;

/// A message that ends the session, with the NOTIFICATION that says so (RFC 4271 §6).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DecodeError {
    /// What was wrong and where, for people.
    pub what: String,
    /// What the peer is told.
    pub notification: Notification,
}

/// What becomes of an UPDATE with an error in it (RFC 7606 §2), from mild to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disposition {
    /// The attribute is dropped, the routes are kept.
    DiscardAttribute,
    /// The prefixes announced are treated as withdrawn.
    TreatAsWithdraw,
    /// The session is reset with a NOTIFICATION.
    ResetSession,
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiscardAttribute => "the attribute is discarded",
            Self::TreatAsWithdraw => "the prefixes are treated as withdrawn",
            Self::ResetSession => "the session is reset",
        })
    }
}

/// An error in an UPDATE that did not end the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeError {
    /// The attribute's type code; `None` when the error is not of one attribute.
    pub code: Option<u8>,
    /// What was wrong, for people.
    pub what: String,
    /// What was done about it.
    pub disposition: Disposition,
}

/// Why a route cannot be told to a peer. The remedy is the same for all: tell the peer that it is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Not even one prefix fits into a message beside these attributes.
    #[error("the attributes and one prefix take {len} octets, a message to this peer holds {max}")]
    TooLarge {
        /// The length that the message would have, in octets.
        len: usize,
        /// The longest message allowed, in octets.
        max: usize,
    },
    /// The attributes have no next hop.
    #[error("the attributes have no next hop")]
    NoNextHop,
    /// The next hop is not of the prefixes' family, and that was not agreed on (RFC 8950).
    #[error("the next hop is not of the family of the prefixes")]
    NextHopFamily,
}
