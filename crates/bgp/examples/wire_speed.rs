//! How long the codec takes for a full UPDATE:
//! `cargo run --release -p flatroute-bgp --example wire_speed`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use flatroute_bgp::types::{AsPath, Asn, Community, FamilySet, NextHop, PathAttributes, Prefix};
use flatroute_bgp::wire::{Context, decode, encode_reach, split};

const ROUNDS: u32 = 20_000;

/// The shortest of several runs, a turn.
fn a_turn(mut turn: impl FnMut()) -> Duration {
    let run = |turn: &mut dyn FnMut()| {
        #[expect(clippy::disallowed_methods, reason = "a measurement, not the core")]
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| turn());
        start.elapsed() / ROUNDS
    };
    (0..5).map(|_| run(&mut turn)).min().unwrap_or_default()
}

fn main() {
    let v4s: Vec<Prefix> = (0..1000_u32)
        .map(|i| Prefix::v4(0x0a00_0000 | i << 8, 24).expect("good input"))
        .collect();
    let v6s: Vec<Prefix> = (0..1000_u128)
        .map(|i| Prefix::v6(0xfd00 << 112 | i << 64, 64).expect("good input"))
        .collect();
    let v6 = NextHop::V6 {
        global: "2001:db8::2".parse().expect("good input"),
        link_local: None,
    };
    for (name, prefixes, next_hop) in [
        ("1,000 IPv4 /24", &v4s, NextHop::V4([192, 0, 2, 2].into())),
        ("1,000 IPv6 /64", &v6s, v6),
        (
            "one IPv4 /24",
            &v4s[..1].to_vec(),
            NextHop::V4([192, 0, 2, 2].into()),
        ),
    ] {
        let attributes = PathAttributes {
            as_path: AsPath::sequence([Asn(65001), Asn(65002), Asn(65003)]),
            next_hop: Some(next_hop),
            communities: vec![Community(1), Community(2)],
            ..PathAttributes::local()
        };
        let ctx = Context {
            four_octet_as: true,
            extended_message: true,
            families: FamilySet::BOTH,
            extended_next_hop: false,
            internal: false,
        };
        let mut out = BytesMut::new();
        let count = encode_reach(prefixes, &attributes, &ctx, &mut out).expect("good input");
        assert_eq!(count, prefixes.len());
        let decode = a_turn(|| {
            let frame = split(black_box(&out), ctx.max_len())
                .expect("a good header")
                .expect("a whole message");
            black_box(decode(&frame, &ctx).expect("a good message"));
        });
        let mut again = BytesMut::new();
        let encode = a_turn(|| {
            again.clear();
            black_box(encode_reach(black_box(prefixes), &attributes, &ctx, &mut again).expect("good input"));
        });
        println!("{name}: decode {decode:?}, encode {encode:?}");
    }
}
