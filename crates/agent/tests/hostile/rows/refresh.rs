//! ROUTE-REFRESH (RFC 2918, RFC 7313).

use crate::hostile::octets::hex;
use crate::hostile::row::{Context, Row, Want, in_session};

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::External);
    let only4 = in_session(Context::Ipv4Only);
    vec![
        row("one of IPv4", "RFC 2918 §4", hex("M 0017 05 00010001"), Want::Nothing),
        row("one of a family that is not ours", "RFC 2918 §4", hex("M 0017 05 00190041"), Want::Nothing),
        row("one of AFI 0", "RFC 2918 §4", hex("M 0017 05 00000000"), Want::Nothing),
        only4("one of a family that was not agreed on", "RFC 2918 §4", hex("M 0017 05 00020001"), Want::Nothing),
        row("an unknown subtype", "RFC 7313 §5", hex("M 0017 05 0001ff01"), Want::Nothing),
        row("a thousand of them", "RFC 2918 §4", hex("M 0017 05 00010001").repeat(1000), Want::Nothing),
        row("of 5 octets", "RFC 7313 §5", hex("M 0018 05 0001010100"), Want::Reset(7, 1, "M0018050001010100")),
        row("of 3 octets", "RFC 7313 §5", hex("M 0016 05 000101"), Want::Reset(7, 1, "M001605000101")),
        row("of no octets", "RFC 7313 §5", hex("M 0013 05"), Want::Reset(7, 1, "M001305")),
    ]
}
