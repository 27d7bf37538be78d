//! What `bgpctl` says, read.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::interop::peer::{
    Capability, Neighbour, Notice, PeerRoute, Role, at, community, large, number, numbers,
};

pub(super) fn parse_neighbour(answer: &str, words: &str) -> Result<Neighbour> {
    let whole: Value = serde_json::from_str(answer).context("bgpctl -j show neighbor")?;
    let peer = whole
        .get("neighbors")
        .and_then(|list| list.get(0))
        .with_context(|| format!("no neighbour: {answer}"))?;
    let received = |kind: &[&str]| number(peer, &[&["stats"], kind].concat());
    let mut seen = Neighbour {
        established: peer.get("state").and_then(Value::as_str) == Some("Established"),
        updates: received(&["update", "received", "updates"]),
        served: received(&["route-refresh", "received", "request"]),
        notice: notice(words),
        ..Neighbour::default()
    };
    let has = |side: &str, name: &str| {
        let found = at(peer, &["session", side, "capabilities", name]);
        found.and_then(Value::as_bool) == Some(true)
    };
    for (name, capability) in [
        ("refresh", Capability::RouteRefresh),
        ("enhanced_refresh", Capability::EnhancedRefresh),
        ("as4byte", Capability::FourOctetAsn),
    ] {
        if has("remote", name) {
            seen.capabilities.insert(capability);
        }
    }
    let role = at(peer, &["session", "remote", "capabilities", "open_policy_role"]).and_then(Value::as_str);
    seen.role = Role::ALL.into_iter().find(|known| Some(known.word()) == role);
    let agreed = at(peer, &["session", "capabilities", "multiprotocol"]).and_then(Value::as_array);
    for family in agreed.into_iter().flatten().filter_map(Value::as_str) {
        match family {
            "IPv4 unicast" => seen.families[0] = true,
            "IPv6 unicast" => seen.families[1] = true,
            _ => {}
        }
    }
    // It counts both families together; the cells know how many of each are theirs only as halves.
    let prefixes = received(&["prefixes", "received"]);
    seen.received = [prefixes.div_ceil(2), prefixes / 2];
    seen.answer = format!("{answer}\n{words}");
    Ok(seen)
}

/// It writes every octet beyond ASCII as `\NNN`, in octal.
pub(super) fn unescaped(text: &[u8]) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let value = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = value.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(octet) if first == b'\\' => {
                octets.push(octet);
                rest = after.get(3..).unwrap_or_default();
            }
            Some(_) | None => {
                octets.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// The last NOTIFICATION in the answer for people; these are the ones that the cells cause.
fn notice(words: &str) -> Option<Notice> {
    let line = |start: &str| words.lines().find_map(|line| line.trim().strip_prefix(start));
    let (from_us, error) = match (line("Last error received: "), line("Last error sent: ")) {
        (Some(error), _) => (true, error),
        (None, Some(error)) => (false, error),
        (None, None) => return None,
    };
    let code = match error {
        "error in OPEN message, AS unacceptable" => Some((2, 2)),
        "error in OPEN message, role mismatch" => Some((2, 11)),
        "HoldTimer expired" => Some((4, 0)),
        "Cease, received max-prefix exceeded" => Some((6, 1)),
        "Cease, administratively down" => Some((6, 2)),
        "Cease, connection rejected" => Some((6, 5)),
        "Cease, collision" => Some((6, 7)),
        _ => Some((0, 0)),
    };
    let text = line("Last received shutdown reason: ").unwrap_or_default();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    Some(Notice {
        from_us,
        code,
        text: text.to_owned(),
    })
}

pub(super) fn parse_routes(answer: &str) -> Result<Vec<PeerRoute>> {
    let whole: Value = serde_json::from_str(answer).context("bgpctl -j show rib")?;
    let paths = whole.get("rib").and_then(Value::as_array);
    paths.into_iter().flatten().map(parse_route).collect()
}

fn parse_route(path: &Value) -> Result<PeerRoute> {
    let text = |key: &str| path.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut route = PeerRoute {
        path: match text("aspath") {
            "" => Vec::new(),
            path => numbers(path, ' ')?,
        },
        origin: match text("origin") {
            "IGP" => Some(0),
            "EGP" => Some(1),
            "incomplete" => Some(2),
            _ => None,
        },
        next_hop: text("exit_nexthop").to_owned(),
        stale: path.get("stale").and_then(Value::as_bool) == Some(true),
        ..PeerRoute::default()
    };
    let list = |key: &str| {
        let found = path.get(key).and_then(Value::as_array);
        found.into_iter().flatten().filter_map(Value::as_str)
    };
    for text in list("communities") {
        route.communities.insert(match text {
            "NO_EXPORT" => (65535, 65281),
            "NO_ADVERTISE" => (65535, 65282),
            _ => community(text, ':')?,
        });
    }
    for text in list("large_communities") {
        route.large.insert(large(text, ':')?);
    }
    let further = path.get("attributes").and_then(Value::as_array);
    for attribute in further.into_iter().flatten() {
        let text = |key: &str| attribute.get(key).and_then(Value::as_str);
        if let Some(id) = text("originator") {
            route.originator = Some(id.parse().context("an identifier")?);
        }
        if text("type") == Some("OTC") {
            let asn = attribute.get("as").and_then(Value::as_u64);
            route.only_to_customer = asn.and_then(|asn| u32::try_from(asn).ok());
        }
        let clusters = attribute.get("cluster_list").and_then(Value::as_array);
        for cluster in clusters.into_iter().flatten().filter_map(Value::as_str) {
            route.clusters.push(cluster.parse().context("a cluster")?);
        }
    }
    Ok(route)
}

#[cfg(test)]
mod tests {
    use super::{notice, parse_routes, unescaped};
    use crate::interop::peer::Notice;

    #[test]
    fn reads_what_bgpctl_says_of_the_last_error() {
        let words = "\
BGP neighbor is 172.31.0.1, remote AS 64512, Passive
  Last received shutdown reason: \"bye\"
  Last error received: Cease, administratively down
";
        let expected = Notice {
            from_us: true,
            code: Some((6, 2)),
            text: "bye".to_owned(),
        };
        assert_eq!(notice(words), Some(expected));
        assert_eq!(notice("BGP neighbor is 172.31.0.1\n"), None);
    }

    #[test]
    fn texts_beyond_ascii_come_back() {
        assert_eq!(unescaped(b"Gr\\303\\274\\303\\237e"), "Gr\u{fc}\u{df}e");
        assert_eq!(unescaped(b"plain \\n \\12"), "plain \\n \\12");
    }

    #[test]
    fn reads_a_route() {
        let answer = r#"{"rib": [{"prefix": "10.244.1.0/24", "aspath": "64512 7", "exit_nexthop": "172.31.0.1",
            "origin": "IGP", "communities": ["64512:7"], "large_communities": ["64512:1:2"]}]}"#;
        let routes = parse_routes(answer).expect("understood");
        let route = routes.into_iter().next().expect("there");
        assert_eq!((route.path, route.origin), (vec![64512, 7], Some(0)));
        assert_eq!(route.communities.into_iter().collect::<Vec<_>>(), [(64512, 7)]);
        assert_eq!(route.large.into_iter().collect::<Vec<_>>(), [(64512, 1, 2)]);
        assert!(parse_routes("{\n\n}\n").expect("understood").is_empty());
    }
}
