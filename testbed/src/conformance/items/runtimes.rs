//! Items 111 to 116: with runtimes and installers, which a plugin's own tests have to start. One of them is a chain.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::super::verdict::{Item, Verdict, item, never, not_provoked};
use super::super::world::World;

pub(super) const ITEMS: &[Item] = &[
    never(
        111,
        "a configuration renamed into its folder is taken by containerd without a restart",
        "it needs containerd",
    ),
    never(
        112,
        "an installer killed while it writes leaves the old configuration intact",
        "installers have no common form",
    ),
    never(
        113,
        "the program is replaced while ADDs run: no failure, never half a program",
        "installers have no common form",
    ),
    never(
        114,
        "after a reboot, with the runtime's stale records and no namespaces, all addresses are free",
        "a reboot needs a machine of its own",
    ),
    item(
        115,
        "tuning and sbr after it in the list: ADD, CHECK and DEL work",
        chain,
    ),
    never(
        116,
        "cnitool, containerd and CRI-O run a pod with it",
        "it needs those programs",
    ),
];

fn chain(world: &World<'_>) -> Result<Verdict> {
    let mut network = world.network.clone();
    let mut append = |kind: &str, rest: Value| {
        if !world.suite.plugin_dir.join(kind).is_file() {
            return false;
        }
        let mut plugin: Map<String, Value> = rest.as_object().cloned().unwrap_or_default();
        plugin.insert("type".into(), kind.into());
        network.plugins.push(plugin);
        true
    };
    let found = [
        append(
            "tuning",
            json!({"sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}}),
        ),
        append("sbr", json!({})),
    ];
    if found.contains(&false) {
        return not_provoked("tuning and sbr are not in the folder of plugins");
    }
    if network.version == "1.1.0" {
        network.version = "1.0.0".to_owned();
    }
    let attachment = world.add_to(&network, &world.pod()?, "eth0")?;
    attachment.check().context("CHECK")?;
    attachment.delete().context("DEL")?;
    Ok(Verdict::Pass)
}
