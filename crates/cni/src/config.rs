//! The network configuration on standard input.
//!
//! A configuration is read in two steps. What DEL needs (name, version, state directory) is checked always;
//! what only ADD and STATUS need (`podCIDRs`, `reserved`, `cooldown`, `mtu`) is checked when it is asked for, so that
//! a pod can still be deleted after somebody spoilt the configuration: DEL and GC do not even look at the types of keys that
//! they do not need ([`needed`]). Unknown keys are ignored, as the
//! specification wants it. `runtimeConfig.portMappings` is read by [`crate::port_mappings`].

mod addresses;
mod needed;
mod spelling;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::bandwidth::Limits;
use crate::delegate::Delegate;
use crate::error::{CniError, Code, Result};
use crate::identity::HOST_MAC;
use crate::invocation::{Attachment, Verb, Wishes, is_name};
use crate::ipam::Wish;
use crate::version::SpecVersion;

const DEFAULT_STATE_DIR: &str = "/run/flatroute/cni";
const DEFAULT_PREFIX: &str = "fr";
const DEFAULT_COOLDOWN: Duration = Duration::from_secs(30);
/// With more, too few characters would be left for the hash in a host interface's name.
const PREFIX_MAX: usize = 5;
/// The smallest MTU of IPv6 (RFC 8200 §5).
pub(crate) const IPV6_MINIMUM_MTU: u32 = 1280;
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65535;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    cni_version: String,
    name: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
    pools: Value,
    reserved: Vec<String>,
    cooldown: Option<String>,
    state_dir: Option<PathBuf>,
    host_interface_prefix: Option<String>,
    mtu: u32,
    ipam: Option<Map<String, Value>>,
    dns: Option<Value>,
    args: Value,
    runtime_config: RawRuntime,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<RawAttachment>>,
    #[serde(rename = "cni.dev/attachments")]
    legacy_attachments: Option<Vec<RawAttachment>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRuntime {
    mac: Value,
    ips: Value,
    ip_ranges: Value,
    dns: Option<Value>,
    port_mappings: Value,
    bandwidth: Value,
    #[serde(rename = "io.kubernetes.cri.pod-annotations")]
    pod_annotations: Value,
}

#[derive(Debug, Deserialize)]
struct RawAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

/// What every verb needs, and the rest unread.
#[derive(Debug)]
pub(crate) struct Config {
    /// `cniVersion`
    pub(crate) version: SpecVersion,
    /// `name`
    pub(crate) network: String,
    /// `stateDir`
    pub(crate) state_dir: PathBuf,
    /// `hostInterfacePrefix`
    pub(crate) prefix: String,
    /// `ipam`, when it names another plugin for the addresses.
    pub(crate) delegate: Option<Delegate>,
    /// What CNI_ARGS asks for.
    wishes: Wishes,
    raw: Raw,
}

/// What ADD and STATUS need in addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressPlan {
    /// One a family, in the order of the result.
    pub(crate) wishes: Vec<Wish>,
    /// How long a freed address rests.
    pub(crate) cooldown: Duration,
}

pub(crate) fn invalid(field: &str, problem: impl std::fmt::Display) -> CniError {
    CniError::new(
        Code::InvalidConfig,
        format!("network configuration: {field}: {problem}"),
    )
}

impl Config {
    /// Reads as much of the configuration as `verb` needs.
    ///
    /// # Errors
    /// Code 6 when it is no JSON object, 7 for an invalid field, 1 for an unsupported version.
    pub(crate) fn read(verb: Verb, input: &[u8]) -> Result<Self> {
        let decode =
            |problem: String| CniError::new(Code::Decode, format!("network configuration: {problem}"));
        let mut value: Value = serde_json::from_slice(input)
            .map_err(|error| decode(format!("standard input is no JSON: {error}")))?;
        if !value.is_object() {
            return Err(decode("standard input is JSON, but no object".into()));
        }
        spelling::conventional(&mut value);
        needed::keep(verb, &mut value);
        let raw: Raw =
            serde_json::from_value(value).map_err(|error| invalid("a field has a wrong type", error))?;
        if !is_name(&raw.name) {
            let problem = format!(
                "{:?} is no network name: a letter or digit, then letters, digits, '_', '.', '-'",
                raw.name
            );
            return Err(invalid("name", problem));
        }
        let declared = if raw.cni_version.is_empty() {
            "0.1.0"
        } else {
            &raw.cni_version
        };
        let version = SpecVersion::parse(declared)?;
        let prefix = raw
            .host_interface_prefix
            .clone()
            .unwrap_or_else(|| DEFAULT_PREFIX.into());
        if !is_prefix(&prefix) {
            return Err(invalid(
                "hostInterfacePrefix",
                format!("{prefix:?} is not 1 to {PREFIX_MAX} letters and digits"),
            ));
        }
        let state_dir = raw.state_dir.clone().unwrap_or_else(|| DEFAULT_STATE_DIR.into());
        if !state_dir.is_absolute() {
            return Err(invalid(
                "stateDir",
                format!("{} is no absolute path", state_dir.display()),
            ));
        }
        Ok(Self {
            version,
            network: raw.name.clone(),
            state_dir,
            prefix,
            delegate: raw.ipam.as_ref().and_then(|ipam| Delegate::of(ipam, input)),
            wishes: Wishes::default(),
            raw,
        })
    }

