//! The fuzz targets, as plain functions of octets: cargo-fuzz calls them with new inputs, and a test of the
//! bgp crate replays the committed corpora through them on stable Rust. A target fails by panicking.

#[path = "session.rs"]
mod session;

use bytes::BytesMut;
use flatroute_bgp::types::{Family, FamilySet, NextHop, Partial, PathAttributes, PathId, PathIds, Prefix};
use flatroute_bgp::wire::{
    Announcement, Context, DecodeError, EncodeError, Message, Update, decode, display_attributes,
    encode_reach, encode_route_refresh, encode_unreach, split,
};

pub(crate) use session::session;

/// A target and its name, which is also that of its corpus.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets.
pub(crate) const TARGETS: [Target; 8] = [
    ("frame", frame),
    ("stream", stream),
    ("open", open),
    ("attribute", attribute),
    ("update", update),
    ("notification", notification),
    ("refresh", refresh),
    ("session", session),
];

/// The contexts in which octets are read: every combination of what a session can agree on.
pub(crate) fn context(selector: u8) -> Context {
    let bit = |n: u8| selector >> n & 1 == 1;
    let mut families = FamilySet::BOTH;
    if bit(3) {
        families.remove(Family::Ipv4);
    }
    if bit(4) {
        families.remove(Family::Ipv6);
    }
    Context {
        four_octet_as: !bit(0),
        extended_message: bit(1),
        families,
        extended_next_hop: bit(5),
        path_ids: PathIds {
            received: if bit(6) { FamilySet::BOTH } else { FamilySet::NONE },
            sent: FamilySet::NONE,
        },
        internal: bit(2),
    }
}

/// The beginning of a stream. What is said of it when half of it is there must hold when all of it is.
pub(crate) fn frame(input: &[u8]) {
    let Some((&selector, input)) = input.split_first() else {
        return;
    };
    let max = context(selector).max_len();
    let whole = split(input, max);
    if let Ok(Some(frame)) = whole {
        assert!(frame.len >= 19 && frame.len <= max && frame.len <= input.len());
        assert_eq!(frame.body.len(), frame.len - 19);
    }
    for cut in 0..input.len().min(64) {
        match split(&input[..cut], max) {
            Ok(None) => {}
            Ok(Some(early)) => assert_eq!(whole, Ok(Some(early)), "cut at {cut}"),
            Err(early) => assert_eq!(whole, Err(early), "cut at {cut}"),
        }
    }
}

/// A stream of messages, as from TCP, in the context that the first octet selects.
pub(crate) fn stream(input: &[u8]) {
    let Some((&selector, mut input)) = input.split_first() else {
        return;
    };
    let ctx = context(selector);
    while let Ok(Some(frame)) = split(input, ctx.max_len()) {
        if let Err(error) = decode(&frame, &ctx) {
            let _ = (error.to_string(), error.notification.to_string());
            return;
        }
        input = &input[frame.len..];
    }
}

/// The body of an UPDATE. What is accepted must read the same after it was written by us.
pub(crate) fn update(input: &[u8]) {
    let Some((&selector, body)) = input.split_first() else {
        return;
    };
    let ctx = context(selector);
    if let Some(Ok(Message::Update(update))) = message(2, body, &ctx) {
        let _ = display_attributes(&update.attributes).to_string();
        for announcement in &update.announced {
            rewrite(announcement, &update.attributes, &ctx);
        }
        let paths = paths(&update.withdrawn, &update.withdrawn_ids);
        for family in Family::ALL {
            let of_family: Vec<(Prefix, PathId)> = paths
                .iter()
                .copied()
                .filter(|(p, _)| p.family() == family)
                .collect();
            let prefixes: Vec<Prefix> = of_family.iter().map(|(p, _)| *p).collect();
            let mut out = BytesMut::new();
            let count = if bare(&ctx) {
                encode_unreach(&prefixes, &ctx, &mut out)
            } else {
                encode_unreach(&of_family, &ctx, &mut out)
            };
            if count > 0 {
                let read = reread(&out, &ctx);
                assert_eq!(
                    self::paths(&read.withdrawn, &read.withdrawn_ids),
                    of_family[..count]
                );
            }
        }
    }
}

