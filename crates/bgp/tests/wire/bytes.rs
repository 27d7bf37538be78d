//! Messages as hexadecimal, and the contexts in which they are read.

use flatroute_bgp::types::{FamilySet, PathIds};
use flatroute_bgp::wire::{Context, DecodeError, Message, decode, split};

/// An external peer that agreed on four-octet numbers and both families.
pub(crate) fn external() -> Context {
    Context {
        four_octet_as: true,
        extended_message: false,
        families: FamilySet::BOTH,
        extended_next_hop: false,
        path_ids: PathIds::NONE,
        internal: false,
    }
}

/// The same, of our own AS.
pub(crate) fn internal() -> Context {
    Context {
        internal: true,
        ..external()
    }
}

/// The same, with AS numbers of two octets.
pub(crate) fn two_octet() -> Context {
    Context {
        four_octet_as: false,
        ..external()
    }
}

/// The same, with long messages.
pub(crate) fn extended() -> Context {
    Context {
        extended_message: true,
        ..external()
    }
}

/// The same, with IPv6 next hops of IPv4 prefixes.
pub(crate) fn extended_next_hop() -> Context {
    Context {
        extended_next_hop: true,
        ..external()
    }
}

/// Octets from hexadecimal; `M` stands for the marker.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let text = text.replace('M', &"f".repeat(32)).replace([' ', '\n'], "");
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// An UPDATE from its three fields, lengths put in.
pub(crate) fn update(withdrawn: &str, attributes: &str, nlri: &str) -> Vec<u8> {
    let (withdrawn, attributes, nlri) = (hex(withdrawn), hex(attributes), hex(nlri));
    let len = 23 + withdrawn.len() + attributes.len() + nlri.len();
    let mut message = vec![0xff; 16];
    message.extend(u16::try_from(len).unwrap().to_be_bytes());
    message.push(2);
    message.extend(u16::try_from(withdrawn.len()).unwrap().to_be_bytes());
    message.extend(withdrawn);
    message.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    message.extend(attributes);
    message.extend(nlri);
    message
}

/// Splits and decodes what must be one whole message.
pub(crate) fn read(message: &[u8], ctx: &Context) -> Result<Message, DecodeError> {
    let frame = split(message, ctx.max_len())?.expect("a whole message");
    assert_eq!(frame.len, message.len(), "one message, no more");
    decode(&frame, ctx)
}
