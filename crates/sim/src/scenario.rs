//! Stories: a fabric of thirty nodes and a swarm of faults, a mesh that starts in one millisecond, a data centre that starts
//! cold and loses a spine. Each is a function of a seed and ends with what it found.

mod drains;

use std::time::Duration;

use flatroute_bgp::speaker::{Config, Input};
use flatroute_bgp::types::{Family, FamilySet, Instant};

use crate::dice::Dice;
use crate::faults::{self, Fault};
use crate::marks::Marks;
use crate::model::{Prediction, predict};
use crate::tcp::LAST_RETRY;
use crate::topology::{Fabric, HostId, Role, Topology, fabric, mesh};
use crate::trace::Trace;
use crate::traffic::Traffic;
use crate::verify;
use crate::world::{Death, Mutant, Options, World};

pub use drains::drains;

const SECOND: Duration = Duration::from_secs(1);
/// How long a fabric may take to come to rest after faults, or with damage: the hold time of sessions whose other end is gone (30 s
/// at most), and the pause before somebody is called again who has been away for 40 s, which is about as long. It is less than
/// the time for which routes of a lost neighbour are kept (120 s; 20 s where the hold timer leaves some).
const REST: Duration = Duration::from_secs(75);
/// The same where a neighbour never says that it has said all: a process that has restarted waits 120 s for it before it sweeps
/// what nobody wants from its kernel.
const SWEPT_REST: Duration = Duration::from_secs(150);
/// The same where nothing has to run out first: after a cold start, after restarts, and when a drain is over.
const QUICK_REST: Duration = Duration::from_secs(20);
/// How long the routes of a large world may take to be complete where no timer has to run out first. They take a fifth of it.
const PROMPT: Duration = SECOND;
/// How long everything may take to be gone.
const END: Duration = Duration::from_secs(120);
/// How long a killed process is away at most, in milliseconds: less than a neighbour that restarts too is waited for
/// ([`flatroute_bgp::speaker::RESTARTING_PEER_PATIENCE`]), so that even the last of all is heard in time.
const BACK_MILLIS: u64 = 3_500;
/// The time between kills in a row.
const KILLS_APART: Duration = Duration::from_secs(3);
/// How long a kernel needs for a batch of routes at most, in microseconds.
const WRITES_MICROS: u64 = 10_000;
/// The same of a kernel for which nobody waits so long.
const SLOW_WRITES_MICROS: u64 = 300_000;
/// How many sessions of a large world have both their ends compared.
const COMPARED: usize = 40;

/// What a story found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The story and its seed.
    pub name: String,
    /// The command that tells it again, with all that happens.
    pub again: String,
    /// What went wrong, if something did.
    pub failure: Option<String>,
    /// All that happened, in one number.
    pub digest: u64,
    /// How many facts that were.
    pub facts: u64,
    /// The situations that were met.
    pub marks: Marks,
    /// What went over the links.
    pub traffic: Traffic,
    /// How much virtual time it took.
    pub took: Duration,
    /// When the routes of the last kernel were complete after the cold start.
    pub converged: Duration,
    /// The same after the loss of a spine, from the moment of the loss.
    pub reconverged: Option<Duration>,
    /// What went over the links until the cold start was over.
    pub cold: Traffic,
    /// How many speakers there were after the cold start.
    pub speakers: usize,
    /// How many sessions there were at once.
    pub sessions: usize,
    /// How many paths all speakers held together after the cold start.
    pub paths: usize,
}

struct Story {
    world: World,
    prediction: Option<Prediction>,
    name: String,
    again: String,
    converged: Duration,
    reconverged: Option<Duration>,
    cold: Traffic,
    speakers: usize,
    sessions: usize,
    paths: usize,
    compared: usize,
    /// How long the world must stay as it shall be.
    lull: Duration,
}

