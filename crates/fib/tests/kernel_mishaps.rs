//! Random wishes and random mishaps against the kernel in memory.
//!
//! Whatever happens, when it stops happening the kernel must hold exactly what is wanted, with every next hop
//! that can be used, and no route of another program may ever have been touched by us.

use std::collections::{BTreeMap, BTreeSet};

use flatroute_fib::memory::MemoryKernel;
use flatroute_fib::{
    DesiredRoute, Fib, NextHop, NexthopObjects, Op, PrefSrc, RouteTarget, Settings, Target, turn,
};
use ipnetwork::IpNetwork;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Want(u8, Vec<u8>),
    Withdraw(u8),
    Static(Vec<u8>),
    Carrier(u8, bool),
    Address(u8, bool),
    ForeignDelete(u8),
    ForeignWrite(u8),
    DeleteNexthop(usize),
    Lose,
    PathDown(u8),
    Restart,
    Sweep,
    Turn(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let link = 1_u8..4;
    prop_oneof![
        6 => (0_u8..12, prop::collection::vec(1_u8..4, 1..4)).prop_map(|(prefix, hops)| Step::Want(prefix, hops)),
        2 => (0_u8..12).prop_map(Step::Withdraw),
        1 => prop::collection::vec(0_u8..12, 0..3).prop_map(Step::Static),
        3 => (link.clone(), any::<bool>()).prop_map(|(link, up)| Step::Carrier(link, up)),
        1 => (link.clone(), any::<bool>()).prop_map(|(link, there)| Step::Address(link, there)),
        2 => (0_u8..12).prop_map(Step::ForeignDelete),
        1 => (0_u8..12).prop_map(Step::ForeignWrite),
        2 => (0_usize..8).prop_map(Step::DeleteNexthop),
        1 => Just(Step::Lose),
        1 => link.prop_map(Step::PathDown),
        1 => Just(Step::Restart),
        1 => Just(Step::Sweep),
        5 => (1_u8..4).prop_map(Step::Turn),
    ]
}

fn prefix(number: u8) -> IpNetwork {
    let text = if number.is_multiple_of(2) {
        format!("10.244.{number}.0/24")
    } else {
        format!("fd00:244:{number}::/64")
    };
    text.parse().expect("prefix")
}

fn gateway(prefix: IpNetwork, link: u8) -> NextHop {
    let text = if prefix.is_ipv4() {
        format!("10.0.{link}.1")
    } else {
        format!("fd00:{link}::1")
    };
    NextHop {
        gateway: text.parse().expect("address"),
        interface: None,
    }
}

fn addresses(link: u8) -> [IpNetwork; 2] {
    [format!("10.0.{link}.2/24"), format!("fd00:{link}::2/64")].map(|text| text.parse().expect("address"))
}

fn via(prefix: IpNetwork, links: &[u8]) -> DesiredRoute {
    let hops = links.iter().map(|link| gateway(prefix, *link)).collect();
    DesiredRoute {
        target: RouteTarget::Via(hops),
        pref_src: None,
    }
}

struct World {
    settings: Settings,
    fib: Fib,
    kernel: MemoryKernel,
    wanted: BTreeMap<IpNetwork, Vec<u8>>,
    fixed: BTreeSet<IpNetwork>,
    dead: BTreeSet<u8>,
}

impl World {
    fn new(nexthop_objects: NexthopObjects, delay: usize) -> Self {
        let settings = Settings {
            nexthop_objects,
            ..Settings::default()
        };
        let mut kernel = MemoryKernel::default();
        kernel.delay = delay;
        for link in 1..4 {
            kernel.add_interface(link.into(), &addresses(link));
        }
        let (wanted, fixed, dead) = Default::default();
        Self {
            settings,
            fib: start(settings),
            kernel,
            wanted,
            fixed,
            dead,
        }
    }

