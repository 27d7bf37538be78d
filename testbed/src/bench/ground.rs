//! The ground of one round: a fresh namespace for the receiver and a veth pair to each feeder.
//!
//! The kernel takes a namespace apart in the background, and a hundred thousand routes take a while. [`Ground::clear`]
//! waits for the feeders' ends of the links to vanish, which comes with that, so that no round pays for the last one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use flatroute_netlink::{Veth, VethEnd};

use super::feeder::Feeder;
use crate::namespace::Namespace;
use crate::speaker::Software;
use crate::wait;

/// For the kernel to take a namespace apart.
const CLEAR_BOUND: Duration = Duration::from_secs(20);

/// The family of sessions and routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Ipv4,
    Ipv6,
}

impl Transport {
    /// The addresses of the link to a feeder: the feeder's, the receiver's.
    pub(super) fn link(self, number: u8) -> (IpAddr, IpAddr) {
        let both = |end: u8| -> IpAddr {
            match self {
                Self::Ipv4 => Ipv4Addr::new(10, 0, number, end).into(),
                Self::Ipv6 => Ipv6Addr::new(0xfd00, 0, 0, number.into(), 0, 0, 0, end.into()).into(),
            }
        };
        (both(1), both(2))
    }

    /// The length of a link's prefix.
    fn link_length(self) -> u8 {
        match self {
            Self::Ipv4 => 24,
            Self::Ipv6 => 64,
        }
    }
}

/// The receiver's namespace and its links.
#[derive(Debug)]
pub(super) struct Ground {
    namespace: Namespace,
    feeders: Vec<(u8, u32)>,
}

impl Ground {
    /// Makes namespace and links, and sets the sysctls of `flatroute-agent prepare`.
    pub(super) fn lay(feeders: &[Feeder]) -> Result<Self> {
        static ROUND: AtomicU32 = AtomicU32::new(1);
        let name = format!("receiver{}", ROUND.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace::create(&name)?;
        for which in ["all", "default"] {
            namespace.set(&format!("net/ipv6/conf/{which}/accept_dad"), "0")?;
        }
        for feeder in feeders {
            wire(&namespace, feeder)?;
        }
        prepare(&namespace)?;
        let feeders = feeders
            .iter()
            .map(|feeder| (feeder.number, feeder.asn()))
            .collect();
        Ok(Self { namespace, feeders })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Number and ASN of each feeder.
    pub(super) fn feeders(&self) -> &[(u8, u32)] {
        &self.feeders
    }

    /// Lets the namespace go and waits until the kernel has taken it apart.
    pub(super) fn clear(self, feeders: &[Feeder]) -> Result<()> {
        self.namespace.delete()?;
        for feeder in feeders {
            let mut netlink = feeder.namespace.netlink()?;
            wait::until("the receiver's namespace to go", CLEAR_BOUND, || {
                Ok(match netlink.link_by_name(&feeder.interface())? {
                    Some(_) => Err("its link is still there".to_owned()),
                    None => Ok(()),
                })
            })?;
        }
        Ok(())
    }
}

fn wire(receiver: &Namespace, feeder: &Feeder) -> Result<()> {
    let (near, far) = (format!("up{}", feeder.number), feeder.interface());
    let index = u32::from(feeder.number);
    let (here, there) = (receiver.file()?, feeder.namespace.file()?);
    // Different indexes: ends with equal ones report the loss of carrier late.
    let veth = Veth {
        near: VethEnd {
            name: &near,
            index: Some(100 + index),
            netns: Some(here.as_fd()),
            ..VethEnd::default()
        },
        peer: VethEnd {
            name: &far,
            index: Some(200 + index),
            netns: Some(there.as_fd()),
            ..VethEnd::default()
        },
    };
    flatroute_netlink::Socket::open()?
        .add_veth(&veth)
        .context("create a link")?;
    for (namespace, name, is_feeder) in [(&feeder.namespace, &far, true), (receiver, &near, false)] {
        let mut netlink = namespace.netlink()?;
        let link = netlink.link_by_name(name)?.context("a link that was just made")?;
        netlink.set_up(link.index)?;
        for transport in [Transport::Ipv4, Transport::Ipv6] {
            let (theirs, ours) = transport.link(feeder.number);
            let address = if is_feeder { theirs } else { ours };
            netlink.add_address(link.index, address, transport.link_length())?;
        }
    }
    Ok(())
}

fn prepare(namespace: &Namespace) -> Result<()> {
    let mut command: Command = namespace.command(&Software::Agent.find()?);
    let output = command
        .arg("prepare")
        .output()
        .context("flatroute-agent prepare")?;
    if !output.status.success() {
        bail!(
            "flatroute-agent prepare: {}",
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    Ok(())
}
