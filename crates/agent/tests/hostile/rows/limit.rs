//! What a route may have at most (docs/limits.md): at the limit it is taken, beyond it is treated as withdrawn, and the
//! session goes on.

use crate::hostile::octets::{attribute, update};
use crate::hostile::row::{Context, HOP, NLRI, ORIGIN, P, PATH, Row, Want, in_session};
use Want::{Announce, Withdraw};

const BY: &str = "docs/limits.md";
const GONE: Want = Withdraw(&[P]);

/// An AS_PATH of 65001 so many times.
fn path(hops: usize) -> String {
    let mut value = String::new();
    let mut left = hops;
    while left > 0 {
        let count = left.min(255);
        value += &format!("02{count:02x}{}", "0000fde9".repeat(count));
        left -= count;
    }
    attribute(0x40, 2, &value)
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let row = in_session(Context::External);
    let long = in_session(Context::Extended);
    let more = |a: &str| update("", &format!("{ORIGIN}{PATH}{HOP}{a}"), NLRI);
    let hops = |count| update("", &format!("{ORIGIN}{}{HOP}", path(count)), NLRI);
    let unknown = |octets: usize| more(&[attribute(0xc0, 99, &"00".repeat(octets / 2)), attribute(0xc0, 100, &"00".repeat(octets - octets / 2))].concat());
    vec![
        row("a path of 751 hops", BY, hops(751), GONE).told("at most 750"),
        row("a path of 1,000 hops", BY, hops(1000), GONE).told("at most 750"),
        long("a path of 2,000 hops", BY, hops(2000), GONE).told("at most 750"),
        long("a path of 16,000 hops", BY, hops(16_000), GONE).told("at most 750"),
        row("257 attributes", BY, more(&"c06300".repeat(254)), GONE).told("256 attributes"),
        row("1,000 attributes", BY, more(&"c06300".repeat(997)), GONE).told("256 attributes"),
        long("20,000 attributes", BY, more(&"c06300".repeat(20_000)), GONE).told("256 attributes"),
        long("1,025 communities", BY, more(&attribute(0xc0, 8, &"fde90007".repeat(1025))), GONE).told("at most 1024"),
        long("10,000 communities", BY, more(&attribute(0xc0, 8, &"fde90007".repeat(10_000))), GONE).told("at most 1024"),
        long("5,000 extended communities", BY, more(&attribute(0xc0, 16, &"0002fc0000000064".repeat(5000))), GONE).told("at most 1024"),
        long("5,000 large communities", BY, more(&attribute(0xc0, 32, &"0000fde90000000100000002".repeat(5000))), GONE).told("at most 1024"),
        long("4,096 octets that nobody knows", BY, unknown(4096), Announce(&[(P, "192.0.2.2 65001 IGP other=99,100")])),
        long("4,097 octets that nobody knows", BY, unknown(4097), GONE).told("at most 4096"),
        long("65,000 octets that nobody knows", BY, unknown(65_000), GONE).told("at most 4096"),
        row("sixteen errors and one that is stronger", BY, more(&format!("{}800401ff", "40060100".repeat(40))), GONE).told("MULTI_EXIT_DISC"),
    ]
}
