//! The message header (RFC 4271 §4.1, §6.1; RFC 8654 §4, §5): an error is answered as soon as it can be seen.

use crate::hostile::octets::hex;
use crate::hostile::row::{Context, Row, Stage, Want};
use Context::{Extended, External};
use Stage::{Connected, Established, Opened};

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = |context, stage, name, by, octets: &str, code: (u8, u8, &'static str)| {
        Row::new(context, stage, name, by, hex(octets), Want::Reset(code.0, code.1, code.2))
    };
    vec![
        row(External, Established, "a marker of zeros", "RFC 4271 §6.1", "00000000000000000000000000000000 0013 04", (1, 1, "")),
        row(External, Established, "a marker wrong in its last bit", "RFC 4271 §6.1", "fffffffffffffffffffffffffffffffe 0013 04", (1, 1, "")),
        row(External, Established, "a marker wrong in its first bit", "RFC 4271 §6.1", "7fffffffffffffffffffffffffffffff 0013 04", (1, 1, "")),
        row(External, Established, "a length of 0", "RFC 4271 §6.1", "M 0000 04", (1, 2, "0000")),
        row(External, Established, "a length of 18", "RFC 4271 §6.1", "M 0012 04", (1, 2, "0012")),
        row(External, Established, "4,097 octets without extended messages", "RFC 4271 §6.1", "M 1001 02", (1, 2, "1001")),
        row(External, Established, "65,535 octets without extended messages", "RFC 4271 §6.1", "M ffff 02 00000000000000", (1, 2, "ffff")),
        row(External, Established, "type 0", "RFC 4271 §6.1", "M 0013 00", (1, 3, "00")),
        row(External, Established, "type 6", "RFC 4271 §6.1", "M 0013 06", (1, 3, "06")),
        row(External, Established, "type 255", "RFC 4271 §6.1", "M 0013 ff", (1, 3, "ff")),
        row(External, Established, "a wrong length of an unknown type", "RFC 4271 §6.1", "M 0012 09", (1, 2, "0012")),
        row(External, Established, "a KEEPALIVE of 20", "RFC 4271 §6.1", "M 0014 04 00", (1, 2, "0014")),
        row(External, Established, "a KEEPALIVE of 4,096", "RFC 4271 §6.1", "M 1000 04", (1, 2, "1000")),
        row(External, Established, "an UPDATE of 22", "RFC 4271 §6.1", "M 0016 02 000000", (1, 2, "0016")),
        row(External, Established, "an UPDATE of 19", "RFC 4271 §6.1", "M 0013 02", (1, 2, "0013")),
        row(External, Established, "a NOTIFICATION of 20", "RFC 4271 §6.1", "M 0014 03 06", (1, 2, "0014")),
        row(External, Connected, "an OPEN of 28", "RFC 4271 §6.1", "M 001c 01 04fde9005ac0000202", (1, 2, "001c")),
        row(External, Connected, "an OPEN of 4,097", "RFC 8654 §4", "M 1001 01", (1, 2, "1001")),
        row(External, Connected, "a marker wrong before OPEN", "RFC 4271 §6.1", "fffffffffffffffffffffffffffffff0 0013 04", (1, 1, "")),
        row(External, Connected, "an unknown type before OPEN", "RFC 4271 §6.1", "M 0013 07", (1, 3, "07")),
        row(External, Connected, "a length of 65,535 before OPEN", "RFC 4271 §6.1", "M ffff 01", (1, 2, "ffff")),
        row(External, Connected, "HTTP", "RFC 4271 §6.1", "474554202f20485454502f312e310d0a0d0a", (1, 1, "")),
        row(External, Connected, "TLS", "RFC 4271 §6.1", "160301020001000001fc0303", (1, 1, "")),
        row(External, Connected, "SSH", "RFC 4271 §6.1", "5353482d322e302d4f70656e5353480d0a", (1, 1, "")),
        row(External, Opened, "a marker wrong in OpenConfirm", "RFC 4271 §6.1", "fe", (1, 1, "")),
        row(External, Opened, "an unknown type in OpenConfirm", "RFC 4271 §6.1", "M 0013 80", (1, 3, "80")),
        row(External, Opened, "a length of 12 in OpenConfirm", "RFC 4271 §6.1", "M 000c 04", (1, 2, "000c")),
        row(Extended, Established, "a KEEPALIVE of 65,535 with extended messages", "RFC 8654 §4", "M ffff 04", (1, 2, "ffff")),
        row(Extended, Established, "a KEEPALIVE of 4,097 with extended messages", "RFC 8654 §4", "M 1001 04", (1, 2, "1001")),
        row(Extended, Established, "a type unknown with 65,535 octets", "RFC 4271 §6.1", "M ffff 63", (1, 3, "63")),
        row(Extended, Connected, "an OPEN of 65,535", "RFC 8654 §4", "M ffff 01", (1, 2, "ffff")),
    ]
}
