//! Laws over all messages: what is written reads the same, nothing panics, nothing reads past its end.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;
use flatroute_bgp::types::{
    Aggregator, AsPath, Asn, Community, ExtendedCommunity, Family, FamilySet, LargeCommunity, NextHop,
    Origin, Partial, PathAttributes, PathId, PathIds, Prefix, Role, RouterId, Segment, SegmentKind,
    UnknownAttribute,
};
use flatroute_bgp::wire::{
    AddPath, AddPathMode, AfiSafi, Capabilities, Context, ExtendedNextHop, Fqdn, GracefulFamily,
    GracefulRestart, LongLivedFamily, Message, Notification, Open, RefreshSubtype, RouteRefresh,
    UnknownCapability, encode_keepalive, encode_reach, encode_route_refresh, encode_unreach, split,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::bytes::read;
use crate::targets::{TARGETS, context};

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1_u32..=65_535, 65_536..=u32::MAX, Just(23_456)].prop_map(Asn)
}

fn as_path() -> impl Strategy<Value = AsPath> {
    let segment = vec(asn(), 1..20).prop_map(|asns| Segment {
        kind: SegmentKind::Sequence,
        asns,
    });
    vec(segment, 0..4).prop_map(|segments| AsPath { segments })
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)]
}

fn unknown() -> impl Strategy<Value = Vec<UnknownAttribute>> {
    // Those without a row, and without a treatment of their own.
    let code = prop_oneof![11_u8..=13, 19_u8..=24, 27_u8..=31, Just(33), 36_u8..=255];
    let value = prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 250..260)];
    btree_map(code, value, 0..4).prop_map(|unknown| {
        unknown
            .into_iter()
            .map(|(code, value)| UnknownAttribute {
                flags: if value.len() > 255 { 0xf0 } else { 0xe0 },
                code,
                value: value.into(),
            })
            .collect()
    })
}

fn next_hop(family: Family) -> BoxedStrategy<NextHop> {
    let v4 = any::<u32>().prop_map(|bits| NextHop::V4(Ipv4Addr::from_bits(0x0a00_0000 | bits & 0x00ff_ffff)));
    let global = any::<u64>().prop_map(|bits| Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits)));
    let link_local = any::<u64>().prop_map(|bits| Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(bits)));
    let v6 =
        (global, option::of(link_local)).prop_map(|(global, link_local)| NextHop::V6 { global, link_local });
    match family {
        Family::Ipv4 => v4.boxed(),
        Family::Ipv6 => v6.boxed(),
    }
}

/// IPv4 prefixes by an IPv6 next hop.
fn extended_routes() -> impl Strategy<Value = (PathAttributes, Vec<Prefix>)> {
    (
        next_hop(Family::Ipv6).prop_flat_map(attributes),
        prefixes(Family::Ipv4),
    )
}

fn prefixes(family: Family) -> BoxedStrategy<Vec<Prefix>> {
    let v4 = (any::<u32>(), 0_u8..=32).prop_map(|(bits, len)| Prefix::v4(bits, len).unwrap());
    let v6 = (any::<u128>(), 0_u8..=128).prop_map(|(bits, len)| Prefix::v6(bits, len).unwrap());
    match family {
        Family::Ipv4 => vec(v4, 1..2000).boxed(),
        Family::Ipv6 => vec(v6, 1..600).boxed(),
    }
}

/// What few routes have: extended and large communities, reflection, ONLY_TO_CUSTOMER, Partial bits.
fn rare() -> impl Strategy<Value = PathAttributes> {
    let large = btree_set(any::<[u32; 3]>(), 0..30).prop_map(|all| {
        let community = |[global, local1, local2]: [u32; 3]| LargeCommunity {
            global,
            local1,
            local2,
        };
        all.into_iter().map(community).collect()
    });
    let partial = vec(
        prop_oneof![
            Just(Partial::AGGREGATOR),
            Just(Partial::COMMUNITIES),
            Just(Partial::EXTENDED_COMMUNITIES),
            Just(Partial::LARGE_COMMUNITIES),
            Just(Partial::ONLY_TO_CUSTOMER)
        ],
        0..3,
    );
    (
        vec(any::<u64>().prop_map(ExtendedCommunity), 0..30),
        large,
        option::of(any::<u32>().prop_map(RouterId)),
        vec(any::<u32>().prop_map(RouterId), 0..10),
        option::of(asn()),
        partial,
    )
        .prop_map(
            |(extended, large_communities, originator_id, cluster_list, customer, bits)| {
                let mut partial = Partial::NONE;
                bits.into_iter().for_each(|bit| partial.insert(bit));
                PathAttributes {
                    extended_communities: extended,
                    large_communities,
                    originator_id,
                    cluster_list,
                    only_to_customer: customer,
                    partial,
                    ..PathAttributes::local()
                }
            },
        )
}

