//! The bandwidth of a pod (`runtimeConfig.bandwidth`): read, planned as a value, put in force, looked at again.
//!
//! **To the pod** packets leave the host end of its link: a token bucket (`tbf`) stands there. **From the pod** they
//! come in by that end, where the kernel has no queue; a filter sends them through a device that is made for it
//! (`ifb`) and does nothing but having a queue, with a token bucket again. Afterwards the kernel takes them as if they had
//! just come in by the host end, so the check of sources and every rule for pods still sees them there. Nothing is in
//! the pod, where root could remove it. A pod without limits has neither, and costs nothing.
//!
//! **The device** is found without records: its name follows from the host end's, its group is one of its own (not that
//! of the pods' links), and its alias says the attachment. It does not die with the pod's namespace; DEL and GC remove it.
//!
//! **How much at once.** After a pause a bucket lets a burst through at full speed. A burst is honoured as it is given,
//! but runtimes that know none send the largest number there is (containerd: 2³² − 1 bits, 512 MiB), with which a
//! limited pod would not be limited for its first half gigabyte. From [`BURST_UNMEANT`] on a burst therefore counts as
//! not given: then it is what the rate yields in [`BURST_TIME`], and at least [`BURST_PACKETS`] packets.
//!
//! **How long to wait.** Packets wait for at most [`LATENCY`], and as long as it takes to send one burst or two of the
//! large packets that the kernel makes of a TCP stream (64 KiB), whichever is less; otherwise none of these would ever fit.

use std::time::Duration;

use flatroute_netlink::packet::link::InfoKind;
use flatroute_netlink::{Link, LinkChange, LinkSettings, SHAPER_LINK_GROUP, Socket, TokenBucket, VethEnd};
use serde_json::{Map, Value};

use crate::error::{CniError, Code, Result};
use crate::identity::{Identity, shaper_interface};
use crate::removal::{delete_link, is_marked};
use crate::sysctl;

/// Rates that are accepted, in bit/s: those that Kubernetes accepts in its annotations.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// Bursts from here on, in bits, are a runtime's way to say that it knows none.
const BURST_UNMEANT: u64 = i32::MAX as u64;
/// What a burst that was not given lasts at the rate.
const BURST_TIME: Duration = Duration::from_millis(50);
/// The least that a burst which was not given holds, in packets of the link's MTU.
const BURST_PACKETS: u64 = 10;
/// The largest burst, in bytes.
const BURST_MAX: u64 = BURST_UNMEANT / 8;
/// How long packets may wait beyond the burst.
const LATENCY: Duration = Duration::from_millis(25);
/// Two of the largest packets that the kernel makes of a stream, in bytes.
const LARGE_PACKETS: u64 = 2 * 64 * 1024;
/// An Ethernet header with a VLAN tag, in bytes.
const HEADER_BYTES: u64 = 18;
const TX_QUEUE_LEN: u32 = 1000;

/// One direction's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    /// bit/s
    rate: u64,
    /// bits, when given and meant.
    burst: Option<u64>,
}

/// What the runtime asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// To the pod.
    ingress: Option<Limit>,
    /// From the pod.
    egress: Option<Limit>,
}

/// What is to be in the kernel for one attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shaping {
    /// On the host end: to the pod.
    ingress: Option<TokenBucket>,
    /// On a device of its own: from the pod.
    egress: Option<TokenBucket>,
    /// The device's name.
    device: String,
    /// The device's alias.
    alias: String,
    /// The device's MTU: that of the link.
    mtu: u32,
}

fn invalid(key: &str, problem: impl std::fmt::Display) -> CniError {
    CniError::new(
        Code::InvalidConfig,
        format!("network configuration: runtimeConfig.bandwidth.{key}: {problem}"),
    )
}

