//! The two messages (RFC 4861 §4.1, §4.2), as much of them as is of use here.
//!
//! The checks are those of §6.1.1 and §6.1.2 that can be made on the octets. That the hop limit is 255, that the checksum is right
//! and where it came from is known to the socket. What options say is not read; that each has a length, and ends where the
//! message does, is checked all the same, because a message with a broken option must be dropped as a whole.

use std::fmt;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A host or router asks the routers of its link to speak.
    Solicitation,
    /// A router speaks.
    Advertisement {
        /// For how many seconds it may be a host's default router; 0: not at all.
        lifetime: u16,
    },
}

/// Why octets are no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is another ICMPv6 message.
    Type(u8),
    /// Its code is not 0.
    Code(u8),
    /// It ends before its fixed part does.
    Short,
    /// It is longer than any that is of use.
    Long,
    /// An option has no length, or is longer than the message.
    Option,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(found) => write!(f, "type {found}"),
            Self::Code(found) => write!(f, "code {found}"),
            Self::Short => f.write_str("it is cut off"),
            Self::Long => f.write_str("it is too long"),
            Self::Option => f.write_str("an option has no length, or is cut off"),
        }
    }
}

/// The ICMPv6 type of a router solicitation.
pub(crate) const SOLICITATION: u8 = 133;
/// The ICMPv6 type of a router advertisement.
pub(crate) const ADVERTISEMENT: u8 = 134;
/// The octets of a solicitation before its options.
const SOLICITATION_LEN: usize = 8;
/// The octets of an advertisement before its options.
const ADVERTISEMENT_LEN: usize = 16;

/// Reads a message from the ICMPv6 header on.
///
/// # Errors
/// When it is not one of the two, or a router must drop it.
pub fn decode(octets: &[u8]) -> Result<Message, Malformed> {
    let [kind, code, ..] = *octets else {
        return Err(Malformed::Short);
    };
    let (message, options) = match kind {
        SOLICITATION => {
            let (_, options) = octets
                .split_first_chunk::<SOLICITATION_LEN>()
                .ok_or(Malformed::Short)?;
            (Message::Solicitation, options)
        }
        ADVERTISEMENT => {
            let (fixed, options) = octets
                .split_first_chunk::<ADVERTISEMENT_LEN>()
                .ok_or(Malformed::Short)?;
            let [_, _, _, _, _, _, high, low, ..] = *fixed;
            let lifetime = u16::from_be_bytes([high, low]);
            (Message::Advertisement { lifetime }, options)
        }
        other => return Err(Malformed::Type(other)),
    };
    if code != 0 {
        return Err(Malformed::Code(code));
    }
    are_whole(options).then_some(message).ok_or(Malformed::Option)
}

/// Whether each option has a length, in units of 8 octets, and the last one ends with the message (RFC 4861 §4.6).
fn are_whole(mut options: &[u8]) -> bool {
    while let [_, rest @ ..] = options {
        let Some(length) = rest.first().filter(|length| **length > 0) else {
            return false;
        };
        let Some(next) = options.get(usize::from(*length).saturating_mul(8)..) else {
            return false;
        };
        options = next;
    }
    true
}

/// Writes a message, without a checksum: the kernel fills it in.
#[must_use]
pub fn encode(message: Message) -> Vec<u8> {
    match message {
        Message::Solicitation => {
            let mut octets = vec![0; SOLICITATION_LEN];
            octets[0] = SOLICITATION;
            octets
        }
        // All other fields are 0: the sender has no opinion on them.
        Message::Advertisement { lifetime } => {
            let mut octets = vec![0; ADVERTISEMENT_LEN];
            octets[0] = ADVERTISEMENT;
            octets[6..8].copy_from_slice(&lifetime.to_be_bytes());
            octets
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn advertisement(options: &[u8]) -> Vec<u8> {
        let mut octets = encode(Message::Advertisement { lifetime: 0x1234 });
        octets.extend(options);
        octets
    }

    #[test]
    fn what_routers_send_is_read() {
        let lifetime = |lifetime| Ok(Message::Advertisement { lifetime });
        assert_eq!(decode(&advertisement(&[])), lifetime(0x1234));
        // The source link-layer address, an MTU, and a prefix.
        let mut options = vec![1, 1, 2, 0, 0, 0, 0, 1, 5, 1, 0, 0, 0, 0, 5, 220, 3, 4];
        options.extend([0; 30]);
        assert_eq!(decode(&advertisement(&options)), lifetime(0x1234));
        // A type that nobody knows.
        assert_eq!(
            decode(&advertisement(&[200, 1, 9, 9, 9, 9, 9, 9])),
            lifetime(0x1234)
        );
        let mut solicitation = encode(Message::Solicitation);
        solicitation.extend([1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(decode(&solicitation), Ok(Message::Solicitation));
    }

    #[test]
    fn what_a_router_must_drop_is_dropped() {
        let whole = advertisement(&[1, 1, 2, 0, 0, 0, 0, 1]);
        for cut in 0..16 {
            assert_eq!(decode(&whole[..cut]), Err(Malformed::Short), "{cut}");
        }
        for cut in 17..24 {
            assert_eq!(decode(&whole[..cut]), Err(Malformed::Option), "{cut}");
        }
        let mut code = whole.clone();
        code[1] = 1;
        assert_eq!(decode(&code), Err(Malformed::Code(1)));
        let mut other = whole;
        other[0] = 136;
        assert_eq!(decode(&other), Err(Malformed::Type(136)));
        for options in [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[1, 2, 0, 0, 0, 0, 0, 0], &[1]] {
            assert_eq!(
                decode(&advertisement(options)),
                Err(Malformed::Option),
                "{options:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn messages_read_as_written(lifetime: u16) {
            let message = Message::Advertisement { lifetime };
            prop_assert_eq!(decode(&encode(message)), Ok(message));
            prop_assert_eq!(decode(&encode(Message::Solicitation)), Ok(Message::Solicitation));
        }

        #[test]
        fn any_octets_have_an_answer(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = decode(&octets);
        }

        #[test]
        fn any_options_behind_a_good_head_have_an_answer(options in proptest::collection::vec(0u8..4, 0..200)) {
            if let Err(why) = decode(&advertisement(&options)) {
                prop_assert_eq!(why, Malformed::Option);
            }
        }
    }
}
