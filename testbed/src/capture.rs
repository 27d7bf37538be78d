//! What is really on the wire: frames captured on the interfaces of a namespace, read down to the transport header.
//!
//! A packet socket sees every frame of every interface of its namespace, incoming and outgoing. Which interface a frame
//! belongs to follows from its Ethernet addresses, since each end of a link has one of its own. Frames are summarised,
//! not kept: the outer header is what the question is about. Tunnels are known by their IP protocol (4 and 41: IP in
//! IP, 47: GRE, 50/51: IPsec) or by their UDP port (VXLAN, Geneve, WireGuard).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt};

use crate::namespace::Namespace;

/// `ETH_P_ALL` in network byte order, as a packet socket wants its protocol.
const ALL_PROTOCOLS: NonZeroU32 = NonZeroU32::new(0x0300).expect("not zero");
/// UDP ports of tunnels: VXLAN (IANA, Linux's old default), Geneve, GTP-U, WireGuard.
const TUNNEL_PORTS: [u16; 5] = [4789, 8472, 6081, 2152, 51820];
/// IP protocols of tunnels: IP in IP, IPv6 in IP, GRE, ESP, AH, EtherIP, L2TP.
const TUNNEL_PROTOCOLS: [u8; 7] = [4, 41, 47, 50, 51, 97, 115];

/// Frames that are still read after the end of a capture, when the wire never falls silent.
const MOST_AFTER_STOP: u32 = 4096;

/// The outer headers of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Destination and source Ethernet address.
    pub mac: ([u8; 6], [u8; 6]),
    /// Outer source address.
    pub source: IpAddr,
    /// Outer destination address.
    pub destination: IpAddr,
    /// Protocol, or the last next header of IPv6 that was understood.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Source and destination port, for TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// No router may split it: the DF of IPv4, and always with IPv6.
    pub dont_fragment: bool,
}

impl Seen {
    /// Whether the packet is an envelope for another one.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        let port = |port| self.protocol == 17 && TUNNEL_PORTS.contains(&port);
        TUNNEL_PROTOCOLS.contains(&self.protocol)
            || self.ports.is_some_and(|(from, to)| port(from) || port(to))
    }

    /// The protocol's name.
    #[must_use]
    pub fn protocol_name(&self) -> String {
        match self.protocol {
            1 => "ICMP".into(),
            6 => "TCP".into(),
            17 => "UDP".into(),
            58 => "ICMPv6".into(),
            other => format!("protocol {other}"),
        }
    }
}

/// Reads an Ethernet frame; `None` for anything but IPv4 and IPv6.
#[must_use]
pub fn decode(frame: &[u8]) -> Option<Seen> {
    let mac = (
        frame.get(..6)?.try_into().ok()?,
        frame.get(6..12)?.try_into().ok()?,
    );
    let packet = frame.get(14..)?;
    let (source, destination, protocol, ttl, dont_fragment, payload): (IpAddr, IpAddr, u8, u8, bool, &[u8]) =
        match frame.get(12..14)? {
            [0x08, 0x00] => {
                let header = usize::from(packet.first()? & 0x0f) * 4;
                let address = |at: usize| {
                    packet
                        .get(at..at + 4)
                        .and_then(|b| <[u8; 4]>::try_from(b).ok())
                        .map(IpAddr::from)
                };
                (
                    address(12)?,
                    address(16)?,
                    *packet.get(9)?,
                    *packet.get(8)?,
                    *packet.get(6)? & 0x40 != 0,
                    packet.get(header..)?,
                )
            }
            [0x86, 0xdd] => {
                let address = |at: usize| {
                    packet
                        .get(at..at + 16)
                        .and_then(|b| <[u8; 16]>::try_from(b).ok())
                        .map(IpAddr::from)
                };
                (
                    address(8)?,
                    address(24)?,
                    *packet.get(6)?,
                    *packet.get(7)?,
                    true,
                    packet.get(40..)?,
                )
            }
            _ => return None,
        };
    let port = |at: usize| {
        payload
            .get(at..at + 2)
            .and_then(|b| <[u8; 2]>::try_from(b).ok())
            .map(u16::from_be_bytes)
    };
    let ports = if matches!(protocol, 6 | 17) {
        port(0).zip(port(2))
    } else {
        None
    };
    Some(Seen {
        mac,
        source,
        destination,
        protocol,
        ttl,
        ports,
        dont_fragment,
    })
}

