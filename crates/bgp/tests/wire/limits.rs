//! The edges of a message: 4,096 octets, 65,535 octets, one more and one less.

use bytes::BytesMut;
use flatroute_bgp::types::{
    AsPath, Asn, Community, Family, NextHop, PathAttributes, Prefix, UnknownAttribute,
};
use flatroute_bgp::wire::{
    Context, EncodeError, Message, display_attributes, encode_end_of_rib, encode_keepalive, encode_reach,
    encode_unreach, split,
};

use super::bytes::{extended, external, hex, read};

fn attributes(next_hop: NextHop) -> PathAttributes {
    PathAttributes {
        as_path: AsPath::sequence([Asn(65001)]),
        next_hop: Some(next_hop),
        ..PathAttributes::local()
    }
}

fn v4() -> NextHop {
    NextHop::V4([192, 0, 2, 2].into())
}

fn v6() -> NextHop {
    NextHop::V6 {
        global: "2001:db8::2".parse().unwrap(),
        link_local: None,
    }
}

/// Attributes with an unknown one that makes a message with so many octets of prefixes exactly `len` octets long.
fn filling(len: usize, prefixes: usize) -> PathAttributes {
    let others = 23 + 4 + 9 + 7 + prefixes;
    let mut attributes = attributes(v4());
    attributes.unknown = vec![UnknownAttribute {
        flags: 0xf0,
        code: 99,
        value: vec![1; len - others - 4].into(),
    }];
    attributes
}

#[test]
fn attributes_fill_a_message_to_the_last_octet() {
    // Of a long message most are prefixes: so many octets of unknown attributes would not be taken.
    for (ctx, count) in [(external(), 1), (extended(), 16_000)] {
        let prefixes: Vec<Prefix> = (0..count).map(|i| Prefix::v4(i << 8, 24).unwrap()).collect();
        let max = ctx.max_len();
        let full = filling(max, 4 * prefixes.len());
        let mut out = BytesMut::new();
        assert_eq!(encode_reach(&prefixes, &full, &ctx, &mut out), Ok(prefixes.len()));
        assert_eq!(out.len(), max);
        assert!(
            matches!(read(&out, &ctx), Ok(Message::Update(u)) if u.announced.len() == 1 && u.errors.is_empty())
        );
        out.clear();
        let too_large = EncodeError::TooLarge { len: max + 1, max };
        assert_eq!(
            encode_reach(&prefixes[..1], &filling(max + 1, 4), &ctx, &mut out),
            Err(too_large)
        );
        assert!(out.is_empty(), "nothing is written");
    }
}

