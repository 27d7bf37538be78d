//! Which addresses an attachment shall get.
//!
//! The rules build on each other. `podCIDRs` gives one address of each of its families, from the blocks of that family
//! in order; the families of the result stand in the order of their first block. What is in `pools` is left out of it.
//! A pod that names a pool (annotation `cni.flatroute.io/pool`) gets the addresses of the pool's families from there,
//! the others as before. `runtimeConfig.ipRanges` then says which parts of those blocks may be used, one address for
//! each of its sets; and whoever names certain addresses gets one of them for each family, and else none.
//! Certain addresses are read from one place, the first that has any: `runtimeConfig.ips`, `args.cni.ips` (where meta
//! plugins put what a pod asks for when the capability is not declared), `IP` of CNI_ARGS, the annotation `cni.flatroute.io/ips`.
//!
//! The annotations come with the capability `io.kubernetes.cri.pod-annotations`, so no API server is asked. One below
//! `cni.flatroute.io/` that is not known is refused: a pod that wants something must not silently go without.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;

use super::{AddressPlan, Config, DEFAULT_COOLDOWN, IPV6_MINIMUM_MTU, duration, invalid, network, typed};
use crate::error::Result;
use crate::invocation::is_name;
use crate::ipam::{Fixed, Pool, Wish};

/// What our annotations of pods begin with.
const ANNOTATIONS: &str = "cni.flatroute.io/";
/// The name of a pool.
const POOL: &str = "cni.flatroute.io/pool";
/// Addresses, one a family, with commas between them.
const IPS: &str = "cni.flatroute.io/ips";

const RANGES: &str = "runtimeConfig.ipRanges";

/// The blocks of each of `pools`.
type Pools = BTreeMap<String, Vec<IpNetwork>>;

/// One of `pools`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPool {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

/// One range of `runtimeConfig.ipRanges`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawRange {
    subnet: String,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

impl Config {
    /// Refuses what would do nothing because another plugin gives the addresses.
    ///
    /// # Errors
    /// Code 7, naming it.
    pub(crate) fn check_ipam(&self) -> Result<()> {
        let Some(delegate) = &self.delegate else {
            return Ok(());
        };
        let kind = &delegate.kind;
        let idle = [
            ("podCIDRs", !self.raw.pod_cidrs.is_empty()),
            ("pools", !self.raw.pools.is_null()),
            ("reserved", !self.raw.reserved.is_empty()),
            ("cooldown", self.raw.cooldown.is_some()),
        ];
        let idle: Vec<_> = idle
            .iter()
            .filter(|(_, given)| *given)
            .map(|(key, _)| *key)
            .collect();
        if !idle.is_empty() {
            let idle = idle.join(", ");
            let problem =
                format!("{kind} gives the addresses, so {idle} would do nothing; remove one or the other");
            return Err(invalid("ipam.type", problem));
        }
        match self
            .annotations()?
            .keys()
            .find(|key| key.starts_with(ANNOTATIONS))
        {
            Some(key) => Err(invalid(
                &format!("the pod's annotation {key}"),
                format!("would do nothing: {kind} (ipam.type) gives the addresses"),
            )),
            None => Ok(()),
        }
    }

    /// `podCIDRs`, `pools`, `reserved`, `cooldown`, and what the pod asks for.
    ///
    /// # Errors
    /// Code 7, naming the field and the value.
    pub(crate) fn address_plan(&self) -> Result<AddressPlan> {
        let reserved = networks("reserved", &self.raw.reserved)?;
        let pools = self.pools()?;
        let annotations = self.annotations()?;
        let mut wishes = self.default_wishes(&reserved, &pools)?;
        if let Some(name) = annotations.get(POOL) {
            let chosen = pool_wishes(name, &pools, &reserved)?;
            for wish in chosen {
                match wishes.iter_mut().find(|other| other.is_ipv4() == wish.is_ipv4()) {
                    Some(other) => *other = wish,
                    None => wishes.push(wish),
                }
            }
        }
        let ranges: Vec<Vec<RawRange>> = typed(RANGES, &self.raw.runtime_config.ip_ranges)?;
        if !ranges.is_empty() {
            wishes = range_wishes(&ranges, &wishes, &reserved)?;
        }
        for fixed in self.fixed(annotations.get(IPS))? {
            fix(&mut wishes, fixed)?;
        }
        let ipv6 = wishes.iter().any(|wish| !wish.is_ipv4());
        if ipv6 && self.raw.mtu != 0 && self.raw.mtu < IPV6_MINIMUM_MTU {
            let problem = format!(
                "{} is below {IPV6_MINIMUM_MTU}, the minimum of IPv6",
                self.raw.mtu
            );
            return Err(invalid("mtu", problem));
        }
        let cooldown = match &self.raw.cooldown {
            Some(text) => duration(text).ok_or_else(|| {
                invalid(
                    "cooldown",
                    format!("{text:?} is no duration such as 30s, 500ms, 2m"),
                )
            })?,
            None => DEFAULT_COOLDOWN,
        };
        Ok(AddressPlan { wishes, cooldown })
    }

