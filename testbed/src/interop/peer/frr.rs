//! FRR as the peer. What it originates are `network` statements, each with a route-map that adds its communities, and
//! both are changed through `vtysh` while it runs.
//!
//! A speaker of 2-octet ASNs is made of it by `dont-capability-negotiate`: then its OPEN carries no capability at all.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnetwork::IpNetwork;
use rustix::process::Signal;
use serde_json::Value;

use super::{
    Capability, Neighbour, Notice, Options, Originated, Peer, PeerRoute, Place, Role, at, community, large,
    number,
};
use crate::process::Daemon;
use crate::speaker::frr;

/// How long zebra may take to end.
const END: Duration = Duration::from_secs(5);
/// Communities a line: vtysh reads lines of limited length.
const CHUNK: usize = 100;

pub(super) struct Frr {
    place: Place,
    options: Options,
    /// zebra, which bgpd asks about next hops.
    zebra: Option<Daemon>,
    bgpd: Daemon,
}

impl Frr {
    pub(super) fn start(place: Place, options: Options) -> Result<Self> {
        let zebra = frr::spawn(
            &place.dir,
            &place.namespace,
            "zebra",
            "hostname peer\nlog stdout informational\n",
            &[],
        )?;
        // It sets the size of its buffers itself, whatever the kernel's are.
        let buffers: &[&str] = if options.small_buffers {
            &["--socket_size", "4096"]
        } else {
            &[]
        };
        let bgpd = frr::spawn(
            &place.dir,
            &place.namespace,
            "bgpd",
            &configuration(&place, &options),
            buffers,
        )?;
        Ok(Self {
            place,
            options,
            zebra: Some(zebra),
            bgpd,
        })
    }

    fn ask(&self, commands: &[&str]) -> Result<String> {
        frr::ask_at(&self.place.dir, "bgpd", commands)
    }

    fn configure(&self, lines: &[String]) -> Result<()> {
        let mut commands = vec!["configure terminal"];
        commands.extend(lines.iter().map(String::as_str));
        self.ask(&commands).map(drop)
    }

    fn us(&self) -> String {
        self.options.transport.of(&self.place.ours).to_string()
    }

    fn router(&self) -> String {
        format!("router bgp {}", self.options.asn)
    }
}

impl Peer for Frr {
    fn neighbour(&self) -> Result<Neighbour> {
        let us = self.us();
        let answer = self.ask(&[&format!("show bgp neighbors {us} json")])?;
        parse_neighbour(&us, answer, &self.bgpd.log())
    }

    fn routes(&self, prefix: IpNetwork) -> Result<Vec<PeerRoute>> {
        let family = family(prefix);
        let answer = self.ask(&[&format!("show bgp {family} unicast {prefix} json")])?;
        parse_routes(&self.us(), &answer)
    }

    fn announce(&mut self, route: Originated) -> Result<()> {
        let mut lines = route_map(&route);
        lines.extend([
            self.router(),
            format!("address-family {} unicast", family(route.prefix)),
            network(&route),
        ]);
        self.configure(&lines)
    }

    fn withdraw(&mut self, prefix: IpNetwork) -> Result<()> {
        self.configure(&[
            self.router(),
            format!("address-family {} unicast", family(prefix)),
            format!("no network {prefix}"),
        ])
    }

    fn refresh(&self) -> Result<()> {
        for family in ["ipv4", "ipv6"] {
            self.ask(&[&format!("clear bgp {family} unicast {} soft in", self.us())])?;
        }
        Ok(())
    }

    fn shut(&mut self, text: &str) -> Result<()> {
        let line = format!("neighbor {} shutdown message {text}", self.us());
        self.configure(&[self.router(), line])
    }

    fn open(&mut self) -> Result<()> {
        let line = format!("no neighbor {} shutdown", self.us());
        self.configure(&[self.router(), line])
    }

    fn daemon(&self) -> &Daemon {
        &self.bgpd
    }

