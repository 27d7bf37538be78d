//! Octets from hexadecimal, and messages from their fields. The agent's own codec has no part in it.

use std::fmt::Write as _;

/// Octets; `M` stands for the marker, spaces for nothing.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let text = text.replace('M', &"f".repeat(32)).replace([' ', '\n'], "");
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect(&text))
        .collect()
}

/// The same, back.
pub(crate) fn to_hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").expect("written");
        text
    })
}

/// A message of this type.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend(u16::try_from(body.len() + 19).expect("a message").to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

/// UPDATE from its three fields in hexadecimal, lengths put in.
pub(crate) fn update(withdrawn: &str, attributes: &str, nlri: &str) -> Vec<u8> {
    let (withdrawn, attributes, nlri) = (hex(withdrawn), hex(attributes), hex(nlri));
    let mut body = u16::try_from(withdrawn.len())
        .expect("a field")
        .to_be_bytes()
        .to_vec();
    body.extend(withdrawn);
    body.extend(u16::try_from(attributes.len()).expect("a field").to_be_bytes());
    body.extend(attributes);
    body.extend(nlri);
    message(2, &body)
}

/// An attribute, its length put in: of one octet where that is enough.
pub(crate) fn attribute(flags: u8, code: u8, value: &str) -> String {
    let len = hex(value).len();
    if len > 255 {
        format!("{:02x}{code:02x}{len:04x}{value}", flags | 0x10)
    } else {
        format!("{flags:02x}{code:02x}{len:02x}{value}")
    }
}

/// OPEN: version 4, these fields, and the optional parameters with their length.
pub(crate) fn open(asn: u16, hold_time: u16, identifier: u32, parameters: &str) -> Vec<u8> {
    let mut body = vec![4];
    body.extend(asn.to_be_bytes());
    body.extend(hold_time.to_be_bytes());
    body.extend(identifier.to_be_bytes());
    body.extend(hex(parameters));
    message(1, &body)
}

/// Capabilities as the optional parameters of an OPEN, lengths put in.
pub(crate) fn capabilities(list: &str) -> String {
    let len = hex(list).len();
    if len == 0 {
        return "00".to_owned();
    }
    format!("{:02x}02{len:02x}{list}", len + 2)
}

pub(crate) fn keepalive() -> Vec<u8> {
    message(4, &[])
}
