//! Where TCP cuts the stream is nobody's business, and where the stream ends early nothing half may count.

use crate::hostile::octets::{attribute, hex, keepalive, message, update};
use crate::hostile::row::{
    Context, Delivery, GOOD_LOOK, HOP, NLRI, ORIGIN, P, PATH, Row, Stage, Want, base, handshake, in_session,
};
use Context::{Extended, External, OverIpv6};

const BY: &str = "RFC 4271 §4.1";

fn good() -> Vec<u8> {
    update("", &format!("{ORIGIN}{PATH}{HOP}"), NLRI)
}

/// A good UPDATE of exactly `len` octets, filled by an attribute that nobody knows.
fn filled(len: usize) -> Vec<u8> {
    let fixed = update("", &format!("{ORIGIN}{PATH}{HOP} d0630000"), NLRI).len();
    let filling = attribute(0xc0, 0x63, &"5a".repeat(len - fixed));
    update("", &format!("{ORIGIN}{PATH}{HOP}{filling}"), NLRI)
}

const FILLED: &str = "192.0.2.2 65001 IGP other=99";

/// A good UPDATE of 65,535 octets, full of the same prefix.
fn full() -> Vec<u8> {
    let fixed = update("", &format!("{ORIGIN}{PATH}{HOP} 806300"), "").len();
    let count = (65_535 - fixed) / 4;
    // An attribute that nobody passes on makes up for what is missing.
    let filling = attribute(0x80, 0x63, &"00".repeat((65_535 - fixed) % 4));
    let octets = update("", &format!("{ORIGIN}{PATH}{HOP}{filling}"), &NLRI.repeat(count));
    assert_eq!(octets.len(), 65_535);
    octets
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(External);
    let long = in_session(Extended);
    let half = |len: usize| good()[..len].to_vec();
    let other = || update("", &format!("{ORIGIN}{PATH}{HOP} 80040400000014"), NLRI);
    vec![
        row("an UPDATE, one octet at a time", BY, good(), Want::Announce(&[(P, GOOD_LOOK)])).deliver(Delivery::Trickled),
        row("two UPDATEs in a segment: the last counts", BY, [good(), other()].concat(), Want::Announce(&[(P, "192.0.2.2 65001 IGP med=20")])),
        row("two UPDATEs and half a KEEPALIVE", BY, [other(), good(), keepalive()].concat(), Want::Announce(&[(P, GOOD_LOOK)])),
        row("three hundred KEEPALIVEs at once", BY, keepalive().repeat(300), Want::Nothing),
        row("half an UPDATE, then the end", BY, half(30), Want::End).deliver(Delivery::ThenClosed),
        row("half a header, then the end", BY, half(10), Want::End).deliver(Delivery::ThenClosed),
        row("half an UPDATE, then a RST", BY, half(30), Want::End).deliver(Delivery::ThenReset),
        row("a whole UPDATE, then a RST", BY, good(), Want::End).deliver(Delivery::ThenReset),
        row("nothing, then the end", BY, Vec::new(), Want::End).deliver(Delivery::ThenClosed),
        row("an error, and 60,000 octets behind it", BY, [hex("M 0013 ff"), vec![0x41; 60_000]].concat(), Want::Reset(1, 3, "ff")),
        row("an UPDATE of 4,096 octets", BY, filled(4096), Want::Announce(&[(P, FILLED)])),
        row("an UPDATE of 4,097 octets", BY, filled(4097), Want::Reset(1, 2, "1001")),
        long("an UPDATE of 4,097 octets, agreed on", "RFC 8654 §4", filled(4097), Want::Announce(&[(P, FILLED)])),
        long("an UPDATE of 65,535 octets, agreed on", "RFC 8654 §4", full(), Want::Announce(&[(P, GOOD_LOOK)])),
        long("a NOTIFICATION of 65,535 octets, agreed on", "RFC 8654 §4", message(3, &[vec![6, 4], vec![0x1b; 65_514]].concat()), Want::End),
        Row::new(External, Stage::Connected, "OPEN and KEEPALIVE, one octet at a time", BY, handshake(External, 7), Want::Established)
            .deliver(Delivery::Trickled),
        Row::new(External, Stage::Connected, "OPEN, KEEPALIVE and UPDATEs in one segment", BY, [handshake(External, 7), base(External)].concat(), Want::Established),
        Row::new(OverIpv6, Stage::Connected, "the same over IPv6", BY, [handshake(OverIpv6, 7), base(OverIpv6)].concat(), Want::Established),
        Row::new(External, Stage::Connected, "one octet, then the end", BY, vec![0xff], Want::End).deliver(Delivery::ThenClosed),
        Row::new(External, Stage::Connected, "half an OPEN, then a RST", BY, handshake(External, 7)[..25].to_vec(), Want::End)
            .deliver(Delivery::ThenReset),
        Row::new(External, Stage::Opened, "half a KEEPALIVE, then the end", BY, keepalive()[..18].to_vec(), Want::End)
            .deliver(Delivery::ThenClosed),
        Row::new(External, Stage::Opened, "a KEEPALIVE, one octet at a time", BY, keepalive(), Want::Established).deliver(Delivery::Trickled),
    ]
}