impl Limits {
    /// Reads `runtimeConfig.bandwidth`. 0 is what runtimes send for a direction without limit.
    ///
    /// # Errors
    /// Code 7, naming the key.
    pub(crate) fn read(object: &Map<String, Value>) -> Result<Self> {
        let number = |key: &str| match object.get(key) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| invalid(key, format!("{value} is no whole number of bits (per second)"))),
        };
        let limit = |rate_key: &str, burst_key: &str| {
            let (rate, burst) = (number(rate_key)?, number(burst_key)?);
            if rate == 0 {
                if burst == 0 {
                    return Ok(None);
                }
                return Err(invalid(
                    burst_key,
                    format!("{burst} without {rate_key}: give a rate in bit/s, or no burst"),
                ));
            }
            if !RATES.contains(&rate) {
                let (least, most) = (RATES.start(), RATES.end());
                return Err(invalid(
                    rate_key,
                    format!(
                        "{rate} bit/s is not between {least} and {most} (the annotation kubernetes.io/{}-bandwidth takes 1k to 1P)",
                        rate_key.trim_end_matches("Rate")
                    ),
                ));
            }
            let burst = Some(burst).filter(|burst| (1..BURST_UNMEANT).contains(burst));
            Ok(Some(Limit { rate, burst }))
        };
        Ok(Self {
            ingress: limit("ingressRate", "ingressBurst")?,
            egress: limit("egressRate", "egressBurst")?,
        })
    }

    /// The plan for an attachment whose link has this MTU; `None` without limits.
    ///
    /// # Errors
    /// Code 7 for a burst that no packet fits in.
    pub(crate) fn plan(
        &self,
        identity: &Identity,
        host_interface: &str,
        mtu: u32,
    ) -> Result<Option<Shaping>> {
        if self.ingress.is_none() && self.egress.is_none() {
            return Ok(None);
        }
        let bucket = |limit: Option<Limit>, key| limit.map(|limit| limit.bucket(key, mtu)).transpose();
        Ok(Some(Shaping {
            ingress: bucket(self.ingress, "ingressBurst")?,
            egress: bucket(self.egress, "egressBurst")?,
            device: shaper_interface(host_interface),
            alias: identity.alias(&[]),
            mtu,
        }))
    }
}

/// What a rate yields in a time.
fn yields(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate) * time.as_millis() / 1000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl Limit {
    fn bucket(self, burst_key: &str, mtu: u32) -> Result<TokenBucket> {
        let rate = self.rate / 8;
        let packet = u64::from(mtu).saturating_add(HEADER_BYTES);
        let burst = match self.burst {
            Some(bits) if bits / 8 < packet => {
                let least = packet.saturating_mul(8);
                return Err(invalid(
                    burst_key,
                    format!("{bits} bits hold no packet of MTU {mtu}: give at least {least}, or no burst"),
                ));
            }
            Some(bits) => bits / 8,
            None => yields(rate, BURST_TIME).max(packet.saturating_mul(BURST_PACKETS)),
        };
        let burst = burst.min(BURST_MAX);
        let limit = yields(rate, LATENCY).saturating_add(burst.min(LARGE_PACKETS));
        Ok(TokenBucket {
            rate,
            burst: u32::try_from(burst).unwrap_or(u32::MAX),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        })
    }
}

impl Shaping {
    /// Puts it in force on a host end that is not up yet: queues are not exchanged under packets then, which would take
    /// the kernel tens of milliseconds. What was made when a step fails goes by [`remove`] and with the host end.
    ///
    /// # Errors
    /// The first step that failed, naming the part that the kernel lacks.
    pub(crate) fn apply(&self, host: &mut Socket, host_index: u32) -> Result<()> {
        if let Some(bucket) = &self.ingress {
            host.add_token_bucket(host_index, bucket)
                .map_err(needs("sch_tbf", "CONFIG_NET_SCH_TBF"))?;
        }
        if let Some(bucket) = &self.egress {
            let device = self.make_device(host)?;
            host.add_token_bucket(device, bucket)
                .map_err(needs("sch_tbf", "CONFIG_NET_SCH_TBF"))?;
            let change = LinkChange {
                alias: Some(&self.alias),
                settings: LinkSettings {
                    // It is nobody's interface: no address of its own.
                    link_local: sysctl::ipv6_exists_on(&self.device).then_some(false),
                    ..LinkSettings::default()
                },
                ..LinkChange::default()
            };
            host.change_link(device, &change)?;
            host.set_up(device)?;
            host.add_ingress(host_index)
                .map_err(needs("sch_ingress", "CONFIG_NET_SCH_INGRESS"))?;
            host.add_redirect(host_index, device).map_err(needs(
                "cls_u32 and act_mirred",
                "CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED",
            ))?;
        }
        Ok(())
    }

