//! The pool of addresses, seen from outside: it is filled until ADD refuses, and what fits says what is held.
//!
//! That is the only way that works with any plugin: where and how addresses are recorded is its own business. It needs a
//! small pool ([`POOL_MAX`]). A plugin may let freed addresses rest, so one that seems lost is given [`REST`] to return.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::attachment::{Attachment, Pod};
use super::invocation::Answer;
use super::network::Network;
use super::verdict::Verdict;
use super::world::World;

/// More addresses are not counted.
pub(super) const POOL_MAX: usize = 260;
/// Longer than the usual cool-down of a freed address (30 s).
const REST: Duration = Duration::from_secs(45);
/// Counting is given up after so long, for plugins that take seconds for an ADD.
const COUNTING: Duration = Duration::from_secs(120);
/// ADDs at a time: counting is not the place to crowd a plugin (item 56 is).
const AT_A_TIME: usize = 1;

/// How a filled pool looks.
pub(super) struct Filled<'a> {
    /// What fitted.
    pub(super) made: Vec<Attachment<'a>>,
    /// What the first ADD that failed said; `None` when none failed.
    pub(super) refused: Option<(Pod, Answer)>,
}

/// Those that succeeded, and those that did not.
type Added<'a> = (Vec<Attachment<'a>>, Vec<(Pod, Answer)>);

/// `count` ADDs of the first plugin in new pods, `at_a_time` side by side.
pub(super) fn add_many<'a>(
    world: &'a World<'a>,
    network: &Network,
    count: usize,
    at_a_time: usize,
) -> Result<Added<'a>> {
    let pods: Vec<Pod> = (0..count).map(|_| world.pod()).collect::<Result<_>>()?;
    let (made, refused) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let queue = Mutex::new(pods);
    let work = || -> Result<()> {
        loop {
            let Some(pod) = queue.lock().ok().and_then(|mut pods| pods.pop()) else {
                return Ok(());
            };
            let mut attachment = world.planned(network, &pod);
            let answer = world.run(&attachment.call(0, "ADD"))?;
            if answer.code == Some(0) {
                attachment.result = answer.result()?;
                made.lock()
                    .map(|mut made| made.push(attachment))
                    .unwrap_or_default();
            } else {
                refused
                    .lock()
                    .map(|mut refused| refused.push((pod, answer)))
                    .unwrap_or_default();
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })?;
    Ok((
        made.into_inner().unwrap_or_default(),
        refused.into_inner().unwrap_or_default(),
    ))
}

/// Adds until ADD refuses.
pub(super) fn fill<'a>(world: &'a World<'a>, network: &Network) -> Result<Filled<'a>> {
    let begun = Instant::now();
    let mut filled = Filled {
        made: Vec::new(),
        refused: None,
    };
    while filled.refused.is_none() && filled.made.len() < POOL_MAX && begun.elapsed() < COUNTING {
        let (made, refused) = add_many(world, network, AT_A_TIME, AT_A_TIME)?;
        filled.made.extend(made);
        filled.refused = refused.into_iter().next();
    }
    Ok(filled)
}

/// How many addresses the pool has, counted once; `None` when they are too many.
pub(super) fn capacity(world: &World<'_>) -> Result<Option<usize>> {
    if let Some(known) = world.suite.capacity.lock().ok().and_then(|known| *known) {
        return Ok(known);
    }
    let network = world.network.named(&format!("{}-count", world.network.name));
    let filled = fill(world, &network)?;
    let counted = filled.refused.is_some().then_some(filled.made.len());
    for attachment in filled.made {
        attachment.delete()?;
    }
    if let Ok(mut known) = world.suite.capacity.lock() {
        *known = Some(counted);
    }
    Ok(counted)
}

/// Pass when the pool of `network`, of which `held` addresses are rightly in use, has lost none.
pub(super) fn whole(world: &World<'_>, network: &Network, held: usize) -> Result<Verdict> {
    let Some(capacity) = capacity(world)? else {
        return Ok(Verdict::NotProvoked(format!(
            "the rest holds; whether the address is free again shows only with a pool of at most {POOL_MAX}"
        )));
    };
    let begun = Instant::now();
    let mut there = held;
    while there < capacity {
        let filled = fill(world, network)?;
        there += filled.made.len();
        if there >= capacity {
            break;
        }
        if begun.elapsed() > REST {
            bail!(
                "of {capacity} addresses {} did not come back within {} s",
                capacity - there,
                REST.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(Verdict::Pass)
}
