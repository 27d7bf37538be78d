//! Items 94 to 103: GC.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::attachment::Attachment;
use super::super::network::Network;
use super::super::pool;
use super::super::traces::Traces;
use super::super::verdict::{Item, Verdict, item, never};
use super::super::world::{World, pair};
use super::add::settled;
use super::delegation;
use super::protocol::since;

const VALID: &str = "cni.dev/valid-attachments";
const LEGACY: &str = "cni.dev/attachments";

pub(super) const ITEMS: &[Item] = &[
    item(
        94,
        "GC with an empty list removes everything of the network, and the addresses are free",
        |world| since(world, "1.1.0", empty_list),
    ),
    item(
        95,
        "GC with all attachments in the list removes nothing",
        |world| since(world, "1.1.0", full_list),
    ),
    item(
        96,
        "GC with one stale attachment of several removes it and no other",
        |world| since(world, "1.1.0", one_stale),
    ),
    item(97, "GC leaves another network alone", |world| {
        since(world, "1.1.0", other_network)
    }),
    item(
        98,
        "GC takes the list under its older key cni.dev/attachments too",
        |world| since(world, "1.1.0", older_key),
    ),
    item(99, "GC without a list: an error, nothing is removed", |world| {
        since(world, "1.1.0", no_list)
    }),
    item(
        100,
        "GC in which some removals fail does the others and says so",
        |world| since(world, "1.1.0", delegation::failing_collection),
    ),
    item(101, "GC leaves foreign links and routes alone", |world| {
        since(world, "1.1.0", foreign)
    }),
    item(102, "GC reaches the IPAM plugin", |world| {
        delegation::forwarded(world, "GC")
    }),
    never(
        103,
        "GC of 1,000 stale attachments takes less than a second",
        "a thousand records are of a plugin's own form, a thousand pods are for a benchmark",
    ),
];

fn collect(world: &World<'_>, network: &Network, keys: &[&str], valid: &[&Attachment<'_>]) -> Result<()> {
    let list: Vec<Value> = valid
        .iter()
        .map(|attachment| json!({"containerID": attachment.pod.id, "ifname": attachment.interface}))
        .collect();
    let call = world
        .call_of(network, 0, "GC", &world.pod()?, None)
        .edited(|conf| {
            conf.extend(keys.iter().map(|key| ((*key).to_owned(), list.clone().into())));
        })?;
    world.run(&call)?.silent().context("GC")
}

fn pods<'a>(world: &'a World<'_>, count: usize) -> Result<Vec<Attachment<'a>>> {
    (0..count).map(|_| world.attach()).collect()
}

/// The attachment works as before: CHECK says so, and the pod has its interface.
fn stands(attachment: &Attachment<'_>) -> Result<()> {
    attachment.pod.link("eth0")?;
    attachment.check().context("CHECK of what is in the list")
}

fn empty_list(world: &World<'_>) -> Result<Verdict> {
    let before = settled(world)?;
    pods(world, 3)?;
    collect(world, &world.network, &[VALID, LEGACY], &[])?;
    before.nothing_new(&world.host)?;
    pool::whole(world, &world.network, 0)
}

fn full_list(world: &World<'_>) -> Result<Verdict> {
    let made = pods(world, 3)?;
    let before = Traces::of(&world.host)?;
    collect(
        world,
        &world.network,
        &[VALID, LEGACY],
        &made.iter().collect::<Vec<_>>(),
    )?;
    before.unchanged(&world.host)?;
    made.iter().try_for_each(stands)?;
    Ok(Verdict::Pass)
}

fn one_stale(world: &World<'_>) -> Result<Verdict> {
    let before = settled(world)?;
    let valid = pods(world, 2)?;
    let with_two = Traces::of(&world.host)?;
    world.attach()?;
    collect(
        world,
        &world.network,
        &[VALID, LEGACY],
        &valid.iter().collect::<Vec<_>>(),
    )?;
    valid.iter().try_for_each(stands)?;
    with_two.nothing_new(&world.host)?;
    valid.iter().try_for_each(Attachment::delete)?;
    before.nothing_new(&world.host)?;
    pool::whole(world, &world.network, 0)
}

fn other_network(world: &World<'_>) -> Result<Verdict> {
    let other = world.network.named(&format!("{}-other", world.network.name));
    // Pools of two networks may be the same addresses: ours takes one first, so that the other's is another.
    let (mine, theirs) = (world.attach()?, world.add_to(&other, &world.pod()?, "eth0"));
    let Ok(theirs) = theirs else {
        return other_network_retried(world, &other, &mine);
    };
    collect(world, &world.network, &[VALID, LEGACY], &[])?;
    theirs
        .check()
        .context("CHECK of the other network's attachment")?;
    Ok(Verdict::Pass)
}

/// The two networks gave the same address, and the plugin refused the second: without the first there is no conflict.
fn other_network_retried(world: &World<'_>, other: &Network, mine: &Attachment<'_>) -> Result<Verdict> {
    mine.delete()?;
    let theirs = world.add_to(other, &world.pod()?, "eth0")?;
    collect(world, &world.network, &[VALID, LEGACY], &[])?;
    theirs
        .check()
        .context("CHECK of the other network's attachment")?;
    Ok(Verdict::Pass)
}

fn older_key(world: &World<'_>) -> Result<Verdict> {
    let valid = world.attach()?;
    let before = Traces::of(&world.host)?;
    let stale = world.attach()?;
    collect(world, &world.network, &[LEGACY], &[&valid])?;
    stands(&valid)?;
    before.nothing_new(&world.host)?;
    ensure!(
        stale.pod.link("eth0").is_err(),
        "the stale attachment was not removed"
    );
    Ok(Verdict::Pass)
}

fn no_list(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let before = Traces::of(&world.host)?;
    world.run(&world.call("GC")?)?.refusal()?;
    before.unchanged(&world.host)?;
    stands(&attachment)?;
    Ok(Verdict::Pass)
}

fn foreign(world: &World<'_>) -> Result<Verdict> {
    let before_all = settled(world)?;
    pair(&mut world.host.netlink()?, "veth0000feed", "veth0000beef")?;
    let before = Traces::of(&world.host)?;
    ensure!(before != before_all, "the suite's own link is not there");
    world.attach()?;
    collect(world, &world.network, &[VALID, LEGACY], &[])?;
    before.unchanged(&world.host)?;
    Ok(Verdict::Pass)
}