/// Whether prefixes have no path identifiers before them.
fn bare(ctx: &Context) -> bool {
    ctx.path_ids.received == FamilySet::NONE
}

/// Prefixes with their identifiers, of which there is one each or none at all.
fn paths(prefixes: &[Prefix], ids: &[PathId]) -> Vec<(Prefix, PathId)> {
    assert!(ids.is_empty() || ids.len() == prefixes.len());
    let ids = ids.iter().copied().chain(std::iter::repeat(PathId(0)));
    prefixes.iter().copied().zip(ids).collect()
}

fn rewrite(announcement: &Announcement, attributes: &PathAttributes, ctx: &Context) {
    let sent = PathAttributes {
        next_hop: Some(announcement.next_hop),
        ..attributes.clone()
    };
    let mut out = BytesMut::new();
    let all = paths(&announcement.prefixes, &announcement.path_ids);
    let written = if bare(ctx) {
        encode_reach(&announcement.prefixes, &sent, ctx, &mut out)
    } else {
        encode_reach(&all, &sent, ctx, &mut out)
    };
    match written {
        Ok(count) => {
            assert!(out.len() <= ctx.max_len());
            let read = reread(&out, ctx);
            let [got] = read.announced.as_slice() else {
                panic!("{read:?}");
            };
            assert_eq!(got.next_hop, announcement.next_hop);
            assert_eq!(paths(&got.prefixes, &got.path_ids), all[..count]);
            assert_eq!(as_sent(&read.attributes, ctx), as_sent(attributes, ctx));
        }
        // Our form of a message may be some octets longer than the peer's.
        Err(EncodeError::TooLarge { len, max }) => assert!(len > max && body_was_near(max, attributes)),
        Err(EncodeError::NoNextHop | EncodeError::NextHopFamily) => {
            assert!(
                matches!(announcement.next_hop, NextHop::V6 { .. }),
                "{announcement:?}"
            );
        }
    }
}

/// Attributes that can fill a message: nothing short of that excuses one that cannot be written.
fn body_was_near(max: usize, attributes: &PathAttributes) -> bool {
    let unknown: usize = attributes.unknown.iter().map(|a| a.value.len() + 4).sum();
    let hops = attributes.as_path.iter().count();
    let communities = 4 * attributes.communities.len()
        + 8 * attributes.extended_communities.len()
        + 12 * attributes.large_communities.len()
        + 4 * attributes.cluster_list.len();
    unknown + 10 * hops + communities + 200 > max
}

/// What an attribute is to a peer: Partial is set on unknown ones, and goes with the attribute that had it; what is not
/// transitive stays in this AS.
fn as_sent(attributes: &PathAttributes, ctx: &Context) -> PathAttributes {
    let mut attributes = attributes.clone();
    attributes.unknown.iter_mut().for_each(|a| a.flags = 0);
    if !ctx.internal {
        attributes
            .extended_communities
            .retain(|community| community.is_transitive());
    }
    if attributes.extended_communities.is_empty() {
        attributes.partial = Partial::NONE;
    }
    attributes
}

fn reread(message: &[u8], ctx: &Context) -> Update {
    let frame = split(message, ctx.max_len())
        .expect("our own header")
        .expect("a whole message");
    match decode(&frame, ctx) {
        Ok(Message::Update(update)) if update.errors.is_empty() => update,
        other => panic!("our own UPDATE: {other:?}"),
    }
}

/// The body of an OPEN.
pub(crate) fn open(input: &[u8]) {
    if let Some(Ok(Message::Open(open))) = message(1, input, &Context::before_open()) {
        let mut out = BytesMut::new();
        open.encode(&mut out);
        assert!(out.len() <= 4096);
        let frame = split(&out, 4096)
            .expect("our own header")
            .expect("a whole message");
        assert!(matches!(
            decode(&frame, &Context::before_open()),
            Ok(Message::Open(_))
        ));
    }
}