impl Story {
    /// A story that the program tells when it is given these arguments and the seed.
    fn new(arguments: &str, topology: Topology, options: Options, seed: u64, trace: Trace) -> Self {
        let mutant = options
            .mutant
            .map_or_else(String::new, |m| format!(" --mutant {m:?}"));
        Self {
            world: World::new(topology, options, seed, trace),
            prediction: None,
            name: format!("{arguments}{mutant}, seed {seed}"),
            again: format!(
                "cargo run --profile sim -p sim -- --story {arguments}{mutant} --seed {seed} --trace"
            ),
            converged: Duration::ZERO,
            reconverged: None,
            cold: Traffic::default(),
            speakers: 0,
            sessions: 0,
            paths: 0,
            compared: COMPARED,
            lull: Duration::ZERO,
        }
    }

    /// What the world must come to as it is now.
    fn predict(&mut self) {
        let world = &self.world;
        let is_whole = |link: usize| world.links[link].cut == [false; 2];
        let runs = |host: usize| world.machines[host].powered && world.machines[host].speaker.is_some();
        match predict(&world.topology, is_whole, runs) {
            Ok(prediction) => self.prediction = Some(prediction),
            Err(words) => self.world.fail(|| words),
        }
    }

    fn at_rest(&self) -> Result<(), String> {
        let Some(prediction) = &self.prediction else {
            return Ok(());
        };
        verify::sessions(&self.world, prediction)?;
        verify::kernels(&self.world, prediction)
    }

    /// Waits, at most so long, until the world is as predicted, and still is a while later: what is sent again after a loss
    /// may come late.
    fn rest(&mut self, within: Duration, when: &str) {
        self.predict();
        let end = self.world.now + within;
        let mut found = Err(String::new());
        while self.world.failure.is_none() && self.world.now < end {
            self.world.run(SECOND);
            found = self.at_rest();
            if found.is_ok() && !self.lull.is_zero() {
                self.world.run(self.lull);
                found = self.at_rest();
            }
            if found.is_ok() {
                break;
            }
        }
        let found = found
            .and_then(|()| verify::packets(&self.world))
            .and_then(|()| match &self.prediction {
                Some(prediction) => verify::tables(&self.world, prediction, self.compared),
                None => Ok(()),
            });
        if let Err(words) = found {
            self.world.fail(|| format!("{when}, {within:?} later: {words}"));
        }
    }

    /// From nothing to everything.
    fn cold_start(&mut self, within: Duration) {
        self.world.start_all(within);
        self.world.run(within);
        self.rest(QUICK_REST, "after the cold start");
        self.converged = self.world.last_change.since(Instant::ZERO);
        self.cold = self.world.traffic;
        self.speakers = self.world.speakers().count();
        self.sessions = self.prediction.as_ref().map_or(0, |p| p.sessions.len());
        self.paths = self.world.speakers().map(|(_, s)| s.usage().paths).sum();
    }

    /// Says so when something took longer than it may.
    fn expect_within(&mut self, bound: Duration, took: Duration, what: &str) {
        if took > bound {
            self.world
                .fail(|| format!("{what} took {took:?}, and {bound:?} is enough"));
        }
    }

    /// Breaks something, and makes it whole again.
    fn damage(&mut self, dice: &mut Dice, patience: Duration) {
        let damage = faults::damage(&mut self.world, dice);
        self.rest(patience, &format!("with {damage:?}"));
        faults::repair(&mut self.world, &damage);
        self.world.run(SECOND);
        self.rest(patience, &format!("after {damage:?} was repaired"));
    }

    /// Takes everything away, and looks whether something is left. What happens meanwhile counts for no situation.
    fn end(&mut self) {
        if self.world.failure.is_some() {
            return;
        }
        let marks = self.world.marks.clone();
        let hosts: Vec<usize> = self.world.honest().collect();
        for host in hosts {
            self.world.unplan(host);
            self.world.tell(host, Input::Configure(Config::default()));
        }
        self.world.run(END);
        self.world.marks = marks;
        if let Err(words) = verify::emptiness(&self.world) {
            self.world.fail(|| format!("after the end: {words}"));
        }
    }

