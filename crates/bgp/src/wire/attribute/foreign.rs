//! Attributes that this speaker does not act on, but knows by name (IANA, BGP Path Attributes).
//!
//! A name makes displays and errors readable, and says two things more. All of these are optional, so one that claims
//! to be well-known has its flags wrong (RFC 7606 §3 c), where an unheard-of one would end the session. And two of them
//! are judged without being understood: AIGP is dropped whatever its flags are, because no session here has
//! AIGP_SESSION (RFC 7311 §3.3), and IPv6 extended communities have a length that must hold (RFC 7606 §7.15). All others are
//! as good as unknown: passed on with the Partial bit when they are transitive, else dropped (RFC 4271 §5). To read
//! them any closer would only add ways to be wrong: each has been the crash of some router.

use crate::wire::UpdateError;

use super::{Fault, OPTIONAL};

/// What becomes of an attribute that we only know by name.
#[derive(Clone, Copy)]
enum Treatment {
    /// What its flags ask for.
    AsFlagged,
    /// It is dropped, and nothing is said of it.
    Dropped,
    /// Like `AsFlagged`, but its length is so many octets, or a multiple.
    MultipleOf(usize),
}

/// An attribute that we only know by name.
pub(in crate::wire) struct Foreign {
    code: u8,
    /// The name, as IANA has it.
    pub(in crate::wire) name: &'static str,
    treatment: Treatment,
}

const fn foreign(code: u8, name: &'static str) -> Foreign {
    Foreign {
        code,
        name,
        treatment: Treatment::AsFlagged,
    }
}

static TABLE: [Foreign; 33] = [
    foreign(11, "DPA (deprecated)"),
    foreign(12, "ADVERTISER (deprecated)"),
    foreign(13, "RCID_PATH (deprecated)"),
    foreign(19, "SSA (deprecated)"),
    foreign(20, "CONNECTOR (deprecated)"),
    foreign(21, "AS_PATHLIMIT (deprecated)"),
    foreign(22, "PMSI_TUNNEL"),
    foreign(23, "TUNNEL_ENCAPSULATION"),
    foreign(24, "TRAFFIC_ENGINEERING"),
    Foreign {
        treatment: Treatment::MultipleOf(20),
        ..foreign(25, "IPV6_EXTENDED_COMMUNITIES")
    },
    Foreign {
        treatment: Treatment::Dropped,
        ..foreign(26, "AIGP")
    },
    foreign(27, "PE_DISTINGUISHER_LABELS"),
    foreign(28, "ENTROPY_LABEL_CAPABILITY (deprecated)"),
    foreign(29, "BGP_LS"),
    foreign(30, "attribute 30 (deprecated)"),
    foreign(31, "attribute 31 (deprecated)"),
    foreign(33, "BGPSEC_PATH"),
    foreign(34, "COMMUNITY_CONTAINER"),
    foreign(36, "D_PATH"),
    foreign(37, "SFP"),
    foreign(38, "BFD_DISCRIMINATOR"),
    foreign(39, "NEXT_HOP_DEPENDENT_CHARACTERISTICS"),
    foreign(40, "PREFIX_SID"),
    foreign(41, "BIER"),
    foreign(42, "EDGE_METADATA"),
    foreign(128, "ATTR_SET"),
    foreign(129, "attribute 129 (deprecated)"),
    foreign(241, "attribute 241 (deprecated)"),
    foreign(242, "attribute 242 (deprecated)"),
    foreign(243, "attribute 243 (deprecated)"),
    foreign(250, "attribute 250 (experiments)"),
    foreign(251, "attribute 251 (experiments)"),
    foreign(255, "attribute 255 (development)"),
];

/// The attribute of a type code, if it is one of these.
pub(in crate::wire) fn known(code: u8) -> Option<&'static Foreign> {
    TABLE.iter().find(|foreign| foreign.code == code)
}

impl Foreign {
    /// Whether the attribute is to be treated as an unknown one, or dropped.
    pub(in crate::wire) fn judge(&self, flags: u8, value: &[u8]) -> Result<bool, Fault> {
        if flags & OPTIONAL == 0 {
            let what = format!("flags {flags:02x}, but it is optional");
            return Err(Fault::new(UpdateError::AttributeFlags, what));
        }
        match self.treatment {
            Treatment::AsFlagged => Ok(true),
            Treatment::Dropped => Ok(false),
            Treatment::MultipleOf(len) if value.is_empty() || !value.len().is_multiple_of(len) => {
                let expected = format!("a multiple of {len}, not zero");
                Err(Fault::length(value.len(), &expected))
            }
            Treatment::MultipleOf(_) => Ok(true),
        }
    }
}
