//! How fast a pod may send and receive.
//!
//! A transfer never takes less time than the limit makes it, however busy the machine is; so "not above the rate" has to hold
//! each time. "Not far below" and "much faster without a limit" may be spoilt by a machine that is held up: there the best
//! of a few tries counts.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use flatroute_netlink::SHAPER_LINK_GROUP;

use super::Scene;
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::transfer;

/// The limit of both directions, as the annotation says it.
const LIMIT: &str = "10M";
/// That in bit/s.
const RATE: f64 = 10e6;
/// What passes at full speed first: 50 ms of the rate (docs/pod-network.md), in octets.
const BURST: f64 = RATE / 8.0 / 20.0;
/// Octets of a transfer: 2 s at the rate.
const AMOUNT: u32 = 2_500_000;
/// After the burst, at most so many times the rate.
const MOST: f64 = 1.25;
/// Altogether, at least so many times the rate: headers take a twentieth.
const LEAST: f64 = 0.5;
/// Without a limit, at least so many times that rate.
const UNLIMITED: f64 = 4.0;
/// Tries of what a busy machine may spoil.
const TRIES: usize = 3;

pub(super) fn limited(scene: &Scene<'_>) -> Result<String> {
    let node = &scene.near.node;
    let both = [
        ("kubernetes.io/ingress-bandwidth", LIMIT),
        ("kubernetes.io/egress-bandwidth", LIMIT),
    ];
    scene.create("slow", node, &both)?;
    scene.create("fast", node, &[])?;
    let (slow, fast) = (scene.ready("slow")?, scene.ready("fast")?);
    scene.answers(&slow)?;
    let shapers = scene.shapers(node)?;
    ensure!(
        shapers == 1,
        "{node} has {shapers} links of group {SHAPER_LINK_GROUP}, for one pod with a limit"
    );
    let mut said = Vec::new();
    for ipv6 in scene.families() {
        for (way, to_pod) in [("to it", true), ("from it", false)] {
            let family = if *ipv6 { "IPv6" } else { "IPv4" };
            let slow =
                best(scene, &slow, *ipv6, to_pod, LEAST).with_context(|| format!("{family}, {way}"))?;
            let fast = best(scene, &fast, *ipv6, to_pod, UNLIMITED)
                .with_context(|| format!("without a limit, {family}, {way}"))?;
            said.push(format!("{family} {way} {slow:.1} ({fast:.0})"));
        }
    }
    Ok(format!(
        "{LIMIT} each way; Mbit/s of {:.1} MB over TCP to the other rack, beside it the pod without a limit: {}",
        f64::from(AMOUNT) / 1e6,
        said.join(", ")
    ))
}

/// The best rate of a few transfers, in Mbit/s; enough as soon as it is `least` times [`RATE`].
fn best(scene: &Scene<'_>, pod: &Pod, ipv6: bool, to_pod: bool, least: f64) -> Result<f64> {
    let octets = usize::try_from(AMOUNT)?;
    let is_limited = pod.name == "slow";
    let mut best: f64 = 0.0;
    for _ in 0..TRIES {
        let (from, to, there): (&Namespace, &Namespace, _) = if to_pod {
            (&scene.far.namespace, &pod.namespace, pod.address(ipv6))
        } else {
            (&pod.namespace, &scene.far.namespace, scene.far.address(ipv6))
        };
        let took = transfer::time(from, to, there, octets)?;
        if is_limited {
            let rate = rate(f64::from(AMOUNT) - BURST, took);
            ensure!(
                rate <= MOST * RATE,
                "{:.1} Mbit/s after the burst: {AMOUNT} octets in {took:?}",
                rate / 1e6
            );
        }
        best = best.max(rate(f64::from(AMOUNT), took));
        if best >= least * RATE {
            return Ok(best / 1e6);
        }
    }
    bail!("{:.1} Mbit/s was the best of {TRIES} tries", best / 1e6)
}

/// In bit/s.
fn rate(octets: f64, took: Duration) -> f64 {
    octets * 8.0 / took.as_secs_f64()
}