    /// The same, with what the environment asks for.
    #[must_use]
    pub(crate) fn with(self, wishes: &Wishes) -> Self {
        Self {
            wishes: wishes.clone(),
            ..self
        }
    }

    /// `mtu`; `None` (0, or no such key) leaves it to the uplinks.
    ///
    /// # Errors
    /// Code 7.
    pub(crate) fn mtu(&self) -> Result<Option<u32>> {
        match self.raw.mtu {
            0 => Ok(None),
            mtu if MTU_RANGE.contains(&mtu) => Ok(Some(mtu)),
            mtu => Err(invalid(
                "mtu",
                format!("{mtu} is neither 0 nor between 68 and 65535"),
            )),
        }
    }

    /// `runtimeConfig.bandwidth`
    ///
    /// # Errors
    /// Code 7.
    pub(crate) fn bandwidth(&self) -> Result<Limits> {
        let object: Map<String, Value> =
            typed("runtimeConfig.bandwidth", &self.raw.runtime_config.bandwidth)?;
        Limits::read(&object)
    }

    /// `runtimeConfig.mac`, or `args.cni.mac`, where meta plugins put it when the capability is not declared.
    ///
    /// # Errors
    /// Code 7.
    pub(crate) fn mac(&self) -> Result<Option<flatroute_netlink::Mac>> {
        let runtime: String = typed("runtimeConfig.mac", &self.raw.runtime_config.mac)?;
        let (field, text) = match (self.raw.args.pointer("/cni/mac"), &self.wishes.mac) {
            (_, _) if !runtime.is_empty() => ("runtimeConfig.mac", runtime),
            (Some(wish), _) => ("args.cni.mac", typed("args.cni.mac", wish)?),
            (None, Some(wish)) => ("CNI_ARGS MAC", wish.clone()),
            (None, None) => return Ok(None),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let bytes: Option<Vec<u8>> = text
            .split([':', '-'])
            .map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        match bytes.and_then(|bytes| flatroute_netlink::Mac::try_from(bytes).ok()) {
            Some(HOST_MAC) => Err(invalid(
                field,
                format!("{text:?} is that of the host's end of every pod's link; choose another"),
            )),
            Some(mac) if mac != [0; 6] && mac.first().is_some_and(|first| first & 1 == 0) => Ok(Some(mac)),
            Some(_) | None => Err(invalid(
                field,
                format!("{text:?} is no unicast Ethernet address such as 02:00:00:00:00:07"),
            )),
        }
    }

    /// What the result says about DNS: the runtime's wish, or the configuration's `dns`.
    pub(crate) fn dns(&self) -> Value {
        let runtime = self.raw.runtime_config.dns.as_ref().map(|dns| {
            let mut result = Map::new();
            // The capability's keys differ from the result's in names only.
            for (theirs, ours) in [
                ("servers", "nameservers"),
                ("searches", "search"),
                ("options", "options"),
            ] {
                if let Some(list) = dns
                    .get(theirs)
                    .filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
                {
                    result.insert(ours.into(), list.clone());
                }
            }
            Value::Object(result)
        });
        runtime
            .or_else(|| self.raw.dns.clone())
            .unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// `runtimeConfig.portMappings`, unread.
    pub(crate) fn port_mappings(&self) -> &Value {
        &self.raw.runtime_config.port_mappings
    }

    /// `prevResult`
    pub(crate) fn prev_result(&self) -> Option<&Value> {
        self.raw.prev_result.as_ref().filter(|value| !value.is_null())
    }

    /// `cni.dev/valid-attachments`, or its older name.
    ///
    /// # Errors
    /// Code 7 when both are missing: an absent list must not look like an empty one.
    pub(crate) fn valid_attachments(&self) -> Result<Vec<Attachment>> {
        let list = self
            .raw
            .valid_attachments
            .as_ref()
            .or(self.raw.legacy_attachments.as_ref());
        let list =
            list.ok_or_else(|| invalid("cni.dev/valid-attachments", "missing; nothing was removed"))?;
        Ok(list
            .iter()
            .map(|each| Attachment {
                container_id: each.container_id.clone(),
                interface: each.ifname.clone(),
            })
            .collect())
    }
}

/// Whether names of host interfaces may begin so.
fn is_prefix(prefix: &str) -> bool {
    is_name(prefix) && prefix.len() <= PREFIX_MAX
}

/// Reads a key that only ADD needs; nothing, and null, is the type's default.
fn typed<T: DeserializeOwned + Default>(field: &str, value: &Value) -> Result<T> {
    if value.is_null() {
        return Ok(T::default());
    }
    T::deserialize(value).map_err(|error| invalid(field, error))
}

fn network(field: &str, text: &str) -> Result<IpNetwork> {
    text.parse::<IpNetwork>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNetwork::from))
        .map_err(|_| {
            invalid(
                field,
                format!("{text:?} is no network such as 10.244.1.0/24 or fd00:244:1::/64"),
            )
        })
}

/// A number and a unit: `500ms`, `30s`, `2m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|each: char| !each.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}
