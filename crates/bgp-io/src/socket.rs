//! Making sockets: dialled ones, listeners, and the options that a session needs on them.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use flatroute_bgp::speaker::{Target, Ttl};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::sys;

/// Connections that the kernel holds for us before we take them.
const BACKLOG: i32 = 128;

/// Opens a connection.
pub(crate) async fn dial(target: Target) -> io::Result<TcpStream> {
    let remote = address(target.address, target.interface, target.port);
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    limit_hops(&SockRef::from(&socket), remote.is_ipv6(), target.ttl)?;
    if let Some(source) = target.source {
        socket.bind(address(source, target.interface, 0))?;
    }
    let stream = socket.connect(remote).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Prepares a connection that the listener took. With GTSM it fails for one whose SYN came from too far away, because
/// what the dialler has sent until now was subject to no limit.
pub(crate) fn adopt(stream: &TcpStream, ttl: Ttl) -> io::Result<()> {
    stream.set_nodelay(true)?;
    limit_hops(&SockRef::from(stream), stream.peer_addr()?.is_ipv6(), ttl)?;
    let Some(least) = least_hops(ttl) else {
        return Ok(());
    };
    match sys::syn_hops(stream)? {
        Some(found) if found >= least => Ok(()),
        Some(found) => Err(io::Error::other(format!(
            "GTSM: the peer dialled with TTL {found}, below {least}: it is farther away than ttlSecurity allows, or \
             does not send with TTL 255"
        ))),
        None => Err(io::Error::other(
            "GTSM: the kernel did not keep the SYN, so the distance of the peer is unknown (SYN cookies?)",
        )),
    }
}

/// Opens a listener. It sends with TTL 255, so that a peer which demands GTSM hears its answer; what it accepts is
/// limited afterwards, a connection at a time.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(255)?;
    } else {
        socket.set_ttl_v4(255)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    sys::save_syn(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn address(ip: IpAddr, interface: Option<u32>, port: u16) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(v6, port, 0, interface.unwrap_or(0)))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(ip, port),
    }
}

/// How far packets go, and with GTSM how near they must come from (RFC 5082).
fn limit_hops(socket: &SockRef<'_>, ipv6: bool, ttl: Ttl) -> io::Result<()> {
    let send = match ttl {
        Ttl::Direct => 1,
        Ttl::Multihop(hops) => u32::from(hops),
        Ttl::Security(_) => 255,
    };
    if ipv6 {
        socket.set_unicast_hops_v6(send)?;
    } else {
        socket.set_ttl_v4(send)?;
    }
    least_hops(ttl).map_or(Ok(()), |least| sys::set_min_hops(&**socket, ipv6, least))
}

/// The least TTL that a packet may arrive with: 256 minus the hops, none without GTSM.
fn least_hops(ttl: Ttl) -> Option<u8> {
    match ttl {
        Ttl::Direct | Ttl::Multihop(_) => None,
        Ttl::Security(hops) => Some(u8::MAX.saturating_sub(hops).saturating_add(1)),
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
