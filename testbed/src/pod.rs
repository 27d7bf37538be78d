//! Pods: a network namespace each, wired by the CNI plugin over the real protocol, or, where a test is about the fabric
//! alone, by hand.
//!
//! [`Runtime`] stands for a container runtime with libcni (CNI 1.1.0 §3, §4): it reads a conflist, picks the highest
//! version that both sides know, and for each plugin of the list builds the request (`cniVersion`, `name`, `prevResult`,
//! the plugin's own keys without `capabilities`), puts the parameters into the environment and the request on standard
//! input, and reads one JSON object from standard output. Plugins run in the node's namespace, as kubelet's do.

mod by_hand;

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

pub use by_hand::wire_by_hand;

use crate::fabric::Fabric;
use crate::namespace::Namespace;
use crate::sandbox;
use crate::topology::{PodCidrs, Router};

/// The interface's name inside a pod.
const POD_INTERFACE: &str = "eth0";
/// The versions of the CNI specification that this runtime speaks, lowest first.
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

/// A pod with an address of each family.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Unique in the lab, such as `node1-pod1`; also the name of its network namespace.
    pub name: String,
    /// The node that it is on.
    pub node: String,
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
    /// What the last plugin of the list answered; `None` for a pod that was wired by hand.
    result: Option<Value>,
    /// What the runtime asks for it (`runtimeConfig`).
    wishes: Map<String, Value>,
}

impl Pod {
    /// One that somebody else made. An address of a family that it lacks is the unspecified one.
    #[must_use]
    pub fn found(name: &str, node: &str, namespace: Namespace, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Self {
        Self {
            name: name.to_owned(),
            node: node.to_owned(),
            namespace,
            ipv4,
            ipv6,
            result: None,
            wishes: Map::new(),
        }
    }

    /// Its address of a family.
    #[must_use]
    pub fn address(&self, ipv6: bool) -> IpAddr {
        if ipv6 { self.ipv6.into() } else { self.ipv4.into() }
    }

    /// Its addresses in the order of the plugins' result; none for a pod that was wired by hand.
    ///
    /// # Errors
    /// The result has another form than CNI's.
    pub fn ips(&self) -> Result<Vec<IpAddr>> {
        self.result
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |result| addresses(Some(result)))
    }

    /// The container id under which the runtime knows it.
    #[must_use]
    pub fn container_id(&self) -> String {
        format!("lab-{}", self.name)
    }
}

/// One node's container runtime, as far as the network is concerned.
#[derive(Debug)]
pub struct Runtime {
    node: Namespace,
    plugin_dir: PathBuf,
    conflist: PathBuf,
    /// Whether each family of its pods is IPv6, the first one first.
    order: Vec<bool>,
}

impl Runtime {
    /// Sets a node up: its conflist, and the directory with the plugin.
    ///
    /// # Errors
    /// The conflist cannot be written.
    pub fn new(fabric: &Fabric, node: &Router, plugin: &Path) -> Result<Self> {
        Self::with_families(fabric, node, plugin, &[false, true])
    }

    /// As [`Runtime::new`], for pods of some families (whether each is IPv6), in their order. It may be done again for a node
    /// that has pods.
    ///
    /// # Errors
    /// The conflist cannot be written.
    pub fn with_families(fabric: &Fabric, node: &Router, plugin: &Path, order: &[bool]) -> Result<Self> {
        let dir = sandbox::room().join("lab").join(&node.name);
        let conf_dir = dir.join("net.d");
        fs::create_dir_all(&conf_dir).context("create net.d")?;
        let cidrs = node
            .pod_cidrs
            .with_context(|| format!("{} has no pod CIDRs", node.name))?;
        let conflist = conf_dir.join("10-flatroute.conflist");
        let text =
            serde_json::to_vec_pretty(&configuration(&cidrs, order, &dir.join("cni"))).context("conflist")?;
        fs::write(&conflist, text).context("write the conflist")?;
        let plugin_dir = plugin
            .parent()
            .context("a plugin without a directory")?
            .to_owned();
        Ok(Self {
            node: fabric.namespace(&node.name)?.clone(),
            plugin_dir,
            conflist,
            order: order.to_vec(),
        })
    }

