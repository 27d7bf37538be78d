//! TCP MD5 on a socket of a test, set without the code that is tested.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// Sets the key for a peer's address: `struct tcp_md5sig` as octets.
#[expect(unsafe_code, reason = "no library has this option")]
pub fn set(socket: &impl AsFd, peer: IpAddr, key: &str) -> io::Result<()> {
    let mut option = [0u8; 128 + 8 + 80];
    match peer {
        IpAddr::V4(v4) => {
            option[..2].copy_from_slice(&u16::try_from(libc::AF_INET).unwrap().to_ne_bytes());
            option[4..8].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            option[..2].copy_from_slice(&u16::try_from(libc::AF_INET6).unwrap().to_ne_bytes());
            option[8..24].copy_from_slice(&v6.octets());
        }
    }
    option[130..132].copy_from_slice(&u16::try_from(key.len()).unwrap().to_ne_bytes());
    option[136..136 + key.len()].copy_from_slice(key.as_bytes());
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads as many octets as `option` has.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MD5SIG,
            option.as_ptr().cast(),
            libc::socklen_t::try_from(option.len()).unwrap(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
