//! ExaBGP as the peer. It has no table of its own to ask: it tells a program what it hears, message by message, as lines
//! of JSON, and takes that program's lines as commands.
//!
//! Our program is a shell between two files: commands come out of a named pipe, what ExaBGP tells goes into a file, and
//! what it knows of us is read off that file anew each time.

mod told;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;

use self::told::Heard;
use super::{Neighbour, Options, Originated, PassedOn, Peer, PeerRoute, Place};
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

    fn routes(&self, prefix: IpNetwork) -> Result<Vec<PeerRoute>> {
        let heard = Heard::from(&self.told()?)?;
        let of_prefix = heard.routes.into_iter().filter(|heard| heard.prefix == prefix);
        Ok(of_prefix.map(|heard| heard.route).collect())
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

fn plainly(place: &Place, prefix: IpNetwork) -> String {
    let next_hop = match prefix {
        IpNetwork::V4(_) => place.its.ipv4.to_string(),
        IpNetwork::V6(_) => place.its.ipv6.to_string(),
    };
    format!("route {prefix} next-hop {next_hop}")
}

/// A route that seems to be somebody else's; `number` tells it from the speaker's own, which is 0 (RFC 7911).
fn words_of_another(place: &Place, options: &Options, route: &PassedOn, number: usize) -> String {
    let mut text = plainly(place, route.prefix);
    if options.add_path {
        let _ = write!(text, " path-information 0.0.0.{number}");
    }
    let mut path: Vec<String> = route.path.iter().map(u32::to_string).collect();
    if options.asn != options.our_asn {
        path.insert(0, options.asn.to_string());
    }
    if !path.is_empty() {
        let _ = write!(text, " as-path [ {} ]", path.join(" "));
    }
    if let Some(id) = route.originator {
        let _ = write!(text, " originator-id {id}");
    }
    if !route.clusters.is_empty() {
        let list: Vec<String> = route.clusters.iter().map(ToString::to_string).collect();
        let _ = write!(text, " cluster-list [ {} ]", list.join(" "));
    }
    text
}

fn words(place: &Place, route: &Originated) -> String {
    let mut text = plainly(place, route.prefix);
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
    if options.add_path {
        text.push_str(" add-path send/receive;");
    }
    let messages = "parsed; open; update; notification; refresh;";
    let _ = write!(
        text,
        " }}\n  api {{ processes [ talk ]; neighbor-changes; fsm; receive {{ {messages} }} send {{ {messages} }} }}\n  static {{\n"
    );
    for route in &options.originated {
        let _ = writeln!(text, "    {};", words(place, route));
    }
    for (number, route) in (1..).zip(&options.passed_on) {
        let _ = writeln!(text, "    {};", words_of_another(place, options, route, number));
    }
    text.push_str("  }\n}\n");
    text
}
