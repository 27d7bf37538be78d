//! Messages that have no place in a state (RFC 4271 §8.2.2, §6.6; RFC 6608). What has no place is not read, so what is
//! wrong in it is not told either.

use crate::hostile::octets::{capabilities, hex, keepalive, open, update};
use crate::hostile::row::{Context, HOP, NLRI, ORIGIN, PATH, Row, Stage, Want};
use Context::{External, Internal, OverIpv6};
use Stage::{Connected, Established, Opened};

const BY: &str = "RFC 6608 §4";

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = |stage, name, octets, subcode, kind| {
        Row::new(External, stage, name, BY, octets, Want::Reset(5, subcode, kind))
    };
    let good = || update("", &format!("{ORIGIN}{PATH}{HOP}"), NLRI);
    let an_open = || External.open(0x0a09_0001);
    let version_3 = || {
        let mut octets = open(65001, 90, 1, &capabilities("0200"));
        octets[19] = 3;
        octets
    };
    vec![
        row(Connected, "KEEPALIVE before OPEN", keepalive(), 1, "04"),
        row(Connected, "UPDATE before OPEN", good(), 1, "02"),
        row(Connected, "an empty UPDATE before OPEN", hex("M 0017 02 00000000"), 1, "02"),
        row(Connected, "a malformed UPDATE before OPEN", hex("M 0017 02 0000ffff"), 1, "02"),
        row(Connected, "ROUTE-REFRESH before OPEN", hex("M 0017 05 00010001"), 1, "05"),
        row(Connected, "a malformed ROUTE-REFRESH before OPEN", hex("M 0013 05"), 1, "05"),
        row(Opened, "OPEN twice", an_open(), 2, "01"),
        row(Opened, "UPDATE before KEEPALIVE", good(), 2, "02"),
        row(Opened, "a malformed UPDATE before KEEPALIVE", hex("M 0017 02 0000ffff"), 2, "02"),
        row(Opened, "ROUTE-REFRESH before KEEPALIVE", hex("M 0017 05 00010001"), 2, "05"),
        row(Established, "OPEN in a session", an_open(), 3, "01"),
        row(Established, "a malformed OPEN in a session", version_3(), 3, "01"),
        Row::new(Internal, Established, "OPEN in an internal session", BY, an_open(), Want::Reset(5, 3, "01")),
        Row::new(OverIpv6, Connected, "KEEPALIVE before OPEN, over IPv6", BY, keepalive(), Want::Reset(5, 1, "04")),
        Row::new(External, Opened, "KEEPALIVE twice", "RFC 4271 §8.2.2", keepalive().repeat(2), Want::Established),
    ]
}
