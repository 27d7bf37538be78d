//! Several changes in one datagram.
//!
//! The kernel takes the messages of a datagram one after the other, and goes on after one that it refuses. It always says what it
//! refused, and a success only to who asks. So the changes ask for nothing, and an empty message behind them asks: its
//! answer comes last and ends the wait. A dozen changes cost two system calls and one answer instead of a dozen of each.

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_NOOP};

use crate::netfilter::{frame, frames};
use crate::socket::{receive, send};
use crate::{Error, Result, Socket};

/// Changes that are to be sent together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The messages, each with its header.
    pub(crate) bytes: Vec<u8>,
    /// Number and name of each.
    pub(crate) asked: Vec<(u32, String)>,
}

/// A change of a batch that the kernel refused.
#[derive(Debug)]
pub struct Refusal {
    /// Its place in the batch, from 0.
    pub number: usize,
    /// Why.
    pub error: Error,
}

impl Socket {
    /// Collects the changes that `collect` asks for, and sends them together. They are carried out in this order, all of
    /// them: one that is refused keeps none of the others from it. While they are collected each seems to succeed; questions
    /// and dumps are asked at once, before them. Returns the refusals, in order.
    ///
    /// # Errors
    /// What `collect` returns, and then nothing is sent; [`Error::Socket`], [`Error::Unreadable`].
    pub fn batch(&mut self, collect: impl FnOnce(&mut Self) -> Result<()>) -> Result<Vec<Refusal>> {
        self.batch = Some(Batch::default());
        let collected = collect(self);
        let Batch { mut bytes, asked } = self.batch.take().unwrap_or_default();
        collected?;
        self.sequence = self.sequence.wrapping_add(1);
        let end = (NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, self.sequence);
        frame(&mut bytes, end, &[]);
        send(&self.inner, &bytes)?;
        self.refusals(&asked, self.sequence)
    }

    /// Reads the answers up to that to the empty message.
    fn refusals(&mut self, asked: &[(u32, String)], end: u32) -> Result<Vec<Refusal>> {
        let name = |number: usize| asked.get(number).map_or("a batch", |(_, name)| name).to_owned();
        let whole = || name(0);
        let mut refusals = Vec::new();
        loop {
            let length = receive(&self.inner, &mut self.received, &whole)?;
            let datagram = self.received.get(..length).unwrap_or_default();
            for frame in frames(datagram, &whole) {
                let frame = frame?;
                if frame.sequence == end {
                    return Ok(refusals);
                }
                let place = |(sequence, _): &(u32, String)| *sequence == frame.sequence;
                let Some(number) = asked.iter().position(place) else {
                    continue;
                };
                if let Some(Err(error)) = frame.outcome(&|| name(number))? {
                    refusals.push(Refusal { number, error });
                }
            }
        }
    }
}
