//! The kernel first, the neighbours second.
//!
//! A neighbour that is told of a route may send at once. If our own kernel does not have the route yet it sends the packet by
//! an older one, and at worst back to where it came from. So UPDATEs wait while route changes are on their way into the kernel,
//! but never longer than [`KERNEL_PATIENCE`] from the first of them on: a kernel that is flooded with routes, or refuses
//! to answer, does not keep neighbours waiting. KEEPALIVEs and NOTIFICATIONs wait for nothing.

use std::future::pending;

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use crate::KERNEL_PATIENCE;

/// What is on its way into the kernel.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// Says when the newest batch, and so all before it, is written.
    written: Option<oneshot::Receiver<()>>,
    /// Since when something has been on its way all the time.
    since: Option<Instant>,
}

impl Handover {
    /// A batch is handed over.
    pub(super) fn begin(&mut self, written: oneshot::Receiver<()>) {
        self.written = Some(written);
    }

    /// Looks whether all is written; `waits`: there are changes that nobody has had room for.
    pub(super) fn look(&mut self, waits: bool, now: Instant) {
        let is_out = |written: &mut oneshot::Receiver<()>| written.try_recv() == Err(TryRecvError::Empty);
        if self.written.as_mut().is_some_and(|written| !is_out(written)) {
            self.written = None;
        }
        let is_busy = waits || self.written.is_some();
        self.since = is_busy.then(|| self.since.unwrap_or(now));
    }

    /// Until when UPDATEs wait, if they do.
    pub(super) fn holds_until(&self, now: Instant) -> Option<Instant> {
        self.since
            .map(|since| since + KERNEL_PATIENCE)
            .filter(|until| *until > now)
    }

    /// Whether something is on its way.
    pub(super) fn is_out(&self) -> bool {
        self.written.is_some()
    }

    /// Waits until it has arrived, or nobody knows of it any more.
    pub(super) async fn arrival(&mut self) {
        match self.written.as_mut() {
            // Whoever drops the other end writes nothing any more: there is nothing to wait for.
            Some(written) => _ = written.await,
            None => pending().await,
        }
        self.written = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_wait_for_what_is_on_its_way_and_not_for_ever() {
        let start = Instant::now();
        let mut handover = Handover::default();
        handover.look(false, start);
        assert_eq!(handover.holds_until(start), None);

        let (written, receiver) = oneshot::channel();
        handover.begin(receiver);
        handover.look(false, start);
        let until = start + KERNEL_PATIENCE;
        assert_eq!(handover.holds_until(start), Some(until));
        // Ever more of it does not prolong the wait.
        let (other, receiver) = oneshot::channel();
        handover.begin(receiver);
        handover.look(true, until);
        assert_eq!(handover.holds_until(until), None);
        written.send(()).unwrap_err();

        // All is written: the next change makes them wait again.
        other.send(()).unwrap();
        handover.look(false, until);
        handover.look(true, until);
        assert_eq!(handover.holds_until(until), Some(until + KERNEL_PATIENCE));
        // What nobody will write any more is not waited for.
        let (dropped, receiver) = oneshot::channel();
        handover.begin(receiver);
        drop(dropped);
        handover.look(false, until);
        assert_eq!(handover.holds_until(until), None);
        assert!(!handover.is_out());
    }
}