    fn turn(&mut self) -> bool {
        match turn(&mut self.fib, &mut self.kernel) {
            Ok(more) => more,
            Err(never) => match never {},
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            if !self.turn() {
                let back: Vec<_> = self.fib.returned().collect();
                if back.is_empty() && !self.fib.wants_retry() {
                    return;
                }
                back.into_iter().for_each(|back| self.fib.admit(back));
                self.fib.retry();
            }
        }
        panic!("does not settle: {:?}\n{:#?}", self.fib.counts(), self.kernel);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Want(number, links) => {
                let prefix = prefix(*number);
                self.fib.desire(prefix, Some(&via(prefix, links)));
                self.wanted.insert(prefix, links.clone());
                if prefix.is_ipv4() {
                    self.dead.retain(|link| !links.contains(link));
                }
            }
            Step::Withdraw(number) => {
                self.fib.desire(prefix(*number), None);
                self.wanted.remove(&prefix(*number));
            }
            Step::Static(numbers) => {
                self.fixed = numbers.iter().map(|number| prefix(*number)).collect();
                self.fib.desire_static(&self.static_routes());
            }
            Step::Carrier(link, up) => self.kernel.set_carrier((*link).into(), *up),
            Step::Address(link, there) => {
                for address in addresses(*link) {
                    if *there {
                        self.kernel.add_address((*link).into(), address);
                    } else {
                        self.kernel.remove_address((*link).into(), address);
                    }
                }
            }
            Step::ForeignDelete(number) => self.kernel.foreign_delete(prefix(*number)),
            Step::ForeignWrite(number) => self.kernel.foreign_write(prefix(*number)),
            Step::DeleteNexthop(number) => {
                if let Some(id) = self.kernel.nexthops.keys().nth(*number).copied() {
                    self.kernel.foreign_delete_nexthop(id);
                }
            }
            Step::Lose => self.kernel.lose_notices(),
            Step::PathDown(link) => {
                self.dead.insert(*link);
                self.fib.path_down(gateway(prefix(0), *link).gateway);
            }
            Step::Restart => self.restart(),
            Step::Sweep => self.fib.allow_sweep(),
            Step::Turn(times) => {
                for _ in 0..*times {
                    self.turn();
                }
            }
        }
    }

    fn static_routes(&self) -> Vec<(IpNetwork, DesiredRoute)> {
        let unreachable = DesiredRoute {
            target: RouteTarget::Unreachable,
            pref_src: None,
        };
        self.fixed
            .iter()
            .map(|prefix| (*prefix, unreachable.clone()))
            .collect()
    }

    /// A new machine on the old kernel, told everything again.
    fn restart(&mut self) {
        while self.fib.pending() > 0 {
            self.turn();
        }
        self.fib = start(self.settings);
        self.dead.clear();
        self.turn();
        for (prefix, links) in &self.wanted {
            self.fib.desire(*prefix, Some(&via(*prefix, links)));
        }
        self.fib.desire_static(&self.static_routes());
    }

    /// The legs that a prefix must have now; none when no next hop can be used.
    fn usable(&self, prefix: IpNetwork, links: &[u8]) -> BTreeSet<u8> {
        let is_usable = |link: &&u8| {
            self.kernel
                .interfaces
                .get(&u32::from(**link))
                .is_some_and(|found| {
                    found.carrier
                        && found
                            .addresses
                            .iter()
                            .any(|address| address.contains(gateway(prefix, **link).gateway))
                })
        };
        let usable: BTreeSet<u8> = links.iter().filter(is_usable).copied().collect();
        let alive: BTreeSet<u8> = usable
            .iter()
            .filter(|link| !(prefix.is_ipv4() && self.dead.contains(link)))
            .copied()
            .collect();
        if alive.is_empty() { usable } else { alive }
    }

    fn check(&self, foreign: &BTreeSet<IpNetwork>) {
        for (prefix, held) in &self.kernel.routes {
            if !held.ours {
                assert!(foreign.contains(prefix));
                continue;
            }
            assert!(
                self.fixed.contains(prefix) || self.wanted.contains_key(prefix),
                "{prefix} is there, but nobody wants it"
            );
        }
        for prefix in &self.fixed {
            let held = &self.kernel.routes[prefix];
            assert!(
                !held.ours || held.route.target == Target::Unreachable,
                "{prefix}: {held:?}"
            );
        }
        for (prefix, links) in self
            .wanted
            .iter()
            .filter(|(prefix, _)| !self.fixed.contains(prefix))
        {
            let usable = self.usable(*prefix, links);
            match self.kernel.routes.get(prefix) {
                Some(held) if !held.ours => {}
                None => assert!(
                    usable.is_empty(),
                    "{prefix} via {usable:?} is missing: {:?}",
                    self.fib.counts()
                ),
                Some(held) => {
                    let legs = self.kernel.legs(&held.route.target);
                    let links: BTreeSet<u8> = legs
                        .iter()
                        .map(|leg| u8::try_from(leg.interface).expect("small"))
                        .collect();
                    assert!(
                        usable.is_empty() || links == usable,
                        "{prefix}: {links:?}, not {usable:?}"
                    );
                }
            }
        }
        let ours = self.kernel.routes.values().filter(|held| held.ours).count();
        let counts = self.fib.counts();
        assert_eq!(
            counts.installed_ipv4 + counts.installed_ipv6,
            ours,
            "what we call installed is installed"
        );
    }
}

fn start(settings: Settings) -> Fib {
    let mut fib = Fib::new(settings, true);
    fib.prefer_source(PrefSrc {
        ipv4: Some([10, 0, 1, 2].into()),
        ipv6: Some("fd00:1::2".parse().expect("address")),
    });
    fib
}

fn run(steps: &[Step], nexthop_objects: NexthopObjects, delay: usize) {
    let mut world = World::new(nexthop_objects, delay);
    for step in steps {
        world.step(step);
    }
    world.fib.allow_sweep();
    world.settle();
    let foreign: BTreeSet<IpNetwork> = world
        .kernel
        .routes
        .iter()
        .filter(|(_, held)| !held.ours)
        .map(|(prefix, _)| *prefix)
        .collect();
    world.check(&foreign);
    // Silence stays silent: a machine at rest writes nothing.
    let written = world.kernel.written.len();
    world.kernel.lose_notices();
    world.settle();
    let is_probe = |op: &Op| matches!(op, Op::AddRoute(route) if foreign.contains(&route.prefix));
    let rewritten: Vec<_> = world.kernel.written[written..]
        .iter()
        .filter(|op| !is_probe(op))
        .collect();
    assert!(
        rewritten.is_empty(),
        "a second look changes nothing: {rewritten:?}"
    );
    for prefix in foreign {
        world.kernel.foreign_delete(prefix);
    }
    world.settle();
    world.check(&BTreeSet::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_ends_up_as_wanted(steps in prop::collection::vec(step(), 1..60), delay in 0_usize..3) {
        run(&steps, NexthopObjects::Auto, delay);
    }

    #[test]
    fn also_without_nexthop_objects(steps in prop::collection::vec(step(), 1..60), delay in 0_usize..3) {
        run(&steps, NexthopObjects::Disabled, delay);
    }
}
