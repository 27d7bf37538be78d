//! Making sockets: dialled ones, listeners, and the options that a session needs on them.
//!
//! Nothing here is done in part: an option that cannot be set is an error, and whoever hears it closes the socket.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU32;

use flatroute_bgp::speaker::{Auth, Md5Key, Target, Ttl};
use flatroute_bgp::types::Prefix;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::keys::host;
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
    match &target.auth {
        Auth::None => {}
        Auth::Md5(key) => set_key(&socket, host(remote.ip()), Some(key))?,
    }
    if let Some(source) = target.source {
        socket.bind(address(source, target.interface, 0))?;
    }
    let stream = socket.connect(remote).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Prepares a connection that the listener took, before anything that it brought is read. It fails
///
/// * with GTSM, for one whose SYN came from too far away;
/// * with a key, for one whose SYN was not signed: it was made when the listener did not have the key yet, or by another
///   way into the listener, and what it has sent until now nobody has checked;
/// * without a key, for one whose SYN was signed: the key was taken away meanwhile.
///
/// What the dialler has sent until now was subject to no other check.
pub(crate) fn prepare(stream: &TcpStream, ttl: Ttl, auth: &Auth) -> io::Result<()> {
    let remote = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    limit_hops(&SockRef::from(stream), remote.is_ipv6(), ttl)?;
    let syn = sys::saved_syn(stream)?;
    let unknown = |what: &str| {
        io::Error::other(format!(
            "the kernel did not keep the SYN, so {what} (SYN cookies?)"
        ))
    };
    if let Some(least) = least_hops(ttl) {
        let found = syn
            .ok_or_else(|| unknown("the distance of the peer is unknown"))?
            .hops;
        if found < least {
            return Err(io::Error::other(format!(
                "GTSM: the peer dialled with TTL {found}, below {least}: it is farther away than ttlSecurity allows, \
                 or does not send with TTL 255"
            )));
        }
    }
    match (auth, syn) {
        (Auth::None, None | Some(sys::Syn { signed: false, .. })) => Ok(()),
        (Auth::None, Some(sys::Syn { signed: true, .. })) => Err(io::Error::other(
            "TCP MD5: the peer signs, and there is no key for it any more",
        )),
        (Auth::Md5(_), None) => Err(unknown("it is unknown whether the peer signs")),
        (Auth::Md5(_), Some(sys::Syn { signed: false, .. })) => Err(io::Error::other(
            "TCP MD5: the connection is not signed; it was opened before the key was set",
        )),
        // The listener's key is on it already; a newer one makes an older connection fall silent.
        (Auth::Md5(key), Some(sys::Syn { signed: true, .. })) => {
            set_key(stream, host(remote.ip()), Some(key))
        }
    }
}

/// Sets or takes away the key of a peer, or of all peers within a prefix, on a socket.
pub(crate) fn set_key(
    socket: &impl std::os::fd::AsFd,
    peers: Prefix,
    key: Option<&Md5Key>,
) -> io::Result<()> {
    sys::set_md5_key(socket, peers, key).map_err(|error| {
        let whose = if peers.prefix_len() == peers.family().max_len() {
            peers.addr().to_string()
        } else {
            peers.to_string()
        };
        io::Error::new(
            error.kind(),
            format!("the kernel refused the TCP MD5 key of {whose}: {error}"),
        )
    })
}

/// Opens a listener with these keys: there is no moment in which it takes connections without them. It sends with TTL
/// 255, so that a peer which demands GTSM hears its answer; what it accepts is limited afterwards, a connection at a
/// time. A key that is refused leaves the others in force; the refusals are told.
///
/// With an interface it hears only what arrives there. The kernel prefers such a listener to one that hears everything,
/// but lets them share a port only when both allow it: so `beside`, the other one, allows it for this moment. Not for
/// longer, because a second agent on this node has to hear that the port is in use.
pub(crate) fn listen(
    address: SocketAddr,
    on: Option<(NonZeroU32, &TcpListener)>,
    keys: &BTreeMap<Prefix, Md5Key>,
) -> io::Result<(TcpListener, BTreeMap<Prefix, String>)> {
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
    let refused = keys
        .iter()
        .filter_map(|(peer, key)| Some((*peer, set_key(&socket, *peer, Some(key)).err()?.to_string())))
        .collect();
    match on {
        None => {
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
        }
        Some((interface, beside)) => {
            socket.bind_device_by_index_v6(Some(interface))?;
            let beside = SockRef::from(beside);
            beside.set_reuse_port(true)?;
            socket.set_reuse_port(true)?;
            let opened = socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG));
            beside.set_reuse_port(false)?;
            opened?;
            socket.set_reuse_port(false)?;
        }
    }
    Ok((TcpListener::from_std(socket.into())?, refused))
}

/// Takes the connections that a listener holds now, without waiting for any.
pub(crate) fn take_waiting(listener: &TcpListener) -> io::Result<Vec<(TcpStream, SocketAddr)>> {
    let gone = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
    ];
    let listener = SockRef::from(listener);
    let mut taken = Vec::new();
    // One more than the backlog is what the kernel holds at most.
    for _ in 0..=BACKLOG {
        match listener.accept() {
            Ok((socket, address)) => {
                socket.set_nonblocking(true)?;
                if let Some(remote) = address.as_socket() {
                    taken.push((TcpStream::from_std(socket.into())?, remote));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if gone.contains(&error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
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
