//! Item 53: an ADD that gets an address of the first family and none of the second.
//!
//! It is brought about by a second network that is the smaller one. When that has no address left, ADD is tried more often than the
//! first network has addresses over: if each try kept one, the refusals would come to speak of the first network instead.

use anyhow::{Result, ensure};
use ipnetwork::IpNetwork;

use super::super::pool;
use super::super::verdict::{Verdict, not_applicable, not_provoked};
use super::super::world::World;

/// More addresses of the first family than this are not tried.
const TRIES_MAX: u128 = 300;

fn size(network: &IpNetwork) -> u128 {
    let bits = if network.is_ipv4() { 32 } else { 128 };
    1_u128
        .checked_shl(bits - u32::from(network.prefix()))
        .unwrap_or(u128::MAX)
}

pub(super) fn second_fails(world: &World<'_>) -> Result<Verdict> {
    let networks = world.network.prefixes();
    if networks.iter().all(IpNetwork::is_ipv4) || networks.iter().all(IpNetwork::is_ipv6) {
        return not_applicable("the configuration gives addresses of one family");
    }
    let [first, second] = networks.as_slice() else {
        return not_provoked("the configuration does not name one network of each family");
    };
    if size(second) >= size(first) || size(first) > TRIES_MAX {
        return not_provoked(
            "which family fails can be chosen by a smaller second network only, of small ones",
        );
    }
    let filled = pool::fill(world, &world.network)?;
    let Some((_, answer)) = filled.refused else {
        return not_provoked("the pool does not end");
    };
    let name = second.network().to_string();
    let words = answer.refusal()?.words;
    if !words.contains(&name) {
        return not_provoked(format!(
            "the refusal does not say that {name} has no address left"
        ));
    }
    let over = size(first).saturating_sub(u128::try_from(filled.made.len())?);
    for number in 0..=over {
        let words = world.run(&world.call("ADD")?)?.refusal()?.words;
        ensure!(
            words.contains(&name),
            "after {number} more refusals {first} is empty, not {second}: {words}"
        );
    }
    for attachment in &filled.made {
        attachment.delete()?;
    }
    pool::whole(world, &world.network, 0)
}
