//! The socket options that no safe library offers: the least TTL that a packet may arrive with, and the SYN that a
//! connection began with.
//!
//! The second is needed for the first. The least TTL of an accepted connection can only be set once it is known
//! whose it is, and by then a dialler may have sent a whole conversation. So the listener keeps each SYN, and the
//! TTL that it arrived with says how far away the dialler is.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Room for the headers of a SYN, in octets.
const SYN_LEN: usize = 512;

/// Refuses packets whose TTL (IPv6: hop limit) is below `least` (GTSM, RFC 5082).
pub(crate) fn set_min_hops(socket: &impl AsFd, ipv6: bool, least: u8) -> io::Result<()> {
    let (level, option) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
    } else {
        (libc::IPPROTO_IP, libc::IP_MINTTL)
    };
    set(socket, level, option, libc::c_int::from(least))
}

/// Has the kernel keep the headers of the SYN of each connection that this listener will take.
pub(crate) fn save_syn(listener: &impl AsFd) -> io::Result<()> {
    set(listener, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, 1)
}

/// The TTL (IPv6: hop limit) that the SYN of an accepted connection arrived with. None when it was not kept, as with
/// SYN cookies, or was asked for before.
pub(crate) fn syn_hops(stream: &impl AsFd) -> io::Result<Option<u8>> {
    let mut packet = [0u8; SYN_LEN];
    let mut length = libc::socklen_t::try_from(packet.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `stream` is borrowed; the kernel writes at most `length` octets
    // to `packet` and the number of them to `length`; both live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            stream.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            packet.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    Ok(hops(packet.get(..length).unwrap_or_default()))
}

/// The TTL or hop limit in an IP header.
fn hops(packet: &[u8]) -> Option<u8> {
    let place = match packet.first()? >> 4 {
        4 => 8,
        6 => 7,
        _ => return None,
    };
    packet.get(place).copied()
}

fn set(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the kernel reads `length` octets at
    // the address of `value`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
