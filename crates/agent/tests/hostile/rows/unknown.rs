//! Attributes that the agent does not know, or does not act on (RFC 4271 §5, §6.3): kept and passed on, dropped, or, the
//! well-known ones, the end. Several of them have ended the sessions of other speakers.

use crate::hostile::octets::{attribute, update};
use crate::hostile::row::{Context, GOOD_LOOK, HOP, NLRI, ORIGIN, P, PATH, Row, Want, in_session};
use Want::{Announce, Reset, Withdraw};

/// The route is taken and nothing of the attribute is kept.
const DROPPED: Want = Announce(&[(P, GOOD_LOOK)]);
const KEPT: Want = Announce(&[(P, "192.0.2.2 65001 IGP other=99")]);

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::External);
    let more = |a: &str| update("", &format!("{ORIGIN}{PATH}{HOP}{a}"), NLRI);
    let hundreds = "c06300".repeat(200);
    let every: String = (64..=254).map(|code| attribute(0xc0, code, "0102")).collect();
    vec![
        row("optional and transitive", "RFC 4271 §5", more("c0630101"), KEPT),
        row("optional, transitive and partial", "RFC 4271 §5", more("e0630101"), KEPT),
        row("optional and transitive of no octets", "RFC 4271 §5", more("c06300"), KEPT),
        row("optional and not transitive", "RFC 4271 §5", more("80630101"), DROPPED),
        row("of 4,000 octets", "RFC 4271 §5", more(&attribute(0xc0, 0x63, &"00".repeat(4000))), KEPT),
        row("of code 0", "RFC 4271 §5", more("c0000101"), Announce(&[(P, "192.0.2.2 65001 IGP other=0")])),
        row("of code 255", "RFC 4271 §5", more("c0ff0101"), Announce(&[(P, "192.0.2.2 65001 IGP other=255")])),
        row("twice", "RFC 7606 §3 g", more("c0630101c0630102"), KEPT).told("twice"),
        row("two hundred of one code", "RFC 7606 §3 g", more(&hundreds), KEPT).told("twice"),
        row("every code from 64 to 254", "RFC 4271 §5", more(&every), Announce(&[(P, "192.0.2.2 65001 IGP others=191")])),
        row("well-known", "RFC 4271 §6.3", more("40630101"), Reset(3, 2, "40630101")),
        row("well-known and not transitive", "RFC 4271 §6.3", more("00630101"), Reset(3, 2, "00630101")),
        row("well-known of code 0", "RFC 4271 §6.3", more("40000101"), Reset(3, 2, "40000101")),
        row("well-known of 300 octets", "RFC 4271 §6.3", more("50630003010203"), Reset(3, 2, "50630003010203")),
        row("well-known that overruns", "RFC 7606 §4", more("406302ff"), Withdraw(&[P])),
        row("PMSI_TUNNEL of 1", "RFC 4271 §5", more("c0160101"), Announce(&[(P, "192.0.2.2 65001 IGP other=22")])),
        row("Tunnel Encapsulation that ends early", "RFC 9012 §13", more("c01703000700"), Announce(&[(P, "192.0.2.2 65001 IGP other=23")])),
        row("Traffic Engineering of nothing", "RFC 4271 §5", more("801800"), DROPPED),
        row("AIGP of nothing", "RFC 7311 §3", more("801a00"), DROPPED),
        row("AIGP with a TLV of length 0", "RFC 7311 §3", more("801a03010000"), DROPPED),
        row("BGP-LS", "RFC 4271 §5", more("801d0400010002"), DROPPED),
        row("ENTROPY LABEL of nothing", "RFC 7447", more("c01c00"), Announce(&[(P, "192.0.2.2 65001 IGP other=28")])),
        row("BGPsec_PATH of 2", "RFC 4271 §5", more("8021020002"), DROPPED),
        row("SFP of nothing", "RFC 4271 §5", more("c02500"), Announce(&[(P, "192.0.2.2 65001 IGP other=37")])),
        row("BGP Prefix-SID, all zero", "RFC 8669 §6", more("c028080000000000000000"), Announce(&[(P, "192.0.2.2 65001 IGP other=40")])),
        row("ATTR_SET that ends early", "RFC 6368", more("c0800100"), Announce(&[(P, "192.0.2.2 65001 IGP other=128")])),
    ]
}