    /// A second zebra would not start beside the first one, and the first one would answer in its place.
    fn end_rest(&mut self) -> Result<()> {
        let zebra = self.zebra.take();
        zebra.map_or(Ok(()), |zebra| zebra.end(Signal::KILL, END).map(drop))
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

fn map_name(prefix: IpNetwork) -> String {
    format!("from-{}", prefix.to_string().replace(['/', ':', '.'], "-"))
}

fn network(route: &Originated) -> String {
    format!("network {} route-map {}", route.prefix, map_name(route.prefix))
}

/// A route-map that adds what the route carries, some at a time.
fn route_map(route: &Originated) -> Vec<String> {
    let mut sets: Vec<String> = Vec::new();
    for chunk in route.communities.chunks(CHUNK) {
        let words: Vec<String> = chunk.iter().map(|(high, low)| format!("{high}:{low}")).collect();
        sets.push(format!("set community {} additive", words.join(" ")));
    }
    for chunk in route.large.chunks(CHUNK) {
        let words: Vec<String> = chunk.iter().map(|(a, b, c)| format!("{a}:{b}:{c}")).collect();
        sets.push(format!("set large-community {} additive", words.join(" ")));
    }
    let name = map_name(route.prefix);
    let last = sets.len().max(1);
    let mut lines = Vec::new();
    for number in 1..=last {
        lines.push(format!("route-map {name} permit {}", number * 10));
        lines.extend(sets.get(number - 1).cloned());
        if number < last {
            lines.push("on-match next".to_owned());
        }
        lines.push("exit".to_owned());
    }
    lines
}

fn configuration(place: &Place, options: &Options) -> String {
    let us = options.transport.of(&place.ours);
    let mut text = "hostname peer\nlog stdout informational\n".to_owned();
    for line in options.originated.iter().flat_map(route_map) {
        let _ = writeln!(text, "{line}");
    }
    // What it has from us it would send back, as any eBGP speaker may; only others' shall go out.
    let _ = write!(
        text,
        "bgp as-path access-list others deny _{}_\nbgp as-path access-list others permit .*\n",
        options.our_asn
    );
    let _ = write!(
        text,
        "route-map next-hop-6 permit 10\n set ipv6 next-hop global {}\nexit\nrouter bgp {}\n bgp router-id {}\n",
        place.its.ipv6, options.asn, place.id
    );
    text.push_str(
        " bgp log-neighbor-changes\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check\n",
    );
    if let Some(seconds) = options.graceful_restart {
        let _ = write!(
            text,
            " bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time {seconds}\n"
        );
    }
    if let Some(seconds) = options.long_lived {
        let _ = writeln!(text, " bgp long-lived-graceful-restart stale-time {seconds}");
    }
    if let Some(cluster) = options.cluster {
        let _ = writeln!(text, " bgp cluster-id {cluster}");
    }
    let (keepalive, hold) = (options.hold / 3, options.hold);
    let _ = write!(
        text,
        " timers bgp {keepalive} {hold}\n neighbor {us} remote-as {}\n neighbor {us} timers connect 1\n neighbor {us} advertisement-interval 0\n",
        options.our_asn
    );
    for (wanted, words) in [
        (options.passive, "passive"),
        (options.two_octet, "dont-capability-negotiate"),
        (options.ttl_security, "ttl-security hops 1"),
    ] {
        if wanted {
            let _ = writeln!(text, " neighbor {us} {words}");
        }
    }
    if let Some(key) = &options.key {
        let _ = writeln!(text, " neighbor {us} password {key}");
    }
    if let Some(role) = options.role {
        let _ = writeln!(text, " neighbor {us} local-role {}", role.word());
    }
    text.push_str(&beside(place, options).unwrap_or_default());
    text.push_str(&families(us, options));
    text.push_str("exit\n");
    text
}

/// The families of the session with us.
fn families(us: IpAddr, options: &Options) -> String {
    let mut text = String::new();
    for (name, v6) in [("ipv4", false), ("ipv6", true)] {
        let _ = writeln!(
            text,
            " address-family {name} unicast\n  neighbor {us} activate\n  neighbor {us} filter-list others out"
        );
        if v6 {
            let _ = writeln!(text, "  neighbor {us} route-map next-hop-6 out");
        }
        if let Some(limit) = options.limit {
            let _ = writeln!(text, "  neighbor {us} maximum-prefix {limit}");
        }
        if options.cluster.is_some() {
            let _ = writeln!(text, "  neighbor {us} route-reflector-client");
        }
        if options.add_path {
            let _ = writeln!(text, "  neighbor {us} addpath-tx-all-paths");
        }
        for route in options
            .originated
            .iter()
            .filter(|route| route.prefix.is_ipv6() == v6)
        {
            let _ = writeln!(text, "  {}", network(route));
        }
        text.push_str(" exit-address-family\n");
    }
    text
}

/// A second neighbour, of IPv4 only.
fn beside(place: &Place, options: &Options) -> Option<String> {
    let (asn, (_, other)) = (options.beside?, place.beside.as_ref()?);
    let other = options.transport.of(other);
    let mut text = format!(
        " neighbor {other} remote-as {asn}\n neighbor {other} passive\n neighbor {other} advertisement-interval 0\n address-family ipv4 unicast\n  neighbor {other} activate\n"
    );
    if options.cluster.is_some() {
        let _ = writeln!(text, "  neighbor {other} route-reflector-client");
    }
    text.push_str(" exit-address-family\n");
    Some(text)
}

fn parse_neighbour(us: &str, answer: String, log: &str) -> Result<Neighbour> {
    let whole: Value = serde_json::from_str(&answer).context("show bgp neighbors json")?;
    let peer = whole
        .get(us)
        .with_context(|| format!("no neighbour {us}: {answer}"))?;
    let text = |path: &[&str]| {
        at(peer, path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let mut seen = Neighbour {
        established: text(&["bgpState"]) == "Established",
        updates: number(peer, &["messageStats", "updatesRecv"]),
        served: number(peer, &["messageStats", "routeRefreshRecv"]),
        ..Neighbour::default()
    };
    for (index, family) in ["ipv4Unicast", "ipv6Unicast"].into_iter().enumerate() {
        let info = ["addressFamilyInfo", family];
        if let Some(slot) = seen.families.get_mut(index) {
            // Only a family that is in use belongs to an update group.
            *slot = at(peer, &[info[0], info[1], "updateGroupId"]).is_some();
        }
        if let Some(slot) = seen.received.get_mut(index) {
            *slot = number(peer, &[info[0], info[1], "acceptedPrefixCounter"]);
        }
    }
    for (name, capability) in [
        ("routeRefresh", Capability::RouteRefresh),
        ("enhancedRouteRefresh", Capability::EnhancedRefresh),
        ("extendedMessage", Capability::ExtendedMessage),
        ("4byteAs", Capability::FourOctetAsn),
    ] {
        let words = text(&["neighborCapabilities", name]);
        if words.contains("Received") || words == "received" {
            seen.capabilities.insert(capability);
        }
    }
    let role = text(&["remoteRole"]);
    seen.role = Role::ALL.into_iter().find(|known| known.word() == role);
    let logged = || log.lines().rev().find_map(|line| logged_notice(us, line));
    seen.notice = notice(&text).or_else(logged);
    seen.answer = answer;
    Ok(seen)
}

/// FRR writes the code and subcode of the last NOTIFICATION as four hexadecimal digits.
fn notice(text: &dyn Fn(&[&str]) -> String) -> Option<Notice> {
    let code = u16::from_str_radix(&text(&["lastErrorCodeSubcode"]), 16).ok()?;
    let [code, subcode] = code.to_be_bytes();
    Some(Notice {
        from_us: text(&["lastResetDueTo"]).contains("received"),
        code: Some((code, subcode)),
        text: unescaped(&text(&["lastShutdownDescription"])),
    })
}

/// A line of the log about a NOTIFICATION: what FRR says of a session that was never up, because it tells the errors of
/// an accepted connection to nobody else.
fn logged_notice(us: &str, line: &str) -> Option<Notice> {
    let (_, rest) = line.split_once("%NOTIFICATION: ")?;
    let (way, rest) = rest.split_once(&format!(" neighbor {us} "))?;
    let (code, subcode) = rest.split(' ').next()?.split_once('/')?;
    Some(Notice {
        from_us: way == "received from",
        code: Some((code.parse().ok()?, subcode.parse().ok()?)),
        text: String::new(),
    })
}

/// FRR writes every octet beyond ASCII as `\xNN`.
fn unescaped(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        octets.extend(before.bytes());
        let (digits, tail) = after.split_at_checked(2).unwrap_or((after, ""));
        match u8::from_str_radix(digits, 16) {
            Ok(octet) if digits.len() == 2 => octets.push(octet),
            Ok(_) | Err(_) => octets.extend(format!("\\x{digits}").bytes()),
        }
        rest = tail;
    }
    octets.extend(rest.bytes());
    String::from_utf8_lossy(&octets).into_owned()
}

fn parse_routes(us: &str, answer: &str) -> Result<Vec<PeerRoute>> {
    let whole: Value = serde_json::from_str(answer).context("show bgp json")?;
    let empty = Vec::new();
    let paths = whole.get("paths").and_then(Value::as_array).unwrap_or(&empty);
    let from_us = |path: &&Value| at(path, &["peer", "peerId"]).and_then(Value::as_str) == Some(us);
    paths.iter().filter(from_us).map(parse_route).collect()
}

fn parse_route(path: &Value) -> Result<PeerRoute> {
    let list = |keys: &[&str]| {
        let found = at(path, keys).and_then(Value::as_array);
        found.into_iter().flatten()
    };
    let mut route = PeerRoute {
        origin: match path.get("origin").and_then(Value::as_str) {
            Some("IGP") => Some(0),
            Some("EGP") => Some(1),
            Some("incomplete") => Some(2),
            _ => None,
        },
        stale: path.get("stale").and_then(Value::as_bool) == Some(true),
        originator: path
            .get("originatorId")
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok()),
        only_to_customer: path
            .get("otc")
            .and_then(Value::as_u64)
            .and_then(|asn| u32::try_from(asn).ok()),
        ..PeerRoute::default()
    };
    for segment in list(&["aspath", "segments"]) {
        let asns = segment.get("list").and_then(Value::as_array);
        route.path.extend(
            asns.into_iter()
                .flatten()
                .filter_map(Value::as_u64)
                .filter_map(|asn| u32::try_from(asn).ok()),
        );
    }
    route.next_hop = list(&["nexthops"])
        .filter(|hop| hop.get("scope").and_then(Value::as_str) != Some("link-local"))
        .find_map(|hop| hop.get("ip").and_then(Value::as_str))
        .unwrap_or_default()
        .to_owned();
    for text in list(&["community", "list"]).filter_map(Value::as_str) {
        route.communities.insert(match text {
            "noExport" => (65535, 65281),
            "noAdvertise" => (65535, 65282),
            "llgrStale" => (65535, 6),
            _ => community(text, ':')?,
        });
    }
    for text in list(&["largeCommunity", "list"]).filter_map(Value::as_str) {
        route.large.insert(large(text, ':')?);
    }
    for text in list(&["clusterList", "list"]).filter_map(Value::as_str) {
        route.clusters.push(text.parse().context("a cluster")?);
    }
    Ok(route)
}

#[cfg(test)]
mod tests {
    use super::{logged_notice, unescaped};
    use crate::interop::peer::Notice;

    #[test]
    fn texts_beyond_ascii_come_back() {
        assert_eq!(unescaped("Gr\\xc3\\xbc\\xc3\\x9fe"), "Grüße");
        assert_eq!(unescaped("plain \\xzz \\x1"), "plain \\xzz \\x1");
    }

    #[test]
    fn reads_notifications_from_the_log() {
        let line = "2026/11/25 18:44:53 BGP: [HZN6M-XRM1G] %NOTIFICATION: received from neighbor 172.31.0.1 2/2 (OPEN Message Error/Bad Peer AS) 0 bytes ";
        let expected = Notice {
            from_us: true,
            code: Some((2, 2)),
            text: String::new(),
        };
        assert_eq!(logged_notice("172.31.0.1", line), Some(expected));
        assert_eq!(logged_notice("172.31.0.2", line), None);
    }
}
