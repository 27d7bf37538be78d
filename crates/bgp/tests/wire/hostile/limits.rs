//! What each limit of `wire::limits` does (docs/limits.md).

use flatroute_bgp::wire::limits::{
    MAX_AS_PATH, MAX_ATTRIBUTES, MAX_CLUSTER_LIST, MAX_COMMUNITIES, MAX_UNKNOWN_OCTETS,
};
use flatroute_bgp::wire::{Context, Message};

use super::super::bytes::{extended, external, internal, read, update};
use super::Want::{Announce, Withdraw};
use super::{GOOD, GOOD6, NLRI, P, P6, REACH, check};

fn update_of(attributes: &str) -> Vec<u8> {
    update("", attributes, NLRI)
}

/// A message full of errors is described in bounded space.
#[test]
fn errors_are_bounded() {
    let attributes = format!("{GOOD} {}", "40060100".repeat(200));
    let Ok(Message::Update(update)) = read(&update_of(&attributes), &external()) else {
        panic!("refused");
    };
    assert_eq!(update.errors.len(), 16);
    assert_eq!(update.announced.len(), 1);
    // The error that decides is told, even after many.
    let attributes = format!("{attributes} c00800");
    check(
        "one that counts",
        &update_of(&attributes),
        &external(),
        &Withdraw(P),
    );
}

/// An attribute with a length of two octets.
fn long(flags: u8, code: u8, value: &str) -> String {
    format!("{:02x}{code:02x}{:04x}{value}", flags | 0x10, value.len() / 2)
}

/// As much as is allowed is taken, one more is treated as withdrawn and says which limit it was.
fn allowed(name: &str, ctx: Context, list: impl Fn(usize) -> String, max: usize, what: &str) {
    let ctx = Context {
        extended_message: true,
        ..ctx
    };
    check(name, &update("", &list(max), NLRI), &ctx, &Announce(P, 0));
    let beyond = update("", &list(max + 1), NLRI);
    check(name, &beyond, &ctx, &Withdraw(P));
    let Ok(Message::Update(update)) = read(&beyond, &ctx) else {
        panic!("{name}");
    };
    assert_eq!(update.errors[0].what, what);
}

#[test]
fn as_path() {
    let rest = "40010100 400304c0000202";
    let list = |count: usize| {
        let mut value = String::new();
        for start in (0..count).step_by(255) {
            let len = (count - start).min(255);
            value += &format!("02{len:02x}{}", "0000fde9".repeat(len));
        }
        format!("{rest} {}", long(0x40, 2, &value))
    };
    let what = "AS_PATH: 751 AS numbers, at most 750 are taken";
    allowed("AS_PATH", external(), list, MAX_AS_PATH, what);
}

#[test]
fn communities_of_each_kind() {
    let distinct = |octets: usize, count: usize| -> String {
        (0..count)
            .map(|i| format!("{i:0width$x}", width = 2 * octets))
            .collect()
    };
    for (name, code, octets) in [
        ("COMMUNITIES", 8, 4),
        ("EXTENDED_COMMUNITIES", 16, 8),
        ("LARGE_COMMUNITY", 32, 12),
    ] {
        let list = |count| format!("{GOOD} {}", long(0xc0, code, &distinct(octets, count)));
        let what = format!("{name}: 1025 communities, at most 1024 are taken");
        allowed(name, external(), list, MAX_COMMUNITIES, &what);
    }
}

#[test]
fn cluster_list() {
    let list = |count| format!("{GOOD} {}", long(0x80, 10, &"0a000001".repeat(count)));
    let what = "CLUSTER_LIST: 256 clusters, at most 255 are taken";
    allowed("CLUSTER_LIST", internal(), list, MAX_CLUSTER_LIST, what);
}

#[test]
fn unknown_octets() {
    // In three attributes: the limit is the route's.
    let list = |octets: usize| {
        let value = |len: usize| "00".repeat(len);
        format!(
            "{GOOD} {} c06402 0000 c06501 00",
            long(0xc0, 99, &value(octets - 3))
        )
    };
    let what = "attribute 101: 4097 octets in unknown attributes, at most 4096 are taken";
    allowed("unknown", external(), list, MAX_UNKNOWN_OCTETS, what);
}

/// Beyond the limit on attributes nothing is read but prefixes, which have to be known to be withdrawn.
#[test]
fn attributes() {
    let filled = |count: usize| format!("{GOOD} {}", "c06300".repeat(count - 3));
    let good = update("", &filled(MAX_ATTRIBUTES), NLRI);
    check("as many as allowed", &good, &external(), &Announce(P, 16));
    let beyond = update("", &filled(MAX_ATTRIBUTES + 1), NLRI);
    check("one more", &beyond, &external(), &Withdraw(P));
    let hidden = format!("{GOOD6} {} {REACH} 40060101", "c06300".repeat(MAX_ATTRIBUTES));
    check(
        "prefixes behind them",
        &update("", &hidden, ""),
        &external(),
        &Withdraw(P6),
    );
    let full = format!("{GOOD} {}", "c06300".repeat(20_000));
    check(
        "a long message full of them",
        &update("", &full, NLRI),
        &extended(),
        &Withdraw(P),
    );
}
