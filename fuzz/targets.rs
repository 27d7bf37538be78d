//! The fuzz targets, as plain functions of octets: cargo-fuzz calls them with new inputs, and a test of the
//! bgp crate replays the committed corpora through them on stable Rust. A target fails by panicking.

use bytes::BytesMut;
use flatroute_bgp::types::{Family, FamilySet, NextHop, Partial, PathAttributes, Prefix};
use flatroute_bgp::wire::{
    Announcement, Context, EncodeError, Message, Update, decode, display_attributes, encode_reach,
    encode_unreach, split,
};

/// A target and its name, which is also that of its corpus.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets.
pub(crate) const TARGETS: [Target; 3] = [("stream", stream), ("update", update), ("open", open)];

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
        internal: bit(2),
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
    if let Some(Message::Update(update)) = message(2, body, &ctx) {
        let _ = display_attributes(&update.attributes).to_string();
        for announcement in &update.announced {
            rewrite(announcement, &update.attributes, &ctx);
        }
        for family in Family::ALL {
            let prefixes: Vec<Prefix> = update
                .withdrawn
                .iter()
                .copied()
                .filter(|p| p.family() == family)
                .collect();
            let mut out = BytesMut::new();
            let count = encode_unreach(&prefixes, &ctx, &mut out);
            if count > 0 {
                assert_eq!(reread(&out, &ctx).withdrawn, prefixes[..count]);
            }
        }
    }
}

fn rewrite(announcement: &Announcement, attributes: &PathAttributes, ctx: &Context) {
    let sent = PathAttributes {
        next_hop: Some(announcement.next_hop),
        ..attributes.clone()
    };
    let mut out = BytesMut::new();
    match encode_reach(&announcement.prefixes, &sent, ctx, &mut out) {
        Ok(count) => {
            assert!(out.len() <= ctx.max_len());
            let read = reread(&out, ctx);
            let [got] = read.announced.as_slice() else {
                panic!("{read:?}");
            };
            assert_eq!(got.next_hop, announcement.next_hop);
            assert_eq!(got.prefixes, announcement.prefixes[..count]);
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
    if let Some(Message::Open(open)) = message(1, input, &Context::before_open()) {
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

/// Decodes `body` as a message of this type, when it has a length that a message may have.
fn message(kind: u8, body: &[u8], ctx: &Context) -> Option<Message> {
    let len = u16::try_from(body.len() + 19).ok()?;
    let mut message = vec![0xff; 16];
    message.extend(len.to_be_bytes());
    message.push(kind);
    message.extend(body);
    let frame = split(&message, ctx.max_len()).ok()??;
    decode(&frame, ctx).ok()
}
