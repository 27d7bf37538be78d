use crate::types::{FamilySet, PathIds};

use super::{MAX_EXTENDED_LEN, MAX_LEN};

/// What two speakers agreed on in their OPENs, as far as it changes how octets are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// AS numbers take four octets in AS_PATH and AGGREGATOR (RFC 6793): both sides said so.
    pub four_octet_as: bool,
    /// Messages may be as long as [`MAX_EXTENDED_LEN`] (RFC 8654): both sides said so.
    pub extended_message: bool,
    /// The families that both sides announced (RFC 4760 §8); prefixes of others are ignored.
    pub families: FamilySet,
    /// IPv4 prefixes may have IPv6 next hops, in MP_REACH_NLRI (RFC 8950): both sides said so.
    pub extended_next_hop: bool,
    /// Prefixes of these families have a path identifier before them (RFC 7911 §3): one side is able to send them and the other
    /// to receive them.
    pub path_ids: PathIds,
    /// The peer is of our own AS: LOCAL_PREF is taken from it and sent to it.
    pub internal: bool,
}

impl Context {
    /// The context until both OPENs are known: nothing is agreed on.
    #[must_use]
    pub fn before_open() -> Self {
        Self {
            four_octet_as: false,
            extended_message: false,
            families: FamilySet::NONE,
            extended_next_hop: false,
            path_ids: PathIds::NONE,
            internal: false,
        }
    }

    /// The longest message allowed, in octets, header included.
    #[must_use]
    pub fn max_len(&self) -> usize {
        if self.extended_message {
            MAX_EXTENDED_LEN
        } else {
            MAX_LEN
        }
    }
}