/// A running capture of all interfaces of a namespace.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<Seen, u64>>>,
    reader: JoinHandle<()>,
}

impl Capture {
    /// Begins; frames that pass from now on are seen.
    ///
    /// # Errors
    /// No packet sockets here.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let socket = namespace.run(|| {
            let protocol = Some(rustix::net::Protocol::from_raw(ALL_PROTOCOLS));
            let socket = socket_with(
                AddressFamily::PACKET,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                protocol,
            )
            .context("open a packet socket")?;
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(20)))
                .context("packet socket: timeout")?;
            Ok(socket)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let (seen_stop, notes) = (Arc::clone(&stop), Arc::clone(&seen));
        Ok(Self {
            stop,
            seen,
            reader: std::thread::spawn(move || read(&socket, &seen_stop, &notes)),
        })
    }

    /// How many frames of some kinds were seen until now.
    #[must_use]
    pub fn count(&self, is_wanted: impl Fn(&Seen) -> bool) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = seen.iter().filter(|(seen, _)| is_wanted(seen));
        wanted.map(|(_, count)| count).sum()
    }

    /// Ends; what was seen, each kind with its count.
    ///
    /// # Errors
    /// The reading thread panicked.
    pub fn finish(self) -> Result<BTreeMap<Seen, u64>> {
        self.stop.store(true, Ordering::Release);
        self.reader
            .join()
            .map_err(|_| anyhow!("the capturing thread panicked"))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *seen))
    }
}

/// Reads until told to stop, and then what had come until then.
fn read(socket: &OwnedFd, stop: &AtomicBool, seen: &Mutex<BTreeMap<Seen, u64>>) {
    let mut buffer = vec![0; 2048];
    let mut left = MOST_AFTER_STOP;
    while left > 0 {
        if stop.load(Ordering::Acquire) {
            left -= 1;
        }
        match recv(socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => {
                if let Some(frame) = buffer.get(..length).and_then(decode) {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    *seen.entry(frame).or_insert(0) += 1;
                }
            }
            Err(_) if stop.load(Ordering::Acquire) => break,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    fn frame(ethertype: [u8; 2], packet: &[u8]) -> Vec<u8> {
        [&[1; 6][..], &[2; 6], &ethertype, packet].concat()
    }

    fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = [
            0x45, 0, 0, 0, 0, 0, 0, 0, 63, protocol, 0, 0, 10, 244, 1, 2, 10, 244, 3, 2,
        ];
        frame([8, 0], &[&header[..], payload].concat())
    }

    #[test]
    fn reads_outer_headers() {
        let seen = decode(&ipv4(17, &[0x10, 0, 0x1b, 0x58, 0, 0])).expect("IPv4");
        assert_eq!(
            (seen.source.to_string(), seen.destination.to_string()),
            ("10.244.1.2".into(), "10.244.3.2".into())
        );
        assert_eq!((seen.ttl, seen.ports), (63, Some((4096, 7000))));
        assert!(!seen.dont_fragment, "the flag is not set");
        assert!(!seen.is_tunnel());
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, 58, 60];
        packet.extend([0xfd; 32]);
        let seen = decode(&frame([0x86, 0xdd], &packet)).expect("IPv6");
        assert_eq!((seen.protocol, seen.ttl, seen.ports), (58, 60, None));
    }

    #[test]
    fn knows_tunnels_when_it_sees_them() {
        for (protocol, port, tunnel) in [
            (4, 0, true),
            (41, 0, true),
            (47, 0, true),
            (17, 4789, true),
            (17, 6081, true),
            (6, 4789, false),
            (17, 7000, false),
        ] {
            let [high, low] = u16::to_be_bytes(port);
            let seen = decode(&ipv4(protocol, &[0x10, 0, high, low])).expect("IPv4");
            assert_eq!(seen.is_tunnel(), tunnel, "protocol {protocol} port {port}");
        }
    }

    #[test]
    fn survives_any_short_frame() {
        let whole = ipv4(17, &[0; 8]);
        for length in 0..whole.len() {
            let _ = decode(&whole[..length]);
        }
    }
}
