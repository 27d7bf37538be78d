//! Damage that stays until it is repaired, so that a world has to come to rest without some of its links and hosts: only then
//! does the model say who must reach whom by a way round, and who cannot be reached at all.

use super::set_carrier;
use crate::dice::Dice;
use crate::marks::Mark;
use crate::model::{Prediction, predict};
use crate::queue::Happening;
use crate::topology::{HostId, LinkId};
use crate::world::{Death, World};

/// The most links that are lost at once.
const MOST_LINKS: u64 = 6;
/// The most hosts that are lost at once.
const MOST_HOSTS: u64 = 3;
/// How often another damage is looked for, where the model cannot tell what becomes of one.
const TRIES: usize = 20;

/// What is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Links, what they lose of what each end sends, and whether both ends see it.
    links: Vec<(LinkId, [bool; 2], bool)>,
    /// Hosts without power.
    hosts: Vec<HostId>,
}

/// Breaks some of a world that is whole, such that the model can tell what it must come to.
pub fn damage(world: &mut World, dice: &mut Dice) -> Damage {
    for _ in 0..TRIES {
        let damage = chosen(world, dice);
        let Ok(prediction) = foreseen(world, &damage) else {
            continue;
        };
        carry_out(world, &damage);
        mark(world, &damage, &prediction);
        return damage;
    }
    Damage::default()
}

fn chosen(world: &World, dice: &mut Dice) -> Damage {
    let hosts: Vec<HostId> = world.honest().collect();
    let mut damage = Damage::default();
    for _ in 0..dice.between(0, MOST_LINKS) {
        let ends = [[true, true], [true, false], [false, true]];
        if let (Some(link), Some(ends)) = (dice.pick(&world.topology.adjacencies), dice.pick(&ends)) {
            damage
                .links
                .push((*link, *ends, *ends == [true; 2] && dice.chance(500)));
        }
    }
    for _ in 0..dice.between(0, MOST_HOSTS) {
        damage.hosts.extend(dice.pick(&hosts));
    }
    damage
}

fn foreseen(world: &World, damage: &Damage) -> Result<Prediction, String> {
    let is_whole = |link: LinkId| damage.links.iter().all(|(lost, _, _)| *lost != link);
    predict(&world.topology, is_whole, |host| !damage.hosts.contains(&host))
}

fn carry_out(world: &mut World, damage: &Damage) {
    world
        .trace
        .fact(world.now, "damage", &[], || format!("{damage:?}"));
    for (link, ends, carrier) in &damage.links {
        let cut = &mut world.links[*link].cut;
        *cut = [cut[0] || ends[0], cut[1] || ends[1]];
        set_carrier(world, &[*link], *carrier, false);
    }
    for host in &damage.hosts {
        if world.machines[*host].powered {
            world.end(*host, Death::PowerLoss);
        }
    }
}

fn mark(world: &mut World, damage: &Damage, prediction: &Prediction) {
    if !damage.links.is_empty() {
        world.marks.reach(Mark::WithoutLinks);
    }
    if !damage.hosts.is_empty() {
        world.marks.reach(Mark::WithoutHosts);
    }
    let is_cut_off = |host: HostId| {
        let mut trees = prediction.trees.iter();
        trees.any(|(origin, tree)| *origin != host && tree[host].is_empty())
    };
    let mut honest = world.honest();
    if honest.any(|host| !damage.hosts.contains(&host) && is_cut_off(host)) {
        drop(honest);
        world.marks.reach(Mark::Unreachable);
    }
}

/// Makes it whole again.
pub fn repair(world: &mut World, damage: &Damage) {
    for (link, _, carrier) in &damage.links {
        world.links[*link].cut = [false; 2];
        set_carrier(world, &[*link], *carrier, true);
    }
    for host in &damage.hosts {
        world.order(std::time::Duration::ZERO, Happening::Boot(*host));
    }
}
