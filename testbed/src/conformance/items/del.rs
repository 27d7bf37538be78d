//! Items 71 to 82: DEL.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::ground;
use super::super::pool;
use super::super::traces::Traces;
use super::super::verdict::{Item, Verdict, item, not_provoked};
use super::super::world::World;
use super::add::settled;
use super::delegation;

/// How many at once.
const CROWD: usize = 200;

pub(super) const ITEMS: &[Item] = &[
    item(
        71,
        "DEL removes what ADD made: links, routes, neighbours, rules, and the address is free",
        everything,
    ),
    item(72, "a second DEL succeeds", twice),
    item(73, "DEL of what was never added succeeds", never_added),
    item(
        74,
        "DEL when the namespace is gone: nothing is left, and the address is free",
        namespace_gone,
    ),
    item(
        75,
        "DEL without prevResult succeeds and removes the interface",
        |world| with_previous(world, None),
    ),
    item(
        76,
        "DEL with a prevResult of another shape or version succeeds and removes the interface",
        odd_previous,
    ),
    item(
        77,
        "DEL without any daemon of the plugin succeeds promptly",
        alone,
    ),
    item(
        78,
        "DEL of a pod's old sandbox leaves its new one alone",
        old_sandbox,
    ),
    item(
        79,
        "200 DELs at once, or as many as the pool holds: all succeed, nothing is left",
        crowd,
    ),
    item(
        80,
        "DEL when CNI_NETNS leads to somebody else's namespace does not touch that one",
        other_namespace,
    ),
    item(
        81,
        "DEL when the plugin's records are gone succeeds and removes the interface",
        records_gone,
    ),
    item(
        82,
        "DEL reaches the IPAM plugin also when the namespace is gone",
        delegation::after_the_namespace,
    ),
];

fn everything(world: &World<'_>) -> Result<Verdict> {
    let before = settled(world)?;
    let attachment = world.attach()?;
    attachment.delete()?;
    ensure!(attachment.pod.link("eth0").is_err(), "the pod still has eth0");
    before.nothing_new(&world.host)?;
    pool::whole(world, &world.network, 0)
}

fn twice(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    attachment.delete().context("the first")?;
    attachment.delete().context("the second")?;
    Ok(Verdict::Pass)
}

fn never_added(world: &World<'_>) -> Result<Verdict> {
    world.planned(&world.network, &world.pod()?).delete()?;
    Ok(Verdict::Pass)
}

fn namespace_gone(world: &World<'_>) -> Result<Verdict> {
    let before = settled(world)?;
    let by_path = world.attach()?;
    world.remove(&by_path.pod)?;
    by_path.delete().context("with the path of what is gone")?;
    let empty = world.attach()?;
    world.remove(&empty.pod)?;
    empty
        .delete_as(|call| Ok(call.with("CNI_NETNS", "")))
        .context("with an empty CNI_NETNS")?;
    before.nothing_new(&world.host)?;
    pool::whole(world, &world.network, 0)
}

fn with_previous(world: &World<'_>, previous: Option<&Value>) -> Result<Verdict> {
    let before = settled(world)?;
    let attachment = world.attach()?;
    attachment.delete_as(|call| {
        call.edited(|conf| {
            conf.remove("prevResult");
            conf.extend(previous.map(|previous| ("prevResult".to_owned(), previous.clone())));
        })
    })?;
    ensure!(attachment.pod.link("eth0").is_err(), "the pod still has eth0");
    before.nothing_new(&world.host)?;
    Ok(Verdict::Pass)
}

fn odd_previous(world: &World<'_>) -> Result<Verdict> {
    let others = [
        json!({}),
        json!({"cniVersion": "0.1.0", "ip4": {"ip": "192.0.2.9/24"}}),
        json!({"cniVersion": world.network.version, "interfaces": "none", "ips": [{"address": "x"}, 7]}),
    ];
    for (number, previous) in others.iter().enumerate() {
        with_previous(world, Some(previous)).with_context(|| format!("prevResult {} of 3", number + 1))?;
    }
    Ok(Verdict::Pass)
}

fn alone(world: &World<'_>) -> Result<Verdict> {
    const PROMPT_S: f64 = 10.0;
    let attachment = world.attach()?;
    let answer = world.run(&attachment.call(0, "DEL"))?;
    answer.silent()?;
    ensure!(
        answer.took.as_secs_f64() < PROMPT_S,
        "it took {:.1} s",
        answer.took.as_secs_f64()
    );
    Ok(Verdict::Pass)
}

fn old_sandbox(world: &World<'_>) -> Result<Verdict> {
    let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0";
    let (mut old, mut new) = (
        world.planned(&world.network, &world.pod()?),
        world.planned(&world.network, &world.pod()?),
    );
    for attachment in [&mut old, &mut new] {
        attachment.result = world
            .run(&attachment.call(0, "ADD").with("CNI_ARGS", arguments))?
            .result()?;
    }
    let before = (new.pod.link("eth0")?, new.pod.addresses("eth0")?);
    world
        .run(&old.call(0, "DEL").with("CNI_ARGS", arguments))?
        .silent()?;
    ensure!(
        (new.pod.link("eth0")?, new.pod.addresses("eth0")?) == before,
        "the new sandbox has changed"
    );
    if world.network.version.as_str() >= "0.4.0" {
        new.check_first()?.silent().context("CHECK of the new sandbox")?;
    }
    world
        .run(&new.call(0, "DEL").with("CNI_ARGS", arguments))?
        .silent()?;
    Ok(Verdict::Pass)
}

fn crowd(world: &World<'_>) -> Result<Verdict> {
    let before = settled(world)?;
    // One address may still rest after the first pod.
    let count = pool::capacity(world)?
        .map_or(CROWD, |capacity| capacity.saturating_sub(1))
        .min(CROWD);
    let (made, refused) = pool::add_many(world, &world.network, count, 8)?;
    if let Some((_, answer)) = refused.first() {
        answer.succeeded().context("ADD")?;
    }
    std::thread::scope(|scope| {
        let deletions: Vec<_> = made
            .iter()
            .map(|attachment| scope.spawn(|| attachment.delete()))
            .collect();
        deletions.into_iter().try_for_each(|deletion| {
            deletion
                .join()
                .unwrap_or_else(|_| anyhow::bail!("a thread panicked"))
        })
    })?;
    before.nothing_new(&world.host)?;
    Ok(Verdict::Pass)
}

fn other_namespace(world: &World<'_>) -> Result<Verdict> {
    let mine = world.attach()?;
    let theirs = world.attach()?;
    let before = (theirs.pod.link("eth0")?, theirs.pod.addresses("eth0")?);
    mine.delete_as(|call| Ok(call.with("CNI_NETNS", &theirs.pod.path())))?;
    let link = theirs
        .pod
        .link("eth0")
        .context("the other pod's interface was removed")?;
    ensure!(
        (link, theirs.pod.addresses("eth0")?) == before,
        "the other pod's interface has changed"
    );
    theirs.delete()?;
    Ok(Verdict::Pass)
}

fn records_gone(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let before = Traces::of(&world.host)?;
    if !ground::forget()? {
        return not_provoked("the plugin's records cannot be told from the machine's files here");
    }
    attachment.delete()?;
    ensure!(attachment.pod.link("eth0").is_err(), "the pod still has eth0");
    before.nothing_new(&world.host)?;
    Ok(Verdict::Pass)
}
