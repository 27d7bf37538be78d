//! Extended and large communities, and what else is judged by its length alone (RFC 4360, 8092, 5701; RFC 7606 §7.14,
//! §7.15).

use crate::hostile::octets::{attribute, update};
use crate::hostile::row::{Context, GOOD_LOOK, HOP, NLRI, ORIGIN, P, PATH, Row, Want, in_session};
use Want::{Announce, Withdraw};

const GONE: Want = Withdraw(&[P]);

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::External);
    let more = |a: &str| update("", &format!("{ORIGIN}{PATH}{HOP}{a}"), NLRI);
    let extended = |flags, value: &str| more(&attribute(flags, 16, value));
    let large = |flags, value: &str| more(&attribute(flags, 32, value));
    let v6 = |value: &str| more(&attribute(0xc0, 25, value));
    vec![
        row("an extended community", "RFC 4360 §4", extended(0xc0, "0002fc0000000064"), Announce(&[(P, "192.0.2.2 65001 IGP extended=rt:64512:100")])),
        row("an extended community that nobody knows", "RFC 7606 §7.14", extended(0xc0, "3fff000000000001"), Announce(&[(P, "192.0.2.2 65001 IGP extended=generic:0x3fff000000000001")])),
        row("a bandwidth that is no number", "RFC 4360 §2", extended(0xc0, "4004fc007fc00000"), Announce(&[(P, "192.0.2.2 65001 IGP extended=bandwidth:64512:NaN")])),
        row("extended communities of no octets", "RFC 7606 §7.14", extended(0xc0, ""), GONE).told("EXTENDED_COMMUNITIES"),
        row("extended communities of 7", "RFC 7606 §7.14", extended(0xc0, "00000000000000"), GONE).told("EXTENDED_COMMUNITIES"),
        row("extended communities of 9", "RFC 7606 §7.14", extended(0xc0, "000000000000000000"), GONE).told("EXTENDED_COMMUNITIES"),
        row("extended communities not transitive", "RFC 7606 §3 c", extended(0x80, "0002fc0000000064"), GONE).told("EXTENDED_COMMUNITIES"),
        row("extended communities well-known", "RFC 7606 §3 c", extended(0x40, "0002fc0000000064"), GONE).told("EXTENDED_COMMUNITIES"),
        row("a large community", "RFC 8092 §3", large(0xc0, "0000fde90000000100000002"), Announce(&[(P, "192.0.2.2 65001 IGP large=65001:1:2")])),
        row("a large community twice", "RFC 8092 §3", large(0xc0, &"0000fde90000000100000002".repeat(2)), Announce(&[(P, "192.0.2.2 65001 IGP large=65001:1:2")])),
        row("a large community of AS 0", "RFC 8092 §2", large(0xc0, "000000000000000100000002"), Announce(&[(P, "192.0.2.2 65001 IGP large=0:1:2")])),
        row("large communities of no octets", "RFC 8092 §6", large(0xc0, ""), GONE).told("LARGE_COMMUNITY"),
        row("large communities of 11", "RFC 8092 §6", large(0xc0, "0000fde900000001000000"), GONE).told("LARGE_COMMUNITY"),
        row("large communities of 13", "RFC 8092 §6", large(0xc0, "0000fde9000000010000000200"), GONE).told("LARGE_COMMUNITY"),
        row("large communities not transitive", "RFC 7606 §3 c", large(0x80, "0000fde90000000100000002"), GONE).told("LARGE_COMMUNITY"),
        row("large communities twice as an attribute", "RFC 7606 §3 g",
            more(&[attribute(0xc0, 32, "0000fde90000000100000002"), attribute(0xc0, 32, "0000fde90000000300000004")].concat()),
            Announce(&[(P, "192.0.2.2 65001 IGP large=65001:1:2")])).told("LARGE_COMMUNITY"),
        row("IPv6 extended communities", "RFC 5701", v6(&"00".repeat(20)), Announce(&[(P, "192.0.2.2 65001 IGP other=25")])),
        row("IPv6 extended communities of 21", "CVE-2026-37461", v6(&"00".repeat(21)), GONE),
        row("IPv6 extended communities of no octets", "RFC 7606 §7.15", v6(""), GONE),
        row("PMSI_TUNNEL that claims to be well-known", "RFC 7606 §3 c", more("40160101"), GONE),
        row("Prefix-SID that claims to be well-known", "RFC 7606 §3 c", more("402800"), GONE),
        row("AIGP transitive", "RFC 7311 §3.3", more("c01a0b01000b0000000000000001"), Announce(&[(P, GOOD_LOOK)])),
        row("ONLY_TO_CUSTOMER", "RFC 9234 §5", more("c023040000fde9"), Announce(&[(P, "192.0.2.2 65001 IGP otc=65001")])),
        row("ONLY_TO_CUSTOMER of no octets", "RFC 9234 §5", more("c02300"), GONE).told("ONLY_TO_CUSTOMER"),
        row("ONLY_TO_CUSTOMER of 2", "RFC 9234 §5", more("c02302fde9"), GONE).told("ONLY_TO_CUSTOMER"),
        row("ONLY_TO_CUSTOMER of 5", "RFC 9234 §5", more("c023050000fde900"), GONE).told("ONLY_TO_CUSTOMER"),
        row("ONLY_TO_CUSTOMER not transitive", "RFC 7606 §3 c", more("8023040000fde9"), GONE).told("ONLY_TO_CUSTOMER"),
        row("NO_EXPORT and NO_ADVERTISE", "RFC 1997", more("c00808ffffff01ffffff02"), Announce(&[(P, "192.0.2.2 65001 IGP communities=no-export,no-advertise")])),
        row("AS_PATH with a set", "RFC 9774 §3", update("", &format!("{ORIGIN} 40020c 0201 0000fde9 0101 0000fdea {HOP}"), NLRI), GONE).told("AS_SET"),
        row("AS_PATH of a set alone", "RFC 9774 §3", update("", &format!("{ORIGIN} 400206 0101 0000fde9 {HOP}"), NLRI), GONE).told("AS_SET"),
    ]
}
