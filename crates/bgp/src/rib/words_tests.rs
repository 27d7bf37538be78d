use proptest::prelude::*;

use super::*;

fn next_hop_strategy() -> impl Strategy<Value = Option<NextHop>> {
    prop_oneof![
        Just(None),
        any::<Ipv4Addr>().prop_map(|a| Some(NextHop::V4(a))),
        (any::<Ipv6Addr>(), any::<Option<Ipv6Addr>>())
            .prop_map(|(global, link_local)| Some(NextHop::V6 { global, link_local })),
    ]
}

fn path() -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![
        Just(SegmentKind::Set),
        Just(SegmentKind::Sequence),
        Just(SegmentKind::ConfedSequence),
        Just(SegmentKind::ConfedSet)
    ];
    let segment = (kind, prop::collection::vec(any::<u32>().prop_map(Asn), 1..6))
        .prop_map(|(kind, asns)| Segment { kind, asns });
    prop::collection::vec(segment, 0..4).prop_map(|segments| AsPath { segments })
}

prop_compose! {
    fn attributes()(
        origin in prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        as_path in path(), next_hop in next_hop_strategy(), med: Option<u32>, local_pref: Option<u32>,
        atomic_aggregate: bool, aggregator: Option<(u32, u32)>,
        communities in prop::collection::vec(any::<u32>(), 0..5),
        extended in prop::collection::vec(any::<u64>(), 0..4), large in prop::collection::vec(any::<[u32; 3]>(), 0..4),
        originator_id: Option<u32>, clusters in prop::collection::vec(any::<u32>(), 0..4), customer: Option<u32>,
        partial in 0_u8..32,
        unknown in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..9)), 0..3),
    ) -> PathAttributes {
        PathAttributes {
            origin, as_path, next_hop, med, local_pref, atomic_aggregate,
            aggregator: aggregator.map(|(asn, id)| Aggregator { asn: Asn(asn), id: RouterId(id) }),
            communities: communities.into_iter().map(Community).collect(),
            extended_communities: extended.into_iter().map(ExtendedCommunity).collect(),
            large_communities: large.into_iter()
                .map(|[global, local1, local2]| LargeCommunity { global, local1, local2 }).collect(),
            originator_id: originator_id.map(RouterId),
            cluster_list: clusters.into_iter().map(RouterId).collect(),
            only_to_customer: customer.map(Asn),
            partial: Partial(partial),
            unknown: unknown.into_iter()
                .map(|(flags, code, value)| UnknownAttribute { flags, code, value: value.into() }).collect(),
        }
    }
}

fn packed(a: &PathAttributes) -> Vec<u32> {
    let mut out = Vec::new();
    pack(a, a.next_hop, a.local_pref, &mut out);
    out
}

proptest! {
    #[test]
    fn unpack_undoes_pack(a in attributes()) {
        prop_assert_eq!(unpack(&packed(&a)), a);
    }

    #[test]
    fn packing_is_injective(a in attributes(), b in attributes()) {
        prop_assert_eq!(packed(&a) == packed(&b), a == b);
    }

    #[test]
    fn facts_are_those_of_the_decoded_attributes(a in attributes()) {
        let words = packed(&a);
        let f = facts(&words);
        prop_assert_eq!(f.path_len, a.as_path.decision_len());
        prop_assert_eq!(f.neighbour, a.as_path.first());
        prop_assert_eq!(f.med, a.med.unwrap_or(0));
        prop_assert_eq!(f.local_pref, a.local_pref.unwrap_or(100));
        prop_assert_eq!((f.origin, f.next_hop), (a.origin, a.next_hop));
        prop_assert_eq!(next_hop(&words), a.next_hop);
        prop_assert_eq!(reflection(&words), (a.originator_id, a.cluster_list.len()));
    }

    #[test]
    fn packed_paths_are_equal_when_the_paths_are(a in attributes(), b in attributes(), same: bool) {
        let b = if same { PathAttributes { as_path: a.as_path.clone(), ..b } } else { b };
        prop_assert_eq!(facts(&packed(&a)).path == facts(&packed(&b)).path, a.as_path == b.as_path);
    }
}

#[test]
fn well_known_communities_are_found_behind_everything_else() {
    let mut a = PathAttributes::local();
    a.med = Some(1);
    a.aggregator = Some(Aggregator {
        asn: Asn(1),
        id: RouterId(2),
    });
    a.as_path = AsPath::sequence([Asn(0xffff_ff02), Asn(2)]);
    assert_eq!(well_known(&packed(&a)), (None, false));
    a.communities = vec![
        Community(1),
        Community::NO_EXPORT_SUBCONFED,
        Community::NO_ADVERTISE,
    ];
    assert_eq!(
        well_known(&packed(&a)),
        (Some(Community::NO_EXPORT_SUBCONFED), true)
    );
}
