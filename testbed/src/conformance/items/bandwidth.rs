//! Item 63: how fast a pod may send and receive.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::super::traces::Traces;
use super::super::verdict::{Verdict, not_applicable};
use super::super::world::World;
use crate::transfer;

/// Octets of a transfer.
const AMOUNT: usize = 600_000;
/// Bits a second, in both directions.
const RATE: u64 = 8_000_000;
/// Bits at once.
const BURST: u64 = 800_000;
/// What a transfer takes at least: all but the burst goes at the rate, which is a million octets a second. A tenth of it is
/// for how a plugin rounds.
const LEAST: Duration = Duration::from_millis(450);

/// One transfer in each direction, with the first address.
pub(super) fn limited(world: &World<'_>) -> Result<Verdict> {
    if !world.network.declares("bandwidth") {
        return not_applicable("the configuration does not declare the capability bandwidth");
    }
    let mut network = world.network.clone();
    network.runtime.insert(
        "bandwidth".into(),
        json!({"ingressRate": RATE, "ingressBurst": BURST, "egressRate": RATE, "egressBurst": BURST}),
    );
    let before = Traces::of(&world.host)?;
    let attachment = world.add_to(&network, &world.pod()?, "eth0")?;
    let address = attachment.addresses()?.first().context("no address")?.ip();
    let host: IpAddr = match address {
        IpAddr::V4(_) => "192.0.2.2".parse()?,
        IpAddr::V6(_) => "2001:db8::2".parse()?,
    };
    let pod = &attachment.pod.namespace;
    for (way, from, to, address) in [
        ("to", &world.host, pod, address),
        ("from", pod, &world.host, host),
    ] {
        let took = transfer::time(from, to, address, AMOUNT).with_context(|| format!("{way} the pod"))?;
        ensure!(
            took >= LEAST,
            "{AMOUNT} octets {way} the pod took {} ms, at {RATE} bit/s it is more than {} ms",
            took.as_millis(),
            LEAST.as_millis()
        );
    }
    if world.network.version.as_str() >= "0.4.0" {
        attachment.check()?;
    }
    attachment.delete()?;
    before.nothing_new(&world.host)?;
    Ok(Verdict::Pass)
}