    fn outcome(self) -> Outcome {
        let world = self.world;
        Outcome {
            name: self.name,
            again: self.again,
            failure: world.failure,
            digest: world.trace.digest(),
            facts: world.trace.facts(),
            marks: world.marks,
            traffic: world.traffic,
            took: world.now.since(Instant::ZERO),
            converged: self.converged,
            reconverged: self.reconverged,
            cold: self.cold,
            speakers: self.speakers,
            sessions: self.sessions,
            paths: self.paths,
        }
    }
}

/// A fabric of thirty nodes, of a shape that the seed decides, under two swarms of faults, and then without some of its links
/// and hosts. One speaker may have a defect.
#[must_use]
pub fn swarm(seed: u64, mutant: Option<Mutant>, trace: Trace) -> Outcome {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let shape = Fabric {
        notification: Dice::new(seed ^ 0x0000_8538).chance(500),
        ..thirty(&mut dice)
    };
    let options = Options {
        mutant,
        ..swarming(&mut dice)
    };
    let writes = [0, 1_000, WRITES_MICROS, SLOW_WRITES_MICROS];
    let options = Options {
        writes: Duration::from_micros(dice.pick(&writes).copied().unwrap_or(0)),
        ..options
    };
    let mut story = Story::new("swarm", fabric(&shape), options, seed, trace);
    if mutant == Some(Mutant::ResetsAll) {
        // What changes for nodes changes for all of them: one of them plans anew more often than any switch.
        story.world.afflicted = story.world.topology.of_role(&[Role::Node]).next();
    }
    story.compared = usize::MAX;
    story.lull = LAST_RETRY + SECOND;
    story.cold_start(Duration::from_millis(dice.between(0, 3_000)));
    let patience = if shape.rogues { SWEPT_REST } else { REST };
    for round in 1..=2 {
        if story.world.failure.is_some() {
            break;
        }
        let count = dice.between(2, 14);
        let over = faults::order_swarm(&mut story.world, &mut dice, count, Duration::from_secs(30));
        let span = over.since(story.world.now) + SECOND;
        story.world.run(span);
        story.rest(patience, &format!("after swarm {round}"));
    }
    if story.world.failure.is_none() {
        story.damage(&mut dice, patience);
    }
    story.end();
    story.outcome()
}

/// A fabric of thirty nodes whose processes are killed and come back: one, one five times, all of them in the same second.
/// At no moment is a packet lost. One speaker may have a defect.
#[must_use]
pub fn restarts(seed: u64, mutant: Option<Mutant>, trace: Trace) -> Outcome {
    let mut dice = Dice::new(seed ^ 0x0e57_a275);
    let shape = Fabric {
        hold: Duration::from_secs(90),
        rogues: false,
        ..thirty(&mut dice)
    };
    let options = Options {
        mutant,
        ..swarming(&mut dice)
    };
    let mut story = Story::new("restarts", fabric(&shape), options, seed, trace);
    story.compared = usize::MAX;
    story.lull = LAST_RETRY + SECOND;
    story.cold_start(Duration::from_millis(dice.between(0, 3_000)));
    story.world.promised = story.prediction.clone();
    let hosts: Vec<HostId> = story.world.honest().collect();
    for round in 1..=3 {
        let one = *dice.pick(&hosts).unwrap_or(&0);
        let killed: Vec<(HostId, Duration)> = match round {
            1 => vec![(one, SECOND)],
            2 => (0..5).map(|kill| (one, KILLS_APART * kill)).collect(),
            _ => {
                let after = |dice: &mut Dice| Duration::from_millis(dice.between(0, 3_000));
                hosts.iter().map(|host| (*host, after(&mut dice))).collect()
            }
        };
        for (host, after) in killed {
            let deaths = [Death::Killed, Death::KilledUnread];
            let death = *dice.pick(&deaths).unwrap_or(&Death::Killed);
            let back = Duration::from_millis(dice.between(50, BACK_MILLIS));
            faults::order(&mut story.world, after, Fault::Die(host, death, back));
        }
        story.world.run(KILLS_APART * 10);
        story.rest(QUICK_REST, &format!("after round {round} of restarts"));
    }
    story.world.promised = None;
    story.end();
    story.outcome()
}

