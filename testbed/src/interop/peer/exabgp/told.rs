//! What ExaBGP tells, line by line, and what that makes of us.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::interop::peer::{Capability, Neighbour, Notice, PeerRoute, at, number};

/// What it has told so far.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) neighbour: Neighbour,
    pub(super) routes: Vec<HeardRoute>,
}

/// A route that it was told.
#[derive(Clone)]
pub(super) struct HeardRoute {
    pub(super) prefix: IpNetwork,
    /// What tells several paths of a prefix apart (RFC 7911).
    id: Option<String>,
    pub(super) route: PeerRoute,
}

impl Heard {
    pub(super) fn from(text: &str) -> Result<Self> {
        let mut heard = Self::default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines().filter(|line| line.starts_with('{')) {
            heard.take(&event(line)?)?;
        }
        for heard_route in &heard.routes {
            let family = usize::from(heard_route.prefix.is_ipv6());
            if let Some(count) = heard.neighbour.received.get_mut(family) {
                *count += 1;
            }
        }
        let tail: Vec<&str> = whole.lines().rev().take(12).collect();
        heard.neighbour.answer = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        Ok(heard)
    }

    fn take(&mut self, event: &Value) -> Result<()> {
        let neighbour = event.get("neighbor");
        let text = |key: &str| neighbour.and_then(|it| it.get(key)).and_then(Value::as_str);
        let received = text("direction") == Some("receive");
        match event.get("type").and_then(Value::as_str) {
            Some("state") => match text("state") {
                Some("up") => self.neighbour.established = true,
                Some("down") => {
                    self.neighbour.established = false;
                    self.neighbour.families = [false, false];
                    self.routes.clear();
                }
                _ => {}
            },
            Some("open") if received => {
                self.neighbour.capabilities = capabilities(event);
                self.neighbour.families = families(event);
            }
            Some("notification") => self.neighbour.notice = notice(event, received),
            Some("refresh") if received => self.neighbour.served += 1,
            Some("update") if received => self.update(event)?,
            _ => {}
        }
        Ok(())
    }

