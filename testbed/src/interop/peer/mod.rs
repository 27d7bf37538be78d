//! The peer of a pair: BIRD, FRR, GoBGP, OpenBGPD or ExaBGP behind one small face.
//!
//! A cell says how the peer shall be configured ([`Options`]), and asks it questions whose answers come from its own
//! command line ([`Peer`]). What a daemon words differently is read here, once, so that a cell can compare numbers. The
//! wording is that of the versions that Debian 12 has; a version that words it differently fails loudly.

mod bird;
mod exabgp;
mod frr;
mod gobgp;
mod openbgpd;
mod options;

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use ipnetwork::IpNetwork;
use rustix::process::Signal;

pub use self::options::{Options, Originated, PassedOn, Place, Role, Transport};
use crate::process::{Daemon, locate};
use crate::speaker::Software;

/// A large community (RFC 8092).
pub type Large = (u32, u32, u32);
/// A community (RFC 1997), in halves.
pub type Community = (u16, u16);

/// A daemon that can be the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// BIRD 2.
    Bird,
    /// FRR's bgpd, beside its zebra.
    Frr,
    /// GoBGP, which writes no kernel routes.
    Gobgp,
    /// OpenBGPD.
    Openbgpd,
    /// ExaBGP, which tells a program what it hears and takes its commands.
    Exabgp,
}

/// A version of a daemon, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// The first word of `text` that is a version: `2.0.12`, `8.4.4`, `3.10`.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let digits = |part: &str| -> Option<u32> {
                let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
                part.get(..end)?.parse().ok()
            };
            let mut parts = word.trim_start_matches('v').split('.');
            let (first, second) = (parts.next()?, parts.next()?);
            let third = parts.next().and_then(digits).unwrap_or(0);
            Some(Self(first.parse().ok()?, digits(second)?, third))
        })
    }
}

impl Kind {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 5] = [Self::Bird, Self::Frr, Self::Gobgp, Self::Openbgpd, Self::Exabgp];

    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::Gobgp => "GoBGP",
            Self::Openbgpd => "OpenBGPD",
            Self::Exabgp => "ExaBGP",
        }
    }

    /// Its name in the names of cells.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::Gobgp => "gobgp",
            Self::Openbgpd => "openbgpd",
            Self::Exabgp => "exabgp",
        }
    }

    /// Its version, from its own mouth.
    ///
    /// # Errors
    /// It is not installed (the message says how to install it), or names no version.
    pub fn version(self) -> Result<Version> {
        let (program, option) = match self {
            Self::Bird => (Software::Bird.find()?, "--version"),
            Self::Frr => (Software::Frr.find()?, "--version"),
            Self::Gobgp => (locate("gobgpd")
                .filter(|_| locate("gobgp").is_some())
                .context("GoBGP is not installed. To install it:  sudo apt-get install gobgpd\n(its service need not run: sudo systemctl disable --now gobgpd)")?, "--version"),
            Self::Openbgpd => (openbgpd::find()?, "-V"),
            Self::Exabgp => (exabgp::find()?, "--version"),
        };
        let output = Command::new(&program)
            .arg(option)
            .output()
            .with_context(|| format!("run {} {option}", program.display()))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Version::find(&text).with_context(|| format!("no version in \"{}\"", text.trim()))
    }

    /// Starts it at its end of a link.
    ///
    /// # Errors
    /// It is not installed, or does not start with these options.
    pub fn start(self, place: Place, options: Options) -> Result<Box<dyn Peer>> {
        let started: Result<Box<dyn Peer>> = match self {
            Self::Bird => bird::Bird::start(place, options).map(|peer| Box::new(peer) as Box<dyn Peer>),
            Self::Frr => frr::Frr::start(place, options).map(|peer| Box::new(peer) as Box<dyn Peer>),
            Self::Gobgp => gobgp::Gobgp::start(place, options).map(|peer| Box::new(peer) as Box<dyn Peer>),
            Self::Openbgpd => {
                openbgpd::Openbgpd::start(place, options).map(|peer| Box::new(peer) as Box<dyn Peer>)
            }
            Self::Exabgp => exabgp::Exabgp::start(place, options).map(|peer| Box::new(peer) as Box<dyn Peer>),
        };
        started.with_context(|| format!("start {}", self.title()))
    }
}

/// What the peer says of its session with us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Whether the session is Established.
    pub established: bool,
    /// Whether IPv4 and IPv6 are agreed on.
    pub families: [bool; 2],
    /// Prefixes that it holds from us, IPv4 and IPv6.
    pub received: [u64; 2],
    /// UPDATEs (BIRD: routes in them) that it has received from us in this session.
    pub updates: u64,
    /// How often it was asked for its routes again (BIRD: routes that it has exported, which is what asking causes).
    pub served: u64,
    /// What we have said that we can.
    pub capabilities: BTreeSet<Capability>,
    /// What we have said that we are to it.
    pub role: Option<Role>,
    /// The last NOTIFICATION that it remembers.
    pub notice: Option<Notice>,
    /// Whether it says that it waits for our restart.
    pub waits: bool,
    /// Its whole answer, for messages.
    pub answer: String,
}

/// A capability of ours that a cell asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// RFC 2918.
    RouteRefresh,
    /// RFC 7313.
    EnhancedRefresh,
    /// RFC 8654.
    ExtendedMessage,
    /// RFC 6793.
    FourOctetAsn,
}

