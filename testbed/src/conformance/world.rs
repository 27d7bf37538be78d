//! A host of its own for every item: a network namespace, a network name that no other item uses, pods.
//!
//! The name keeps the items apart: whatever a plugin records, it records by network, so an address that one item leaks is
//! no other item's trouble. The host has a link `uplink0` with addresses and default routes, as a node has.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use flatroute_netlink::{NextHop, Route, Socket, Veth, VethEnd};
use serde_json::Value;

use super::attachment::{Attachment, Pod};
use super::invocation::{Answer, Call};
use super::network::Network;
use super::verdict::{Item, Proof, Verdict};
use crate::namespace::Namespace;
use crate::sandbox;

/// What is tested.
#[derive(Debug)]
pub struct Suite {
    /// Where the plugins are.
    pub plugin_dir: PathBuf,
    /// With the newest version that all of its plugins list.
    pub network: Network,
    /// What all of its plugins list, as they list it.
    pub supported: Vec<String>,
    /// How many addresses the pool has, once it was counted; `None` in it when they are too many to count.
    pub(super) capacity: Mutex<Option<Option<usize>>>,
}

/// The place of one item.
#[derive(Debug)]
pub struct World<'a> {
    /// What is tested.
    pub suite: &'a Suite,
    /// The host's network namespace.
    pub host: Namespace,
    /// The network under this item's name.
    pub network: Network,
    number: u8,
    pods: Mutex<Vec<Namespace>>,
    made: AtomicUsize,
}

impl Suite {
    /// Judges one item.
    ///
    /// # Errors
    /// No world can be made for it: that is the machine's fault, not the plugin's.
    pub fn judge(&self, item: &Item) -> Result<Verdict> {
        let body = match item.proof {
            Proof::Run(body) => body,
            Proof::Never(why) => return Ok(Verdict::NotProvoked(why.to_owned())),
        };
        let world = World::new(self, item.number)?;
        let verdict = body(&world).unwrap_or_else(|error| Verdict::Fail(format!("{error:#}")));
        world.end()?;
        Ok(verdict)
    }

    /// Whether all plugins list a version.
    #[must_use]
    pub fn speaks(&self, version: &str) -> bool {
        self.supported.iter().any(|listed| listed == version)
    }
}

/// A veth pair with both ends here and up: the one kind of link that every kernel that runs pods has. Returns the index of
/// the first.
pub(super) fn pair(netlink: &mut Socket, name: &str, peer: &str) -> Result<u32> {
    let end = |name| VethEnd {
        name,
        ..VethEnd::default()
    };
    netlink.add_veth(&Veth {
        near: end(name),
        peer: end(peer),
    })?;
    let index = |netlink: &mut Socket, name| -> Result<u32> {
        Ok(netlink
            .link_by_name(name)?
            .context("a link that was just made")?
            .index)
    };
    let (near, far) = (index(netlink, name)?, index(netlink, peer)?);
    netlink.set_up(near)?;
    netlink.set_up(far)?;
    Ok(near)
}

