//! A link that comes back carries at once what has no other way, and joins other links only when it is admitted.

use flatroute_fib::memory::MemoryKernel;
use flatroute_fib::{DesiredRoute, Fib, NextHop, NexthopObjects, Return, RouteTarget, Settings, turn};
use ipnetwork::IpNetwork;

struct World {
    fib: Fib,
    kernel: MemoryKernel,
}

impl World {
    /// Two links, and to each of two prefixes a route: over both, over the first alone.
    fn new(nexthop_objects: NexthopObjects) -> Self {
        let settings = Settings {
            nexthop_objects,
            ..Settings::default()
        };
        let mut kernel = MemoryKernel::default();
        for link in [1, 2] {
            let address: IpNetwork = format!("10.0.{link}.2/24").parse().expect("an address");
            kernel.add_interface(link, &[address]);
        }
        let mut fib = Fib::new(settings, true);
        for (prefix, links) in [(BOTH, &[1, 2][..]), (ALONE, &[1])] {
            let hop = |link: &u32| NextHop {
                gateway: format!("10.0.{link}.1").parse().expect("an address"),
                interface: None,
            };
            let route = DesiredRoute {
                target: RouteTarget::Via(links.iter().map(hop).collect()),
                pref_src: None,
            };
            fib.desire(prefix.parse().expect("a prefix"), Some(&route));
        }
        let mut world = Self { fib, kernel };
        world.settle();
        assert_eq!((world.links(BOTH), world.links(ALONE)), (vec![1, 2], vec![1]));
        assert_eq!(
            world.back(),
            [],
            "links that were there from the start need no admission"
        );
        world
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            if let Ok(false) = turn(&mut self.fib, &mut self.kernel) {
                return;
            }
        }
        panic!("does not settle");
    }

    fn carrier(&mut self, link: u32, carrier: bool) {
        self.kernel.set_carrier(link, carrier);
        self.settle();
    }

    /// The links of a route in the kernel; none when it is not there.
    fn links(&self, prefix: &str) -> Vec<u32> {
        let held = self.kernel.routes.get(&prefix.parse().expect("a prefix"));
        held.map_or_else(Vec::new, |held| {
            let legs = self.kernel.legs(&held.route.target);
            legs.iter().map(|leg| leg.interface).collect()
        })
    }

    fn back(&self) -> Vec<Return> {
        self.fib.returned().collect()
    }
}

const BOTH: &str = "10.244.1.0/24";
const ALONE: &str = "10.244.2.0/24";

fn both_modes(test: impl Fn(World)) {
    test(World::new(NexthopObjects::Auto));
    test(World::new(NexthopObjects::Disabled));
}

#[test]
fn a_returned_link_carries_what_has_no_other_way_and_waits_to_share() {
    both_modes(|mut world| {
        world.carrier(1, false);
        assert_eq!(world.links(BOTH), [2]);
        world.carrier(1, true);
        assert_eq!((world.links(BOTH), world.links(ALONE)), (vec![2], vec![1]));
        let back = world.back();
        assert_eq!(back.iter().map(|back| back.interface).collect::<Vec<_>>(), [1]);
        world.fib.admit(back[0]);
        world.settle();
        assert_eq!(world.links(BOTH), [1, 2]);
        assert_eq!(world.back(), []);
    });
}

#[test]
fn a_waiting_link_helps_out_when_the_other_dies() {
    both_modes(|mut world| {
        world.carrier(1, false);
        world.carrier(1, true);
        world.carrier(2, false);
        assert_eq!(world.links(BOTH), [1]);
    });
}

#[test]
fn links_that_all_came_back_do_not_wait_for_each_other() {
    both_modes(|mut world| {
        world.carrier(1, false);
        world.carrier(2, false);
        world.carrier(1, true);
        assert_eq!(world.links(BOTH), [1]);
        world.carrier(2, true);
        assert_eq!(world.links(BOTH), [1, 2]);
    });
}

#[test]
fn an_admission_is_for_one_return_only() {
    both_modes(|mut world| {
        world.carrier(1, false);
        world.carrier(1, true);
        let first = world.back();
        world.carrier(1, false);
        assert_eq!(world.back(), [], "a link that is away has not returned");
        world.carrier(1, true);
        world.fib.admit(first[0]);
        world.settle();
        assert_eq!(world.links(BOTH), [2], "it bounced since and waits again");
    });
}
