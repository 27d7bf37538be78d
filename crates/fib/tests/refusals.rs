//! A kernel that refuses: what is told, how often, and that it goes in once the kernel takes it.

use std::convert::Infallible;

use flatroute_fib::memory::MemoryKernel;
use flatroute_fib::{
    DesiredRoute, Fib, Interface, Kernel, KernelNexthop, KernelRoute, NextHop, Notice, Op, Refusal,
    RefusalKind, Report, RouteTarget, Settings, turn,
};
use ipnetwork::IpNetwork;

/// Says no to every write while it is told to.
#[derive(Default)]
struct Refusing {
    willing: bool,
    asked: usize,
}

impl Kernel for Refusing {
    type Error = Infallible;

    fn interfaces(&mut self) -> Result<Vec<Interface>, Infallible> {
        Ok(Vec::new())
    }

    fn nexthops(&mut self) -> Result<Vec<KernelNexthop>, Infallible> {
        Ok(Vec::new())
    }

    fn routes(&mut self) -> Result<Vec<KernelRoute>, Infallible> {
        Ok(Vec::new())
    }

    fn notices(&mut self) -> Result<Vec<Notice>, Infallible> {
        Ok(Vec::new())
    }

    fn apply(&mut self, ops: Vec<Op>) -> Result<Vec<(Op, Result<(), Refusal>)>, Infallible> {
        self.asked += ops.len();
        let refusal = Refusal {
            kind: RefusalKind::Other,
            text: "Operation not permitted (os error 1)".to_owned(),
        };
        let answer = if self.willing { Ok(()) } else { Err(refusal) };
        Ok(ops.into_iter().map(|op| (op, answer.clone())).collect())
    }
}

fn settle<K: Kernel<Error = Infallible>>(fib: &mut Fib, kernel: &mut K) {
    for _ in 0..10 {
        match turn(fib, kernel) {
            Ok(true) => {}
            Ok(false) => return,
            Err(never) => match never {},
        }
    }
    panic!("still busy after ten turns");
}

#[test]
fn a_route_that_is_refused_again_and_again_is_told_of_once() {
    let (mut fib, mut kernel) = (Fib::new(Settings::default(), false), Refusing::default());
    let prefix: IpNetwork = "10.244.1.0/24".parse().expect("a prefix");
    let route = DesiredRoute {
        target: RouteTarget::Unreachable,
        pref_src: None,
    };
    fib.desire_static(&[(prefix, route)]);
    settle(&mut fib, &mut kernel);
    for _ in 0..5 {
        assert!(fib.wants_retry());
        fib.retry();
        settle(&mut fib, &mut kernel);
    }
    assert_eq!(kernel.asked, 6, "it was tried again each time");
    let failures: Vec<Report> = std::iter::from_fn(|| fib.poll_report())
        .filter(|report| matches!(report, Report::Failed { .. }))
        .collect();
    assert_eq!(
        failures,
        [Report::Failed {
            prefix,
            error: "Operation not permitted (os error 1)".to_owned()
        }]
    );
    assert_eq!(fib.counts().failed, 1);

    kernel.willing = true;
    fib.retry();
    settle(&mut fib, &mut kernel);
    assert_eq!((fib.counts().failed, fib.counts().installed_ipv4), (0, 1));
}

/// A kernel that keeps its nexthop objects while it is told to.
#[derive(Default)]
struct Keeping {
    memory: MemoryKernel,
    keeps: bool,
    asked: usize,
}

impl Kernel for Keeping {
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

    fn apply(&mut self, ops: Vec<Op>) -> Result<Vec<(Op, Result<(), Refusal>)>, Infallible> {
        let deletes = |op: &Op| matches!(op, Op::DeleteNexthop(_));
        if self.keeps && ops.iter().any(deletes) {
            assert!(ops.iter().all(deletes), "{ops:?}");
            self.asked += ops.len();
            let refusal = Refusal {
                kind: RefusalKind::Other,
                text: "No buffer space available (os error 105)".to_owned(),
            };
            return Ok(ops.into_iter().map(|op| (op, Err(refusal.clone()))).collect());
        }
        self.memory.apply(ops)
    }
}

#[test]
fn an_object_that_the_kernel_keeps_is_left_alone_until_the_next_retry() {
    let mut fib = Fib::new(Settings::default(), true);
    let mut kernel = Keeping::default();
    kernel.memory.add_interface(2, &["192.0.2.1/24".parse().unwrap()]);
    fib.allow_sweep();
    let prefix: IpNetwork = "10.244.1.0/24".parse().unwrap();
    let hop = NextHop {
        gateway: "192.0.2.2".parse().unwrap(),
        interface: None,
    };
    let route = DesiredRoute {
        target: RouteTarget::Via(vec![hop]),
        pref_src: None,
    };
    fib.desire(prefix, Some(&route));
    settle(&mut fib, &mut kernel);
    assert_eq!(kernel.memory.nexthops.len(), 1);

    kernel.keeps = true;
    fib.desire(prefix, None);
    settle(&mut fib, &mut kernel);
    assert_eq!((kernel.asked, kernel.memory.routes.len()), (1, 0));
    assert!(fib.wants_retry());
    fib.retry();
    settle(&mut fib, &mut kernel);
    assert_eq!((kernel.asked, kernel.memory.nexthops.len()), (2, 1));

    kernel.keeps = false;
    fib.retry();
    settle(&mut fib, &mut kernel);
    assert!(kernel.memory.nexthops.is_empty() && !fib.wants_retry());
}
