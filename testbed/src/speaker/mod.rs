//! Routing software on the routers of a fabric: our agent, BIRD or FRR, behind one small face.
//!
//! A test or the demo says which software runs where; what follows from the topology (neighbours, ASNs, what is
//! originated) is configured here, each in the software's own language. Nodes originate their pod CIDRs and forward
//! for nobody; ToRs and spines pass on what they learn. Every adjacency is one session over IPv4 that carries both
//! families.

pub mod agent;
pub mod bird;
pub mod frr;

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::Signal;

use crate::fabric::Fabric;
use crate::process::{Daemon, locate, locate_beside};
use crate::sandbox;
use crate::topology::Router;

/// Which program speaks BGP on a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    /// `flatroute-agent` from this source tree.
    Agent,
    /// BIRD 2.
    Bird,
    /// FRR's zebra and bgpd.
    Frr,
}

impl FromStr for Software {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "agent" | "flatroute" | "" => Ok(Self::Agent),
            "bird" => Ok(Self::Bird),
            "frr" => Ok(Self::Frr),
            _ => bail!(
                "TOR={text}: there is no such choice; it may be bird or frr, and without it the ToRs run flatroute"
            ),
        }
    }
}

impl Software {
    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Agent => "flatroute",
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
        }
    }

    /// The protocol number of the routes that it writes into the kernel (RTPROT_*).
    #[must_use]
    pub fn route_protocol(self) -> u8 {
        match self {
            Self::Agent => 79,
            Self::Bird => 12,
            Self::Frr => 186,
        }
    }

    /// Whether it finds neighbours by their router advertisements, and is found by its own.
    #[must_use]
    pub fn finds_neighbours(self) -> bool {
        match self {
            Self::Agent | Self::Frr => true,
            Self::Bird => false,
        }
    }

    /// The programs that it needs, found.
    ///
    /// # Errors
    /// One is missing; the message says how to install it.
    pub fn find(self) -> Result<PathBuf> {
        match self {
            Self::Agent => own_program("flatroute-agent"),
            Self::Bird => locate("bird")
                .filter(|_| locate("birdc").is_some())
                .ok_or_else(|| anyhow!("BIRD is not installed. To install it:  sudo apt-get install bird2\n(its service need not run: sudo systemctl disable --now bird)")),
            Self::Frr => locate_beside("bgpd", "zebra")
                .filter(|_| locate("vtysh").is_some())
                .ok_or_else(|| anyhow!("FRR is not installed. To install it:  sudo apt-get install frr\n(its service need not run: sudo systemctl disable --now frr)")),
        }
    }
}

/// A program of this source tree: beside the running one (`target/release`), or above it (tests run from `deps/`).
///
/// # Errors
/// It has not been built.
pub fn own_program(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe().context("path of this program")?;
    let found = exe
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "{name} is not built (looked beside {}); to build it: cargo build --workspace",
            exe.display()
        )
    })
}

/// What a router's software says of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The neighbour's name, or its address where the software knows no names.
    pub neighbour: String,
    /// The state in RFC 4271's words, as far as the software says.
    pub state: String,
    /// Routes received, IPv4 and IPv6; absent when the family is not up.
    pub received: [Option<u64>; 2],
}

impl Session {
    /// Whether routes can flow.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == "Established"
    }
}

/// One router's routing software, running.
#[derive(Debug)]
pub struct Speaker {
    router: String,
    software: Software,
    /// Where its files lie: configuration, sockets, log.
    dir: PathBuf,
    /// In the order of their start.
    daemons: Vec<Daemon>,
}

impl Speaker {
    /// Starts `software` on `router`, configured for its place in the fabric.
    ///
    /// # Errors
    /// A program is missing or does not start.
    pub fn start(software: Software, fabric: &Fabric, router: &Router) -> Result<Self> {
        let mut speaker = Self::new(software, router)?;
        let start = match software {
            Software::Agent => agent::start(&mut speaker, fabric, router),
            Software::Bird => bird::start(&mut speaker, fabric, router),
            Software::Frr => frr::start(&mut speaker, fabric, router),
        };
        speaker.explained(start.with_context(|| format!("start {} on {}", software.title(), router.name)))?;
        Ok(speaker)
    }