    fn make_device(&self, host: &mut Socket) -> Result<u32> {
        let end = VethEnd {
            name: &self.device,
            mtu: Some(self.mtu),
            group: Some(SHAPER_LINK_GROUP),
            tx_queue_len: Some(TX_QUEUE_LEN),
            ..VethEnd::default()
        };
        host.add_single(&end, InfoKind::Ifb)
            .map_err(needs("ifb", "CONFIG_IFB"))?;
        match host.link_by_name(&self.device)? {
            Some(link) => Ok(link.index),
            None => Err(CniError::new(
                Code::TryAgainLater,
                format!("the device {} vanished meanwhile", self.device),
            )),
        }
    }

    /// Says what of it is missing or different on the host.
    ///
    /// # Errors
    /// The kernel's, when it does not answer.
    pub(crate) fn faults(&self, host: &mut Socket, host_end: &Link) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        if let Some(bucket) = &self.ingress {
            faults.extend(differs(host, host_end, bucket, "to")?);
        }
        if let Some(bucket) = &self.egress {
            let Some(device) = host.link_by_name(&self.device)? else {
                faults.push(format!(
                    "the device {} for packets from the pod is gone",
                    self.device
                ));
                return Ok(faults);
            };
            faults.extend(differs(host, &device, bucket, "from")?);
            if !device.up {
                faults.push(format!(
                    "the device {} for packets from the pod is down",
                    self.device
                ));
            }
            if host.redirect(host_end.index)? != Some(device.index) {
                faults.push(format!(
                    "packets that come in by {} do not go through {}",
                    host_end.name, self.device
                ));
            }
        }
        Ok(faults)
    }
}

/// What is different about a link's token bucket.
fn differs(host: &mut Socket, link: &Link, wanted: &TokenBucket, way: &str) -> Result<Option<String>> {
    let found = host.token_bucket(link.index)?;
    let wanted = (wanted.rate, wanted.limit);
    Ok(match found {
        Some(found) if found == wanted => None,
        Some((rate, limit)) => Some(format!(
            "the bandwidth {way} the pod ({}) is {rate} bytes/s with {limit} bytes waiting, and not {} with {}",
            link.name, wanted.0, wanted.1
        )),
        None => Some(format!(
            "the bandwidth {way} the pod ({}) is not limited",
            link.name
        )),
    })
}

/// Says which part of the kernel a refused step needs.
fn needs(module: &'static str, option: &'static str) -> impl FnOnce(flatroute_netlink::Error) -> CniError {
    move |error| {
        let lacks = error.is_missing() || error.errno() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error());
        let said = CniError::from(error);
        if lacks {
            said.because(format!(
                "runtimeConfig.bandwidth needs {module} of the kernel ({option}): load it on the node, or remove the \
                 pod's annotations kubernetes.io/ingress-bandwidth and kubernetes.io/egress-bandwidth"
            ))
        } else {
            said
        }
    }
}

/// Whether a link is a device for packets from a pod.
pub(crate) fn is_device(link: &Link) -> bool {
    link.kind.as_deref() == Some("ifb") && (link.group == SHAPER_LINK_GROUP || is_marked(link.group))
}

/// The index of the device that belongs to a host interface, if there is one and `owns` its alias.
///
/// # Errors
/// Anything but its absence.
pub(crate) fn device(
    host: &mut Socket,
    host_interface: &str,
    owns: impl FnOnce(Option<&str>) -> bool,
) -> Result<Option<u32>> {
    let link = host.link_by_name(&shaper_interface(host_interface))?;
    Ok(link
        .filter(|link| is_device(link) && owns(link.alias.as_deref()))
        .map(|link| link.index))
}

/// Removes that device.
///
/// # Errors
/// It is there and cannot be removed.
pub(crate) fn remove(
    host: &mut Socket,
    host_interface: &str,
    owns: impl FnOnce(Option<&str>) -> bool,
) -> Result<()> {
    match device(host, host_interface, owns)? {
        Some(index) => delete_link(host, index),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
