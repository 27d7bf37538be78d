//! BIRD as the peer. Its routes are static ones in its configuration, so that announcing is a reconfiguration, which
//! leaves sessions alone.
//!
//! `us` would be a fine name for the protocol, but BIRD reads it as microseconds.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;

use super::{
    Capability, Community, Large, Neighbour, Notice, Options, Originated, Peer, PeerRoute, Place, Role,
    Transport, community, large, numbers,
};
use crate::process::Daemon;
use crate::speaker::bird;

pub(super) struct Bird {
    place: Place,
    options: Options,
    daemon: Daemon,
}

impl Bird {
    pub(super) fn start(place: Place, options: Options) -> Result<Self> {
        let further: &[&str] = if options.restarted { &["-R"] } else { &[] };
        let text = configuration(&place, &options);
        let daemon = bird::spawn(&place.dir, &place.namespace, &text, further)?;
        Ok(Self {
            place,
            options,
            daemon,
        })
    }

    fn ask(&self, question: &str) -> Result<String> {
        bird::ask_at(&self.place.dir, question)
    }

    /// Applies the routes of the options.
    fn configure(&self) -> Result<()> {
        let file = self.place.dir.join(bird::CONFIGURATION);
        fs::write(file, configuration(&self.place, &self.options)).context("write bird.conf")?;
        let answer = self.ask("configure")?;
        ensure!(answer.contains("Reconfigur"), "birdc configure: {answer}");
        Ok(())
    }
}

impl Peer for Bird {
    fn neighbour(&self) -> Result<Neighbour> {
        parse_neighbour(self.ask("show protocols all ours")?)
    }

