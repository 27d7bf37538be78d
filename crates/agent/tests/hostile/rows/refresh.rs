//! ROUTE-REFRESH (RFC 2918, RFC 7313).

use crate::hostile::octets::hex;
use crate::hostile::row::{Context, P, P6, Q, Q6, Row, Want, in_session};

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::External);
    let agreed = in_session(Context::Refreshing);
    let only4 = in_session(Context::Ipv4Only);
    vec![
        row("one of IPv4", "RFC 2918 §4", hex("M 0017 05 00010001"), Want::Nothing),
        row("one of a family that is not ours", "RFC 2918 §4", hex("M 0017 05 00190041"), Want::Nothing),
        row("one of AFI 0", "RFC 2918 §4", hex("M 0017 05 00000000"), Want::Nothing),
        only4("one of a family that was not agreed on", "RFC 2918 §4", hex("M 0017 05 00020001"), Want::Nothing),
        row("an unknown subtype", "RFC 7313 §5", hex("M 0017 05 0001ff01"), Want::Nothing),
        row("a thousand of them", "RFC 2918 §4", hex("M 0017 05 00010001").repeat(1000), Want::Nothing),
        row("of 5 octets, not agreed on", "RFC 7313 §5", hex("M 0018 05 0001010100"), Want::Nothing),
        row("of no octets, not agreed on", "RFC 7313 §5", hex("M 0013 05"), Want::Nothing),
        row("brackets, not agreed on", "RFC 7313 §4.2", hex("M 0017 05 00010101 M 0017 05 00010201"), Want::Nothing),
        agreed("of 5 octets", "RFC 7313 §5", hex("M 0018 05 0001010100"), Want::Reset(7, 1, "M0018050001010100")),
        agreed("of 3 octets", "RFC 7313 §5", hex("M 0016 05 000102"), Want::Reset(7, 1, "M001605000102")),
        agreed("the end without a beginning", "RFC 7313 §4.2", hex("M 0017 05 00010201"), Want::Nothing),
        agreed("a beginning without an end", "RFC 7313 §4.2", hex("M 0017 05 00010101"), Want::Nothing),
        agreed("a beginning twice", "RFC 7313 §4.2", hex("M 0017 05 00010101").repeat(2), Want::Nothing),
        agreed("brackets around nothing", "RFC 7313 §4.2", hex("M 0017 05 00010101 M 0017 05 00010201"), Want::Gone(&[P, Q])),
        agreed("brackets of IPv6 around nothing", "RFC 7313 §4.2", hex("M 0017 05 00020101 M 0017 05 00020201"), Want::Gone(&[P6, Q6])),
        agreed("brackets of a family that is not ours", "RFC 7313 §4.2", hex("M 0017 05 00190146 M 0017 05 00190246"), Want::Nothing),
        agreed("an unknown subtype, agreed on", "RFC 7313 §5", hex("M 0017 05 0001ff01"), Want::Nothing),
    ]
}
