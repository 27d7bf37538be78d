//! The sentence about what pods reach outside of the cluster: with whose address.
//!
//! The machine behind the spine has addresses of three kinds: one in a private range, which is in the list of what pods
//! reach with their own; one in none; and a link-local one, as clouds have for what they tell their machines. Switches know
//! the way back to the addresses of nodes and of pods, so each kind is asked there and back.

use std::net::IpAddr;

use anyhow::ensure;

use super::{Answer, Scene, ask, ok};
use crate::cluster::site::{CONTROL, METADATA, WORLD};

pub(crate) fn m19(scene: &Scene<'_>) -> Answer {
    let outside = scene.outside();
    let mut asked = 0;
    for pod in scene.everybody() {
        let router = scene.router(&pod.node)?;
        for ipv6 in scene.families() {
            let own = pod.address(*ipv6);
            let node: IpAddr = if *ipv6 {
                router.ipv6.into()
            } else {
                router.ipv4.into()
            };
            let pick = |pair: (std::net::Ipv4Addr, std::net::Ipv6Addr)| -> IpAddr {
                if *ipv6 { pair.1.into() } else { pair.0.into() }
            };
            let mut targets = vec![(pick(WORLD), node), (pick(CONTROL), own)];
            if !*ipv6 {
                targets.push((METADATA.into(), node));
            }
            for (target, wanted) in targets {
                for seen in [
                    ask::seen_by(outside, target, &pod.namespace)?,
                    ask::seen_by_udp(outside, target, &pod.namespace)?,
                ] {
                    ensure!(
                        seen == wanted,
                        "{} to {target}: seen as {seen} instead of {wanted}",
                        pod.name
                    );
                    asked += 1;
                }
            }
        }
    }
    let link_local = if scene.families().contains(&false) {
        format!(" and to {METADATA}")
    } else {
        String::new()
    };
    ok(format!(
        "{asked} times by TCP and UDP: to public addresses{link_local} as the node's InternalIP, to what is in the list as the pod"
    ))
}