    fn routes(&self, prefix: IpNetwork) -> Result<Vec<PeerRoute>> {
        // It answers "Network not found" with a status of failure.
        let answer = self.ask(&format!("show route protocol ours all {prefix}"));
        match answer {
            Ok(answer) => parse_routes(&answer),
            Err(error) if format!("{error:#}").contains("Network not found") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Its answer about a route ends after some 4 kB of communities, so they are counted inside of BIRD.
    fn has_communities(&self, prefix: IpNetwork, communities: &[Community], large: &[Large]) -> Result<bool> {
        let mut filter = format!(
            "net = {prefix} && bgp_community.len = {} && bgp_large_community.len = {}",
            communities.len(),
            large.len()
        );
        for (a, b) in communities.first().into_iter().chain(communities.last()) {
            let _ = write!(filter, " && ({a},{b}) ~ bgp_community");
        }
        for (a, b, c) in large.first().into_iter().chain(large.last()) {
            let _ = write!(filter, " && ({a},{b},{c}) ~ bgp_large_community");
        }
        let answer = self.ask(&format!("show route protocol ours where {filter}"))?;
        Ok(answer.contains(&prefix.to_string()))
    }

    fn announce(&mut self, route: Originated) -> Result<()> {
        self.options.originated.retain(|old| old.prefix != route.prefix);
        self.options.originated.push(route);
        self.configure()
    }

    fn withdraw(&mut self, prefix: IpNetwork) -> Result<()> {
        self.options.originated.retain(|old| old.prefix != prefix);
        self.configure()
    }

    fn refresh(&self) -> Result<()> {
        self.ask("reload in ours").map(drop)
    }

    fn shut(&mut self, text: &str) -> Result<()> {
        self.ask(&format!("disable ours \"{text}\"")).map(drop)
    }

    fn open(&mut self) -> Result<()> {
        self.ask("enable ours").map(drop)
    }

    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn configuration(&self) -> String {
        configuration(&self.place, &self.options)
    }
}

fn configuration(place: &Place, options: &Options) -> String {
    let (its, ours) = (
        options.transport.of(&place.its),
        options.transport.of(&place.ours),
    );
    let mut text = format!(
        "log stderr all;\nrouter id {};\ndebug protocols {{ states, events }};\nprotocol device {{ }}\n",
        place.id
    );
    text.push_str(&originated(options));
    // As a speaker of two octets it has no way to name an ASN of four.
    let us = if options.two_octet {
        "external".to_owned()
    } else {
        format!("as {}", options.our_asn)
    };
    let _ = write!(
        text,
        "protocol bgp ours {{\n  local {its} as {};\n  neighbor {ours} {us};\n  hold time {};\n",
        options.asn, options.hold
    );
    text.push_str("  connect delay time 1;\n  connect retry time 1;\n  error wait time 1, 2;\n");
    text.push_str("  enable extended messages on;\n");
    if options.passive {
        text.push_str("  passive on;\n");
    }
    if options.two_octet {
        text.push_str("  enable as4 off;\n");
    }
    if options.ttl_security {
        text.push_str("  ttl security on;\n");
    }
    if let Some(key) = &options.key {
        let _ = writeln!(text, "  password \"{key}\";");
    }
    if let Some(seconds) = options.graceful_restart {
        let _ = writeln!(text, "  graceful restart on;\n  graceful restart time {seconds};");
    }
    if let Some(seconds) = options.long_lived {
        let _ = writeln!(
            text,
            "  long lived graceful restart on;\n  long lived stale time {seconds};"
        );
    }
    if let Some(role) = options.role {
        let _ = writeln!(text, "  local role {};", role.word());
    }
    text.push_str(&reflector(options));
    text.push_str(&channels(place, options));
    text.push_str("}\n");
    text + &beside(place, options).unwrap_or_default()
}

/// What it originates, as static routes.
fn originated(options: &Options) -> String {
    let mut text = String::new();
    for (family, name) in [(false, "ipv4"), (true, "ipv6")] {
        let _ = writeln!(text, "protocol static routes_{name} {{ {name};");
        for route in options
            .originated
            .iter()
            .filter(|route| route.prefix.is_ipv6() == family)
        {
            let _ = write!(text, "  route {} blackhole {{", route.prefix);
            for (high, low) in &route.communities {
                let _ = write!(text, " bgp_community.add(({high},{low}));");
            }
            for (global, first, second) in &route.large {
                let _ = write!(text, " bgp_large_community.add(({global},{first},{second}));");
            }
            text.push_str(" };\n");
        }
        text.push_str("}\n");
    }
    text
}

/// The families of the session with us.
fn channels(place: &Place, options: &Options) -> String {
    let mut text = String::new();
    let limit = options
        .limit
        .map(|limit| format!(" import limit {limit} action disable;"))
        .unwrap_or_default();
    // A next hop of the other family than the connection's has to be said.
    let (next4, next6) = match options.transport {
        Transport::IPv4 => (String::new(), format!(" next hop address {};", place.its.ipv6)),
        Transport::IPv6 => (format!(" next hop address {};", place.its.ipv4), String::new()),
    };
    let paths = if options.add_path { " add paths on;" } else { "" };
    let told = if options.beside.is_some() {
        "source ~ [ RTS_STATIC, RTS_BGP ]"
    } else {
        "source = RTS_STATIC"
    };
    for (name, next) in [("ipv4", next4), ("ipv6", next6)] {
        let _ = writeln!(
            text,
            "  {name} {{ import all; export where {told};{next}{limit}{paths} }};"
        );
    }
    text
}

/// A second neighbour, which is told all that the first one is.
fn beside(place: &Place, options: &Options) -> Option<String> {
    let (asn, (its, other)) = (options.beside?, place.beside.as_ref()?);
    Some(format!(
        "protocol bgp beside {{\n  local {} as {};\n  neighbor {} as {asn};\n  passive on;\n{}  ipv4 {{ import all; export where source ~ [ RTS_STATIC, RTS_BGP ]; }};\n}}\n",
        options.transport.of(its),
        options.asn,
        options.transport.of(other),
        reflector(options)
    ))
}

fn reflector(options: &Options) -> String {
    let words = |cluster| format!("  rr client;\n  rr cluster id {cluster};\n");
    options.cluster.map(words).unwrap_or_default()
}

fn parse_neighbour(answer: String) -> Result<Neighbour> {
    let mut seen = Neighbour::default();
    let (mut family, mut ours, mut message) = (None, false, String::new());
    for line in answer.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["BGP", "state:", state] => seen.established = *state == "Established",
            ["Local", "capabilities"] => ours = false,
            ["Neighbor", "capabilities"] => ours = true,
            ["Session:", ..] => ours = false,
            ["Route", "refresh"] if ours => drop(seen.capabilities.insert(Capability::RouteRefresh)),
            ["Extended", "message"] if ours => drop(seen.capabilities.insert(Capability::ExtendedMessage)),
            ["Enhanced", "refresh"] if ours => drop(seen.capabilities.insert(Capability::EnhancedRefresh)),
            ["4-octet", "AS", "numbers"] if ours => drop(seen.capabilities.insert(Capability::FourOctetAsn)),
            ["Neighbor", "graceful", "restart", "active"] => seen.waits = true,
            ["Role:", word] if ours => seen.role = Role::ALL.into_iter().find(|role| role.word() == *word),
            ["Message:", text @ ..] => message = text.join(" "),
            // Not called an error: it is down because it wanted to be.
            [.., "Automatic", "shutdown:", "Route", "limit", "exceeded"] => {
                seen.notice = notice(false, &["Maximum", "number", "of", "prefixes", "reached"]);
            }
            ["Last", "error:", "Received:", words @ ..] => seen.notice = notice(true, words),
            ["Last", "error:", "BGP", "Error:", words @ ..] => seen.notice = notice(false, words),
            ["Channel", "ipv4"] => family = Some(0_usize),
            ["Channel", "ipv6"] => family = Some(1),
            ["State:", state] => {
                if let Some(slot) = family.and_then(|family| seen.families.get_mut(family)) {
                    *slot = *state == "UP";
                }
            }
            ["Routes:", count, "imported,", ..] => {
                if let Some(slot) = family.and_then(|family| seen.received.get_mut(family)) {
                    *slot = count.parse().context("a number of routes")?;
                }
            }
            ["Import", "updates:", count, ..] => {
                seen.updates += count.parse::<u64>().context("import updates")?;
            }
            ["Export", "updates:", count, ..] => {
                seen.served += count.parse::<u64>().context("export updates")?;
            }
            _ => {}
        }
    }
    if let Some(notice) = &mut seen.notice {
        notice.text = message;
    }
    seen.answer = answer;
    Ok(seen)
}

