//! Links for the tests of the kernel's routes.

pub(crate) use flatroute_lab::{in_fresh_netns, ip};

/// A veth pair `up0`/`tor0`-like with addresses of both families on our end.
pub(crate) fn uplink(number: u8) {
    ip(&format!("link add up{number} type veth peer name tor{number}"));
    ip(&format!("addr add 10.0.{number}.2/24 dev up{number}"));
    ip(&format!("-6 addr add fd00:{number}::2/64 dev up{number} nodad"));
    ip(&format!("link set tor{number} up"));
    ip(&format!("link set up{number} up"));
}
