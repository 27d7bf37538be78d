//! A ToR is taken out of service and put back, as an operator does it; nobody loses a packet.

use std::time::Duration;

use flatroute_bgp::policy::Drain;

use super::{QUICK_REST, REST, SECOND, Story, swarming, thirty};
use crate::dice::Dice;
use crate::faults::{self, Change, Fault};
use crate::marks::Mark;
use crate::tcp::LAST_RETRY;
use crate::topology::{Fabric, HostId, Role, fabric};
use crate::trace::Trace;
use crate::verify::{self, neighbour};
use crate::world::{Death, Mutant, Options};

use super::Outcome;

/// How often a ToR is drained.
const ROUNDS: u64 = 2;
/// How long after the objects have changed a ToR is cut off, in milliseconds: at least until the last node has heard of it (0.8 s),
/// and kernels have followed (twice `flatroute_bgp::speaker::LINGER_TIME`); at most until the routes are withdrawn and longer.
const DRAINS_MILLIS: [u64; 2] = [6_000, 50_000];
/// How long it is cut off, in milliseconds: shorter than a hold time, or longer.
const CUT_OFF_MILLIS: [u64; 2] = [1_000, 100_000];
/// How long it is back before it is put back into service, in milliseconds.
const IDLE_MILLIS: [u64; 2] = [0, 40_000];

fn millis(dice: &mut Dice, [low, high]: [u64; 2]) -> Duration {
    Duration::from_millis(dice.between(low, high))
}

/// A fabric of thirty nodes with two ToRs in each rack. The nodes of a rack drain one of them, each at a moment of its own; it is cut
/// off, comes back, and is put back into service. At no moment is a packet lost. That ToR may have a defect.
#[must_use]
pub fn drains(seed: u64, mutant: Option<Mutant>, trace: Trace) -> Outcome {
    let mut dice = Dice::new(seed ^ 0x00d7_a125);
    let shape = Fabric {
        tors: 2,
        // Each node has an object for each ToR.
        discovers: false,
        hold: Duration::from_secs(dice.between(9, 90)),
        rogues: false,
        ..thirty(&mut dice)
    };
    let options = Options {
        mutant,
        ..swarming(&mut dice)
    };
    let mut story = Story::new("drains", fabric(&shape), options, seed, trace);
    story.compared = usize::MAX;
    story.lull = LAST_RETRY + SECOND;
    let tors: Vec<HostId> = story.world.topology.of_role(&[Role::Tor]).collect();
    let drained: Vec<HostId> = (0..ROUNDS).filter_map(|_| dice.pick(&tors).copied()).collect();
    story.world.afflicted = drained.first().copied();
    story.cold_start(millis(&mut dice, [0, 3_000]));
    story.world.promised = story.prediction.clone();
    for tor in drained {
        if story.world.failure.is_none() {
            story.drain(&mut dice, tor, shape.shared_asns);
        }
    }
    story.world.promised = None;
    story.end();
    story.outcome()
}

impl Story {
    fn drain(&mut self, dice: &mut Dice, tor: HostId, shared_asns: bool) {
        let object = |drained| Fault::Objects(Change::Drain(tor, drained));
        // Where both ToRs have one ASN, the drained one hears of its nodes from nobody else once they have withdrawn their routes.
        if shared_asns {
            self.world.excused.insert(tor);
        }
        faults::order(&mut self.world, Duration::ZERO, object(true));
        self.world.run(millis(dice, DRAINS_MILLIS));
        if self.world.failure.is_some() {
            return;
        }
        self.mark_cut_off(tor);
        self.world.excused.insert(tor);
        let lasts = millis(dice, CUT_OFF_MILLIS);
        let links = self.world.topology.hosts[tor]
            .ports
            .iter()
            .map(|port| port.link)
            .collect();
        let fault = match dice.index(3) {
            0 => Fault::Die(tor, Death::PowerLoss, lasts),
            kind => Fault::Cut {
                links,
                ends: [true; 2],
                carrier: kind == 1,
                lasts,
            },
        };
        faults::order(&mut self.world, Duration::ZERO, fault);
        self.world.run(lasts + SECOND);
        self.await_sessions("after a drained ToR came back");
        self.world.run(millis(dice, IDLE_MILLIS));
        faults::order(&mut self.world, Duration::ZERO, object(false));
        self.world.run(SECOND);
        self.rest(QUICK_REST, "after a drained ToR was put back into service");
        self.world.excused.clear();
    }

    /// Counts how far all nodes below a ToR have drained it.
    fn mark_cut_off(&mut self, tor: HostId) {
        let world = &self.world;
        let below = world.topology.hosts[tor].ports.iter();
        let mut below = below.filter(|port| world.topology.hosts[port.remote].role == Role::Node);
        let drain_at = |node: HostId, link| {
            let speaker = world.machines[node].speaker.as_ref()?;
            Some(speaker.peer(neighbour(world, node, link)?, world.now)?.drain)
        };
        let drain = below.next().and_then(|port| drain_at(port.remote, port.link));
        match drain {
            Some(Drain::Announced) => self.world.marks.reach(Mark::CutOffAnnounced),
            Some(Drain::Withdrawn) => self.world.marks.reach(Mark::CutOffWithdrawn),
            Some(Drain::None) | None => self
                .world
                .fail(|| "a ToR is not drained that shall be".to_owned()),
        }
    }

    /// Waits until all sessions are there.
    fn await_sessions(&mut self, when: &str) {
        self.predict();
        let end = self.world.now + REST;
        let mut found = Err(String::new());
        while self.world.failure.is_none() && self.world.now < end && found.is_err() {
            self.world.run(SECOND);
            found = match &self.prediction {
                Some(prediction) => verify::sessions(&self.world, prediction),
                None => Ok(()),
            };
        }
        if let Err(words) = found {
            self.world.fail(|| format!("{when}: {words}"));
        }
    }
}