    fn pools(&self) -> Result<Pools> {
        let raw: BTreeMap<String, RawPool> = typed("pools", &self.raw.pools)?;
        let read = |name: &str, pool: &RawPool| {
            if !is_name(name) {
                let problem =
                    format!("{name:?} is no name: a letter or digit, then letters, digits, '_', '.', '-'");
                return Err(invalid("pools", problem));
            }
            let key = format!("pools.{name}.podCIDRs");
            if pool.pod_cidrs.is_empty() {
                return Err(invalid(&key, "empty: name one network or more"));
            }
            networks(&key, &pool.pod_cidrs)
        };
        raw.iter()
            .map(|(name, pool)| Ok((name.clone(), read(name, pool)?)))
            .collect()
    }

    fn default_wishes(&self, reserved: &[IpNetwork], pools: &Pools) -> Result<Vec<Wish>> {
        let cidrs = networks("podCIDRs", &self.raw.pod_cidrs)?;
        if cidrs.is_empty() {
            return Err(invalid(
                "podCIDRs",
                "empty: name at least one network, such as 10.244.1.0/24 or fd00:244:1::/64",
            ));
        }
        let others: Vec<_> = reserved.iter().chain(pools.values().flatten()).copied().collect();
        let source = if pools.is_empty() {
            "podCIDRs"
        } else {
            "podCIDRs without pools"
        };
        Ok(by_family(&cidrs, &others, source))
    }

    /// The pod's annotations, when the runtime passes them.
    fn annotations(&self) -> Result<BTreeMap<String, String>> {
        let key = "runtimeConfig.\"io.kubernetes.cri.pod-annotations\"";
        let all: BTreeMap<String, String> = typed(key, &self.raw.runtime_config.pod_annotations)?;
        let unknown = |key: &&String| key.starts_with(ANNOTATIONS) && *key != POOL && *key != IPS;
        match all.keys().find(unknown) {
            Some(key) => Err(invalid(
                &format!("the pod's annotation {key}"),
                format!("unknown; there are {IPS} and {POOL}"),
            )),
            None => Ok(all),
        }
    }

    /// The certain addresses that are asked for, all from one place.
    fn fixed(&self, annotation: Option<&String>) -> Result<Vec<Fixed>> {
        let runtime: Vec<String> = typed("runtimeConfig.ips", &self.raw.runtime_config.ips)?;
        let arguments = match self.raw.args.pointer("/cni/ips") {
            None | Some(Value::Null) => Vec::new(),
            Some(list) => typed("args.cni.ips", list)?,
        };
        let environment: Vec<String> = self
            .wishes
            .ip
            .iter()
            .flat_map(|list| listed(list))
            .filter(|text| !text.is_empty())
            .collect();
        let annotation: Vec<String> = annotation.into_iter().flat_map(|list| listed(list)).collect();
        let places = [
            ("runtimeConfig.ips".to_owned(), &runtime),
            ("args.cni.ips".to_owned(), &arguments),
            ("CNI_ARGS IP".to_owned(), &environment),
            (format!("the pod's annotation {IPS}"), &annotation),
        ];
        let Some((source, texts)) = places.into_iter().find(|(_, texts)| !texts.is_empty()) else {
            return Ok(Vec::new());
        };
        let addresses = networks(&source, texts)?;
        Ok(addresses
            .into_iter()
            .map(|network| Fixed {
                address: network.ip(),
                source: source.clone(),
            })
            .collect())
    }
}

