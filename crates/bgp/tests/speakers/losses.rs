//! Whatever the order of losses and returns: once every time has passed, the RIB holds what the sessions that stand have
//! announced and nothing else, and nothing at all when none stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flatroute_bgp::rib::{RouteView, Usage};
use flatroute_bgp::speaker::{RouteQuery, STALE_TIME, Speaker};
use flatroute_bgp::types::Family;
use flatroute_bgp::wire::{CeaseSubcode, Notification};
use proptest::prelude::*;

use crate::puppet::{Puppet, World, announce, open_of, withdraw};
use crate::restarts::{RESTART_TIME, end_of_rib, for_long, graceful, says, says_also};

const NODES: usize = 3;
const LONG: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
enum Op {
    /// A session: 0 without graceful restart, else with the F bits of 1 and 2, and 4 for long.
    Connect(usize, u8),
    Close(usize),
    Notify(usize),
    Announce(usize, usize),
    Withdraw(usize, usize),
    EndOfRib(usize, bool),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let n = 1..=NODES;
    prop_oneof![
        5 => (n.clone(), 0u8..8).prop_map(|(n, how)| Op::Connect(n, how)),
        4 => n.clone().prop_map(Op::Close),
        1 => n.clone().prop_map(Op::Notify),
        8 => (n.clone(), 0usize..6).prop_map(|(n, p)| Op::Announce(n, p)),
        2 => (n.clone(), 0usize..6).prop_map(|(n, p)| Op::Withdraw(n, p)),
        2 => (n, any::<bool>()).prop_map(|(n, six)| Op::EndOfRib(n, six)),
        4 => (0u64..150).prop_map(Op::Pass),
    ]
}

const PREFIXES: [&str; 6] = [
    "10.1.0.0/24",
    "10.2.0.0/24",
    "10.3.0.0/24",
    "10.4.0.0/24",
    "fd00:1::/64",
    "fd00:2::/64",
];

#[derive(Default)]
struct Live {
    sessions: BTreeMap<usize, (Puppet, BTreeSet<&'static str>)>,
}

impl Live {
    fn step(&mut self, world: &mut World, op: &Op) {
        match *op {
            Op::Connect(node, how) => {
                let mut open = if how == 0 {
                    open_of(node, true)
                } else {
                    let f = [(1, Family::Ipv4), (2, Family::Ipv6)];
                    let f = f
                        .into_iter()
                        .filter(|(bit, _)| how & bit != 0)
                        .map(|(_, family)| family);
                    says_also(says(node, &f.collect::<Vec<_>>()), |g| g.notification = node == 1)
                };
                if how & 4 != 0 {
                    open = for_long(open, Family::Ipv4, 600, how & 1 != 0);
                }
                if let std::collections::btree_map::Entry::Vacant(place) = self.sessions.entry(node) {
                    place.insert((world.established_with(&open), BTreeSet::new()));
                }
            }
            Op::Close(node) => {
                if let Some((puppet, _)) = self.sessions.remove(&node) {
                    world.close(&puppet);
                }
            }
            Op::Notify(node) => {
                if let Some((puppet, _)) = self.sessions.remove(&node) {
                    let last = Notification::cease(CeaseSubcode::OtherConfigurationChange, "");
                    world.say(&puppet, &last.octets());
                }
            }
            Op::Announce(node, p) => {
                if let Some((puppet, said)) = self.sessions.get_mut(&node) {
                    world.say(puppet, &announce(node, &PREFIXES[p..=p]));
                    said.insert(PREFIXES[p]);
                }
            }
            Op::Withdraw(node, p) => {
                if let Some((puppet, said)) = self.sessions.get_mut(&node) {
                    world.say(puppet, &withdraw(&PREFIXES[p..=p]));
                    said.remove(PREFIXES[p]);
                }
            }
            Op::EndOfRib(node, six) => {
                if let Some((puppet, _)) = self.sessions.get(&node) {
                    let family = if six { Family::Ipv6 } else { Family::Ipv4 };
                    world.say(puppet, &end_of_rib(family));
                }
            }
            Op::Pass(seconds) => world.pass(Duration::from_secs(seconds)),
        }
        for (puppet, _) in self.sessions.values() {
            world.hear(puppet);
        }
    }

    /// Who has which routes, and whether they are stale.
    fn held(world: &World) -> BTreeSet<(String, String, bool)> {
        let query = RouteQuery {
            view: RouteView::Received,
            limit: usize::MAX,
            ..RouteQuery::default()
        };
        let of = |r: flatroute_bgp::speaker::RouteEntry| {
            (r.peer.unwrap().to_string(), r.prefix.to_string(), r.stale)
        };
        world.speaker.routes(&query).into_iter().map(of).collect()
    }

    fn said(&self) -> BTreeSet<(String, String, bool)> {
        let of = |(node, (_, said)): (&usize, &(Puppet, BTreeSet<&str>))| {
            let name = format!("n{node}");
            said.iter()
                .map(|p| (name.clone(), (*p).to_owned(), false))
                .collect::<Vec<_>>()
        };
        self.sessions.iter().flat_map(of).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_held_in_the_end_is_what_live_sessions_have_said(ops in prop::collection::vec(op(), 1..60)) {
        let mut config = graceful(&[1, 2, 3], &[], true);
        for peer in config.peers.values_mut() {
            peer.graceful_restart.long_lived_stale_time = LONG;
        }
        let mut world = World::of(Speaker::new(7), config);
        let mut live = Live::default();
        for op in &ops {
            live.step(&mut world, op);
            let held = Live::held(&world);
            prop_assert!(held.is_superset(&live.said()), "what a live session has said is there, and fresh");
        }
        world.pass(RESTART_TIME + STALE_TIME + LONG);
        prop_assert_eq!(Live::held(&world), live.said());
        prop_assert!((1..=NODES).all(|n| world.peer(n).retained.is_none()));
        for node in 1..=NODES {
            live.step(&mut world, &Op::Close(node));
        }
        world.pass(RESTART_TIME + LONG);
        prop_assert_eq!(world.speaker.usage(), Usage::default(), "nothing is left");
        prop_assert!(world.kernel.is_empty());
    }
}