/// What is left of attributes on their way to a peer in this context, but for the next hop.
fn on_the_wire(mut a: PathAttributes, ctx: &Context) -> PathAttributes {
    if !ctx.internal {
        a.local_pref = None;
        a.originator_id = None;
        a.cluster_list.clear();
        a.extended_communities.retain(|c| c.is_transitive());
    }
    // An attribute that is not there has no Partial bit.
    let mut partial = Partial::NONE;
    for (is_there, bit) in [
        (a.aggregator.is_some(), Partial::AGGREGATOR),
        (!a.communities.is_empty(), Partial::COMMUNITIES),
        (!a.extended_communities.is_empty(), Partial::EXTENDED_COMMUNITIES),
        (!a.large_communities.is_empty(), Partial::LARGE_COMMUNITIES),
        (a.only_to_customer.is_some(), Partial::ONLY_TO_CUSTOMER),
    ] {
        if is_there && a.partial.contains(bit) {
            partial.insert(bit);
        }
    }
    PathAttributes {
        next_hop: None,
        partial,
        ..a
    }
}

prop_compose! {
    fn attributes(next_hop: NextHop)(
        origin in origin(), as_path in as_path(), med in option::of(any::<u32>()),
        local_pref in option::of(any::<u32>()), atomic_aggregate in any::<bool>(),
        aggregator in option::of((asn(), any::<u32>())), communities in vec(any::<u32>(), 0..100),
        unknown in unknown(), rare in rare(),
    ) -> PathAttributes {
        PathAttributes {
            origin, as_path, next_hop: Some(next_hop), med, local_pref, atomic_aggregate,
            aggregator: aggregator.map(|(asn, id)| Aggregator { asn, id: RouterId(id) }),
            communities: communities.into_iter().map(Community).collect(),
            unknown,
            ..rare
        }
    }
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
}

fn subtype() -> impl Strategy<Value = RefreshSubtype> {
    prop_oneof![
        Just(RefreshSubtype::Normal),
        Just(RefreshSubtype::Beginning),
        Just(RefreshSubtype::End)
    ]
}

fn routes() -> impl Strategy<Value = (PathAttributes, Vec<Prefix>)> {
    family().prop_flat_map(|family| (next_hop(family).prop_flat_map(attributes), prefixes(family)))
}

fn afi_safi() -> impl Strategy<Value = AfiSafi> {
    (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| AfiSafi { afi, safi })
}

fn graceful_restart() -> impl Strategy<Value = GracefulRestart> {
    let family =
        (afi_safi(), any::<bool>()).prop_map(|(family, forwarding)| GracefulFamily { family, forwarding });
    (any::<[bool; 2]>(), 0_u16..4096, vec(family, 0..5)).prop_map(
        |([restarted, notification], restart_time, families)| GracefulRestart {
            restarted,
            notification,
            restart_time,
            families,
        },
    )
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::Provider),
        Just(Role::RouteServer),
        Just(Role::RouteServerClient),
        Just(Role::Customer),
        Just(Role::Peer)
    ]
}

/// Those that change nothing about how octets are read.
fn informative() -> impl Strategy<Value = Capabilities> {
    let mode = prop_oneof![
        Just(AddPathMode::Receive),
        Just(AddPathMode::Send),
        Just(AddPathMode::Both)
    ];
    let add_path = (afi_safi(), mode).prop_map(|(family, mode)| AddPath { family, mode });
    let next_hop = (afi_safi(), any::<u16>())
        .prop_map(|(family, next_hop_afi)| ExtendedNextHop { family, next_hop_afi });
    let long_lived =
        (afi_safi(), any::<bool>(), 0_u32..1 << 24).prop_map(|(family, forwarding, stale_time)| {
            LongLivedFamily {
                family,
                forwarding,
                stale_time,
            }
        });
    let fqdn = ("\\PC{0,20}", "\\PC{0,20}").prop_map(|(host, domain)| Fqdn { host, domain });
    (
        (vec(next_hop, 0..5), vec(add_path, 0..5), vec(long_lived, 0..5)),
        option::of(graceful_restart()),
        option::of(role()),
        option::of(fqdn),
        option::of("\\PC{1,16}"),
    )
        .prop_map(
            |((extended_next_hop, add_path, long_lived), graceful_restart, role, fqdn, software_version)| {
                Capabilities {
                    extended_next_hop,
                    add_path,
                    graceful_restart,
                    long_lived_graceful_restart: long_lived,
                    role,
                    fqdn,
                    software_version,
                    ..Capabilities::default()
                }
            },
        )
}

