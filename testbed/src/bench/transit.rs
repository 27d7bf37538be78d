//! The receivers of rows 2 and 3: routers that pass on what they learn and write nothing into the kernel.
//!
//! All wait for the peers to connect, accept and pass on everything, and have no more than that configured. Where there are
//! more peers than two, only the last one is told anything: otherwise a hundred feeders that never read would each be told
//! what the other ninety-nine said. FRR needs
//! zebra to know that next hops can be reached; bgpd runs with `--no_kernel`. What is not installed is left out.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::ground::{Ground, Transport};
use super::receiver::ASN;
use super::usage::Usage;
use super::{Wishes, talk};
use crate::process::{Daemon, locate, locate_beside};
use crate::sandbox;
use crate::speaker::{Software, frr};

/// A router that is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transit {
    Flatroute,
    /// Another build of our agent, to compare with.
    Against(PathBuf),
    Bird,
    Frr,
    Gobgp,
}

impl Transit {
    /// Ours, and of the others those that are installed, as far as they are asked for.
    pub(super) fn found(names: &[String], against: Option<&Path>) -> Result<Vec<Self>> {
        let all = [Self::Flatroute, Self::Bird, Self::Frr, Self::Gobgp];
        if let Some(name) = names
            .iter()
            .find(|name| !all.iter().any(|one| one.word() == name.as_str()))
        {
            bail!("--daemons {name}: it may be flatroute, bird, frr or gobgp");
        }
        let wanted = |one: &Self| names.is_empty() || names.iter().any(|name| name == one.word());
        let mut found: Vec<Self> = all
            .into_iter()
            .filter(|one| wanted(one) && one.is_installed())
            .collect();
        found.extend(against.map(|file| Self::Against(file.to_owned())));
        Ok(found)
    }

    /// Those that the user wants to see.
    pub(super) fn asked_for(wishes: &Wishes) -> Result<Vec<Self>> {
        let only_ours = [Self::Flatroute.word().to_owned()];
        let names = if wishes.alone {
            &only_ours[..]
        } else {
            &wishes.daemons
        };
        Self::found(names, wishes.against.as_deref())
    }

    /// Where the program of an agent of ours is.
    pub(super) fn program(&self) -> Result<Option<PathBuf>> {
        Ok(match self {
            Self::Flatroute => Some(Software::Agent.find()?),
            Self::Against(file) => Some(file.clone()),
            Self::Bird | Self::Frr | Self::Gobgp => None,
        })
    }

    /// Those that are not installed.
    pub(super) fn missing() -> Vec<&'static str> {
        let others = [Self::Bird, Self::Frr, Self::Gobgp];
        let missing = others.iter().filter(|one| !one.is_installed());
        missing.map(Self::title).collect()
    }

    fn is_installed(&self) -> bool {
        match self {
            Self::Flatroute | Self::Against(_) => true,
            Self::Bird => locate("bird").is_some(),
            Self::Frr => Software::Frr.find().is_ok(),
            Self::Gobgp => locate("gobgpd").is_some(),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Flatroute => "flatroute",
            Self::Against(_) => "against",
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::Gobgp => "gobgp",
        }
    }

    /// Its name for people.
    pub(super) fn title(&self) -> &'static str {
        match self {
            Self::Flatroute => "flatroute",
            Self::Against(_) => "flatroute (the other build)",
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::Gobgp => "GoBGP",
        }
    }

    /// What it says of its own version.
    pub(super) fn version(&self) -> Result<String> {
        let program = match self {
            Self::Flatroute => Software::Agent.find()?,
            Self::Against(file) => file.clone(),
            Self::Bird => installed("bird")?,
            Self::Frr => Software::Frr.find()?,
            Self::Gobgp => installed("gobgpd")?,
        };
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .with_context(|| format!("run {} --version", program.display()))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().next().unwrap_or_default().trim();
        Ok(match self {
            Self::Against(_) => format!("beside another build, {line}"),
            Self::Frr => format!("FRR, {line}"),
            Self::Flatroute | Self::Bird | Self::Gobgp => line.to_owned(),
        })
    }

    /// Starts it; it may take some time until it listens.
    pub(super) fn start(&self, ground: &Ground, transport: Transport) -> Result<Running> {
        let dir = sandbox::room().join("lab").join(ground.namespace().name());
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let at = Place {
            ground,
            transport,
            dir,
        };
        let daemons = match self {
            Self::Flatroute => vec![at.agent(&Software::Agent.find()?)?],
            Self::Against(file) => vec![at.agent(file)?],
            Self::Bird => vec![at.bird()?],
            Self::Frr => at.frr()?,
            Self::Gobgp => vec![at.gobgp()?],
        };
        Ok(Running { daemons })
    }
}

