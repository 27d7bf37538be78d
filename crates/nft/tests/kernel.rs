//! The table in real kernels: fresh network namespaces, real packets.
//!
//! As root, or under `unshare -rn`. Where there is an `nft` program, what it reads and what it would write is compared with ours.
#![allow(clippy::unwrap_used, reason = "a test")]

mod kernel {
    mod host_ports;
    mod lab;
    mod lost_ports;
    mod packets;
    mod table;
}