impl RawRange {
    fn pool(&self, reserved: &[IpNetwork], blocks: &[Wish]) -> Result<Pool> {
        let subnet = network(RANGES, &self.subnet)?;
        let mut never = reserved.to_vec();
        never.extend(self.gateway.map(IpNetwork::from));
        let mut pool = Pool::new(subnet, &never);
        for (key, end) in [("rangeStart", self.range_start), ("rangeEnd", self.range_end)] {
            if let Some(address) = end.filter(|address| !subnet.contains(*address)) {
                return Err(invalid(
                    RANGES,
                    format!("{key} {address} is not in subnet {subnet}"),
                ));
            }
        }
        if !pool.narrow(self.range_start, self.range_end) {
            return Err(invalid(
                RANGES,
                format!("{subnet}: rangeEnd is before rangeStart"),
            ));
        }
        let inside = |block: &Pool| pool.is_inside(block.cidr);
        if blocks.iter().flat_map(|wish| &wish.blocks).any(inside) {
            return Ok(pool);
        }
        let all: Vec<_> = blocks.iter().map(ToString::to_string).collect();
        Err(invalid(
            RANGES,
            format!(
                "{pool} is not inside of {}: choose a part of one of them",
                all.join(" or ")
            ),
        ))
    }
}

/// One wish a set of ranges, each inside of what would be given without.
fn range_wishes(sets: &[Vec<RawRange>], blocks: &[Wish], reserved: &[IpNetwork]) -> Result<Vec<Wish>> {
    let mut wishes: Vec<Wish> = Vec::new();
    for set in sets {
        let ranges = set
            .iter()
            .map(|range| range.pool(reserved, blocks))
            .collect::<Result<Vec<_>>>()?;
        let wish = Wish {
            blocks: ranges,
            source: RANGES.into(),
            fixed: None,
        };
        let Some(first) = wish.blocks.first() else {
            return Err(invalid(
                RANGES,
                "an empty set: name a range, or leave the set out",
            ));
        };
        if wish
            .blocks
            .iter()
            .any(|block| block.cidr.is_ipv4() != first.cidr.is_ipv4())
        {
            return Err(invalid(
                RANGES,
                "a set with ranges of both families: a set gives one address; make two of it",
            ));
        }
        if wishes.iter().any(|other| other.is_ipv4() == wish.is_ipv4()) {
            return Err(invalid(
                RANGES,
                format!("{first}: a second set of its family: a pod gets one address of each"),
            ));
        }
        wishes.push(wish);
    }
    Ok(wishes)
}

fn pool_wishes(name: &str, pools: &Pools, reserved: &[IpNetwork]) -> Result<Vec<Wish>> {
    let Some(cidrs) = pools.get(name) else {
        let known: Vec<&str> = pools.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "the network configuration has no pools: leave the annotation out, or add the pool to the configuration".to_owned()
        } else {
            format!("pools has {}", known.join(", "))
        };
        return Err(invalid(
            &format!("the pod's annotation {POOL}"),
            format!("there is no pool {name:?}; {known}"),
        ));
    };
    Ok(by_family(cidrs, reserved, &format!("pools.{name}")))
}

/// One wish a family, in the order of their first networks.
fn by_family(cidrs: &[IpNetwork], never: &[IpNetwork], source: &str) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for cidr in cidrs {
        let block = Pool::new(*cidr, never);
        match wishes.iter_mut().find(|wish| wish.is_ipv4() == cidr.is_ipv4()) {
            Some(wish) => wish.blocks.push(block),
            None => wishes.push(Wish {
                blocks: vec![block],
                source: source.into(),
                fixed: None,
            }),
        }
    }
    wishes
}

fn fix(wishes: &mut [Wish], fixed: Fixed) -> Result<()> {
    let address = fixed.address;
    let Some(wish) = wishes.iter_mut().find(|wish| wish.usable(address)) else {
        let all: Vec<_> = wishes.iter().map(ToString::to_string).collect();
        let problem = format!(
            "{address} is in none of {}, or reserved; choose one of these, since the addresses of other nodes are not to be had on this one",
            all.join(", ")
        );
        return Err(invalid(&fixed.source, problem));
    };
    if let Some(other) = &wish.fixed {
        let problem = format!(
            "{} and {address}: a pod gets one address of a family",
            other.address
        );
        return Err(invalid(&fixed.source, problem));
    }
    wish.fixed = Some(fixed);
    Ok(())
}

/// What stands between commas.
fn listed(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|text| text.trim().to_owned())
}

fn networks(field: &str, texts: &[String]) -> Result<Vec<IpNetwork>> {
    texts.iter().map(|text| network(field, text)).collect()
}