/// A NOTIFICATION, as the peer tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether it came from us; otherwise the peer sent it.
    pub from_us: bool,
    /// Code and subcode (RFC 4271 §4.5); absent when the peer tells only that there was one.
    pub code: Option<(u8, u8)>,
    /// The text of a shutdown (RFC 9003).
    pub text: String,
}

/// A route from us, as the peer shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerRoute {
    /// The ASNs of its AS_PATH.
    pub path: Vec<u32>,
    /// ORIGIN: 0 is IGP.
    pub origin: Option<u8>,
    /// The next hop; of IPv6 the global one.
    pub next_hop: String,
    /// Its communities.
    pub communities: BTreeSet<Community>,
    /// Its large communities.
    pub large: BTreeSet<Large>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456), the last cluster first.
    pub clusters: Vec<Ipv4Addr>,
    /// ONLY_TO_CUSTOMER (RFC 9234).
    pub only_to_customer: Option<u32>,
    /// Whether it is kept from before our restart.
    pub stale: bool,
}

/// A running peer.
pub trait Peer {
    /// What it says of its session with us.
    ///
    /// # Errors
    /// It does not answer, or not in words that are known.
    fn neighbour(&self) -> Result<Neighbour>;

    /// The paths of a prefix that it has from us.
    ///
    /// # Errors
    /// As [`Peer::neighbour`].
    fn routes(&self, prefix: IpNetwork) -> Result<Vec<PeerRoute>>;

    /// The first of them.
    ///
    /// # Errors
    /// As [`Peer::neighbour`].
    fn route(&self, prefix: IpNetwork) -> Result<Option<PeerRoute>> {
        Ok(self.routes(prefix)?.into_iter().next())
    }

    /// Whether a route that it has from us carries exactly these communities, many as they may be.
    ///
    /// # Errors
    /// As [`Peer::neighbour`].
    fn has_communities(&self, prefix: IpNetwork, communities: &[Community], large: &[Large]) -> Result<bool> {
        let route = self.route(prefix)?;
        Ok(route.is_some_and(|route| {
            route.communities == communities.iter().copied().collect()
                && route.large == large.iter().copied().collect()
        }))
    }

    /// Originates a route.
    ///
    /// # Errors
    /// It refuses.
    fn announce(&mut self, route: Originated) -> Result<()>;

    /// Withdraws a route that it originates.
    ///
    /// # Errors
    /// It refuses.
    fn withdraw(&mut self, prefix: IpNetwork) -> Result<()>;

    /// Asks us for our routes again.
    ///
    /// # Errors
    /// It refuses.
    fn refresh(&self) -> Result<()>;

    /// Shuts the session down, with a text for us.
    ///
    /// # Errors
    /// It refuses.
    fn shut(&mut self, text: &str) -> Result<()>;

    /// Takes the session up again.
    ///
    /// # Errors
    /// It refuses.
    fn open(&mut self) -> Result<()>;

    /// The program that speaks BGP.
    fn daemon(&self) -> &Daemon;

    /// Sends a signal to all processes of the program that speaks BGP.
    ///
    /// # Errors
    /// It has ended.
    fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon().signal(signal)
    }

    /// Ends what runs beside that program, before another peer takes the place of this one.
    ///
    /// # Errors
    /// It does not end.
    fn end_rest(&mut self) -> Result<()> {
        Ok(())
    }

    /// Its configuration, for messages.
    fn configuration(&self) -> String;
}

/// The object that a path of keys leads to.
fn at<'a>(value: &'a serde_json::Value, path: &[&str]) -> Option<&'a serde_json::Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// A number at a path of keys; 0 when there is none, as the encoders that leave zeros out mean it.
fn number(value: &serde_json::Value, path: &[&str]) -> u64 {
    at(value, path).and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// The numbers between the separators: communities as text.
fn numbers<T: std::str::FromStr>(text: &str, separator: char) -> Result<Vec<T>> {
    text.split(separator)
        .map(|part| {
            part.trim()
                .parse()
                .ok()
                .with_context(|| format!("\"{text}\": no numbers"))
        })
        .collect()
}

fn community(text: &str, separator: char) -> Result<Community> {
    match numbers(text, separator)?.as_slice() {
        [high, low] => Ok((*high, *low)),
        _ => bail!("\"{text}\" is no community"),
    }
}

fn large(text: &str, separator: char) -> Result<Large> {
    match numbers(text, separator)?.as_slice() {
        [global, first, second] => Ok((*global, *first, *second)),
        _ => bail!("\"{text}\" is no large community"),
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_found_in_what_the_daemons_say() {
        for (text, version) in [
            ("BIRD version 2.0.12", Version(2, 0, 12)),
            ("bgpd version 8.4.4\nCopyright 1996-2005", Version(8, 4, 4)),
            ("gobgpd version 3.10.0", Version(3, 10, 0)),
            ("BIRD version 2.15", Version(2, 15, 0)),
            ("bgpd version 10.2-dev", Version(10, 2, 0)),
            ("OpenBGPD 7.7", Version(7, 7, 0)),
            ("ExaBGP : 4.2.21\nPython : 3.11.7", Version(4, 2, 21)),
        ] {
            assert_eq!(Version::find(text), Some(version), "{text}");
        }
        assert_eq!(Version::find("no version here"), None);
    }
}
