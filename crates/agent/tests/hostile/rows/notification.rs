//! NOTIFICATIONs that a neighbour sends: the session ends and nothing is answered (RFC 4271 §6.4). What text is in them
//! (RFC 9003) is hostile: it is shown escaped or in hexadecimal, which `told` pins and the end of the suite checks in
//! the log.

use crate::hostile::octets::{hex, message};
use crate::hostile::row::{Context, Row, Stage, Want};
use Stage::{Connected, Established, Opened};

/// A shutdown communication.
fn cease(subcode: u8, text: &[u8]) -> Vec<u8> {
    let mut body = vec![6, subcode, u8::try_from(text.len()).expect("a text")];
    body.extend(text);
    message(3, &body)
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = |stage, name, by, octets, told| Row::new(Context::External, stage, name, by, octets, Want::End).told(told);
    vec![
        row(Established, "Cease without data", "RFC 4486", hex("M 0015 03 0602"), "(6/2)"),
        row(Established, "a shutdown text", "RFC 9003 §2", cease(2, b"rack move"), "rack move"),
        row(Established, "a text in UTF-8", "RFC 9003 §2", cease(2, "Wartung läuft".as_bytes()), "Wartung läuft"),
        row(Established, "a text that clears the screen", "RFC 9003 §5", cease(2, b"\x1b[2J\x1b]0;owned\x07"), r"\u{1b}[2J"),
        row(Established, "a text of several lines", "RFC 9003 §5", cease(4, b"bye\n2026-01-01T00:00:00Z ERROR forged line\r\n"), r"bye\n2026"),
        row(Established, "a text with C1 controls", "RFC 9003 §5", cease(2, "\u{9b}31m".as_bytes()), r"\u{9b}31m"),
        row(Established, "a text that runs backwards", "RFC 9003 §5", cease(2, "a\u{202e}b".as_bytes()), r"\u{202e}"),
        row(Established, "a text that ends the quotation", "RFC 9003 §5", cease(2, br#"" ERROR "#), r#"\" ERROR"#),
        row(Established, "a text with a zero", "RFC 9003 §5", cease(2, b"a\0b"), r"a\0b"),
        row(Established, "a text that is no UTF-8", "RFC 9003 §4", cease(2, b"\xff\xfe\x80"), "fffe80"),
        row(Established, "a text cut inside a character", "RFC 9003 §4", cease(2, b"a\xe2\x82"), "61e282"),
        row(Established, "a text of 255 octets", "RFC 9003 §2", cease(2, &[b'x'; 255]), "xxx"),
        row(Established, "a text longer than it says", "RFC 9003 §4", hex("M 0019 03 060201 626164"), "data 01"),
        row(Established, "a text shorter than it says", "RFC 9003 §4", hex("M 001b 03 0602ff 647261696e"), "data ff"),
        row(Established, "an empty text", "RFC 9003 §2", hex("M 0016 03 060200"), "(6/2)"),
        row(Established, "a text with a subcode that has none", "RFC 9003 §2", cease(3, b"\x1b[2J"), "(6/3)"),
        row(Established, "Hard Reset without an inner code", "RFC 8538 §3", hex("M 0015 03 0609"), "(6/9)"),
        row(Established, "Hard Reset with half an inner code", "RFC 8538 §3", hex("M 0016 03 060906"), "(6/9)"),
        row(Established, "Hard Reset around a shutdown text", "RFC 8538 §3", hex("M 001c 03 0609 0602 04 1b5b324a"), "(6/9)"),
        row(Established, "an unknown code", "RFC 4271 §6.4", hex("M 0015 03 6363"), "(99/99)"),
        row(Established, "code 0", "RFC 4271 §6.4", hex("M 0015 03 0000"), "(0/0)"),
        row(Established, "an unknown subcode of Cease", "RFC 4271 §6.4", hex("M 0015 03 06ff"), "(6/255)"),
        row(Established, "4,075 octets of data", "RFC 4271 §6.4", message(3, &[vec![3, 1], vec![0x0a; 4075]].concat()), "(3/1)"),
        row(Established, "max-prefix with a cut family", "RFC 4486 §4", hex("M 0017 03 0601 0001"), "(6/1)"),
        row(Established, "Hold Timer Expired", "RFC 4271 §6.5", hex("M 0015 03 0400"), "(4/0)"),
        row(Established, "Send Hold Timer Expired", "RFC 9687 §4", hex("M 0015 03 0800"), "(8/0)"),
        row(Established, "a NOTIFICATION with others behind it", "RFC 4271 §6.4", hex("M 0015 03 0602 M 0015 03 0604 M 0013 04"), "(6/2)"),
        row(Connected, "NOTIFICATION before OPEN", "RFC 4271 §8.2.2", hex("M 0015 03 0605"), "(6/5)"),
        row(Connected, "a version that is refused", "RFC 4271 §8.2.2", hex("M 0017 03 0201 0003"), "(2/1)"),
        row(Connected, "a hostile text before OPEN", "RFC 9003 §5", cease(2, b"\x1b[31m\n"), r"\u{1b}[31m\n"),
        row(Opened, "NOTIFICATION in OpenConfirm", "RFC 4271 §8.2.2", hex("M 0015 03 0202"), "(2/2)"),
        row(Opened, "unsupported capability in OpenConfirm", "RFC 5492 §5", hex("M 0017 03 0207 4104"), "(2/7)"),
    ]
}
