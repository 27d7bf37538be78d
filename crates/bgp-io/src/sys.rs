//! The socket options that no safe library offers: the least TTL that a packet may arrive with, the key of TCP MD5, and
//! the SYN that a connection began with.
//!
//! The last is needed for the others. What an accepted connection must be can only be said once it is known whose it is,
//! and by then a dialler may have sent a whole conversation. So the listener keeps each SYN: the TTL that it arrived
//! with says how far away the dialler is, and a digest in it says that the kernel has checked the dialler's key from the
//! first segment on (it drops a SYN with a digest when the listener has no key for the address, or another one).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use flatroute_bgp::speaker::{MAX_KEY_LEN, Md5Key};
use flatroute_bgp::types::Prefix;
use socket2::SockAddrStorage;

/// Room for the headers of a SYN, in octets.
const SYN_LEN: usize = 512;
/// The kind of the TCP option that carries a digest (RFC 2385 §3).
const MD5_OPTION: u8 = 19;
/// The socket option that sets a key for more than one address, and the flag that says so (`linux/tcp.h`).
const TCP_MD5SIG_EXT: libc::c_int = 32;
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
/// The protocol number of TCP in an IP header.
const TCP: u8 = 6;

/// What the SYN of an accepted connection tells of its dialler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syn {
    /// The TTL (IPv6: hop limit) that it arrived with.
    pub(crate) hops: u8,
    /// Whether it carried a digest.
    pub(crate) signed: bool,
}

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[repr(C)]
struct TcpMd5Sig {
    address: SockAddrStorage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    interface: libc::c_int,
    key: [u8; MAX_KEY_LEN],
}

// As the kernel has it, and without padding.
const _: () = assert!(size_of::<TcpMd5Sig>() == 128 + 8 + MAX_KEY_LEN);

/// Refuses packets whose TTL (IPv6: hop limit) is below `least` (GTSM, RFC 5082).
pub(crate) fn set_min_hops(socket: &impl AsFd, ipv6: bool, least: u8) -> io::Result<()> {
    let (level, option) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
    } else {
        (libc::IPPROTO_IP, libc::IP_MINTTL)
    };
    set(socket, level, option, &libc::c_int::from(least))
}

/// From now on segments to and from `peers` carry a digest with this key (RFC 2385), on this socket and on those that it
/// will accept. None: no longer; there must have been a key. Of several prefixes the kernel takes the longest.
pub(crate) fn set_md5_key(socket: &impl AsFd, peers: Prefix, key: Option<&Md5Key>) -> io::Result<()> {
    let octets = key.map_or(&[][..], Md5Key::octets);
    let address = socket2::SockAddr::from(std::net::SocketAddr::new(peers.addr(), 0));
    let is_one = peers.prefix_len() == peers.family().max_len();
    let (name, flags) = if is_one {
        (libc::TCP_MD5SIG, 0)
    } else {
        (TCP_MD5SIG_EXT, TCP_MD5SIG_FLAG_PREFIX)
    };
    let mut option = TcpMd5Sig {
        address: address.as_storage(),
        flags,
        prefix_len: peers.prefix_len(),
        key_len: u16::try_from(octets.len()).map_err(io::Error::other)?,
        interface: 0,
        key: [0; MAX_KEY_LEN],
    };
    for (place, octet) in option.key.iter_mut().zip(octets) {
        *place = *octet;
    }
    set(socket, libc::IPPROTO_TCP, name, &option)
}

/// Has the kernel keep the headers of the SYN of each connection that this listener will take.
pub(crate) fn save_syn(listener: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    set(listener, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, &on)
}

/// What is known of the SYN of an accepted connection. None when it was not kept, as with SYN cookies, or was asked for
/// before.
pub(crate) fn saved_syn(stream: &impl AsFd) -> io::Result<Option<Syn>> {
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
    Ok(syn(packet.get(..length).unwrap_or_default()))
}

/// Reads the headers of IP and TCP. A packet with extension headers of IPv6 is not understood.
fn syn(packet: &[u8]) -> Option<Syn> {
    let first = *packet.first()?;
    let (hops, protocol, header) = match first >> 4 {
        4 => (8, 9, usize::from(first & 0xf).checked_mul(4)?),
        6 => (7, 6, 40),
        _ => return None,
    };
    if *packet.get(protocol)? != TCP {
        return None;
    }
    let tcp = packet.get(header..)?;
    let length = usize::from(*tcp.get(12)? >> 4).checked_mul(4)?;
    Some(Syn {
        hops: *packet.get(hops)?,
        signed: has_digest(tcp.get(20..length)?),
    })
}

/// Whether one of these TCP options is a digest.
fn has_digest(mut options: &[u8]) -> bool {
    loop {
        match *options {
            [] | [0, ..] => return false,
            [1, ref rest @ ..] => options = rest,
            [MD5_OPTION, ..] => return true,
            [_, length, ..] if length >= 2 => {
                options = options.get(usize::from(length)..).unwrap_or_default();
            }
            [..] => return false,
        }
    }
}

/// Sets an option to a value of a type without padding.
fn set<T>(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the kernel reads `length` octets at
    // the address of `value`, which is borrowed until the call returns and is `length` octets long.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(ttl: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[8] = ttl;
        packet[9] = TCP;
        packet.extend(options);
        packet[32] = u8::try_from((20 + options.len()) / 4).unwrap() << 4;
        packet
    }

    #[test]
    fn a_syn_tells_distance_and_digest() {
        let mut digest = vec![2, 4, 5, 0xb4, 1, 1, MD5_OPTION, 18];
        digest.extend([7; 16]);
        let signed = ipv4(255, &digest);
        assert_eq!(
            syn(&signed),
            Some(Syn {
                hops: 255,
                signed: true
            })
        );
        let plain = ipv4(64, &[2, 4, 5, 0xb4, 8, 4, 19, 19]);
        assert_eq!(
            syn(&plain),
            Some(Syn {
                hops: 64,
                signed: false
            })
        );
        let mut ipv6 = vec![0; 40];
        (ipv6[0], ipv6[6], ipv6[7]) = (0x60, TCP, 254);
        ipv6.extend(&signed[20..]);
        assert_eq!(
            syn(&ipv6),
            Some(Syn {
                hops: 254,
                signed: true
            })
        );
        ipv6[6] = 0;
        assert_eq!(syn(&ipv6), None, "an extension header");
    }

    #[test]
    fn a_syn_that_is_cut_anywhere_or_lies_about_lengths_is_none_or_unsigned() {
        let whole = ipv4(255, &[2, 4, 5, 0xb4, 3, 0, 0, 0, 1, 200, 1, 1]);
        for cut in 0..whole.len() {
            assert_eq!(syn(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(
            syn(&whole),
            Some(Syn {
                hops: 255,
                signed: false
            })
        );
        for options in [&[5, 1, 19, 18][..], &[1, 5], &[5, 255, 0, 0], &[0, 19, 18, 0]] {
            assert!(!has_digest(options), "{options:?}");
        }
    }
}
