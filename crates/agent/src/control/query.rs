//! From a method and a path to a question, as a pure function.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

/// How many routes are given unless asked otherwise.
const DEFAULT_LIMIT: usize = 100_000;
/// How many routes are given at most.
const MAX_LIMIT: usize = 2_000_000;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    Status,
    Peers,
    Peer(String),
    Routes(RouteQuery),
    Why(IpAddr),
    Config,
    Events,
    Refresh(String),
    Shutdown,
}

/// Which routes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteQuery {
    pub(crate) view: RouteView,
    /// Those of this neighbour only.
    pub(crate) peer: Option<String>,
    /// Those inside this prefix only.
    pub(crate) prefix: Option<IpNetwork>,
    /// At most so many.
    pub(crate) limit: usize,
}

/// Where the routes are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteView {
    /// All that neighbours sent.
    Received,
    /// What the import filters let through.
    Accepted,
    /// What was chosen.
    Best,
    /// What neighbours were told.
    Advertised,
    /// What the kernel holds.
    Kernel,
}

/// Why a request is no question of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// 400
    Bad(String),
    /// 404
    NotFound(String),
    /// 405; the method that is allowed.
    Method(&'static str),
}

const PATHS: &str = "/v1/status, /v1/peers, /v1/peers/{name}, /v1/routes, /v1/why?address=, /v1/config, /v1/events, POST /v1/peers/{name}:refresh, POST /v1/node:shutdown";

/// Reads a request.
pub(crate) fn parse(method: &str, path: &str, query: Option<&str>) -> Result<Query, Refused> {
    let (wanted, found) = by_path(path)?;
    if method != wanted {
        return Err(Refused::Method(wanted));
    }
    let parameters = parameters(query.unwrap_or(""))?;
    match found {
        Query::Routes(_) => routes(&parameters).map(Query::Routes),
        Query::Why(_) => why(&parameters).map(Query::Why),
        other @ (Query::Status
        | Query::Peers
        | Query::Peer(_)
        | Query::Config
        | Query::Events
        | Query::Refresh(_)
        | Query::Shutdown) => match parameters.first() {
            None => Ok(other),
            Some((key, _)) => Err(Refused::Bad(format!(
                "{path} has no parameter {key}; leave it out"
            ))),
        },
    }
}

fn by_path(path: &str) -> Result<(&'static str, Query), Refused> {
    let everything = RouteQuery {
        view: RouteView::Best,
        peer: None,
        prefix: None,
        limit: DEFAULT_LIMIT,
    };
    let name = |text: &str| {
        decode(text)
            .filter(|n| !n.is_empty() && !n.contains('/'))
            .ok_or_else(|| Refused::Bad(format!("{path}: no name of a peer")))
    };
    match path {
        "/v1/status" => Ok(("GET", Query::Status)),
        "/v1/peers" => Ok(("GET", Query::Peers)),
        "/v1/routes" => Ok(("GET", Query::Routes(everything))),
        "/v1/config" => Ok(("GET", Query::Config)),
        "/v1/events" => Ok(("GET", Query::Events)),
        "/v1/node:shutdown" => Ok(("POST", Query::Shutdown)),
        "/v1/why" => Ok(("GET", Query::Why(Ipv4Addr::UNSPECIFIED.into()))),
        "/v1/bfd" => Err(Refused::NotFound(format!(
            "{path} is not there yet in this version"
        ))),
        _ => match path.strip_prefix("/v1/peers/") {
            Some(rest) => match rest.strip_suffix(":refresh") {
                Some(peer) => Ok(("POST", Query::Refresh(name(peer)?))),
                None => Ok(("GET", Query::Peer(name(rest)?))),
            },
            None => Err(Refused::NotFound(format!(
                "there is no {path}; there are {PATHS}"
            ))),
        },
    }
}

fn why(parameters: &[(String, String)]) -> Result<IpAddr, Refused> {
    match parameters {
        [(key, value)] if key == "address" => value.parse().map_err(|_| {
            Refused::Bad(format!(
                "address: \"{value}\" is not an address, such as 10.244.3.7"
            ))
        }),
        _ => Err(Refused::Bad(
            "ask for one address: /v1/why?address=10.244.3.7".to_owned(),
        )),
    }
}

