//! An attachment, made and undone through all plugins of a network as libcni does it: each plugin's result goes to the
//! next as `prevResult`, the last one is kept and handed to CHECK and DEL, and DEL goes backwards.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flatroute_netlink::Link;
use ipnetwork::IpNetwork;
use serde_json::Value;

use super::invocation::{Answer, Call};
use super::network::Network;
use super::world::World;
use crate::namespace::Namespace;

/// A container, as far as its network is concerned.
#[derive(Debug, Clone)]
pub struct Pod {
    /// CNI_CONTAINERID
    pub id: String,
    /// Its network namespace.
    pub namespace: Namespace,
}

impl Pod {
    /// CNI_NETNS
    #[must_use]
    pub fn path(&self) -> String {
        self.namespace.path().to_string_lossy().into_owned()
    }

    /// One of its links.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn link(&self, name: &str) -> Result<Link> {
        let found = self.namespace.netlink()?.link_by_name(name)?;
        found.with_context(|| format!("the pod has no interface {name}"))
    }

    /// A link's addresses, those of the kernel's own making aside.
    ///
    /// # Errors
    /// There is no such link.
    pub fn addresses(&self, name: &str) -> Result<Vec<flatroute_netlink::Address>> {
        let index = self.link(name)?.index;
        let mut found = self.namespace.netlink()?.addresses(index)?;
        found.retain(|held| !super::traces::is_link_local(held.address));
        Ok(found)
    }
}

/// What ADD made, with what CHECK and DEL need.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    world: &'a World<'a>,
    /// The network.
    pub network: Network,
    /// The pod.
    pub pod: Pod,
    /// CNI_IFNAME
    pub interface: String,
    /// The last plugin's result.
    pub result: Value,
    folder: PathBuf,
}

impl<'a> Attachment<'a> {
    pub(super) fn planned(
        world: &'a World<'a>,
        network: &Network,
        pod: &Pod,
        interface: &str,
        folder: &Path,
    ) -> Self {
        Self {
            world,
            network: network.clone(),
            pod: pod.clone(),
            interface: interface.to_owned(),
            result: Value::Null,
            folder: folder.to_owned(),
        }
    }

    pub(super) fn add(
        world: &'a World<'a>,
        network: &Network,
        pod: &Pod,
        interface: &str,
        folder: &Path,
    ) -> Result<Self> {
        let mut made = Self::planned(world, network, pod, interface, folder);
        for index in 0..network.plugins.len() {
            let call = made.call(index, "ADD");
            let answer = world
                .run(&call)
                .with_context(|| format!("ADD by {}", network.kind(index)))?;
            made.result = answer
                .result()
                .with_context(|| format!("ADD by {}", network.kind(index)))?;
        }
        Ok(made)
    }

    /// The call of a verb to one of the plugins.
    #[must_use]
    pub fn call(&self, index: usize, verb: &str) -> Call {
        let previous = Some(&self.result).filter(|result| !result.is_null());
        let has_previous = verb != "DEL" || self.network.version.as_str() >= "0.4.0";
        let call = self.world.call_of(
            &self.network,
            index,
            verb,
            &self.pod,
            previous.filter(|_| has_previous),
        );
        let beside = self.world.suite.plugin_dir.to_string_lossy().into_owned();
        let path = if self.folder == self.world.suite.plugin_dir {
            beside
        } else {
            format!("{}:{beside}", self.folder.display())
        };
        call.with("CNI_IFNAME", &self.interface).with("CNI_PATH", &path)
    }

    /// CHECK through all plugins.
    ///
    /// # Errors
    /// What the plugin that failed said.
    pub fn check(&self) -> Result<()> {
        for index in 0..self.network.plugins.len() {
            let answer = self.world.run(&self.call(index, "CHECK"))?;
            answer
                .silent()
                .with_context(|| format!("CHECK by {}", self.network.kind(index)))?;
        }
        Ok(())
    }

    /// CHECK of the first plugin, whatever it answers.
    ///
    /// # Errors
    /// It cannot be started, or hangs.
    pub fn check_first(&self) -> Result<Answer> {
        self.world.run(&self.call(0, "CHECK"))
    }

    /// DEL through all plugins, backwards.
    ///
    /// # Errors
    /// What the plugin that failed said.
    pub fn delete(&self) -> Result<()> {
        self.delete_as(Ok)
    }

    /// DEL with each call changed.
    ///
    /// # Errors
    /// What the plugin that failed said.
    pub fn delete_as(&self, change: impl Fn(Call) -> Result<Call>) -> Result<()> {
        for index in (0..self.network.plugins.len()).rev() {
            let answer = self.world.run(&change(self.call(index, "DEL"))?)?;
            answer
                .silent()
                .with_context(|| format!("DEL by {}", self.network.kind(index)))?;
        }
        Ok(())
    }

    /// The entries of a list in the result.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<Value> {
        self.result
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    }

    /// The addresses of the result, in order.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub fn addresses(&self) -> Result<Vec<IpNetwork>> {
        let read = |ip: &Value| -> Result<IpNetwork> {
            let text = text(ip, "address").context("an entry of ips without address")?;
            text.parse().with_context(|| format!("address {text:?}"))
        };
        let found: Vec<IpNetwork> = self.list("ips").iter().map(read).collect::<Result<_>>()?;
        ensure!(!found.is_empty(), "the result has no ips");
        Ok(found)
    }

    /// Where the pod's interface stands in `interfaces`.
    ///
    /// # Errors
    /// It does not stand there.
    pub fn position(&self) -> Result<usize> {
        let sandbox = self.pod.path();
        let is_ours = |interface: &Value| {
            text(interface, "name").as_deref() == Some(self.interface.as_str())
                && text(interface, "sandbox").as_deref() == Some(sandbox.as_str())
        };
        self.list("interfaces").iter().position(is_ours).with_context(|| {
            format!(
                "interfaces has no {} with the sandbox {sandbox}, byte for byte",
                self.interface
            )
        })
    }
}

/// A text of an object.
pub(super) fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}
