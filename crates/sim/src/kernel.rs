//! The routing table of a host.
//!
//! **Whole**: the machine of `flatroute-fib`, as it runs on a node, over the kernel in memory of the same crate, with a door in
//! front that can refuse every write for a while. What is asked of it is asked of the memory, so a route counts only when it
//! is really there. **Plain**: a map of what the speaker wants, for worlds of a thousand hosts, where two million routes would
//! be kept four times over.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use flatroute_bgp::rib::RouteChange;
use flatroute_bgp::types::Prefix;
use flatroute_fib::memory::MemoryKernel;
use flatroute_fib::{
    Answers, DesiredRoute, Fib, Interface, Kernel as Verbs, KernelNexthop, KernelRoute, NextHop,
    NexthopObjects, Notice, Op, PrefSrc, Refusal, RefusalKind, RouteTarget, Settings, Target, turn,
};
use flatroute_plan::FibPlan;
use ipnetwork::IpNetwork;

use crate::topology::Host;

/// The interface that carries a host's own addresses.
const LOOPBACK: u32 = 1;
/// How many turns a machine may take until it has nothing more to do.
const MAX_TURNS: usize = 100_000;
/// When what was refused is tried again; as in `flatroute-fib-io`.
pub const RETRY: Duration = Duration::from_secs(1);
/// When a link that came back is admitted; as in `flatroute-fib-io`.
pub const SETTLE: Duration = Duration::from_millis(1500);

/// The kernel in memory, and a door that may be closed to writes.
#[derive(Debug, Default)]
struct Door {
    memory: MemoryKernel,
    closed: bool,
    refused: u64,
}

impl Verbs for Door {
    type Error = Infallible;

    fn interfaces(&mut self) -> Result<Vec<Interface>, Infallible> {
        self.memory.interfaces()
    }

    fn nexthops(&mut self) -> Result<Vec<KernelNexthop>, Infallible> {
        self.memory.nexthops()
    }

    fn routes(&mut self) -> Result<Vec<KernelRoute>, Infallible> {
        self.memory.routes()
    }

    fn notices(&mut self) -> Result<Vec<Notice>, Infallible> {
        self.memory.notices()
    }

    fn apply(&mut self, ops: Vec<Op>) -> Result<Answers, Infallible> {
        if self.closed && !ops.is_empty() {
            let refuse = |op| {
                let refusal = Refusal {
                    kind: RefusalKind::Other,
                    text: "ENOBUFS: No buffer space available".to_owned(),
                };
                (op, Err(refusal))
            };
            self.refused += u64::try_from(ops.len()).unwrap_or(u64::MAX);
            return Ok(ops.into_iter().map(refuse).collect());
        }
        let answers = self.memory.apply(ops)?;
        // What was written is kept by the memory for its own tests.
        self.memory.written.clear();
        let refused = answers.iter().filter(|(_, answer)| answer.is_err()).count();
        self.refused += u64::try_from(refused).unwrap_or(u64::MAX);
        Ok(answers)
    }
}

/// The whole machine.
#[derive(Debug)]
pub struct Whole {
    fib: Fib,
    door: Door,
}

/// A host's routing table.
#[derive(Debug)]
pub enum Kernel {
    /// The machine of a node and a kernel in memory.
    Whole(Box<Whole>),
    /// What the speaker wants.
    Plain(BTreeMap<Prefix, Vec<IpAddr>>),
}

impl Kernel {
    /// A kernel that has just booted. A switch has no addresses that its routes prefer.
    #[must_use]
    pub fn booted(host: &Host, whole: bool) -> Self {
        if !whole {
            return Self::Plain(BTreeMap::new());
        }
        let mut memory = MemoryKernel::default();
        let own: Vec<IpNetwork> = host.addresses.iter().map(|a| IpNetwork::from(*a)).collect();
        memory.add_interface(LOOPBACK, &own);
        for port in &host.ports {
            memory.add_interface(port.interface, &port.networks);
        }
        Self::Whole(Box::new(Whole {
            fib: Fib::new(Settings::default(), true),
            door: Door {
                memory,
                ..Door::default()
            },
        }))
    }

    /// A process starts: its machine knows nothing of what is there.
    pub fn adopt(&mut self) {
        match self {
            Self::Whole(whole) => whole.fib = Fib::new(Settings::default(), true),
            Self::Plain(routes) => routes.clear(),
        }
    }

    /// The part of a plan that concerns the kernel.
    pub fn plan(&mut self, plan: &FibPlan) {
        if let Self::Whole(whole) = self {
            let route = DesiredRoute {
                target: RouteTarget::Unreachable,
                pref_src: None,
            };
            let fixed: Vec<_> = plan.unreachable.iter().map(|p| (*p, route.clone())).collect();
            whole.fib.desire_static(&fixed);
            whole.fib.prefer_source(PrefSrc {
                ipv4: plan.preferred_source_ipv4,
                ipv6: plan.preferred_source_ipv6,
            });
            let wanted = Settings {
                table: plan.table,
                metric: plan.metric,
                protocol: plan.protocol,
                max_paths: plan.max_paths,
                nexthop_objects: NexthopObjects::Auto,
            };
            assert_eq!(wanted, Settings::default(), "no topology asks for other settings");
        }
    }

