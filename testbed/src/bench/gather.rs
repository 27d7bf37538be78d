//! Row 3: routes in from many peers and out to one.

use std::time::Instant;

use anyhow::Result;

use super::feeder::Feeder;
use super::ground::Transport;
use super::passage::{conditions, is_well, rounds, table};
use super::through::Load;
use super::transit::Transit;
use super::{FEEDERS, FEWER_ROUNDS, Wishes};

/// How many feeders, and how many routes from each.
const CROWDS: [(u8, u32); 2] = [(4, 2500), (100, 1000)];
/// Places stand behind those of the other rows, and are one more than there are feeders: the last one is the sink.
const FIRST_PLACE: u8 = FEEDERS + 1;
pub(super) const LAST_PLACE: u8 = FEEDERS + 100 + 1;

/// Measures and prints all of row 3; false when our own agent failed.
pub(super) fn measure(wishes: &Wishes, begin: Instant) -> Result<bool> {
    let transits = Transit::asked_for(wishes)?;
    let title = "Routes in from many peers and out to one, then the withdrawal of all";
    print!("{}", conditions(&transits, title, "IPv4 routes made")?);
    let places = (FIRST_PLACE..=LAST_PLACE)
        .map(|number| Feeder::new(number, 0..1))
        .collect::<Result<Vec<_>>>()?;
    let mut well = true;
    for (peers, each) in CROWDS {
        let (feeders, with_sink) = (
            places.get(..usize::from(peers)).unwrap_or(&places),
            places.get(..=usize::from(peers)).unwrap_or(&places),
        );
        let load = Load::of_many(feeders, Transport::Ipv4, each)?;
        let count = wishes.rounds.unwrap_or(FEWER_ROUNDS).max(1);
        let lines = rounds(with_sink, &load, &transits, count, begin)?;
        print!("{}", table(&load, &lines, None, &[]));
        well &= is_well(&lines);
    }
    Ok(well)
}
