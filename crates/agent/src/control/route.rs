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
        ..Route::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flatroute_bgp::types::{AsPath, Asn, Community, NextHop};

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
}