    /// Starts BIRD with a configuration of the caller's.
    ///
    /// # Errors
    /// BIRD is missing or does not start.
    pub fn start_bird(fabric: &Fabric, router: &Router, configuration: &str) -> Result<Self> {
        let mut speaker = Self::new(Software::Bird, router)?;
        let start = bird::launch(&mut speaker, fabric, configuration);
        speaker.explained(start)?;
        Ok(speaker)
    }

    /// Starts FRR with a configuration of the caller's for bgpd.
    ///
    /// # Errors
    /// FRR is missing or does not start.
    pub fn start_frr(fabric: &Fabric, router: &Router, bgpd: String) -> Result<Self> {
        let mut speaker = Self::new(Software::Frr, router)?;
        let start = frr::launch(&mut speaker, fabric, router, bgpd);
        speaker.explained(start)?;
        Ok(speaker)
    }

    /// Starts our agent with manifests of the caller's (file names and contents).
    ///
    /// # Errors
    /// The agent is missing or does not start.
    pub fn start_agent(fabric: &Fabric, router: &Router, manifests: &[(String, String)]) -> Result<Self> {
        let mut speaker = Self::new(Software::Agent, router)?;
        let start = agent::launch(&mut speaker, fabric, manifests);
        speaker.explained(start)?;
        Ok(speaker)
    }

    fn new(software: Software, router: &Router) -> Result<Self> {
        let dir = sandbox::room().join("lab").join(&router.name);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self {
            router: router.name.clone(),
            software,
            dir,
            daemons: Vec::new(),
        })
    }

    /// The router's name.
    #[must_use]
    pub fn router(&self) -> &str {
        &self.router
    }

    /// What runs here.
    #[must_use]
    pub fn software(&self) -> Software {
        self.software
    }

    /// Where its files lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its sessions, in the order of its configuration.
    ///
    /// # Errors
    /// A program has ended, or its answer makes no sense.
    pub fn sessions(&mut self) -> Result<Vec<Session>> {
        self.expect_running()?;
        match self.software {
            Software::Agent => agent::sessions(self),
            Software::Bird => bird::sessions(self),
            Software::Frr => frr::sessions(self),
        }
    }

    /// Fails when one of its programs has ended.
    ///
    /// # Errors
    /// Which one, and how.
    pub fn expect_running(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::expect_running)
    }

    /// The result, with the ends of the logs below the error.
    ///
    /// # Errors
    /// That of `result`.
    pub fn explained<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| anyhow!("{error:#}\n{}", self.last_words()))
    }

    /// The ends of its logs, for an error message.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.daemons.iter().map(Daemon::last_words).collect()
    }

    /// The process id of its main program.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemons.last().map(Daemon::pid)
    }

    /// Sends a signal to its main program.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let main = self.daemons.last().context("a program")?;
        main.signal(signal)
    }

    /// Ends its main program by a signal and starts it again at once, as whoever supervises it would do. Only our agent.
    ///
    /// # Errors
    /// It does not end or start; another software runs here.
    pub fn restart(&mut self, fabric: &Fabric, signal: Signal) -> Result<()> {
        self.end(signal)?;
        self.start_again(fabric)
    }

    /// Ends its main program by a signal.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&mut self, signal: Signal) -> Result<()> {
        let main = self.daemons.pop().context("a program")?;
        main.end(signal, Duration::from_secs(5)).map(drop)
    }

    /// Starts its main program after [`Speaker::end`], with the files that are there. Only our agent.
    ///
    /// # Errors
    /// It does not start; another software runs here.
    pub fn start_again(&mut self, fabric: &Fabric) -> Result<()> {
        if self.software != Software::Agent {
            bail!("{} is restarted nowhere in this lab", self.software.title());
        }
        agent::run(self, fabric)
    }

    /// Stops its programs, the last started first.
    ///
    /// # Errors
    /// One had to be killed.
    pub fn stop(mut self) -> Result<()> {
        let mut result = Ok(());
        while let Some(daemon) = self.daemons.pop() {
            result = result.and(daemon.stop(Duration::from_secs(5)).map(drop));
        }
        result
    }
}