    /// Makes a namespace and has the plugins wire it (CNI ADD).
    ///
    /// # Errors
    /// A plugin failed (its own words), or its result lacks an address.
    pub fn add(&self, name: &str) -> Result<Pod> {
        self.add_with(name, Map::new())
    }

    /// As [`Runtime::add`], with a `runtimeConfig`; each plugin hears of what it has the capability for.
    ///
    /// # Errors
    /// As [`Runtime::add`].
    pub fn add_with(&self, name: &str, wishes: Map<String, Value>) -> Result<Pod> {
        let namespace = Namespace::create(name)?;
        let mut pod = Pod {
            name: name.to_owned(),
            node: self.node.name().to_owned(),
            namespace,
            ipv4: Ipv4Addr::UNSPECIFIED,
            ipv6: Ipv6Addr::UNSPECIFIED,
            result: None,
            wishes,
        };
        let list = self.read()?;
        for plugin in &list.plugins {
            let answer = self.call("ADD", &list, plugin, &pod)?;
            pod.result = Some(answer.with_context(|| format!("{}: CNI ADD answered nothing", pod.name))?);
        }
        for address in addresses(pod.result.as_ref())? {
            match address {
                IpAddr::V4(address) => pod.ipv4 = address,
                IpAddr::V6(address) => pod.ipv6 = address,
            }
        }
        let families: Vec<bool> = pod.ips()?.iter().map(IpAddr::is_ipv6).collect();
        if families != self.order {
            let [wanted, given] = [&self.order, &families].map(|of| in_words(of));
            bail!(
                "{}: CNI ADD gave {given} instead of {wanted}: {:?}",
                pod.name,
                pod.result
            );
        }
        Ok(pod)
    }

    /// Has the plugins examine a pod (CNI CHECK).
    ///
    /// # Errors
    /// A plugin's own words.
    pub fn check(&self, pod: &Pod) -> Result<()> {
        let list = self.read()?;
        list.plugins
            .iter()
            .try_for_each(|plugin| self.call("CHECK", &list, plugin, pod).map(drop))
    }

    /// Has the plugins undo a pod (CNI DEL), and lets its namespace go.
    ///
    /// # Errors
    /// A plugin's own words.
    pub fn delete(&self, pod: Pod) -> Result<()> {
        let list = self.read()?;
        list.plugins
            .iter()
            .rev()
            .try_for_each(|plugin| self.call("DEL", &list, plugin, &pod).map(drop))?;
        pod.namespace.delete()
    }

    fn read(&self) -> Result<List> {
        let text = fs::read(&self.conflist).with_context(|| format!("read {}", self.conflist.display()))?;
        List::read(&text).with_context(|| self.conflist.display().to_string())
    }

