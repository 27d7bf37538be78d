//! The network configuration under test: a list or a single plugin object, and the request that a runtime makes of it.
//!
//! A request is derived as CNI 1.1.0 §3 says: the plugin's object, `cniVersion`, `name`, of `runtimeConfig` what the
//! object declares in `capabilities`, and `prevResult`.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

/// A network that a runtime could be given.
#[derive(Debug, Clone)]
pub struct Network {
    /// `name`
    pub name: String,
    /// `cniVersion` of the requests.
    pub version: String,
    /// The plugins' objects, in the order of ADD.
    pub plugins: Vec<Map<String, Value>>,
    /// What the runtime has to offer, whether declared or not.
    pub runtime: Map<String, Value>,
}

impl Network {
    /// Reads a `.conflist`, or a `.conf` with one plugin.
    ///
    /// # Errors
    /// The file is no such configuration.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let mut object: Map<String, Value> = serde_json::from_slice(text).context("no JSON object")?;
        let text = |object: &Map<String, Value>, key: &str| {
            object.get(key).and_then(Value::as_str).map(str::to_owned)
        };
        let name = text(&object, "name").context("no name")?;
        let version = text(&object, "cniVersion").unwrap_or_default();
        let plugins = match object.get("plugins").and_then(Value::as_array) {
            Some(list) => list.iter().filter_map(Value::as_object).cloned().collect(),
            None => {
                for key in ["name", "cniVersion", "cniVersions"] {
                    object.remove(key);
                }
                vec![object]
            }
        };
        let network = Self {
            name,
            version,
            plugins,
            runtime: Map::new(),
        };
        ensure!(!network.plugins.is_empty(), "plugins is empty");
        for plugin in &network.plugins {
            ensure!(text(plugin, "type").is_some(), "a plugin without type");
        }
        Ok(network)
    }

    /// `type` of a plugin.
    #[must_use]
    pub fn kind(&self, index: usize) -> &str {
        let plugin = self.plugins.get(index);
        plugin
            .and_then(|plugin| plugin.get("type"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// `ipam.type` of the first plugin.
    #[must_use]
    pub fn delegate(&self) -> Option<&str> {
        self.plugins
            .first()?
            .get("ipam")?
            .get("type")?
            .as_str()
            .filter(|kind| !kind.is_empty())
    }

    /// Whether a plugin of the list declares a capability.
    #[must_use]
    pub fn declares(&self, capability: &str) -> bool {
        let declared = |plugin: &Map<String, Value>| plugin.get("capabilities")?.get(capability)?.as_bool();
        self.plugins.iter().filter_map(declared).any(|declared| declared)
    }

    /// The same with the first plugin's object changed.
    #[must_use]
    pub fn edited(&self, edit: impl FnOnce(&mut Map<String, Value>)) -> Self {
        let mut network = self.clone();
        network.plugins.first_mut().map(edit);
        network
    }

    /// The same under another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    /// The same with another version.
    #[must_use]
    pub fn at(&self, version: &str) -> Self {
        Self {
            version: version.to_owned(),
            ..self.clone()
        }
    }

    /// What a plugin reads.
    #[must_use]
    pub fn request(&self, index: usize, previous: Option<&Value>) -> Map<String, Value> {
        let mut request = self.plugins.get(index).cloned().unwrap_or_default();
        let declared = request.remove("capabilities").unwrap_or_default();
        let is_declared = |key: &str| declared.get(key).and_then(Value::as_bool).unwrap_or_default();
        let offered: Map<String, Value> = self
            .runtime
            .iter()
            .filter(|(key, _)| is_declared(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !offered.is_empty() {
            request.insert("runtimeConfig".into(), offered.into());
        }
        request.insert("cniVersion".into(), self.version.clone().into());
        request.insert("name".into(), self.name.clone().into());
        if let Some(previous) = previous {
            request.insert("prevResult".into(), previous.clone());
        }
        request
    }

    /// All networks that the first plugin's object names, in its order; a default route is none.
    #[must_use]
    pub fn prefixes(&self) -> Vec<IpNetwork> {
        fn walk(value: &Value, found: &mut Vec<IpNetwork>) {
            match value {
                Value::String(text) if text.contains('/') => {
                    found.extend(
                        text.parse::<IpNetwork>()
                            .ok()
                            .filter(|network| network.prefix() > 0),
                    );
                }
                Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
                Value::Object(object) => object.values().for_each(|value| walk(value, found)),
                Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        let mut found = Vec::new();
        if let Some(plugin) = self.plugins.first() {
            plugin.values().for_each(|value| walk(value, &mut found));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Network;

    #[test]
    fn a_request_has_what_is_declared_and_no_more() {
        let text = br#"{"name": "n", "cniVersion": "1.0.0", "type": "t", "capabilities": {"mac": true, "ips": false}}"#;
        let mut network = Network::parse(text).expect("a good configuration");
        network.runtime.insert("mac".into(), "02:00:00:00:00:01".into());
        network.runtime.insert("ips".into(), json!(["10.0.0.1/32"]));
        let expected = json!({"name": "n", "cniVersion": "1.0.0", "type": "t", "runtimeConfig": {"mac": "02:00:00:00:00:01"}});
        assert_eq!(serde_json::Value::from(network.request(0, None)), expected);
    }

    #[test]
    fn a_list_and_a_single_object_are_read() {
        let list = br#"{"name": "n", "plugins": [{"type": "a", "ipam": {"type": "i", "ranges": [[{"subnet": "10.0.0.0/24"}]],
                        "routes": [{"dst": "0.0.0.0/0"}]}}, {"type": "b"}]}"#;
        let list = Network::parse(list).expect("a list");
        assert_eq!(
            (list.kind(0), list.kind(1), list.delegate()),
            ("a", "b", Some("i"))
        );
        assert_eq!(list.prefixes(), ["10.0.0.0/24".parse().expect("a network")]);
        assert!(Network::parse(br#"{"name": "n", "plugins": []}"#).is_err());
        assert!(Network::parse(br#"{"name": "n"}"#).is_err());
    }
}
