//! GoBGP as the peer. Its routes are added to its global table by command, so there is nothing of them in its
//! configuration.
//!
//! Its command line counts NOTIFICATIONs but does not show them. What they said is therefore read from its log; of
//! those that it receives before a session is up there is only the count.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ipnetwork::IpNetwork;
use serde_json::Value;

use super::{Capability, Neighbour, Notice, Options, Originated, Peer, PeerRoute, Place, at, number};
use crate::process::{Daemon, locate};
use crate::wait;

/// How many paths of a prefix it tells at most, where it tells several.
const PATHS: u8 = 8;
/// Established, in its API's numbers.
const ESTABLISHED: u64 = 6;

pub(super) struct Gobgp {
    place: Place,
    options: Options,
    daemon: Daemon,
}

impl Gobgp {
    pub(super) fn start(place: Place, options: Options) -> Result<Self> {
        let file = place.dir.join("gobgpd.toml");
        fs::write(&file, configuration(&place, &options)).context("write gobgpd.toml")?;
        let program = locate("gobgpd").context("gobgpd is not installed: sudo apt-get install gobgpd")?;
        let mut command = place.namespace.command(&program);
        command
            .arg("-f")
            .arg(&file)
            .args(["--pprof-disable", "--log-plain", "--log-level=debug"])
            .arg("--api-hosts=127.0.0.1:50051");
        if options.restarted {
            command.arg("--graceful-restart");
        }
        let name = format!("gobgpd on {}", place.namespace.name());
        let daemon = Daemon::start(&name, command, &place.dir.join("gobgpd.log"))?;
        let mut peer = Self {
            place,
            options,
            daemon,
        };
        // It answers before it has read its configuration.
        let waited = wait::until(&format!("{name} to answer"), Duration::from_secs(10), || {
            peer.daemon.expect_running()?;
            Ok(peer.neighbour().map_err(|error| format!("{error:#}")))
        });
        waited.with_context(|| peer.daemon.last_words())?;
        for route in peer.options.originated.clone() {
            peer.announce(route)?;
        }
        if peer.options.restarted {
            peer.open()?;
        }
        Ok(peer)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let program = locate("gobgp").context("gobgp is not installed: sudo apt-get install gobgpd")?;
        let mut command = self.place.namespace.command(&program);
        let output = command.args(arguments).output().context("run gobgp")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "gobgp {}: {text}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text)
    }

    fn us(&self) -> String {
        self.options.transport.of(&self.place.ours).to_string()
    }
}

impl Peer for Gobgp {
    fn neighbour(&self) -> Result<Neighbour> {
        let answer = self.ask(&["-j", "neighbor", &self.us()])?;
        parse_neighbour(answer, &self.daemon.log())
    }

    fn routes(&self, prefix: IpNetwork) -> Result<Vec<PeerRoute>> {
        let (us, family, prefix) = (self.us(), family(prefix), prefix.to_string());
        let answer = match self.ask(&["-j", "neighbor", &us, "adj-in", "-a", family]) {
            // What it keeps of a neighbour that is away it shows among all its routes only.
            Err(error) if format!("{error:#}").contains("not established") => {
                self.ask(&["-j", "global", "rib", "-a", family])?
            }
            answer => answer?,
        };
        parse_routes(&prefix, &answer)
    }

    fn announce(&mut self, route: Originated) -> Result<()> {
        let join = |words: Vec<String>| words.join(",");
        let communities = join(
            route
                .communities
                .iter()
                .map(|(a, b)| format!("{a}:{b}"))
                .collect(),
        );
        let larges = join(
            route
                .large
                .iter()
                .map(|(a, b, c)| format!("{a}:{b}:{c}"))
                .collect(),
        );
        let (prefix, family) = (route.prefix.to_string(), family(route.prefix));
        let next_hop = match route.prefix {
            IpNetwork::V4(_) => self.place.its.ipv4.to_string(),
            IpNetwork::V6(_) => self.place.its.ipv6.to_string(),
        };
        let mut arguments = vec!["global", "rib", "add", "-a", family, &prefix, "origin", "igp"];
        arguments.extend(["nexthop", &next_hop]);
        if !communities.is_empty() {
            arguments.extend(["community", &communities]);
        }
        if !larges.is_empty() {
            arguments.extend(["large-community", &larges]);
        }
        self.ask(&arguments).map(drop)
    }

    fn withdraw(&mut self, prefix: IpNetwork) -> Result<()> {
        let (prefix, family) = (prefix.to_string(), family(prefix));
        self.ask(&["global", "rib", "del", "-a", family, &prefix])
            .map(drop)
    }

    fn refresh(&self) -> Result<()> {
        self.ask(&["neighbor", &self.us(), "softresetin"]).map(drop)
    }

