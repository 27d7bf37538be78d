//! A path of the speaker as the control socket tells it.

use flatroute_api::control::Route;
use flatroute_api::values::Community;
use flatroute_bgp::types::{Origin, PathAttributes, Prefix};

/// The part of a route that its attributes give; the caller sets who it is from and what became of it.
pub(crate) fn route(prefix: Prefix, attributes: &PathAttributes) -> Route {
    Route {
        prefix: prefix.to_string(),
        next_hops: attributes.next_hop.iter().map(|n| n.addr().to_string()).collect(),
        as_path: attributes.as_path.to_string(),
        origin: match attributes.origin {
            Origin::Igp => "IGP",
            Origin::Egp => "EGP",
            Origin::Incomplete => "Incomplete",
        }
        .to_owned(),
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: attributes
            .communities
            .iter()
            .map(|c| Community(c.0).to_string())
            .collect(),
        extended_communities: words(&attributes.extended_communities),
        large_communities: words(&attributes.large_communities),
        originator_id: attributes.originator_id.map(|id| id.to_string()),
        cluster_list: words(&attributes.cluster_list),
        only_to_customer: attributes.only_to_customer.map(|asn| asn.0),
        aggregator: attributes.aggregator.map(|a| format!("{} {}", a.asn, a.id)),
        atomic_aggregate: attributes.atomic_aggregate,
        other_attributes: words(&attributes.unknown),
        ..Route::default()
    }
}

fn words(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flatroute_bgp::types::{
        Aggregator, AsPath, Asn, Community, ExtendedCommunity, LargeCommunity, NextHop, RouterId,
        UnknownAttribute,
    };

    #[test]
    fn attributes_become_words() {
        let mut attributes = PathAttributes::local();
        attributes.as_path = AsPath::sequence([Asn(65001), Asn(64512)]);
        attributes.communities = vec![Community::NO_EXPORT, Community(65000 << 16 | 7)];
        attributes.med = Some(3);
        attributes.next_hop = Some(NextHop::V4("10.0.1.1".parse().unwrap()));
        let route = route(Prefix::V4(0x0af4_0100, 24), &attributes);
        assert_eq!(route.prefix, "10.244.1.0/24");
        assert_eq!(route.as_path, "65001 64512");
        assert_eq!(route.communities, ["no-export", "65000:7"]);
        assert_eq!(
            (route.next_hops, route.med, route.origin.as_str()),
            (vec!["10.0.1.1".to_owned()], Some(3), "IGP")
        );
    }

    #[test]
    fn rare_attributes_become_words_or_nothing() {
        let plain = route(Prefix::V4(0, 0), &PathAttributes::local());
        let json = serde_json::to_value(&plain).unwrap();
        for absent in [
            "extendedCommunities",
            "largeCommunities",
            "originatorID",
            "otherAttributes",
        ] {
            assert_eq!(json.get(absent), None);
        }
        let attributes = PathAttributes {
            extended_communities: vec![ExtendedCommunity(0x0002_fc00_0000_0064)],
            large_communities: vec![LargeCommunity {
                global: 64512,
                local1: 1,
                local2: 2,
            }],
            originator_id: Some(RouterId(0x0a00_0001)),
            cluster_list: vec![RouterId(0x0a00_0002)],
            only_to_customer: Some(Asn(65001)),
            aggregator: Some(Aggregator {
                asn: Asn(65002),
                id: RouterId(0x0a00_0003),
            }),
            atomic_aggregate: true,
            unknown: vec![UnknownAttribute {
                flags: 0xe0,
                code: 40,
                value: [1, 2].into(),
            }],
            ..PathAttributes::local()
        };
        let json = serde_json::to_value(route(Prefix::V4(0, 0), &attributes)).unwrap();
        assert_eq!(json["extendedCommunities"][0], "rt:64512:100");
        assert_eq!(json["largeCommunities"][0], "64512:1:2");
        assert_eq!(json["originatorID"], "10.0.0.1");
        assert_eq!(json["clusterList"][0], "10.0.0.2");
        assert_eq!(json["onlyToCustomer"], 65001);
        assert_eq!(json["aggregator"], "65002 10.0.0.3");
        assert_eq!(json["atomicAggregate"], true);
        assert_eq!(json["otherAttributes"][0], "attribute 40: 0x0102");
    }
}