#[test]
fn messages_are_full_of_prefixes() {
    let v4s: Vec<Prefix> = (0..20_000_u32).map(|i| Prefix::v4(i << 8, 24).unwrap()).collect();
    let v6s: Vec<Prefix> = (0..20_000_u128)
        .map(|i| Prefix::v6(i << 64, 64).unwrap())
        .collect();
    for ctx in [external(), extended()] {
        for (prefixes, next_hop, size) in [(&v4s, v4(), 4), (&v6s, v6(), 9)] {
            let mut out = BytesMut::new();
            let count = encode_reach(prefixes, &attributes(next_hop), &ctx, &mut out).unwrap();
            assert!(out.len() <= ctx.max_len() && out.len() + size > ctx.max_len());
            assert!(
                matches!(read(&out, &ctx), Ok(Message::Update(u)) if u.announced[0].prefixes == prefixes[..count])
            );
            out.clear();
            let count = encode_unreach(prefixes, &ctx, &mut out);
            assert!(out.len() <= ctx.max_len() && out.len() + size > ctx.max_len());
            assert!(matches!(read(&out, &ctx), Ok(Message::Update(u)) if u.withdrawn == prefixes[..count]));
        }
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let (p4, p6) = (Prefix::v4(0, 0).unwrap(), Prefix::v6(0, 0).unwrap());
    let mut out = BytesMut::new();
    let reach = |p: &[Prefix], a: &PathAttributes, out: &mut BytesMut| encode_reach(p, a, &external(), out);
    assert_eq!(reach(&[], &attributes(v4()), &mut out), Ok(0));
    assert_eq!(
        reach(&[p4], &PathAttributes::local(), &mut out),
        Err(EncodeError::NoNextHop)
    );
    assert_eq!(
        reach(&[p4], &attributes(v6()), &mut out),
        Err(EncodeError::NextHopFamily)
    );
    assert_eq!(
        reach(&[p6], &attributes(v4()), &mut out),
        Err(EncodeError::NextHopFamily)
    );
    assert_eq!(encode_unreach::<Prefix>(&[], &external(), &mut out), 0);
    assert!(out.is_empty());
    assert_eq!(
        reach(&[p4, p6], &attributes(v4()), &mut out),
        Ok(1),
        "one family a message"
    );
}

#[test]
fn split_says_no_as_soon_as_it_can() {
    assert!(split(&hex("ffff00"), 4096).is_err(), "marker");
    assert_eq!(split(&hex("M00"), 4096), Ok(None), "half a length");
    assert!(split(&hex("M1001"), 4096).is_err(), "4097");
    assert_eq!(split(&hex("M1000"), 4096), Ok(None), "4096");
    assert_eq!(split(&hex("Mffff"), 65_535), Ok(None), "65535 where agreed on");
    assert!(
        split(&hex("M100101"), 65_535).is_err(),
        "OPEN of 4097 (RFC 8654 §4)"
    );
    assert!(split(&hex("M100104"), 65_535).is_err(), "KEEPALIVE of 4097");
    assert_eq!(split(&hex("M100102"), 65_535), Ok(None), "UPDATE of 4097");
    assert!(split(&hex("M001309"), 4096).is_err(), "type 9");
    assert_eq!(split(&[], 4096), Ok(None));
}

#[test]
fn messages_follow_each_other() {
    let mut out = BytesMut::new();
    encode_keepalive(&mut out);
    encode_end_of_rib(Family::Ipv4, &external(), &mut out);
    encode_end_of_rib(Family::Ipv6, &external(), &mut out);
    let mut rest = &out[..];
    let mut ends = vec![];
    while let Some(frame) = split(rest, 4096).unwrap() {
        if let Ok(Message::Update(update)) = read(&rest[..frame.len], &external()) {
            ends.push(update.end_of_rib);
        }
        rest = &rest[frame.len..];
    }
    assert!(rest.is_empty());
    assert_eq!(ends, [Some(Family::Ipv4), Some(Family::Ipv6)]);
    assert_eq!(Context::before_open().max_len(), 4096);
}

/// A full segment of 255 numbers, then one more in front: a second segment, never a count that wraps.
#[test]
fn a_full_segment_and_a_prepend() {
    let mut attributes = attributes(v4());
    attributes.as_path = AsPath::sequence((1..=255).map(Asn));
    attributes.as_path.prepend(Asn(65001));
    let mut out = BytesMut::new();
    encode_reach(&[Prefix::v4(0, 8).unwrap()], &attributes, &external(), &mut out).unwrap();
    assert!(
        matches!(read(&out, &external()), Ok(Message::Update(u)) if u.attributes.as_path == attributes.as_path)
    );
}

/// Every beginning of a message waits for the rest; under a length that calls it whole, it is answered, and
/// never with prefixes that were not there.
#[test]
fn every_truncation_is_answered() {
    let mut full = attributes(v4());
    full.med = Some(1);
    full.atomic_aggregate = true;
    full.communities = vec![Community(1), Community(2)];
    full.unknown = filling(400, 4).unknown;
    let p4: Vec<Prefix> = (0..5_u8)
        .map(|i| Prefix::v4(0x0a00_0000, 8 * i.min(4)).unwrap())
        .collect();
    let p6: Vec<Prefix> = (0..5_u8)
        .map(|i| Prefix::v6(0xfd00 << 112, 16 * i).unwrap())
        .collect();
    let full6 = PathAttributes {
        next_hop: Some(v6()),
        ..full.clone()
    };
    for (prefixes, attributes) in [(p4, full), (p6, full6)] {
        let mut out = BytesMut::new();
        encode_reach(&prefixes, &attributes, &external(), &mut out).unwrap();
        for cut in 0..out.len() {
            assert_eq!(split(&out[..cut], 4096), Ok(None), "{cut}");
        }
        for cut in 19..out.len() {
            let mut octets = out[..cut].to_vec();
            octets[16..18].copy_from_slice(&u16::try_from(cut).unwrap().to_be_bytes());
            if let Ok(Message::Update(update)) = read(&octets, &external()) {
                let announced: Vec<Prefix> = update.announced.into_iter().flat_map(|a| a.prefixes).collect();
                assert_eq!(announced, prefixes[..announced.len()], "{cut}");
            }
        }
    }
}

#[test]
fn attributes_are_shown_in_words() {
    let mut shown = filling(400, 4);
    shown.communities = vec![Community::NO_EXPORT, Community(65001 << 16 | 7)];
    shown.atomic_aggregate = true;
    assert_eq!(
        display_attributes(&shown).to_string(),
        "ORIGIN IGP; AS_PATH 65001; NEXT_HOP 192.0.2.2; ATOMIC_AGGREGATE; COMMUNITIES 65535:65281 65001:7; \
         attribute 99 (349 octets)"
    );
}
