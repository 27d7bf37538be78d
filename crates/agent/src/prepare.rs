//! `flatroute-agent prepare`: the sysctls that a node needs, set in the current network namespace. The files of
//! `/proc/sys/net` are those of the namespace of whoever opens them, also through a mount at another place; in a
//! container, whose own `/proc/sys` is read-only, the host's is mounted at such a place and named by `--sysctl-dir`.
//!
//! - Forwarding of both families. Where a host takes router advertisements, forwarding would end that; so
//!   `accept_ra` becomes 2 ("also as a router") on the interfaces that heed them now, and before forwarding is
//!   switched on.
//! - `fib_multipath_hash_policy=1`: flows, not pairs of addresses, are spread over the paths of a route.
//! - `ignore_routes_with_linkdown=1`: a path whose interface has no carrier is not used. The kernel reads it from
//!   each interface in IPv4, so it is set on `all`, on `default` for those to come, and on each that is there.
//! - `nexthop_compat_mode=0`: a change of a nexthop group is one notification, not one a route.
//!
//! The list is the plan's (`flatroute_plan::settings`), by which a running agent looks whether it is still so.
//!
//! Nothing else is changed. A second run changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flatroute_bgp::types::Family;
use flatroute_plan::settings;

/// What became of one sysctl.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It was as it shall be.
    Kept,
    /// It was changed, from this value.
    Changed(String),
    /// The kernel does not have it.
    Absent,
    /// It could not be read or written.
    Failed(String),
}

/// One sysctl and the value that it shall have.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    path: String,
    value: &'static str,
}

pub(crate) fn main(sysctl_dir: &Path, dry_run: bool) -> ExitCode {
    if let Err(error) = std::fs::read_dir(sysctl_dir.join("net")) {
        let dir = sysctl_dir.display();
        eprintln!("flatroute-agent prepare: --sysctl-dir {dir}: there is no {dir}/net: {error}");
        return ExitCode::FAILURE;
    }
    let (lines, fine) = prepare(sysctl_dir, dry_run);
    for line in lines {
        println!("{line}");
    }
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Sets everything below `root`; the lines to print, and whether all went well.
fn prepare(root: &Path, dry_run: bool) -> (Vec<String>, bool) {
    let (mut lines, mut kept, mut fine) = (Vec::new(), 0_usize, true);
    for Wish { path, value } in wishes(root) {
        let name = settings::name(&path);
        match set(&root.join(&path), value, dry_run) {
            Outcome::Kept => kept += 1,
            Outcome::Changed(from) if dry_run => lines.push(format!("{name}: {from}, would become {value}")),
            Outcome::Changed(from) => lines.push(format!("{name}: {from} -> {value}")),
            Outcome::Absent => lines.push(format!("{name}: this kernel does not have it")),
            Outcome::Failed(error) => {
                fine = false;
                lines.push(format!(
                    "{name}: cannot be set to {value}: {error}; run as root with CAP_NET_ADMIN (in a container: on the host's /proc/sys, mounted elsewhere, by --sysctl-dir)"
                ));
            }
        }
    }
    lines.push(format!("{kept} already as they shall be"));
    (lines, fine)
}

fn wishes(root: &Path) -> Vec<Wish> {
    let wish = |path: String, value| Wish { path, value };
    let mut wishes = Vec::new();
    for interface in interfaces(&root.join("net/ipv6/conf")) {
        let conf = format!("net/ipv6/conf/{interface}");
        let is = |file: &str, value: &str| read(&root.join(&conf).join(file)).is_ok_and(|v| v == value);
        let heeds = is("accept_ra", "1") && is("forwarding", "0");
        if heeds && !["all", "default", "lo"].contains(&interface.as_str()) {
            wishes.push(wish(format!("{conf}/accept_ra"), "2"));
        }
    }
    let of_the_node = settings::NODE.iter();
    wishes.extend(of_the_node.map(|setting| wish(setting.path.to_owned(), setting.value)));
    for family in Family::ALL {
        for interface in interfaces(&root.join(settings::conf(family, "", ""))) {
            wishes.push(wish(
                settings::conf(family, &interface, settings::IGNORE_LINKDOWN),
                "1",
            ));
        }
    }
    wishes
}

/// The directories below a `conf`, `all` and `default` first.
fn interfaces(conf: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(conf).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_by_key(|n| (n != "all", n != "default", n.clone()));
    names
}

fn read(path: &PathBuf) -> io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}

fn set(path: &PathBuf, value: &str, dry_run: bool) -> Outcome {
    let before = match read(path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Absent,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    if before == value {
        return Outcome::Kept;
    }
    if dry_run {
        return Outcome::Changed(before);
    }
    match std::fs::write(path, value) {
        Ok(()) => Outcome::Changed(before),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, value) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        dir
    }

    #[test]
    fn what_is_missing_is_set_once() {
        let dir = tree(&[
            ("net/ipv4/ip_forward", "0"),
            ("net/ipv4/fib_multipath_hash_policy", "1"),
            ("net/ipv4/nexthop_compat_mode", "1"),
            ("net/ipv4/conf/all/ignore_routes_with_linkdown", "0"),
            ("net/ipv4/conf/eth0.5/ignore_routes_with_linkdown", "0"),
            ("net/ipv6/fib_multipath_hash_policy", "0"),
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv6/conf/all/ignore_routes_with_linkdown", "1"),
            ("net/ipv6/conf/eth0.5/ignore_routes_with_linkdown", "1"),
            ("net/ipv6/conf/eth0.5/forwarding", "0"),
            ("net/ipv6/conf/eth0.5/accept_ra", "1"),
        ]);
        let at = |path: &str| read(&dir.path().join(path)).unwrap();
        let want = [
            "net.ipv6.conf.eth0/5.accept_ra: 1",
            "net.ipv4.ip_forward: 0",
            "net.ipv6.conf.all.forwarding: 0",
            "net.ipv6.fib_multipath_hash_policy: 0",
            "net.ipv4.nexthop_compat_mode: 1",
            "net.ipv4.conf.all.ignore_routes_with_linkdown: 0",
            "net.ipv4.conf.eth0/5.ignore_routes_with_linkdown: 0",
            "3 already",
        ];
        let (lines, fine) = prepare(dir.path(), true);
        assert!(fine && lines.len() == want.len(), "{lines:?}");
        for (line, want) in lines.iter().zip(want) {
            assert!(line.starts_with(want), "{line} {want}");
        }
        assert_eq!(at("net/ipv4/ip_forward"), "0");

        let (lines, fine) = prepare(dir.path(), false);
        assert!(fine);
        assert_eq!(lines[0], "net.ipv6.conf.eth0/5.accept_ra: 1 -> 2");
        assert_eq!(at("net/ipv6/conf/eth0.5/accept_ra"), "2");
        assert_eq!(at("net/ipv4/nexthop_compat_mode"), "0");

        assert_eq!(
            prepare(dir.path(), false),
            (vec!["9 already as they shall be".to_owned()], true)
        );
    }

    #[test]
    fn a_kernel_without_a_sysctl_is_told_and_not_a_failure() {
        let dir = tree(&[("net/ipv4/ip_forward", "1")]);
        let (lines, fine) = prepare(dir.path(), false);
        assert!(fine);
        assert!(lines.contains(&"net.ipv6.conf.all.forwarding: this kernel does not have it".to_owned()));
    }
}