    /// `disable` would keep it down, but forgets the text (3.10); after `shutdown` it comes back by itself.
    fn shut(&mut self, text: &str) -> Result<()> {
        self.ask(&["neighbor", &self.us(), "shutdown", "--reason", text])
            .map(drop)
    }

    fn open(&mut self) -> Result<()> {
        self.ask(&["neighbor", &self.us(), "enable"]).map(drop)
    }

    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn configuration(&self) -> String {
        configuration(&self.place, &self.options)
    }
}

fn family(prefix: IpNetwork) -> &'static str {
    match prefix {
        IpNetwork::V4(_) => "ipv4",
        IpNetwork::V6(_) => "ipv6",
    }
}

fn configuration(place: &Place, options: &Options) -> String {
    let (its, us) = (
        options.transport.of(&place.its),
        options.transport.of(&place.ours),
    );
    let mut text = format!(
        "[global.config]\n  as = {}\n  router-id = \"{}\"\n[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{us}\"\n    peer-as = {}\n",
        options.asn, place.id, options.our_asn
    );
    // It must not say that these are all its routes (End-of-RIB) before it has been told them.
    if options.restarted {
        text.push_str("    admin-down = true\n");
    }
    if let Some(key) = &options.key {
        let _ = writeln!(text, "    auth-password = \"{key}\"");
    }
    let _ = write!(
        text,
        "  [neighbors.timers.config]\n    connect-retry = 1\n    hold-time = {}\n    keepalive-interval = {}\n    idle-hold-time-after-reset = 1\n",
        options.hold,
        options.hold / 3
    );
    let _ = write!(
        text,
        "  [neighbors.transport.config]\n    local-address = \"{its}\"\n    passive-mode = {}\n",
        options.passive
    );
    if options.ttl_security {
        text.push_str("  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255\n");
    }
    if let Some(seconds) = options.graceful_restart {
        let _ = write!(
            text,
            "  [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = {seconds}\n    long-lived-enabled = {}\n",
            options.long_lived.is_some()
        );
    }
    text.push_str(&reflector(options));
    for name in ["ipv4-unicast", "ipv6-unicast"] {
        let _ = write!(
            text,
            "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"{name}\"\n"
        );
        if options.graceful_restart.is_some() {
            text.push_str("    [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n");
        }
        if let Some(seconds) = options.long_lived {
            let _ = write!(
                text,
                "    [neighbors.afi-safis.long-lived-graceful-restart.config]\n      enabled = true\n      restart-time = {seconds}\n"
            );
        }
        if options.add_path {
            let _ = write!(
                text,
                "    [neighbors.afi-safis.add-paths.config]\n      receive = true\n      send-max = {PATHS}\n"
            );
        }
        if let Some(limit) = options.limit {
            let _ = write!(
                text,
                "    [neighbors.afi-safis.prefix-limit.config]\n      max-prefixes = {limit}\n"
            );
        }
    }
    text + &beside(place, options).unwrap_or_default()
}

fn reflector(options: &Options) -> String {
    let words = |cluster| {
        format!(
            "  [neighbors.route-reflector.config]\n    route-reflector-client = true\n    route-reflector-cluster-id = \"{cluster}\"\n"
        )
    };
    options.cluster.map(words).unwrap_or_default()
}

/// A second neighbour, of IPv4 only.
fn beside(place: &Place, options: &Options) -> Option<String> {
    let (asn, (its, other)) = (options.beside?, place.beside.as_ref()?);
    Some(format!(
        "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{}\"\n    peer-as = {asn}\n  [neighbors.transport.config]\n    local-address = \"{}\"\n    passive-mode = true\n{}",
        options.transport.of(other),
        options.transport.of(its),
        reflector(options)
    ))
}

