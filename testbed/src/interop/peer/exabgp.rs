//! ExaBGP as the peer. It has no table of its own to ask: it tells a program what it hears, message by message, as lines
//! of JSON, and takes that program's lines as commands.
//!
//! Our program is a shell between two files: commands come out of a named pipe, what ExaBGP tells goes into a file, and
//! what it knows of us is read off that file anew each time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;
use serde_json::Value;

use super::{Capability, Neighbour, Notice, Options, Originated, Peer, PeerRoute, Place, at, number};
use crate::process::{Daemon, locate};
use crate::wait;

/// How long it may take to answer, or to start: it is an interpreted program on a busy machine.
const ANSWER: Duration = Duration::from_secs(20);
/// What stands for an ASN of four octets where there are two (RFC 6793 §9).
const AS_TRANS: u32 = 23_456;

pub(super) struct Exabgp {
    place: Place,
    options: Options,
    daemon: Daemon,
}

/// The daemon.
///
/// # Errors
/// It is not installed.
pub(super) fn find() -> Result<PathBuf> {
    ["exabgp", "python3-exabgp"].into_iter().find_map(locate).context(
        "ExaBGP is not installed. To install it:  sudo apt-get install exabgp\n(its service need not run: sudo systemctl mask exabgp)",
    )
}

impl Exabgp {
    pub(super) fn start(place: Place, options: Options) -> Result<Self> {
        let told = told(&place);
        drop(fs::remove_file(&told));
        fs::write(place.dir.join("talk.sh"), talk(&place)).context("write talk.sh")?;
        let file = place.dir.join("exabgp.conf");
        fs::write(&file, configuration(&place, &options)).context("write exabgp.conf")?;
        let mut command = place.namespace.command(&find()?);
        command
            .env("exabgp.daemon.user", "root")
            .env("exabgp.daemon.drop", "false")
            .env("exabgp.api.cli", "false")
            .env("exabgp.log.level", "DEBUG")
            .arg(&file);
        let name = format!("exabgp on {}", place.namespace.name());
        let mut daemon = Daemon::start(&name, command, &place.dir.join("exabgp.log"))?;
        let waited = wait::until(&format!("{name} to talk"), ANSWER, || {
            daemon.expect_running()?;
            Ok(if told.exists() {
                Ok(())
            } else {
                Err("it has not begun".to_owned())
            })
        });
        waited.with_context(|| daemon.last_words())?;
        Ok(Self {
            place,
            options,
            daemon,
        })
    }

    fn told(&self) -> Result<String> {
        fs::read_to_string(told(&self.place)).context("read what ExaBGP has told")
    }

    /// Gives a command, and waits until it says that it is done.
    fn command(&self, command: &str) -> Result<()> {
        let answers = |text: &str, answer: &str| text.lines().filter(|line| *line == answer).count();
        let before = self.told()?;
        let mut pipe = fs::OpenOptions::new()
            .write(true)
            .open(pipe(&self.place))
            .context("open the pipe to ExaBGP")?;
        writeln!(pipe, "{command}").context("write to ExaBGP")?;
        let (done, refused) = (answers(&before, "done"), answers(&before, "error"));
        wait::until("ExaBGP to obey", ANSWER, || {
            let now = self.told()?;
            ensure!(answers(&now, "error") == refused, "ExaBGP refuses: {command}");
            Ok(if answers(&now, "done") > done {
                Ok(())
            } else {
                Err("no answer".to_owned())
            })
        })
        .map(drop)
    }

    fn us(&self) -> String {
        self.options.transport.of(&self.place.ours).to_string()
    }
}

impl Peer for Exabgp {
    fn neighbour(&self) -> Result<Neighbour> {
        Ok(Heard::from(&self.told()?)?.neighbour)
    }

    fn route(&self, prefix: IpNetwork) -> Result<Option<PeerRoute>> {
        let heard = Heard::from(&self.told()?)?;
        let found = heard.routes.into_iter().find(|(known, _)| *known == prefix);
        Ok(found.map(|(_, route)| route))
    }

    fn announce(&mut self, route: Originated) -> Result<()> {
        self.options.originated.retain(|old| old.prefix != route.prefix);
        self.options.originated.push(route.clone());
        self.command(&format!("announce {}", words(&self.place, &route)))
    }

    fn withdraw(&mut self, prefix: IpNetwork) -> Result<()> {
        self.options.originated.retain(|old| old.prefix != prefix);
        let plain = words(&self.place, &Originated::plain(prefix));
        self.command(&format!("withdraw {plain}"))
    }

    fn refresh(&self) -> Result<()> {
        for family in ["ipv4", "ipv6"] {
            self.command(&format!("announce route-refresh {family} unicast"))?;
        }
        Ok(())
    }

    /// The text is its own, whatever we would say.
    fn shut(&mut self, text: &str) -> Result<()> {
        bail!("ExaBGP has no way to say \"{text}\" to {}", self.us())
    }

    fn open(&mut self) -> Result<()> {
        bail!("ExaBGP opens a session by itself")
    }

    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn configuration(&self) -> String {
        configuration(&self.place, &self.options)
    }
}

fn told(place: &Place) -> PathBuf {
    place.dir.join("told.json")
}

fn pipe(place: &Place) -> PathBuf {
    place.dir.join("commands")
}

/// The program between ExaBGP and our files. What it writes is a command; it exists before the first word is told.
fn talk(place: &Place) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display());
    let (pipe, told) = (quoted(&pipe(place)), quoted(&told(place)));
    format!("rm -f {pipe}\nmkfifo {pipe}\nexec 3<>{pipe}\ncat <&3 &\nexec cat >{told}\n")
}