fn installed(program: &str) -> Result<PathBuf> {
    locate(program).with_context(|| format!("{program} is not installed"))
}

/// All processes of one router.
#[derive(Debug, Default)]
pub(super) struct Running {
    daemons: Vec<Daemon>,
}

impl Running {
    pub(super) fn usage(&self) -> Result<Usage> {
        let mut sum = Usage::default();
        for daemon in &self.daemons {
            let one = Usage::of(daemon.pid())?;
            sum.cpu += one.cpu;
            sum.peak_bytes += one.peak_bytes;
        }
        Ok(sum)
    }

    pub(super) fn expect_running(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::expect_running)
    }

    pub(super) fn last_words(&self) -> String {
        self.daemons.iter().map(Daemon::last_words).collect()
    }
}

struct Place<'a> {
    ground: &'a Ground,
    transport: Transport,
    dir: PathBuf,
}

/// One neighbour of the router.
struct Neighbour {
    address: IpAddr,
    asn: u32,
    /// The router's address towards it.
    ours: IpAddr,
    /// Whether routes are passed on to it.
    is_told: bool,
}

impl Place<'_> {
    fn peers(&self) -> impl Iterator<Item = Neighbour> {
        let feeders = self.ground.feeders();
        let last = feeders.last().map(|(number, _)| *number);
        feeders.iter().map(move |(number, asn)| {
            let (address, ours) = self.transport.link(*number);
            Neighbour {
                address,
                asn: *asn,
                ours,
                is_told: feeders.len() <= 2 || last == Some(*number),
            }
        })
    }

    fn start(&self, program: &Path, arguments: &[OsString], log: &str) -> Result<Daemon> {
        let mut command = self.ground.namespace().command(program);
        command.args(arguments);
        Daemon::start(log, command, &self.dir.join(format!("{log}.log")))
    }

    fn write(&self, name: &str, text: &str) -> Result<OsString> {
        let file = self.dir.join(name);
        fs::write(&file, text).with_context(|| format!("write {name}"))?;
        Ok(file.into())
    }

    fn agent(&self, program: &Path) -> Result<Daemon> {
        let manifests = self.dir.join("manifests");
        fs::create_dir_all(&manifests).context("create the manifests' directory")?;
        self.write("manifests/bench.yaml", &self.manifests())?;
        let arguments = [
            "run".into(),
            "--node-name".into(),
            "receiver".into(),
            "--standalone".into(),
            manifests.into(),
            "--control-socket".into(),
            self.dir.join("agent.sock").into(),
            "--state-dir".into(),
            self.dir.join("state").into(),
        ];
        self.start(program, &arguments, "flatroute-agent")
    }

    fn manifests(&self) -> String {
        let family = match self.transport {
            Transport::Ipv4 => "IPv4",
            Transport::Ipv6 => "IPv6",
        };
        let mut text = "apiVersion: v1\nkind: Node\nmetadata: {name: receiver}\n".to_owned();
        for peer in self.peers() {
            let told = if peer.is_told { "LearnedRoutes" } else { "" };
            let _ = write!(
                text,
                "---
apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {{name: peer{asn}}}
spec:
  peerAddress: \"{address}\"
  peerASN: {asn}
  connectMode: Passive
  families: [{family}]
  timers: {{holdTime: {hold}s}}
  maxPrefixes: {{limit: 2000000}}
  advertise: [{told}]
  installRoutes: []
",
                address = peer.address,
                asn = peer.asn,
                hold = talk::HOLD_SECONDS
            );
        }
        text
    }

    fn bird(&self) -> Result<Daemon> {
        let file = self.write("bird.conf", &self.bird_configuration())?;
        let arguments = [
            "-f".into(),
            "-c".into(),
            file,
            "-s".into(),
            self.dir.join("bird.ctl").into(),
            "-P".into(),
            self.dir.join("bird.pid").into(),
        ];
        self.start(&installed("bird")?, &arguments, "bird")
    }

    fn bird_configuration(&self) -> String {
        let family = match self.transport {
            Transport::Ipv4 => "ipv4",
            Transport::Ipv6 => "ipv6",
        };
        let mut text = "router id 10.0.1.2;\nlog stderr all;\nprotocol device { }\n".to_owned();
        for peer in self.peers() {
            let told = if peer.is_told { "all" } else { "none" };
            let _ = write!(
                text,
                "protocol bgp peer{asn} {{
    local {ours} as {ASN};
    neighbor {address} as {asn};
    passive on;
    hold time {hold};
    {family} {{ import all; export {told}; }};
}}
",
                address = peer.address,
                asn = peer.asn,
                ours = peer.ours,
                hold = talk::HOLD_SECONDS
            );
        }
        text
    }

    fn frr(&self) -> Result<Vec<Daemon>> {
        frr::allow_root()?;
        let mut daemons = Vec::new();
        for (program, text, more) in [
            ("zebra", "hostname receiver\n".to_owned(), None),
            ("bgpd", self.bgpd_configuration(), Some("--no_kernel")),
        ] {
            let mut arguments: Vec<OsString> =
                vec!["-f".into(), self.write(&format!("{program}.conf"), &text)?];
            arguments.extend(
                [
                    "-u",
                    "root",
                    "-g",
                    "root",
                    "-A",
                    "127.0.0.1",
                    "--log",
                    "stdout",
                    "-z",
                ]
                .map(OsString::from),
            );
            arguments.extend([
                self.dir.join("zserv.api").into(),
                "-i".into(),
                self.dir.join(format!("{program}.pid")).into(),
                "--vty_socket".into(),
                self.dir.clone().into(),
            ]);
            arguments.extend(more.map(OsString::from));
            let path =
                locate_beside(program, "zebra").with_context(|| format!("{program} is not installed"))?;
            daemons.push(self.start(&path, &arguments, program)?);
        }
        Ok(daemons)
    }

    fn bgpd_configuration(&self) -> String {
        let family = match self.transport {
            Transport::Ipv4 => "ipv4",
            Transport::Ipv6 => "ipv6",
        };
        let hold = talk::HOLD_SECONDS;
        let mut text = format!(
            "hostname receiver\nrouter bgp {ASN}\n bgp router-id 10.0.1.2\n no bgp ebgp-requires-policy\n \
             no bgp default ipv4-unicast\n timers bgp {} {hold}\n",
            hold / 3
        );
        let mut activated = String::new();
        for Neighbour {
            address,
            asn,
            is_told,
            ..
        } in self.peers()
        {
            let _ = write!(
                text,
                " neighbor {address} remote-as {asn}\n neighbor {address} passive\n neighbor {address} advertisement-interval 0\n"
            );
            let _ = writeln!(activated, "  neighbor {address} activate");
            if !is_told {
                let _ = writeln!(activated, "  neighbor {address} prefix-list nothing out");
            }
        }
        let ip = match self.transport {
            Transport::Ipv4 => "ip",
            Transport::Ipv6 => "ipv6",
        };
        let _ = write!(
            text,
            " address-family {family} unicast\n{activated} exit-address-family\nexit\n\
             {ip} prefix-list nothing seq 5 deny any\n"
        );
        text
    }

    fn gobgp(&self) -> Result<Daemon> {
        let file = self.write("gobgpd.toml", &self.gobgp_configuration())?;
        let arguments = [
            "-f".into(),
            file,
            "-l".into(),
            "warn".into(),
            "--pprof-disable".into(),
            "--api-hosts".into(),
            "127.0.0.1:50051".into(),
        ];
        self.start(&installed("gobgpd")?, &arguments, "gobgpd")
    }

    fn gobgp_configuration(&self) -> String {
        let family = match self.transport {
            Transport::Ipv4 => "ipv4-unicast",
            Transport::Ipv6 => "ipv6-unicast",
        };
        let hold = talk::HOLD_SECONDS;
        let mut text = format!("[global.config]\nas = {ASN}\nrouter-id = \"10.0.1.2\"\n");
        text.push_str(&self.gobgp_policy());
        for peer in self.peers() {
            let _ = write!(
                text,
                "[[neighbors]]
[neighbors.config]
neighbor-address = \"{address}\"
peer-as = {asn}
[neighbors.transport.config]
passive-mode = true
[neighbors.timers.config]
hold-time = {hold}
keepalive-interval = {}
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = \"{family}\"
",
                hold / 3,
                address = peer.address,
                asn = peer.asn,
            );
        }
        text
    }

    /// Keeps all routes from the neighbours that are told nothing.
    fn gobgp_policy(&self) -> String {
        let silent: Vec<String> = self
            .peers()
            .filter(|peer| !peer.is_told)
            .map(|peer| format!("\"{}\"", peer.address))
            .collect();
        if silent.is_empty() {
            return String::new();
        }
        format!(
            "[global.apply-policy.config]
export-policy-list = [\"silence\"]
default-export-policy = \"accept-route\"
[[defined-sets.neighbor-sets]]
neighbor-set-name = \"silent\"
neighbor-info-list = [{}]
[[policy-definitions]]
name = \"silence\"
[[policy-definitions.statements]]
name = \"silence\"
[policy-definitions.statements.conditions.match-neighbor-set]
neighbor-set = \"silent\"
[policy-definitions.statements.actions]
route-disposition = \"reject-route\"
",
            silent.join(", ")
        )
    }
}