fn parse_neighbour(answer: String, log: &str) -> Result<Neighbour> {
    let peer: Value = serde_json::from_str(&answer).context("gobgp -j neighbor")?;
    let established = number(&peer, &["state", "session_state"]) == ESTABLISHED;
    let messages = |way: &str, kind: &str| number(&peer, &["state", "messages", way, kind]);
    let mut seen = Neighbour {
        established,
        updates: messages("received", "update"),
        served: messages("received", "refresh"),
        ..Neighbour::default()
    };
    let names: Vec<&str> = at(&peer, &["state", "remote_cap"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|capability| capability.get("type_url").and_then(Value::as_str))
        .filter_map(|name| name.rsplit('.').next())
        .collect();
    for (name, capability) in [
        ("RouteRefreshCapability", Capability::RouteRefresh),
        ("EnhancedRouteRefreshCapability", Capability::EnhancedRefresh),
        ("FourOctetASNCapability", Capability::FourOctetAsn),
    ] {
        if names.contains(&name) {
            seen.capabilities.insert(capability);
        }
    }
    let families = peer.get("afi_safis").and_then(Value::as_array);
    for family in families.into_iter().flatten() {
        let index = match number(family, &["config", "family", "afi"]) {
            1 => 0_usize,
            2 => 1,
            _ => continue,
        };
        if let Some(slot) = seen.received.get_mut(index) {
            *slot = number(family, &["state", "received"]);
        }
        // It enables what it has agreed on. End-of-RIB (RFC 4724) is what it has heard from us in that family.
        if let Some(slot) = seen.families.get_mut(index) {
            let heard = at(family, &["mp_graceful_restart", "state", "end_of_rib_received"]);
            *slot = established && heard.and_then(Value::as_bool) == Some(true);
        }
    }
    let counted = |from_us: bool| messages(if from_us { "received" } else { "sent" }, "notification") > 0;
    let untold = || Notice {
        from_us: true,
        code: None,
        text: String::new(),
    };
    let logged = log.lines().rev().find_map(notice);
    // One that comes before the session is up is counted, and no more.
    seen.notice = logged.or_else(|| counted(true).then(untold));
    seen.answer = answer;
    Ok(seen)
}

/// A line of the log about a NOTIFICATION.
fn notice(line: &str) -> Option<Notice> {
    let from_us = line.contains("msg=\"received notification\"");
    if !from_us && !line.contains("msg=\"sent notification\"") {
        return None;
    }
    let field = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => rest.split(' ').next(),
        }
    };
    let number = |name: &str| field(name)?.parse().ok();
    // Of what it refuses in an OPEN it names the reason instead of the code.
    let code = match field("Data") {
        Some(reason) if reason.starts_with("as number mismatch") => Some((2, 2)),
        _ => Some((number("Code")?, number("Subcode")?)),
    };
    Some(Notice {
        from_us,
        code,
        text: field("Communicated-Reason").unwrap_or_default().to_owned(),
    })
}

fn parse_routes(prefix: &str, answer: &str) -> Result<Vec<PeerRoute>> {
    let whole: Value = serde_json::from_str(answer).context("gobgp -j neighbor adj-in")?;
    let paths = at(&whole, &[prefix]).and_then(Value::as_array);
    Ok(paths.into_iter().flatten().map(parse_route).collect())
}

fn parse_route(path: &Value) -> PeerRoute {
    let mut route = PeerRoute {
        stale: path.get("stale").and_then(Value::as_bool) == Some(true),
        ..PeerRoute::default()
    };
    let small = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let attributes = path.get("attrs").and_then(Value::as_array);
    for attribute in attributes.into_iter().flatten() {
        let list = |key: &str| attribute.get(key).and_then(Value::as_array).into_iter().flatten();
        match number(attribute, &["type"]) {
            1 => route.origin = u8::try_from(number(attribute, &["value"])).ok(),
            2 => {
                for segment in list("as_paths") {
                    let asns = segment.get("asns").and_then(Value::as_array);
                    route.path.extend(asns.into_iter().flatten().filter_map(small));
                }
            }
            3 | 14 => {
                let text = attribute.get("nexthop").and_then(Value::as_str);
                route.next_hop = text.unwrap_or_default().to_owned();
            }
            8 => {
                for community in list("communities").filter_map(small) {
                    let [a, b, c, d] = community.to_be_bytes();
                    route
                        .communities
                        .insert((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
                }
            }
            9 => {
                let text = attribute.get("value").and_then(Value::as_str);
                route.originator = text.and_then(|id| id.parse().ok());
            }
            10 => {
                let clusters = list("value").filter_map(Value::as_str);
                route.clusters = clusters.filter_map(|id| id.parse().ok()).collect();
            }
            32 => {
                for value in list("value") {
                    let part = |key: &str| value.get(key).and_then(small).unwrap_or(0);
                    route
                        .large
                        .insert((part("ASN"), part("LocalData1"), part("LocalData2")));
                }
            }
            _ => {}
        }
    }
    route
}

#[cfg(test)]
mod tests {
    use super::notice;
    use crate::interop::peer::Notice;

    #[test]
    fn reads_notifications_from_the_log() {
        let line = "time=\"2026-11-25T18:29:21Z\" level=warning msg=\"sent notification\" Code=6 Communicated-Reason=\"bye now\" Data=\"[]\" Key=172.31.0.1 State=BGP_FSM_ESTABLISHED Subcode=2 Topic=Peer";
        let expected = Notice {
            from_us: false,
            code: Some((6, 2)),
            text: "bye now".to_owned(),
        };
        assert_eq!(notice(line), Some(expected));
        let refused = "time=\"2026-11-25T18:45:47Z\" level=warning msg=\"sent notification\" Data=\"as number mismatch expected 64999, received 64512\" Key=172.31.0.1 Topic=Peer";
        assert_eq!(notice(refused).and_then(|notice| notice.code), Some((2, 2)));
        assert_eq!(notice("level=info msg=\"Peer Down\" Code=6 Subcode=2"), None);
    }
}
