//! The raw ICMPv6 socket of one interface.
//!
//! The kernel does the checks that need more than the message: a filter on the socket lets through solicitations and
//! advertisements that arrived with hop limit 255, which no router has passed on (RFC 4861 §6.1), and nothing else; the checksum is
//! the kernel's on both ways. Until the socket is bound to its interface, a filter lets nothing through at all, so that nothing of
//! another link can wait in it.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

use crate::link::{ALL_ROUTERS, Transmit};
use crate::message::{ADVERTISEMENT, Malformed, Message, SOLICITATION, decode, encode};

/// Room for one message; a longer one is dropped.
const MESSAGE: usize = 2048;
/// What the kernel holds for us, in octets: a flood beyond it is its own loss.
const QUEUE: usize = 64 * 1024;

/// Loads an octet, at an offset from the ICMPv6 header.
const LOAD: u16 = 0x30;
/// Compares with a constant, and skips.
const EQUAL: u16 = 0x15;
/// Returns how much of the packet to keep.
const RETURN: u16 = 0x06;
/// The hop limit: octet 7 behind the place from which offsets into the network header count.
const HOP_LIMIT: u32 = 0xfff0_0000 + 7;

/// Nothing.
fn closed() -> [SockFilter; 1] {
    [SockFilter::new(RETURN, 0, 0, 0)]
}

/// What is for us.
fn open_filter() -> [SockFilter; 7] {
    [
        SockFilter::new(LOAD, 0, 0, HOP_LIMIT),
        SockFilter::new(EQUAL, 0, 3, 255),
        SockFilter::new(LOAD, 0, 0, 0),
        SockFilter::new(EQUAL, 2, 0, SOLICITATION as u32),
        SockFilter::new(EQUAL, 1, 0, ADVERTISEMENT as u32),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// The runtime knows no raw sockets; this one is a datagram socket as far as it is concerned.
pub(crate) struct LinkSocket {
    socket: UdpSocket,
    index: u32,
}

/// What came: from whom, and what or why it is none.
pub(crate) type Arrival = (Ipv6Addr, Result<Message, Malformed>);

impl LinkSocket {
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let interface = NonZeroU32::new(index).ok_or(io::ErrorKind::InvalidInput)?;
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.attach_filter(&closed())?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(QUEUE)?;
        socket.bind_device_by_index_v6(Some(interface))?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_unicast_hops_v6(255)?;
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        let socket = std::net::UdpSocket::from(OwnedFd::from(socket));
        let mut octets = [0; MESSAGE];
        while socket.recv_from(&mut octets).is_ok() {}
        socket2::SockRef::from(&socket).attach_filter(&open_filter())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            index,
        })
    }

    /// Waits for the next message. Safe to be dropped while it waits.
    pub(crate) async fn receive(&self) -> io::Result<Arrival> {
        let mut octets = [0; MESSAGE];
        loop {
            let (length, from) = self.socket.recv_from(&mut octets).await?;
            let SocketAddr::V6(from) = from else { continue };
            // One that fills it may have been cut.
            let whole = octets.get(..length).filter(|_| length < MESSAGE);
            return Ok((*from.ip(), whole.map_or(Err(Malformed::Long), decode)));
        }
    }

    /// Sends, or fails at once.
    pub(crate) fn send(&self, transmit: Transmit) -> io::Result<()> {
        let to = SocketAddrV6::new(transmit.to, 0, 0, self.index);
        let socket = socket2::SockRef::from(&self.socket);
        socket.send_to(&encode(transmit.message), &to.into()).map(drop)
    }
}
