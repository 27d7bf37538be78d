//! A feeder: BIRD with a hundred thousand static routes of each family, and a session of each that is off until a round
//! wants it.
//!
//! The log is written with times in microseconds since 1970, so that "session established" can be read off it
//! afterwards, at no cost while it matters.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use super::ground::Transport;
use super::watch::prefix;
use crate::namespace::Namespace;
use crate::process::{Daemon, locate};
use crate::sandbox;
use crate::speaker::Software;
use crate::wait;

/// Feeder 1 is 65001, feeder 2 is 65002.
const FIRST_ASN: u32 = 65000;
/// For BIRD to load its routes and answer.
const START_BOUND: Duration = Duration::from_secs(20);

/// One of them, running.
#[derive(Debug)]
pub(super) struct Feeder {
    pub(super) number: usize,
    pub(super) namespace: Namespace,
    dir: PathBuf,
    daemon: Daemon,
}

impl Feeder {
    pub(super) fn start(number: usize, routes: u32) -> Result<Self> {
        let name = format!("feeder{number}");
        let namespace = Namespace::create(&name)?;
        for which in ["all", "default"] {
            namespace.set(&format!("net/ipv6/conf/{which}/accept_dad"), "0")?;
        }
        let dir = sandbox::room().join("lab").join(&name);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let file = dir.join("bird.conf");
        fs::write(&file, configuration(number, routes)).context("write bird.conf")?;
        let mut command = namespace.command(&Software::Bird.find()?);
        command.env("TZ", "UTC").arg("-f").arg("-c").arg(&file);
        command.arg("-s").arg(dir.join("bird.ctl"));
        command.arg("-P").arg(dir.join("bird.pid"));
        let daemon = Daemon::start(&name, command, &dir.join("bird.log"))?;
        let mut feeder = Self {
            number,
            namespace,
            dir,
            daemon,
        };
        wait::until(&format!("{name} to have its routes"), START_BOUND, || {
            feeder.daemon.expect_running()?;
            let whole = format!("{routes} of {routes} routes for {routes} networks");
            Ok(match feeder.ask("show route count") {
                Ok(text) if text.matches(&whole).count() == 2 => Ok(()),
                Ok(text) => Err(text),
                Err(error) => Err(format!("{error:#}")),
            })
        })?;
        Ok(feeder)
    }

    pub(super) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub(super) fn asn(&self) -> u32 {
        asn(self.number)
    }

    /// The name of its end of the link to the receiver.
    pub(super) fn interface(&self) -> String {
        format!("down{}", self.number)
    }

    /// Lets the session begin.
    pub(super) fn enable(&self, transport: Transport) -> Result<()> {
        self.ask(&format!("enable {}", session_name(transport))).map(drop)
    }

    /// Ends the session.
    pub(super) fn disable(&self, transport: Transport) -> Result<()> {
        self.ask(&format!("disable {}", session_name(transport)))
            .map(drop)
    }

    /// When the first session after `since` was established.
    pub(super) fn established(&self, since: SystemTime) -> Result<SystemTime> {
        let log = self.daemon.log();
        let times = log
            .lines()
            .filter(|line| line.contains("BGP session established"))
            .filter_map(|line| line.split_whitespace().next()?.parse::<f64>().ok())
            .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds));
        let found = times.filter(|time| *time >= since).min();
        found.with_context(|| {
            format!(
                "feeder{} did not log its session\n{}",
                self.number,
                self.daemon.last_words()
            )
        })
    }

    fn ask(&self, question: &str) -> Result<String> {
        let birdc = locate("birdc").context("birdc is not installed: sudo apt-get install bird2")?;
        let output = Command::new(birdc)
            .arg("-s")
            .arg(self.dir.join("bird.ctl"))
            .args(question.split(' '))
            .output()
            .context("run birdc")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("birdc on feeder{}: {question}: {text}", self.number);
        }
        Ok(text)
    }
}

fn asn(number: usize) -> u32 {
    u32::try_from(number).map_or(FIRST_ASN, |number| FIRST_ASN.saturating_add(number))
}

fn session_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Ipv4 => "session4",
        Transport::Ipv6 => "session6",
    }
}

fn configuration(number: usize, routes: u32) -> String {
    let mut text = format!(
        "router id 10.0.{number}.1;\ntimeformat log \"%s.%6f\";\nlog stderr all;\n\
         debug protocols {{ states, events }};\nprotocol device {{ }}\n"
    );
    for (transport, family) in [(Transport::Ipv4, "ipv4"), (Transport::Ipv6, "ipv6")] {
        let (local, remote) = transport.link(number);
        let _ = write!(
            text,
            "protocol bgp {name} {{
    disabled;
    local {local} as {asn};
    neighbor {remote} as {receiver};
    connect delay time 0;
    connect retry time 1;
    {family} {{ import none; export where source = RTS_STATIC; }};
}}
protocol static routes_{family} {{
    {family};
",
            name = session_name(transport),
            asn = asn(number),
            receiver = super::receiver::ASN,
        );
        for at in 0..routes {
            let _ = writeln!(text, "    route {} unreachable;", prefix(transport, at));
        }
        text.push_str("}\n");
    }
    text
}
