//! Network namespaces with names, as files that any program can open.
//!
//! A namespace is created by a thread that unshares and then binds its own namespace to a file under the sandbox's
//! `netns/` directory, which is `/run/netns`: where `ip netns` looks, so that the usual tools work inside a kept lab.
//! Work in a namespace is done by a thread that moves there and ends ([`Namespace::run`]): sockets stay in the
//! namespace in which they were opened, so they may be handed out and used anywhere.

use std::fs;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sandbox;

/// One network namespace; it lives until [`Namespace::delete`] or the end of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
    path: PathBuf,
}

impl Namespace {
    /// Creates the namespace, with its loopback interface up.
    ///
    /// # Errors
    /// The name is taken, or the kernel refuses.
    pub fn create(name: &str) -> Result<Self> {
        let path = sandbox::room().join("netns").join(name);
        fs::File::create_new(&path)
            .with_context(|| format!("network namespace {name}: create {}", path.display()))?;
        let namespace = Self {
            name: name.to_owned(),
            path,
        };
        let born = std::thread::scope(|scope| {
            let birth = || -> Result<()> {
                crate::sys::unshare_network().context("unshare")?;
                mount_bind("/proc/thread-self/ns/net", &namespace.path).context("bind")?;
                let mut socket = flatroute_netlink::Socket::open()?;
                let loopback = socket.link_by_name("lo")?.context("a namespace without lo")?;
                Ok(socket.set_up(loopback.index)?)
            };
            scope
                .spawn(birth)
                .join()
                .map_err(|_| anyhow!("the creating thread panicked"))?
        });
        born.with_context(|| format!("create network namespace {name}"))?;
        Ok(namespace)
    }

    /// One that somebody else made: a file that stands for it, under a name of ours.
    #[must_use]
    pub fn found(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path,
        }
    }

    /// Its name: the file's name under `netns/`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, as `CNI_NETNS` and `nsenter --net=` want it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a thread inside the namespace and returns what it returned.
    ///
    /// # Errors
    /// The namespace cannot be entered, or what `work` answers.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = || {
                self.enter()?;
                work()
            };
            scope
                .spawn(inside)
                .join()
                .map_err(|_| anyhow!("work in network namespace {} panicked", self.name))?
        })
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn enter(&self) -> Result<()> {
        let file = self.file()?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("enter network namespace {}", self.name))
    }

    /// A command that will run `program` inside.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        sandbox::command_in(&self.path, program)
    }

    /// A netlink socket inside.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn netlink(&self) -> Result<flatroute_netlink::Socket> {
        let file = self.file()?;
        flatroute_netlink::Socket::open_in(file.as_fd())
            .with_context(|| format!("netlink socket in network namespace {}", self.name))
    }

    /// All addresses inside.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let mut netlink = self.netlink()?;
        let mut found = Vec::new();
        for link in netlink.links()? {
            let held = netlink.addresses(link.index)?;
            found.extend(held.into_iter().map(|held| held.address));
        }
        Ok(found)
    }

    /// The namespace as an open file.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn file(&self) -> Result<fs::File> {
        fs::File::open(&self.path).with_context(|| format!("open network namespace {}", self.name))
    }

    /// Sets what a kernel needs to forward as a router does, over all of its paths.
    ///
    /// # Errors
    /// The kernel has no such setting.
    pub fn forward(&self) -> Result<()> {
        for (name, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/fib_multipath_hash_policy", "1"),
            ("net/ipv6/fib_multipath_hash_policy", "1"),
            ("net/ipv4/conf/all/ignore_routes_with_linkdown", "1"),
            ("net/ipv6/conf/all/ignore_routes_with_linkdown", "1"),
        ] {
            self.set(name, value)?;
        }
        Ok(())
    }

    /// Writes a setting below `/proc/sys/`, in this namespace.
    ///
    /// # Errors
    /// The kernel has no such setting, or refuses the value.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        self.run(|| {
            let path = Path::new("/proc/sys").join(name);
            fs::write(&path, value)
                .with_context(|| format!("{}: write {value} to {}", self.name, path.display()))
        })
    }

    /// Reads a setting below `/proc/sys/`, in this namespace.
    ///
    /// # Errors
    /// The kernel has no such setting.
    pub fn read(&self, name: &str) -> Result<String> {
        self.run(|| {
            let path = Path::new("/proc/sys").join(name);
            let value = fs::read_to_string(&path);
            let value = value.with_context(|| format!("{}: read {}", self.name, path.display()))?;
            Ok(value.trim().to_owned())
        })
    }

    /// Lets the namespace go: it ends with its last process and socket.
    ///
    /// # Errors
    /// The kernel refuses the unmount.
    pub fn delete(self) -> Result<()> {
        unmount(&self.path, UnmountFlags::DETACH)
            .with_context(|| format!("unmount namespace {}", self.name))?;
        fs::remove_file(&self.path).with_context(|| format!("remove namespace {}", self.name))
    }
}