/// BIRD words the code and subcode; these are the ones that the cells cause.
fn notice(from_us: bool, words: &[&str]) -> Option<Notice> {
    let code = match words.join(" ").as_str() {
        "Bad peer AS" => (2, 2),
        "Role mismatch" => (2, 11),
        "Hold timer expired" => (4, 0),
        "Maximum number of prefixes reached" => (6, 1),
        "Administrative shutdown" => (6, 2),
        "Connection rejected" => (6, 5),
        "Connection collision resolution" => (6, 7),
        _ => return None,
    };
    Some(Notice {
        from_us,
        code: Some(code),
        text: String::new(),
    })
}

/// Each path begins with the name of its protocol, in brackets.
fn parse_routes(answer: &str) -> Result<Vec<PeerRoute>> {
    let paths = answer.split(" [ours ").skip(1);
    paths.map(parse_route).collect()
}

fn parse_route(answer: &str) -> Result<PeerRoute> {
    let mut route = PeerRoute::default();
    for line in answer.lines() {
        let Some((name, value)) = line.trim().split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name {
            "BGP.origin" => {
                route.origin = match value {
                    "IGP" => Some(0),
                    "EGP" => Some(1),
                    "Incomplete" => Some(2),
                    _ => bail!("an unknown origin: {value}"),
                }
            }
            "BGP.as_path" if value.is_empty() => {}
            "BGP.as_path" => route.path = numbers(value, ' ')?,
            "BGP.next_hop" => {
                route.next_hop = value.split_whitespace().next().unwrap_or_default().to_owned();
            }
            "BGP.community" => {
                for part in groups(value) {
                    route.communities.insert(community(part, ',')?);
                }
            }
            "BGP.large_community" => {
                for part in groups(value) {
                    route.large.insert(large(part, ',')?);
                }
            }
            "BGP.originator_id" => route.originator = Some(value.parse().context("an identifier")?),
            "BGP.cluster_list" => {
                let clusters = value.split_whitespace().map(str::parse);
                route.clusters = clusters.collect::<Result<_, _>>().context("clusters")?;
            }
            "BGP.otc" => route.only_to_customer = Some(value.parse().context("an ASN")?),
            _ => {}
        }
    }
    Ok(route)
}

/// What stands between parentheses.
fn groups(value: &str) -> impl Iterator<Item = &str> {
    value.split('(').skip(1).filter_map(|part| part.split(')').next())
}

#[cfg(test)]
mod tests {
    use super::{parse_neighbour, parse_routes};
    use crate::interop::peer::{Capability, Notice};

    #[test]
    fn reads_what_birdc_says() {
        let answer = "\
ours       BGP        ---        start  18:30:17.809  Active        Received: Administrative shutdown
  Message:        ours is down
  BGP state:          Active
    Neighbor capabilities
      Enhanced refresh
    Session:          external AS4
    Last error:       Received: Administrative shutdown
  Channel ipv4
    State:          UP
    Routes:         3 imported, 1 exported, 1 preferred
      Import updates:              4          0          0          1          1
";
        let seen = parse_neighbour(answer.to_owned()).expect("understood");
        assert!(!seen.established);
        assert_eq!(
            (seen.families, seen.received, seen.updates),
            ([true, false], [3, 0], 4)
        );
        assert!(seen.capabilities.contains(&Capability::EnhancedRefresh));
        let notice = Notice {
            from_us: true,
            code: Some((6, 2)),
            text: "ours is down".to_owned(),
        };
        assert_eq!(seen.notice, Some(notice));
    }

    #[test]
    fn reads_a_route() {
        let answer = "10.244.1.0/24        unicast [ours 18:30:05.776] * (100) [AS64512i]
\tvia 172.31.0.1 on a0
\tBGP.origin: IGP
\tBGP.as_path: 64512 65001
\tBGP.next_hop: fd00::1 fe80::1
\tBGP.community: (64512,7) (65001,9)
\tBGP.large_community: (64512, 7, 8)
";
        let routes = parse_routes(answer).expect("understood");
        let route = routes.into_iter().next().expect("there");
        assert_eq!(route.path, [64512, 65001]);
        assert_eq!((route.origin, route.next_hop.as_str()), (Some(0), "fd00::1"));
        assert_eq!(
            route.communities.into_iter().collect::<Vec<_>>(),
            [(64512, 7), (65001, 9)]
        );
        assert_eq!(route.large.into_iter().collect::<Vec<_>>(), [(64512, 7, 8)]);
    }
}