/// How worlds under faults behave.
fn swarming(dice: &mut Dice) -> Options {
    Options {
        whole_kernels: true,
        cuts: true,
        watches: true,
        window: *dice.pick(&[256, 1_500, 9_000, 65_536]).unwrap_or(&256),
        think: Duration::from_micros(dice.between(50, 5_000)),
        latency: [
            Duration::from_micros(100),
            Duration::from_millis(dice.between(1, 20)),
        ],
        writes: Duration::from_micros(dice.between(1, WRITES_MICROS)),
        mutant: None,
    }
}

fn thirty(dice: &mut Dice) -> Fabric {
    let (racks, nodes) = [(1, 30), (2, 15), (3, 10), (5, 6), (6, 5)][dice.index(5)];
    let mut families = FamilySet::NONE;
    let which = dice.index(4);
    for (family, without) in [(Family::Ipv4, 0), (Family::Ipv6, 1)] {
        if which != without {
            families.insert(family);
        }
    }
    Fabric {
        racks,
        nodes,
        tors: 1 + dice.index(2),
        spines: 1 + dice.index(3),
        families,
        shared_asns: dice.chance(500),
        discovers: dice.chance(500),
        hold: Duration::from_secs(dice.between(3, 20)),
        retry: Duration::from_secs(dice.between(1, 4)),
        notification: false,
        rogues: dice.chance(500),
    }
}

/// The families of a large world: both, in one seed of three.
fn families(seed: u64) -> FamilySet {
    match seed % 3 {
        1 => FamilySet::BOTH,
        2 => [Family::Ipv4].into_iter().collect(),
        _ => [Family::Ipv6].into_iter().collect(),
    }
}

/// How large worlds behave.
fn large(latency_micros: [u64; 2], think: Duration) -> Options {
    Options {
        whole_kernels: false,
        cuts: false,
        watches: false,
        window: 65_536,
        think,
        writes: Duration::ZERO,
        latency: latency_micros.map(Duration::from_micros),
        mutant: None,
    }
}

/// Nodes on one link, each a neighbour of every other one, that all start in the same millisecond. The first may have a defect.
#[must_use]
pub fn full_mesh(nodes: usize, seed: u64, mutant: Option<Mutant>, trace: Trace) -> Outcome {
    let topology = mesh(nodes, families(seed));
    let options = Options {
        mutant,
        ..large([50, 400], Duration::from_millis(1))
    };
    let mut story = Story::new(&format!("mesh --nodes {nodes}"), topology, options, seed, trace);
    story.world.afflicted = Some(0);
    story.cold_start(Duration::from_millis(1));
    story.expect_within(PROMPT, story.converged, "the cold start");
    story.end();
    story.outcome()
}

/// Racks of twenty nodes with two ToRs each, and four spines: from a cold start, and after the loss of a spine.
#[must_use]
pub fn data_centre(nodes: usize, seed: u64, trace: Trace) -> Outcome {
    let shape = Fabric {
        racks: nodes.div_ceil(20),
        nodes: nodes.min(20),
        tors: 2,
        spines: 4,
        families: families(seed),
        shared_asns: false,
        discovers: true,
        hold: Duration::from_secs(9),
        retry: Duration::from_secs(5),
        notification: false,
        rogues: false,
    };
    let mut story = Story::new(
        &format!("data-centre --nodes {nodes}"),
        fabric(&shape),
        large([20, 200], Duration::from_millis(5)),
        seed,
        trace,
    );
    story.cold_start(Duration::from_millis(200));
    story.expect_within(PROMPT, story.converged, "the cold start");
    let spine = story.world.topology.of_role(&[Role::Spine]).next();
    if let Some(spine) = spine.filter(|_| story.world.failure.is_none()) {
        let lost = story.world.now;
        story.world.end(spine, Death::PowerLoss);
        story.rest(REST, "after the loss of a spine");
        let took = story.world.last_change.since(lost);
        story.reconverged = Some(took);
        story.expect_within(shape.hold + PROMPT, took, "the loss of a spine");
    }
    story.end();
    story.outcome()
}