fn capabilities(four_octet_as: Option<Asn>) -> impl Strategy<Value = Capabilities> {
    let unknown = vec((128_u8..=255, vec(any::<u8>(), 0..=255)), 0..8);
    let families = option::of(prop_oneof![
        Just(FamilySet::BOTH),
        family().prop_map(|f| [f].into_iter().collect::<FamilySet>())
    ]);
    (families, any::<[bool; 3]>(), unknown, informative()).prop_map(
        move |(families, [route_refresh, extended_message, enhanced_route_refresh], unknown, rest)| {
            let unknown = unknown.into_iter().map(|(code, value)| UnknownCapability {
                code,
                value: value.into(),
            });
            Capabilities {
                families,
                four_octet_as,
                route_refresh,
                extended_message,
                enhanced_route_refresh,
                unknown: unknown.collect(),
                ..rest
            }
        },
    )
}

fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0_u16), 3..=u16::MAX];
    let capabilities = option::of(asn()).prop_flat_map(capabilities);
    (asn(), hold_time, 1..=u32::MAX, capabilities).prop_map(|(asn, hold_time, id, capabilities)| Open {
        version: 4,
        asn: capabilities.four_octet_as.unwrap_or(Asn(asn.two_octets().into())),
        hold_time,
        router_id: RouterId(id),
        capabilities,
    })
}

/// A context with both families, so that what is written is not ignored.
fn both_families(selector: u8) -> Context {
    context(selector & 7)
}