    fn update(&mut self, event: &Value) -> Result<()> {
        let Some(update) = at(event, &["neighbor", "message", "update"]) else {
            return Ok(());
        };
        let attributes = attributes(update);
        let families = |key: &str| update.get(key).and_then(Value::as_object).into_iter().flatten();
        for (_, list) in families("withdraw") {
            for (prefix, id) in prefixes(list)? {
                self.forget(prefix, id.as_deref());
            }
        }
        for (_, next_hops) in families("announce") {
            for (next_hop, list) in next_hops.as_object().into_iter().flatten() {
                // Of two next hops the link-local one is not the one that counts.
                if next_hop.starts_with("fe80:") {
                    continue;
                }
                for (prefix, id) in prefixes(list)? {
                    self.neighbour.updates += 1;
                    self.forget(prefix, id.as_deref());
                    let route = PeerRoute {
                        next_hop: next_hop.clone(),
                        ..attributes.clone()
                    };
                    self.routes.push(HeardRoute { prefix, id, route });
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self, prefix: IpNetwork, id: Option<&str>) {
        self.routes
            .retain(|known| known.prefix != prefix || known.id.as_deref() != id);
    }
}

/// A line of what it tells. Families in refreshes stand in two pairs of quotes, and reasons hold quotes of their own; of an
/// end it is enough to know that it came.
fn event(line: &str) -> Result<Value> {
    let plain = serde_json::from_str(line).or_else(|_| serde_json::from_str(&line.replace("\"\"", "\"")));
    if plain.is_err() && line.contains(r#""type": "state""#) && line.contains(r#""state": "down""#) {
        return Ok(serde_json::json!({"type": "state", "neighbor": {"state": "down"}}));
    }
    plain.with_context(|| format!("exabgp told {line}"))
}

/// Those that we offer; it offers both. What is agreed on it tells too, but with add-path it fails at that.
fn families(event: &Value) -> [bool; 2] {
    let told = at(event, &["neighbor", "open", "capabilities"]).and_then(Value::as_object);
    let offered: BTreeSet<&str> = told
        .into_iter()
        .flatten()
        .filter_map(|(_, it)| it.get("families")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    ["ipv4/unicast", "ipv6/unicast"].map(|family| offered.contains(family))
}

fn capabilities(event: &Value) -> BTreeSet<Capability> {
    let told = at(event, &["neighbor", "open", "capabilities"]).and_then(Value::as_object);
    let names = told
        .into_iter()
        .flatten()
        .filter_map(|(_, it)| it.get("name")?.as_str());
    names
        .filter_map(|name| match name {
            "route-refresh" => Some(Capability::RouteRefresh),
            "enhanced-route-refresh" => Some(Capability::EnhancedRefresh),
            "extended-message" => Some(Capability::ExtendedMessage),
            "asn4" => Some(Capability::FourOctetAsn),
            _ => None,
        })
        .collect()
}

fn notice(event: &Value, from_us: bool) -> Option<Notice> {
    let told = at(event, &["neighbor", "notification"])?;
    let part = |key: &str| u8::try_from(number(told, &[key])).ok();
    Some(Notice {
        from_us,
        code: Some((part("code")?, part("subcode")?)),
        text: String::new(),
    })
}

/// Prefixes, each with its path identifier where there are some.
fn prefixes(list: &Value) -> Result<Vec<(IpNetwork, Option<String>)>> {
    let told = list.as_array().into_iter().flatten().filter_map(|entry| {
        let id = entry.get("path-information").and_then(Value::as_str);
        Some((entry.get("nlri")?.as_str()?, id))
    });
    told.map(|(text, id)| {
        let prefix = text.parse().with_context(|| format!("\"{text}\" is no prefix"))?;
        Ok((prefix, id.map(str::to_owned)))
    })
    .collect()
}

fn attributes(update: &Value) -> PeerRoute {
    let list = |key: &str| {
        let found = at(update, &["attribute", key]).and_then(Value::as_array);
        found.into_iter().flatten()
    };
    let small = |value: Option<&Value>| {
        value
            .and_then(Value::as_u64)
            .and_then(|it| u32::try_from(it).ok())
    };
    let tiny = |value: Option<&Value>| small(value).and_then(|it| u16::try_from(it).ok());
    PeerRoute {
        path: list("as-path").filter_map(|asn| small(Some(asn))).collect(),
        origin: match at(update, &["attribute", "origin"]).and_then(Value::as_str) {
            Some("igp") => Some(0),
            Some("egp") => Some(1),
            Some("incomplete") => Some(2),
            _ => None,
        },
        communities: list("community")
            .filter_map(|it| Some((tiny(it.get(0))?, tiny(it.get(1))?)))
            .collect(),
        large: list("large-community")
            .filter_map(|it| Some((small(it.get(0))?, small(it.get(1))?, small(it.get(2))?)))
            .collect(),
        originator: at(update, &["attribute", "originator-id"])
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok()),
        clusters: list("cluster-list")
            .filter_map(Value::as_str)
            .filter_map(|id| id.parse().ok())
            .collect(),
        ..PeerRoute::default()
    }
}

#[cfg(test)]
mod tests {
    use super::Heard;
    use crate::interop::peer::{Capability, Notice};

    const TOLD: &str = r#"{ "type": "open", "neighbor": { "direction": "receive", "open": { "capabilities": { "1": { "name": "multiprotocol", "families": [ "ipv4/unicast", "ipv6/unicast" ] }, "65": { "name": "asn4", "asn4": 64512 } } } } }
{ "type": "state", "neighbor": { "state": "up" } }
done
{ "type": "update", "neighbor": { "direction": "receive", "message": { "update": { "attribute": { "origin": "igp", "as-path": [ 64512 ], "community": [ [ 64512, 7 ] ], "large-community": [ [ 64512, 1 , 2 ] ] }, "announce": { "ipv4 unicast": { "172.31.0.1": [ { "nlri": "10.244.1.0/24" } ] } } } } } }
"#;

    #[test]
    fn reads_what_it_tells() {
        let heard = Heard::from(TOLD).expect("understood");
        assert!(heard.neighbour.established);
        assert_eq!(
            (heard.neighbour.families, heard.neighbour.received),
            ([true, true], [1, 0])
        );
        assert!(heard.neighbour.capabilities.contains(&Capability::FourOctetAsn));
        let told = heard.routes.first().expect("a route").clone();
        let (prefix, route) = (told.prefix, told.route);
        assert_eq!(
            (prefix.to_string().as_str(), route.next_hop.as_str()),
            ("10.244.1.0/24", "172.31.0.1")
        );
        assert_eq!((route.path.as_slice(), route.origin), (&[64512][..], Some(0)));
        assert!(route.communities.contains(&(64512, 7)) && route.large.contains(&(64512, 1, 2)));
    }

    #[test]
    fn a_withdrawal_and_an_end_take_routes_away() {
        let withdrawn = format!(
            "{TOLD}{}\n",
            r#"{ "type": "update", "neighbor": { "direction": "receive", "message": { "update": { "withdraw": { "ipv4 unicast": [ { "nlri": "10.244.1.0/24" } ] } } } } }"#
        );
        assert!(Heard::from(&withdrawn).expect("understood").routes.is_empty());
        let ended = format!(
            "{TOLD}{}\n{}\nhalf a li",
            r#"{ "type": "notification", "neighbor": { "direction": "send", "notification": { "code": 6, "subcode": 2 } } }"#,
            r#"{ "type": "state", "neighbor": { "state": "down", "reason": "an "odd" one" } }"#
        );
        let heard = Heard::from(&ended).expect("understood");
        assert!(!heard.neighbour.established && heard.routes.is_empty());
        let expected = Notice {
            from_us: false,
            code: Some((6, 2)),
            text: String::new(),
        };
        assert_eq!(heard.neighbour.notice, Some(expected));
    }
}