fn words(place: &Place, route: &Originated) -> String {
    let next_hop = match route.prefix {
        IpNetwork::V4(_) => place.its.ipv4.to_string(),
        IpNetwork::V6(_) => place.its.ipv6.to_string(),
    };
    let mut text = format!("route {} next-hop {next_hop}", route.prefix);
    if !route.communities.is_empty() {
        let list: Vec<String> = route
            .communities
            .iter()
            .map(|(a, b)| format!("{a}:{b}"))
            .collect();
        let _ = write!(text, " community [ {} ]", list.join(" "));
    }
    if !route.large.is_empty() {
        let list: Vec<String> = route
            .large
            .iter()
            .map(|(a, b, c)| format!("{a}:{b}:{c}"))
            .collect();
        let _ = write!(text, " large-community [ {} ]", list.join(" "));
    }
    text
}

fn configuration(place: &Place, options: &Options) -> String {
    let (its, us) = (
        options.transport.of(&place.its),
        options.transport.of(&place.ours),
    );
    let mut text = format!(
        "process talk {{ run /bin/sh {}; encoder json; }}\n",
        place.dir.join("talk.sh").display()
    );
    // As a speaker of two octets it reads our ASN where the OPEN has room for two only.
    let us_as = if options.two_octet {
        AS_TRANS
    } else {
        options.our_asn
    };
    // It listens at all only where a neighbour says on which port.
    let _ = write!(
        text,
        "neighbor {us} {{\n  router-id {};\n  local-address {its};\n  local-as {};\n  peer-as {us_as};\n  hold-time {};\n  passive {};\n  listen 179;\n  adj-rib-in true;\n  adj-rib-out true;\n",
        place.id, options.asn, options.hold, options.passive
    );
    if options.ttl_security {
        text.push_str("  outgoing-ttl 255;\n  incoming-ttl 255;\n");
    }
    if let Some(key) = &options.key {
        let _ = writeln!(text, "  md5-password \"{key}\";\n  md5-base64 false;");
    }
    let asn4 = if options.two_octet { "disable" } else { "enable" };
    let _ = write!(
        text,
        "  family {{ ipv4 unicast; ipv6 unicast; }}\n  capability {{ asn4 {asn4}; route-refresh enable;"
    );
    if let Some(seconds) = options.graceful_restart {
        let _ = write!(text, " graceful-restart {seconds};");
    }
    let messages = "parsed; open; update; notification; refresh;";
    let _ = write!(
        text,
        " }}\n  api {{ processes [ talk ]; neighbor-changes; negotiated; fsm; receive {{ {messages} }} send {{ {messages} }} }}\n  static {{\n"
    );
    for route in &options.originated {
        let _ = writeln!(text, "    {};", words(place, route));
    }
    text.push_str("  }\n}\n");
    text
}

/// What it has told so far.
#[derive(Default)]
struct Heard {
    neighbour: Neighbour,
    routes: Vec<(IpNetwork, PeerRoute)>,
}

impl Heard {
    fn from(text: &str) -> Result<Self> {
        let mut heard = Self::default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines().filter(|line| line.starts_with('{')) {
            heard.take(&event(line)?)?;
        }
        for (prefix, _) in &heard.routes {
            let family = usize::from(prefix.is_ipv6());
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
            Some("negotiated") => {
                let families = at(event, &["neighbor", "negotiated", "families"]).and_then(Value::as_array);
                let agreed: BTreeSet<&str> =
                    families.into_iter().flatten().filter_map(Value::as_str).collect();
                self.neighbour.families =
                    ["ipv4 unicast", "ipv6 unicast"].map(|family| agreed.contains(family));
            }
            Some("open") if received => self.neighbour.capabilities = capabilities(event),
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
            for prefix in prefixes(list)? {
                self.routes.retain(|(known, _)| *known != prefix);
            }
        }
        for (_, next_hops) in families("announce") {
            for (next_hop, list) in next_hops.as_object().into_iter().flatten() {
                // Of two next hops the link-local one is not the one that counts.
                if next_hop.starts_with("fe80:") {
                    continue;
                }
                for prefix in prefixes(list)? {
                    self.neighbour.updates += 1;
                    self.routes.retain(|(known, _)| *known != prefix);
                    let route = PeerRoute {
                        next_hop: next_hop.clone(),
                        ..attributes.clone()
                    };
                    self.routes.push((prefix, route));
                }
            }
        }
        Ok(())
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

fn prefixes(list: &Value) -> Result<Vec<IpNetwork>> {
    let texts = list.as_array().into_iter().flatten();
    texts
        .filter_map(|entry| entry.get("nlri").and_then(Value::as_str))
        .map(|text| text.parse().with_context(|| format!("\"{text}\" is no prefix")))
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
        ..PeerRoute::default()
    }
}

#[cfg(test)]
mod tests {
    use super::Heard;
    use crate::interop::peer::{Capability, Notice};

    const TOLD: &str = r#"{ "type": "open", "neighbor": { "direction": "receive", "open": { "capabilities": { "1": { "name": "multiprotocol" }, "65": { "name": "asn4", "asn4": 64512 } } } } }
{ "type": "negotiated", "neighbor": { "negotiated": { "families": [ "ipv4 unicast" ,"ipv6 unicast" ] } } }
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
        let (prefix, route) = heard.routes.first().expect("a route");
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