fn routes(parameters: &[(String, String)]) -> Result<RouteQuery, Refused> {
    let mut query = RouteQuery {
        view: RouteView::Best,
        peer: None,
        prefix: None,
        limit: DEFAULT_LIMIT,
    };
    for (key, value) in parameters {
        let bad = |what: &str| Refused::Bad(format!("{key}: \"{value}\" is not {what}"));
        match key.as_str() {
            "view" => {
                query.view = match value.as_str() {
                    "received" => RouteView::Received,
                    "accepted" => RouteView::Accepted,
                    "best" => RouteView::Best,
                    "advertised" => RouteView::Advertised,
                    "kernel" => RouteView::Kernel,
                    _ => return Err(bad("one of received, accepted, best, advertised, kernel")),
                }
            }
            "peer" => query.peer = Some(value.clone()).filter(|v| !v.is_empty()),
            "prefix" if value.is_empty() => {}
            "prefix" => {
                query.prefix = Some(
                    value
                        .parse()
                        .map_err(|_| bad("a prefix, such as 10.244.0.0/16"))?,
                );
            }
            "limit" => {
                query.limit = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=MAX_LIMIT).contains(n))
                    .ok_or_else(|| bad("a number from 1 to 2000000"))?;
            }
            _ => {
                return Err(Refused::Bad(format!(
                    "unknown parameter {key}; there are view, peer, prefix, limit"
                )));
            }
        }
    }
    Ok(query)
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, Refused> {
    let bad = |part: &str| Refused::Bad(format!("\"{part}\" is not percent-encoded UTF-8"));
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .take(16)
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((
                decode(key).ok_or_else(|| bad(key))?,
                decode(value).ok_or_else(|| bad(value))?,
            ))
        })
        .collect()
}

/// Takes off percent-encoding (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|b| char::from(b).to_digit(16))
                .and_then(|d| u8::try_from(d).ok())
        };
        let (high, low) = (digit()?, digit()?);
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_questions() {
        let all = RouteQuery {
            view: RouteView::Best,
            peer: None,
            prefix: None,
            limit: DEFAULT_LIMIT,
        };
        for (method, path, query, want) in [
            ("GET", "/v1/status", None, Query::Status),
            ("GET", "/v1/peers", Some(""), Query::Peers),
            ("GET", "/v1/peers/tor-a", None, Query::Peer("tor-a".to_owned())),
            ("GET", "/v1/peers/tor%2da", None, Query::Peer("tor-a".to_owned())),
            (
                "POST",
                "/v1/peers/tor-a:refresh",
                None,
                Query::Refresh("tor-a".to_owned()),
            ),
            ("POST", "/v1/node:shutdown", None, Query::Shutdown),
            ("GET", "/v1/config", None, Query::Config),
            ("GET", "/v1/events", None, Query::Events),
            ("GET", "/v1/routes", None, Query::Routes(all.clone())),
            (
                "GET",
                "/v1/why",
                Some("address=fd00%3A244::7"),
                Query::Why("fd00:244::7".parse().unwrap()),
            ),
            (
                "GET",
                "/v1/routes",
                Some("view=received&peer=tor-a&prefix=10.244.0.0%2F16&limit=5"),
                Query::Routes(RouteQuery {
                    view: RouteView::Received,
                    peer: Some("tor-a".to_owned()),
                    prefix: Some("10.244.0.0/16".parse().unwrap()),
                    limit: 5,
                }),
            ),
            (
                "GET",
                "/v1/routes",
                Some("view=best&peer=&prefix="),
                Query::Routes(all),
            ),
        ] {
            assert_eq!(parse(method, path, query), Ok(want), "{path}");
        }
    }

    #[test]
    fn what_is_no_question_is_explained() {
        let bad = |query: &str| matches!(parse("GET", "/v1/routes", Some(query)), Err(Refused::Bad(_)));
        for query in [
            "view=all",
            "limit=0",
            "limit=x",
            "prefix=10",
            "quux=1",
            "peer=%zz",
            "peer=%",
            "peer=%ff",
        ] {
            assert!(bad(query), "{query}");
        }
        for path in ["/", "", "/v2/status", "/v1/bfd", "/v1/statuses"] {
            assert!(
                matches!(parse("GET", path, None), Err(Refused::NotFound(_))),
                "{path}"
            );
        }
        for query in [
            None,
            Some("address=10.244.0.0/16"),
            Some("addr=10.0.0.1"),
            Some("address=10.0.0.1&x=1"),
        ] {
            assert!(
                matches!(parse("GET", "/v1/why", query), Err(Refused::Bad(_))),
                "{query:?}"
            );
        }
        assert!(matches!(parse("GET", "/v1/peers/", None), Err(Refused::Bad(_))));
        assert!(matches!(
            parse("GET", "/v1/status", Some("x=1")),
            Err(Refused::Bad(_))
        ));
        assert_eq!(parse("POST", "/v1/status", None), Err(Refused::Method("GET")));
        assert_eq!(
            parse("GET", "/v1/node:shutdown", None),
            Err(Refused::Method("POST"))
        );
        assert_eq!(parse("DELETE", "/v1/peers/a", None), Err(Refused::Method("GET")));
    }
}