impl<'a> World<'a> {
    /// Makes it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(suite: &'a Suite, number: u8) -> Result<Self> {
        let host = Namespace::create(&format!("conformance-{number}"))?;
        let mut netlink = host.netlink()?;
        let index = pair(&mut netlink, "uplink0", "fabric0")?;
        netlink.add_address(index, "192.0.2.2".parse()?, 24)?;
        netlink.add_address(index, "2001:db8::2".parse()?, 64)?;
        for (any, via) in [("0.0.0.0", "192.0.2.1"), ("::", "2001:db8::1")] {
            netlink.add_route(&Route {
                destination: any.parse()?,
                prefix_len: 0,
                next_hop: NextHop::Gateway {
                    via: via.parse()?,
                    index: Some(index),
                    onlink: false,
                },
                source: None,
                protocol: 4,
            })?;
        }
        host.forward()?;
        Ok(Self {
            suite,
            host,
            network: suite.network.named(&format!("{}-{number}", suite.network.name)),
            number,
            pods: Mutex::default(),
            made: AtomicUsize::new(0),
        })
    }

    fn end(self) -> Result<()> {
        let pods = self.pods.into_inner().unwrap_or_default();
        pods.into_iter().try_for_each(Namespace::delete)?;
        self.host.delete()
    }

    /// A number that this world did not give before.
    pub(super) fn next(&self) -> usize {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// A new pod: a container id and an empty network namespace.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn pod(&self) -> Result<Pod> {
        let id = format!("conformance-{}-{}", self.number, self.next());
        let namespace = Namespace::create(&id)?;
        if let Ok(mut pods) = self.pods.lock() {
            pods.push(namespace.clone());
        }
        Ok(Pod { id, namespace })
    }

    /// Lets a pod's namespace go before the world ends.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&self, pod: &Pod) -> Result<()> {
        if let Ok(mut pods) = self.pods.lock() {
            pods.retain(|namespace| *namespace != pod.namespace);
        }
        pod.namespace.clone().delete()
    }

    /// A folder for this item's files.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self) -> Result<PathBuf> {
        let folder = sandbox::room()
            .join("lab")
            .join(format!("item-{}-{}", self.number, self.next()));
        std::fs::create_dir_all(&folder).context("a folder")?;
        Ok(folder)
    }

    /// A call of one plugin of a network, with everything that its verb needs.
    #[must_use]
    pub fn call_of(
        &self,
        network: &Network,
        index: usize,
        verb: &str,
        pod: &Pod,
        previous: Option<&Value>,
    ) -> Call {
        let request = network.request(index, previous);
        let stdin = serde_json::to_vec(&request).unwrap_or_default();
        let call = Call {
            program: self.suite.plugin_dir.join(network.kind(index)),
            env: std::collections::BTreeMap::default(),
            stdin,
        };
        let path = self.suite.plugin_dir.to_string_lossy();
        let call = call.with("CNI_COMMAND", verb).with("CNI_PATH", &path);
        match verb {
            "GC" | "STATUS" | "VERSION" => call,
            _ => call
                .with("CNI_CONTAINERID", &pod.id)
                .with("CNI_NETNS", &pod.path())
                .with("CNI_IFNAME", "eth0"),
        }
    }

    /// A call of the first plugin in a new pod.
    ///
    /// # Errors
    /// No pod can be made.
    pub fn call(&self, verb: &str) -> Result<Call> {
        Ok(self.call_of(&self.network, 0, verb, &self.pod()?, None))
    }

    /// Makes a call on this host.
    ///
    /// # Errors
    /// The plugin cannot be started, or hangs.
    pub fn run(&self, call: &Call) -> Result<Answer> {
        call.run(&self.host)
    }

    /// A new pod with `eth0`.
    ///
    /// # Errors
    /// As [`World::add_to`].
    pub fn attach(&self) -> Result<Attachment<'_>> {
        self.add_to(&self.network, &self.pod()?, "eth0")
    }

    /// ADD through all plugins of a network.
    ///
    /// # Errors
    /// What the plugin that failed said.
    pub fn add_to(&self, network: &Network, pod: &Pod, interface: &str) -> Result<Attachment<'_>> {
        Attachment::add(self, network, pod, interface, &self.suite.plugin_dir)
    }

    /// An attachment that is not there yet.
    pub(super) fn planned(&self, network: &Network, pod: &Pod) -> Attachment<'_> {
        Attachment::planned(self, network, pod, "eth0", &self.suite.plugin_dir)
    }

    /// As [`World::add_to`], with plugins looked for in `folder` first.
    ///
    /// # Errors
    /// As [`World::add_to`].
    pub fn add_with(&self, folder: &Path, network: &Network, pod: &Pod) -> Result<Attachment<'_>> {
        Attachment::add(self, network, pod, "eth0", folder)
    }
}