    /// No plan at all.
    pub fn unplan(&mut self) {
        if let Self::Whole(whole) = self {
            whole.fib.desire_static(&[]);
        }
    }

    /// What the speaker wants from now on.
    pub fn change(&mut self, changes: &[RouteChange]) {
        for change in changes {
            match self {
                Self::Whole(whole) => {
                    let hops: Vec<NextHop> = change
                        .paths
                        .iter()
                        .map(|path| NextHop {
                            gateway: path.next_hop.addr(),
                            interface: path.interface,
                        })
                        .collect();
                    let route = (!hops.is_empty()).then_some(DesiredRoute {
                        target: RouteTarget::Via(hops),
                        pref_src: None,
                    });
                    whole.fib.desire(change.prefix.into(), route.as_ref());
                }
                Self::Plain(routes) if change.paths.is_empty() => _ = routes.remove(&change.prefix),
                Self::Plain(routes) => {
                    let hops = change.paths.iter().map(|path| path.next_hop.addr()).collect();
                    routes.insert(change.prefix, hops);
                }
            }
        }
    }

    /// Writes what is to be written. Whether something is to be tried again or admitted later.
    pub fn settle(&mut self) -> bool {
        let Self::Whole(whole) = self else { return false };
        let Whole { fib, door } = &mut **whole;
        let more = (0..MAX_TURNS)
            .map(|_| match turn(fib, door) {
                Ok(more) => more,
                Err(never) => match never {},
            })
            .position(|more| !more);
        assert!(more.is_some(), "the kernel's machine never settles");
        while fib.poll_report().is_some() {}
        fib.wants_retry() || fib.returned().next().is_some()
    }

    /// Tries again what was refused, and admits links that came back.
    pub fn retry(&mut self) {
        if let Self::Whole(whole) = self {
            whole.fib.retry();
            let returned: Vec<_> = whole.fib.returned().collect();
            for back in returned {
                whole.fib.admit(back);
            }
        }
    }

    /// All neighbours have told their routes: what nothing wants goes.
    pub fn sweep(&mut self) {
        if let Self::Whole(whole) = self {
            whole.fib.allow_sweep();
        }
    }

    /// Closes or opens the door to writes.
    pub fn refuse(&mut self, closed: bool) {
        if let Self::Whole(whole) = self {
            whole.door.closed = closed;
        }
    }

    /// Whether the door is closed.
    #[must_use]
    pub fn refuses(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.door.closed,
            Self::Plain(_) => false,
        }
    }

    /// How many writes were refused since the boot.
    #[must_use]
    pub fn refused(&self) -> u64 {
        match self {
            Self::Whole(whole) => whole.door.refused,
            Self::Plain(_) => 0,
        }
    }

    /// A cable is pulled, or plugged in.
    pub fn carrier(&mut self, interface: u32, carrier: bool) {
        if let Self::Whole(whole) = self {
            whole.door.memory.set_carrier(interface, carrier);
        }
    }

    /// Another program writes a route of its own at this prefix, or takes it away.
    pub fn foreign(&mut self, prefix: Prefix, present: bool) {
        if let Self::Whole(whole) = self {
            let memory = &mut whole.door.memory;
            if present {
                memory.foreign_write(prefix.into());
            } else if memory.routes.get(&prefix.into()).is_some_and(|held| !held.ours) {
                memory.foreign_delete(prefix.into());
            }
        }
    }

    /// Another program deletes whatever route of ours is there.
    pub fn delete(&mut self, prefix: Prefix) {
        if let Self::Whole(whole) = self {
            whole.door.memory.foreign_delete(prefix.into());
        }
    }

    /// All routes by which packets leave this host, with their gateways.
    #[must_use]
    pub fn routes(&self) -> BTreeMap<Prefix, BTreeSet<IpAddr>> {
        match self {
            Self::Whole(whole) => {
                let memory = &whole.door.memory;
                let leads = |target: &Target| match target {
                    Target::Nexthop(_) | Target::Paths(_) => true,
                    Target::Unreachable | Target::Other => false,
                };
                let held = memory.routes.values().filter(|held| leads(&held.route.target));
                held.map(|held| {
                    let legs = memory.legs(&held.route.target);
                    let gateways = legs.iter().map(|leg| leg.gateway).collect();
                    (Prefix::from(held.route.prefix), gateways)
                })
                .collect()
            }
            Self::Plain(routes) => routes
                .iter()
                .map(|(prefix, hops)| (*prefix, hops.iter().copied().collect()))
                .collect(),
        }
    }

    /// How many routes of ours there are, those that lead nowhere included.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(whole) => whole.door.memory.routes.values().filter(|held| held.ours).count(),
            Self::Plain(routes) => routes.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
