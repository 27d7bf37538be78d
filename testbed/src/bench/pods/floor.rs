//! What no plugin can be quicker than: starting a program that ends at once, and the messages to the kernel that make a pod's
//! interface as ours is made, one after the other, each acknowledged.
//!
//! The program is the smallest that Linux runs, a header and three instructions. It gets the same pipes as a plugin. The
//! messages are then sent by the bench's thread itself, through one socket on the host and one in the pod; their CPU time is the
//! thread's. There are no files of addresses, no settings in `/proc/sys`, no JSON and no look at what is there already.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flatroute_netlink::{
    LinkChange, LinkSettings, Mac, NextHop, POD_LINK_GROUP, Route, Socket, Veth, VethEnd,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustix::time::{ClockId, clock_gettime};

use super::{Families, Pod, Verb};
use crate::namespace::Namespace;

const HOST_MAC: Mac = [0xee; 6];
const LOOPBACK: u32 = 1;
const GATEWAY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// `exit(0)` in machine code, and the number of the machine (`e_machine`).
#[cfg(target_arch = "x86_64")]
const CODE: (u16, &[u8]) = (62, &[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
#[cfg(target_arch = "aarch64")]
const CODE: (u16, &[u8]) = (
    183,
    &[
        0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4,
    ],
);

/// A program of one segment that holds nothing but [`CODE`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn empty_program() -> Result<Vec<u8>> {
    const HEADERS: u64 = 64 + 56;
    const BASE: u64 = 0x0040_0000;
    let (machine, code) = CODE;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    let size = HEADERS + u64::try_from(code.len())?;
    put(&2_u16.to_le_bytes()); // a program at a fixed place
    put(&machine.to_le_bytes());
    put(&1_u32.to_le_bytes());
    for value in [BASE + HEADERS, 64, 0] {
        put(&value.to_le_bytes()); // entry, segments, sections
    }
    put(&0_u32.to_le_bytes());
    for value in [64_u16, 56, 1, 0, 0, 0] {
        put(&value.to_le_bytes()); // sizes and numbers of headers
    }
    put(&1_u32.to_le_bytes()); // to be loaded,
    put(&5_u32.to_le_bytes()); // readable and executable
    for value in [0, BASE, BASE, size, size, 0x1000] {
        put(&value.to_le_bytes());
    }
    put(code);
    Ok(file)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn empty_program() -> Result<Vec<u8>> {
    anyhow::bail!("the floor has no empty program for this machine")
}

/// The floor of one kind of pod.
#[derive(Debug)]
pub(super) struct Floor {
    program: PathBuf,
    families: Families,
}

impl Floor {
    pub(super) fn new(families: Families, room: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let program = room.join("empty");
        std::fs::write(&program, empty_program()?).context("the empty program")?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .context("the empty program")?;
        Ok(Self { program, families })
    }

    /// One call, in the host's namespace, where the thread is; returns the CPU time of the messages.
    pub(super) fn call(&self, verb: Verb, pod: &Pod, host: &Namespace) -> Result<Duration> {
        let output = Command::new(&self.program)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .context("the empty program")?;
        ensure!(output.status.success(), "the empty program: {}", output.status);
        let before = own_cpu()?;
        match verb {
            Verb::Add => self.add(pod, host)?,
            Verb::Del => Socket::open()?.delete_link(host_index(pod))?,
        }
        Ok(own_cpu()?.saturating_sub(before))
    }

    fn addresses(&self, pod: &Pod) -> Vec<IpAddr> {
        let number = pod.number + 1;
        let v4 = IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 240, 0, 0)) + number));
        let v6 = IpAddr::V6(Ipv6Addr::from(
            u128::from(Ipv6Addr::new(0xfd00, 0x240, 0, 0, 0, 0, 0, 0)) + u128::from(number),
        ));
        match self.families {
            Families::Dual => vec![v4, v6],
            Families::Ipv4 => vec![v4],
        }
    }

    /// The messages of the plugin's `pod.rs`, in its order.
    fn add(&self, pod: &Pod, host: &Namespace) -> Result<()> {
        let (here, there) = (host.file()?, pod.namespace.file()?);
        let enter = |namespace: &std::fs::File| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        };
        let addresses = self.addresses(pod);
        let dual = self.families == Families::Dual;
        let (index, pod_index) = (host_index(pod), host_index(pod) + 1);
        let [.., a, b] = pod.number.to_be_bytes();
        let mac = [2, 0, 0, 0, a, b];
        let name = format!("floor{}", pod.number);
        let mut outer = Socket::open()?;
        outer.add_veth(&veth(&name, index, pod_index, mac, &there))?;
        enter(&there)?;
        let inner = Socket::open();
        enter(&here)?;
        let mut inner = inner?;
        let settings = LinkSettings {
            forwarding: Some(true),
            proxy_arp: Some(false),
            rp_filter: Some(2),
            link_local: Some(false),
            ..LinkSettings::default()
        };
        let change = LinkChange {
            alias: Some("the same length as an alias that names network, container and addresses"),
            settings,
            ..LinkChange::default()
        };
        outer.change_link(index, &change)?;
        outer.set_up(index)?;
        inner.set_up(LOOPBACK)?;
        if dual {
            let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, u16::from_be_bytes([a, b]));
            inner.add_address(pod_index, own.into(), 64)?;
        }
        inner.set_up(pod_index)?;
        for address in &addresses {
            inner.add_address(pod_index, *address, bits(*address))?;
            if let IpAddr::V6(address) = address {
                inner.add_local_route(pod_index, *address, 4)?;
            }
            inner.add_permanent_neighbour(pod_index, gateway(*address), HOST_MAC)?;
        }
        for address in &addresses {
            if address.is_ipv4() {
                inner.add_route(&route(GATEWAY_V4, 32, NextHop::Link { index: pod_index }))?;
            }
            let (any, via) = (unspecified(*address), gateway(*address));
            let next_hop = NextHop::Gateway {
                via,
                index: Some(pod_index),
                onlink: true,
            };
            inner.add_route(&route(any, 0, next_hop))?;
        }
        outer.link_by_index(index)?;
        if dual {
            outer.add_address(index, GATEWAY_V6, 64)?;
        }
        for address in &addresses {
            outer.add_permanent_neighbour(index, *address, mac)?;
            outer.add_route(&route(*address, bits(*address), NextHop::Link { index }))?;
        }
        Ok(())
    }
}

fn host_index(pod: &Pod) -> u32 {
    0x2000_0000 + 2 * pod.number
}

fn veth<'a>(name: &'a str, index: u32, peer: u32, mac: Mac, pod: &'a std::fs::File) -> Veth<'a> {
    Veth {
        near: VethEnd {
            name,
            index: Some(index),
            mac: Some(HOST_MAC),
            group: Some(POD_LINK_GROUP),
            tx_queue_len: Some(1000),
            queues: Some(1),
            ..VethEnd::default()
        },
        peer: VethEnd {
            name: "eth0",
            index: Some(peer),
            mac: Some(mac),
            tx_queue_len: Some(1000),
            queues: Some(1),
            netns: Some(pod.as_fd()),
            ..VethEnd::default()
        },
    }
}

fn route(destination: IpAddr, prefix_len: u8, next_hop: NextHop) -> Route {
    Route {
        destination,
        prefix_len,
        next_hop,
        source: None,
        protocol: 4,
    }
}

fn gateway(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { GATEWAY_V4 } else { GATEWAY_V6 }
}

fn unspecified(address: IpAddr) -> IpAddr {
    if address.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn own_cpu() -> Result<Duration> {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).context("the thread's CPU time")
}
