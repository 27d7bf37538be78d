//! The loop between the machine and a kernel, the same for the real one and for the fake.

use crate::machine::Fib;
use crate::types::{Interface, KernelNexthop, KernelRoute, Notice, Op, Refusal, Snapshot};

/// A kernel, or something that behaves like one. Five verbs: three to look, one to listen, one to write.
pub trait Kernel {
    /// Why looking failed.
    type Error;

    /// All interfaces with their addresses.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    fn interfaces(&mut self) -> Result<Vec<Interface>, Self::Error>;

    /// All nexthop objects.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    fn nexthops(&mut self) -> Result<Vec<KernelNexthop>, Self::Error>;

    /// All routes of our table, metric and protocol.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    fn routes(&mut self) -> Result<Vec<KernelRoute>, Self::Error>;

    /// What happened without us since the last call. Never waits.
    ///
    /// # Errors
    /// When the kernel cannot be heard.
    fn notices(&mut self) -> Result<Vec<Notice>, Self::Error>;

    /// Starts writing `ops` and returns the answers that are there: of this call or of earlier ones. With nothing
    /// to write it waits until one batch that is under way is answered.
    ///
    /// # Errors
    /// When the kernel cannot be written to at all; what a single write meets is its answer.
    fn apply(&mut self, ops: Vec<Op>) -> Result<Vec<(Op, Result<(), Refusal>)>, Self::Error>;
}

/// One turn: hear, read what is stale, write one batch. Returns whether another turn has something to do.
///
/// # Errors
/// Those of the kernel.
pub fn turn<K: Kernel>(fib: &mut Fib, kernel: &mut K) -> Result<bool, K::Error> {
    for notice in kernel.notices()? {
        fib.notice(notice);
    }
    let stale = fib.stale();
    if stale != crate::machine::Stale::default() {
        let interfaces = stale.interfaces.then(|| kernel.interfaces()).transpose()?;
        let nexthops = stale.nexthops.then(|| kernel.nexthops()).transpose()?;
        let routes = stale.routes.then(|| kernel.routes()).transpose()?;
        fib.observe(Snapshot {
            interfaces,
            nexthops,
            routes,
        });
    }
    let ops = fib.next_batch();
    if !ops.is_empty() || fib.pending() > 0 {
        for (op, result) in kernel.apply(ops)? {
            fib.outcome(op, result);
        }
    }
    Ok(!fib.is_settled())
}