    fn call(&self, verb: &str, list: &List, plugin: &Map<String, Value>, pod: &Pod) -> Result<Option<Value>> {
        let kind = plugin
            .get("type")
            .and_then(Value::as_str)
            .context("a plugin without type")?;
        let request = list.request(plugin, pod);
        let mut command = self.node.command(&self.plugin_dir.join(kind));
        let mut child = command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", pod.container_id())
            .env("CNI_NETNS", pod.namespace.path())
            .env("CNI_IFNAME", POD_INTERFACE)
            .env("CNI_PATH", &self.plugin_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start CNI plugin {kind}"))?;
        let mut stdin = child.stdin.take().context("a plugin's standard input")?;
        stdin
            .write_all(&serde_json::to_vec(&request).context("request")?)
            .context("write a plugin's request")?;
        drop(stdin);
        let output = child.wait_with_output().context("wait for a plugin")?;
        let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        if output.status.success() {
            return Ok(answer);
        }
        let words = answer
            .as_ref()
            .and_then(|answer| answer.get("msg"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let words = words.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_owned());
        bail!(
            "{}: CNI {verb} by {kind} failed ({}): {words}",
            pod.name,
            output.status
        );
    }
}

/// The conflist that the agent would write, with its state in a directory of this node.
fn configuration(cidrs: &PodCidrs, order: &[bool], state_dir: &Path) -> Value {
    let of = |ipv6: &bool| {
        if *ipv6 {
            cidrs.ipv6.to_string()
        } else {
            cidrs.ipv4.to_string()
        }
    };
    let cidrs: Vec<String> = order.iter().map(of).collect();
    json!({
        "cniVersion": "1.0.0",
        "cniVersions": VERSIONS,
        "name": "flatroute",
        "plugins": [{
            "type": "flatroute-cni",
            "podCIDRs": cidrs,
            "mtu": 0,
            "stateDir": state_dir,
            "cooldown": "0s",
            "capabilities": {"ips": true, "mac": true, "dns": true, "portMappings": true},
        }],
    })
}

/// A conflist, read as libcni reads it.
struct List {
    version: String,
    name: String,
    plugins: Vec<Map<String, Value>>,
}

impl List {
    fn read(text: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(text).context("not JSON")?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let named: Vec<&str> = value
            .get("cniVersions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let own = text("cniVersion");
        let known = |version: &&&str| named.contains(*version) || own.as_deref() == Some(**version);
        let version = VERSIONS
            .iter()
            .rev()
            .find(known)
            .context("no version of CNI that both sides know")?;
        let plugins = value
            .get("plugins")
            .and_then(Value::as_array)
            .context("no plugins")?;
        Ok(Self {
            version: (*version).to_owned(),
            name: text("name").context("no name")?,
            plugins: plugins.iter().filter_map(Value::as_object).cloned().collect(),
        })
    }

    fn request(&self, plugin: &Map<String, Value>, pod: &Pod) -> Value {
        let mut request = plugin.clone();
        let capabilities = request.remove("capabilities").unwrap_or_default();
        let is_capable =
            |(key, _): &(&String, &Value)| capabilities.get(key.as_str()) == Some(&Value::Bool(true));
        let wishes = pod.wishes.iter().filter(is_capable);
        let wishes: Map<String, Value> = wishes.map(|(key, wish)| (key.clone(), wish.clone())).collect();
        if !wishes.is_empty() {
            request.insert("runtimeConfig".into(), wishes.into());
        }
        request.insert("cniVersion".into(), self.version.clone().into());
        request.insert("name".into(), self.name.clone().into());
        if let Some(previous) = &pod.result {
            request.insert("prevResult".into(), previous.clone());
        }
        request.into()
    }
}

/// Families, such as `IPv4, IPv6`.
fn in_words(order: &[bool]) -> String {
    let names: Vec<&str> = order
        .iter()
        .map(|ipv6| if *ipv6 { "IPv6" } else { "IPv4" })
        .collect();
    names.join(", ")
}

fn addresses(result: Option<&Value>) -> Result<Vec<IpAddr>> {
    let ips = result
        .and_then(|result| result.get("ips"))
        .and_then(Value::as_array)
        .context("a result without ips")?;
    let read = |ip: &Value| {
        let text = ip
            .get("address")
            .and_then(Value::as_str)
            .context("an entry of ips without address")?;
        let (address, _) = text
            .split_once('/')
            .with_context(|| format!("address {text} has no prefix length"))?;
        address.parse().with_context(|| format!("address {text}"))
    };
    ips.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::{List, Pod, addresses};
    use crate::namespace::Namespace;

    #[test]
    fn a_conflist_is_read_as_libcni_does() {
        let text = br#"{"cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0", "9.0.0"], "name": "n",
                       "plugins": [{"type": "t", "mtu": 0, "capabilities": {"mac": true}}]}"#;
        let list = List::read(text).expect("a good list");
        assert_eq!(list.version, "1.1.0");
        let namespace = Namespace::found("p", "/proc/self/ns/net".into());
        let mut pod = Pod::found("p", "n", namespace, Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        assert_eq!(
            list.request(&list.plugins[0], &pod),
            serde_json::json!({"cniVersion": "1.1.0", "name": "n", "type": "t", "mtu": 0})
        );
        for wish in ["mac", "ips"] {
            pod.wishes.insert(wish.to_owned(), "wish".into());
        }
        let request = list.request(&list.plugins[0], &pod);
        assert_eq!(request["runtimeConfig"], serde_json::json!({"mac": "wish"}));
    }

    #[test]
    fn a_result_gives_its_addresses_in_order() {
        let result = serde_json::json!({"ips": [{"address": "10.0.0.1/32"}, {"address": "fd00::1/128"}]});
        let found = addresses(Some(&result)).expect("addresses");
        assert_eq!(
            found,
            [
                "10.0.0.1".parse::<std::net::IpAddr>().unwrap(),
                "fd00::1".parse().unwrap()
            ]
        );
    }
}
