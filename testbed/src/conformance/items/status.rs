//! Items 104 to 110: STATUS.

use anyhow::{Context as _, Result, ensure};

use super::super::pool;
use super::super::traces::Traces;
use super::super::verdict::{Item, Verdict, item, never, not_applicable, not_provoked};
use super::super::world::World;
use super::delegation;
use super::protocol::since;

pub(super) const ITEMS: &[Item] = &[
    item(104, "STATUS of a plugin that can serve succeeds", |world| {
        since(world, "1.1.0", healthy)
    }),
    never(
        105,
        "STATUS while the plugin's daemon is down: code 50",
        "which daemon a plugin has, and how it is stopped, is its own business",
    ),
    never(
        106,
        "STATUS while the pods' network is cut: code 51, or success where that is an option",
        "how a plugin's network is cut is its own business",
    ),
    item(
        107,
        "STATUS with no address left: code 50 (a plugin may also say it at ADD only)",
        |world| since(world, "1.1.0", exhausted),
    ),
    never(
        108,
        "STATUS answers within 20 ms while the plugin's daemon hangs",
        "which daemon a plugin has is its own business",
    ),
    item(109, "STATUS reaches the IPAM plugin", |world| {
        delegation::forwarded(world, "STATUS")
    }),
    item(110, "STATUS changes nothing", |world| {
        since(world, "1.1.0", harmless)
    }),
];

fn healthy(world: &World<'_>) -> Result<Verdict> {
    world.run(&world.call("STATUS")?)?.silent()?;
    world.attach()?.delete().context("what STATUS promised")?;
    Ok(Verdict::Pass)
}

fn exhausted(world: &World<'_>) -> Result<Verdict> {
    if pool::fill(world, &world.network)?.refused.is_none() {
        return not_provoked(format!(
            "the pool has more than {} addresses, or ADD takes long",
            pool::POOL_MAX
        ));
    }
    let answer = world.run(&world.call("STATUS")?)?;
    if answer.code == Some(0) {
        answer.silent()?;
        return not_applicable("it succeeds: an option");
    }
    answer.refused(&[50, 51])?;
    Ok(Verdict::Pass)
}

fn harmless(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let before = Traces::of(&world.host)?;
    for _ in 0..3 {
        world.run(&world.call("STATUS")?)?.silent()?;
    }
    before.unchanged(&world.host)?;
    ensure!(attachment.pod.link("eth0")?.up, "the pod's interface is down");
    attachment.check().context("CHECK afterwards")?;
    attachment.delete()?;
    Ok(Verdict::Pass)
}