/// One attribute, its flags and its code, in an UPDATE that is good but for it. RFC 7606 leaves few reasons to end the
/// session for that, and the prefix is either announced or withdrawn.
pub(crate) fn attribute(input: &[u8]) {
    let [selector, flags, code, value @ ..] = input else {
        return;
    };
    let ctx = context(*selector);
    let mut list = Vec::new();
    let path: &[u8] = if ctx.four_octet_as {
        &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9]
    } else {
        &[0x40, 2, 4, 2, 1, 0xfd, 0xe9]
    };
    let others: [(u8, &[u8]); 3] = [(1, &[0x40, 1, 1, 0]), (2, path), (3, &[0x40, 3, 4, 192, 0, 2, 2])];
    for (other, octets) in others {
        if other != *code {
            list.extend(octets);
        }
    }
    let Ok(len) = u16::try_from(value.len()) else {
        return;
    };
    list.extend([flags | 0x10, *code]);
    list.extend(len.to_be_bytes());
    list.extend(value);
    let Ok(len) = u16::try_from(list.len()) else {
        return;
    };
    let mut body = vec![0, 0];
    body.extend(len.to_be_bytes());
    body.extend(list);
    if !bare(&ctx) {
        body.extend([0, 0, 0, 7]);
    }
    body.extend([24, 203, 0, 113]);
    let prefix = Prefix::V4(0xcb00_7100, 24);
    match message(2, &body, &ctx) {
        None => {}
        Some(Err(error)) => {
            let well_known = flags & 0x80 == 0;
            let of_prefixes = matches!(code, 14 | 15);
            assert!(well_known || of_prefixes, "{error}");
        }
        Some(Ok(Message::Update(update))) => {
            let announced = update.announced.iter().flat_map(|a| &a.prefixes);
            let announced = announced.filter(|p| **p == prefix).count();
            let withdrawn = update.withdrawn.contains(&prefix);
            if ctx.families.contains(Family::Ipv4) && !matches!(code, 14 | 15) {
                assert_eq!(announced + usize::from(withdrawn), 1, "{update:?}");
            }
            let _ = display_attributes(&update.attributes).to_string();
            for announcement in &update.announced {
                rewrite(announcement, &update.attributes, &ctx);
            }
        }
        Some(Ok(other)) => panic!("{other:?}"),
    }
}

/// The body of a NOTIFICATION. What is shown of it fits on a line and does nothing to a terminal.
pub(crate) fn notification(input: &[u8]) {
    let Some(Ok(Message::Notification(notification))) = message(3, input, &context(2)) else {
        return;
    };
    let shown = notification.to_string();
    assert!(shown.len() < 4096, "{} octets are shown", shown.len());
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    let mut out = BytesMut::new();
    notification.encode(&mut out);
    assert!(out.len() <= 4096);
    assert_eq!(out[19..], input[..out.len() - 19]);
}

/// The body of a ROUTE-REFRESH. What is understood is written as it was; what is not is answered with 7/1.
pub(crate) fn refresh(input: &[u8]) {
    match message(5, input, &Context::before_open()) {
        None => {}
        Some(Ok(Message::RouteRefresh(refresh))) => {
            if let Some(family) = refresh.family {
                let mut out = BytesMut::new();
                encode_route_refresh(family, refresh.subtype, &mut out);
                assert_eq!(out[19..], *input);
            }
        }
        Some(Ok(other)) => panic!("{other:?}"),
        Some(Err(error)) => {
            assert_ne!(input.len(), 4);
            assert_eq!((error.notification.code, error.notification.subcode), (7, 1));
            assert!(error.notification.data.ends_with(input));
        }
    }
}

/// Decodes `body` as a message of this type, when it has a length that a message may have.
fn message(kind: u8, body: &[u8], ctx: &Context) -> Option<Result<Message, DecodeError>> {
    let len = u16::try_from(body.len() + 19).ok()?;
    let mut message = vec![0xff; 16];
    message.extend(len.to_be_bytes());
    message.push(kind);
    message.extend(body);
    let frame = split(&message, ctx.max_len()).ok()??;
    let decoded = decode(&frame, ctx);
    if let Err(error) = &decoded {
        let _ = (error.to_string(), error.notification.to_string());
    }
    Some(decoded)
}