proptest! {
    #[test]
    fn routes_read_as_written(
        (attributes, prefixes) in prop_oneof![routes().boxed(), extended_routes().boxed()], selector in any::<u8>(),
    ) {
        let ctx = Context { extended_next_hop: true, ..both_families(selector) };
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let mut out = BytesMut::new();
            let count = encode_reach(rest, &attributes, &ctx, &mut out).unwrap();
            let Ok(Message::Update(update)) = read(&out, &ctx) else {
                return Err(TestCaseError::fail("not an UPDATE"));
            };
            prop_assert_eq!(&update.errors, &[]);
            prop_assert_eq!(&update.withdrawn, &[]);
            prop_assert_eq!(update.announced.len(), 1);
            prop_assert_eq!(Some(update.announced[0].next_hop), attributes.next_hop);
            prop_assert_eq!(update.announced[0].prefixes.as_slice(), &rest[..count]);
            prop_assert_eq!(update.attributes, on_the_wire(attributes.clone(), &ctx));
            // Full: one more prefix would not have fitted.
            if count < rest.len() {
                prop_assert!(out.len() + usize::from(rest[count].prefix_len().div_ceil(8)) + 1 > ctx.max_len());
            }
            rest = &rest[count..];
        }
    }

    #[test]
    fn withdrawals_read_as_written(prefixes in family().prop_flat_map(prefixes), selector in any::<u8>()) {
        let ctx = both_families(selector);
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let mut out = BytesMut::new();
            let count = encode_unreach(rest, &ctx, &mut out);
            prop_assert!(count > 0);
            let Ok(Message::Update(update)) = read(&out, &ctx) else {
                return Err(TestCaseError::fail("not an UPDATE"));
            };
            prop_assert_eq!(update.withdrawn.as_slice(), &rest[..count]);
            prop_assert_eq!((update.announced, update.errors, update.end_of_rib), (vec![], vec![], None));
            rest = &rest[count..];
        }
    }

    /// With path identifiers, of which two paths may have the same prefix, in both directions.
    #[test]
    fn paths_read_as_written(
        (attributes, prefixes) in prop_oneof![routes().boxed(), extended_routes().boxed()], selector in any::<u8>(),
        ids in vec(any::<u32>(), 1..20),
    ) {
        let ids = ids.into_iter().map(PathId).cycle();
        let paths: Vec<(Prefix, PathId)> = prefixes.iter().flat_map(|p| [*p, *p]).zip(ids).collect();
        let path_ids = PathIds { received: FamilySet::BOTH, sent: FamilySet::BOTH };
        let ctx = Context { extended_next_hop: true, path_ids, ..both_families(selector) };
        let mut rest = paths.as_slice();
        while !rest.is_empty() {
            let (mut reach, mut unreach) = (BytesMut::new(), BytesMut::new());
            let count = encode_reach(rest, &attributes, &ctx, &mut reach).unwrap();
            let gone = encode_unreach(rest, &ctx, &mut unreach);
            let (Ok(Message::Update(said)), Ok(Message::Update(taken))) = (read(&reach, &ctx), read(&unreach, &ctx)) else {
                return Err(TestCaseError::fail("not an UPDATE"));
            };
            prop_assert_eq!((&said.errors, &taken.errors), (&vec![], &vec![]));
            let [announced] = said.announced.as_slice() else {
                return Err(TestCaseError::fail("not one announcement"));
            };
            let read: Vec<_> = announced.prefixes.iter().copied().zip(announced.path_ids.iter().copied()).collect();
            prop_assert_eq!((read.as_slice(), announced.path_ids.len()), (&rest[..count], count));
            let read: Vec<_> = taken.withdrawn.iter().copied().zip(taken.withdrawn_ids.iter().copied()).collect();
            prop_assert_eq!((read.as_slice(), taken.withdrawn_ids.len()), (&rest[..gone], gone));
            // Full: one more path would not have fitted.
            if count < rest.len() {
                prop_assert!(reach.len() + usize::from(rest[count].0.prefix_len().div_ceil(8)) + 5 > ctx.max_len());
            }
            rest = &rest[count..];
        }
    }

    #[test]
    fn opens_read_as_written(open in open()) {
        let mut out = BytesMut::new();
        open.encode(&mut out);
        let words = open.capabilities.in_words().join("; ");
        prop_assert!(!words.contains(char::is_control), "{}", words);
        prop_assert_eq!(read(&out, &Context::before_open()), Ok(Message::Open(open)));
    }

    #[test]
    fn small_messages_read_as_written(code: u8, subcode: u8, data in vec(any::<u8>(), 0..300), family in family(), subtype in subtype()) {
        let ctx = Context::before_open();
        let notification = Notification { code, subcode, data };
        let mut out = BytesMut::new();
        notification.encode(&mut out);
        prop_assert!(!notification.to_string().is_empty());
        prop_assert_eq!(read(&out, &ctx), Ok(Message::Notification(notification)));
        out.clear();
        encode_keepalive(&mut out);
        prop_assert_eq!(read(&out, &ctx), Ok(Message::Keepalive));
        out.clear();
        encode_route_refresh(family, subtype, &mut out);
        prop_assert_eq!(read(&out, &ctx), Ok(Message::RouteRefresh(RouteRefresh { family: Some(family), subtype })));
    }

    #[test]
    fn any_octets_are_answered(octets in vec(any::<u8>(), 0..200)) {
        for (_, target) in TARGETS {
            target(&octets);
        }
    }

    /// A good message with a few octets changed gets much deeper than noise does.
    #[test]
    fn damaged_messages_are_answered(
        (attributes, prefixes) in prop_oneof![routes().boxed(), extended_routes().boxed()], selector in any::<u8>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let ctx = Context { extended_next_hop: true, ..both_families(selector) };
        let mut out = BytesMut::new();
        encode_reach(&prefixes[..prefixes.len().min(5)], &attributes, &ctx, &mut out).unwrap();
        let mut octets = out.to_vec();
        for (at, octet) in damage {
            let at = 19 + at.index(octets.len() - 19);
            octets[at] = octet;
        }
        for selector in 0..128 {
            octets[18] = selector;
            crate::targets::update(&octets[18..]);
        }
    }

    #[test]
    fn truncated_messages_wait_or_fail((attributes, prefixes) in routes(), cut in any::<prop::sample::Index>()) {
        let ctx = both_families(0);
        let mut out = BytesMut::new();
        encode_reach(&prefixes, &attributes, &ctx, &mut out).unwrap();
        let cut = cut.index(out.len());
        prop_assert_eq!(split(&out[..cut], ctx.max_len()), Ok(None));
        // The same octets under a length that says that they are all.
        let mut octets = out[..cut.max(23)].to_vec();
        let len = u16::try_from(octets.len()).unwrap();
        octets[16..18].copy_from_slice(&len.to_be_bytes());
        if let Ok(Message::Update(update)) = read(&octets, &ctx) {
            let announced: Vec<Prefix> = update.announced.into_iter().flat_map(|a| a.prefixes).collect();
            prop_assert_eq!(&announced, &prefixes[..announced.len()], "only what was whole");
        }
    }
}
