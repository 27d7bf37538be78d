//! Why the system forbids namespaces, and what its owner can do about it.
//!
//! The kernel's answer alone is one of four numbers; the switches behind it lie in a handful of places that differ by
//! distribution: Debian's and Arch's own sysctl, AppArmor's (Ubuntu 23.10 and later, where the namespace is made but
//! without any power), the per-user limits, and the seccomp profile of a container.

use std::fs;

use rustix::io::Errno;

/// What the switches of this machine say; a value, so that the advice can be tested without such a machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switches {
    pub(crate) unprivileged_clone: Option<u64>,
    pub(crate) apparmor_restricts: Option<u64>,
    pub(crate) max_user: Option<u64>,
    pub(crate) max_net: Option<u64>,
    pub(crate) in_container: bool,
}

impl Switches {
    fn observe() -> Self {
        let number = |path: &str| {
            fs::read_to_string(path)
                .ok()
                .and_then(|text| text.trim().parse().ok())
        };
        Self {
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            max_user: number("/proc/sys/user/max_user_namespaces"),
            max_net: number("/proc/sys/user/max_net_namespaces"),
            in_container: fs::metadata("/.dockerenv").is_ok() || fs::metadata("/run/.containerenv").is_ok(),
        }
    }
}

/// The whole message for a refused step: what, why, and every remedy that fits this machine.
pub(crate) fn explain(step: &str, errno: Errno) -> String {
    advise(step, errno, &Switches::observe())
}

pub(crate) fn advise(step: &str, errno: Errno, switches: &Switches) -> String {
    let mut text = format!("this system refuses {step}: {errno}\n");
    let mut remedy = |why: &str, how: &str| text.push_str(&format!("  {why}\n      {how}\n"));
    if switches.unprivileged_clone == Some(0) {
        remedy(
            "ordinary users may not make user namespaces (kernel.unprivileged_userns_clone is 0):",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        );
    }
    if switches.apparmor_restricts.is_some_and(|value| value != 0) {
        remedy(
            "AppArmor takes all power from namespaces of ordinary users (Ubuntu's default):",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        );
    }
    if switches.max_user == Some(0) {
        remedy(
            "no user namespaces at all (user.max_user_namespaces is 0):",
            "sudo sysctl -w user.max_user_namespaces=10000",
        );
    }
    if switches.max_net == Some(0) || errno == Errno::NOSPC {
        remedy(
            "the limit of network namespaces is used up (user.max_net_namespaces and its sisters):",
            "sudo sysctl -w user.max_net_namespaces=10000",
        );
    }
    if switches.in_container {
        remedy(
            "this is a container, and its seccomp profile may forbid unshare(2):",
            "start it with: docker run --privileged  (or --security-opt seccomp=unconfined --security-opt apparmor=unconfined)",
        );
    }
    if errno == Errno::INVAL {
        remedy(
            "the kernel was built without one of these namespaces:",
            "CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_PID_NS must be set",
        );
    }
    remedy(
        "or run it as root, where no user namespace is needed:",
        "sudo make demo",
    );
    text.pop();
    text
}
