//! Two nodes that dial each other, in *every* order: a small world in which whoever explores it chooses what happens
//! next — a node starts, the next thing on a connection arrives, a connection is lost — until nothing is left on its
//! way. Time stands still meanwhile, so what comes of an order is not the work of a timer.
//!
//! Machines cannot be copied, so each step plays its history again from the start; states that were seen before are
//! not explored twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;
use flatroute_bgp::peer::{Input, Output, Peer};
use flatroute_bgp::session::Settings;
use flatroute_bgp::types::{ConnId, Instant};

use crate::harness::{secs, settings};

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Start(usize),
    /// The next thing on a connection reaches a node.
    Deliver {
        pipe: usize,
        to: usize,
    },
    /// A connection is lost: both ends hear of it, each when its turn comes. Once a history.
    Lose(usize),
}

/// What is on its way.
#[derive(Clone, Debug)]
enum Event {
    Syn,
    Connected,
    Bytes(Vec<u8>),
    End,
}

#[derive(Debug)]
struct Pipe {
    /// Each node's name for it, while it knows it.
    ends: [Option<ConnId>; 2],
    /// What is on its way to each node, in order.
    queues: [VecDeque<Event>; 2],
}

struct World {
    now: Instant,
    peers: [Peer; 2],
    started: [bool; 2],
    pipes: Vec<Pipe>,
    accepted: u64,
    lost: Option<usize>,
    /// The pipe that carries the session of each node.
    sessions: [Option<usize>; 2],
    ups: [usize; 2],
    /// The pipes of sessions that ended.
    downs: [Vec<usize>; 2],
}

impl World {
    fn new(settings: &[Settings; 2]) -> Self {
        let peer = |n: usize| Peer::new(settings[n].clone(), 7 + n as u64, 1000, Instant::ZERO);
        Self {
            now: Instant::ZERO,
            peers: [peer(0), peer(1)],
            started: [false; 2],
            pipes: Vec::new(),
            accepted: 0,
            lost: None,
            sessions: [None; 2],
            ups: [0; 2],
            downs: Default::default(),
        }
    }

    /// What can happen now.
    fn choices(&self, losses: bool) -> Vec<Choice> {
        let starts = (0..2).filter(|n| !self.started[*n]).map(Choice::Start);
        let deliveries = (0..self.pipes.len()).flat_map(|pipe| [0, 1].map(|to| (pipe, to)));
        let deliveries = deliveries
            .filter(|(pipe, to)| !self.pipes[*pipe].queues[*to].is_empty())
            .map(|(pipe, to)| Choice::Deliver { pipe, to });
        let open = |pipe: &usize| self.pipes[*pipe].ends.iter().any(Option::is_some);
        let losses = (0..self.pipes.len())
            .filter(|pipe| losses && self.lost.is_none() && open(pipe))
            .map(Choice::Lose);
        starts.chain(deliveries).chain(losses).collect()
    }

    fn happen(&mut self, choice: Choice) {
        match choice {
            Choice::Start(node) => {
                self.started[node] = true;
                self.input(node, Input::Start);
            }
            Choice::Lose(pipe) => {
                self.lost = Some(pipe);
                for to in 0..2 {
                    let known = self.pipes[pipe].ends[to].is_some();
                    self.pipes[pipe].queues[to] = known.then_some(Event::End).into_iter().collect();
                }
            }
            Choice::Deliver { pipe, to } => self.deliver(pipe, to),
        }
    }

    fn deliver(&mut self, pipe: usize, to: usize) {
        let Some(event) = self.pipes[pipe].queues[to].pop_front() else {
            return;
        };
        match (event, self.pipes[pipe].ends[to]) {
            (Event::Syn, _) => {
                let conn = ConnId::Accepted(self.accepted);
                self.accepted += 1;
                self.pipes[pipe].ends[to] = Some(conn);
                self.pipes[pipe].queues[1 - to].push_back(Event::Connected);
                self.input(to, Input::Accepted { conn });
            }
            (Event::Connected, Some(conn)) => self.input(to, Input::Connected { conn }),
            (Event::Bytes(bytes), Some(conn)) => self.input(to, Input::Received { conn, bytes: &bytes }),
            (Event::End, Some(conn)) => {
                self.pipes[pipe].ends[to] = None;
                self.input(to, Input::Closed { conn, error: None });
            }
            // It has closed the connection itself.
            (Event::Connected | Event::Bytes(_) | Event::End, None) => {}
        }
    }

    fn input(&mut self, node: usize, input: Input<'_>) {
        self.peers[node].handle(input, self.now);
        while let Some(output) = self.peers[node].poll_output() {
            self.obey(node, &output);
        }
        for pipe in 0..self.pipes.len() {
            if let Some(conn) = self.pipes[pipe].ends[node] {
                while self.send(node, pipe, conn) {}
            }
        }
    }

    fn send(&mut self, node: usize, pipe: usize, conn: ConnId) -> bool {
        let mut out = BytesMut::new();
        let wrote = self.peers[node].poll_transmit(conn, &mut out, self.now);
        // Into a connection that is lost, octets go nowhere.
        if wrote && self.lost != Some(pipe) {
            self.pipes[pipe].queues[1 - node].push_back(Event::Bytes(out.to_vec()));
        }
        wrote
    }

    fn obey(&mut self, node: usize, output: &Output) {
        let pipe_of = |world: &Self, conn| world.pipes.iter().position(|p| p.ends[node] == Some(conn));
        match output {
            Output::Dial(conn) => {
                let mut pipe = Pipe {
                    ends: [None; 2],
                    queues: Default::default(),
                };
                pipe.ends[node] = Some(*conn);
                pipe.queues[1 - node].push_back(Event::Syn);
                self.pipes.push(pipe);
            }
            Output::Close(conn) => {
                let Some(pipe) = pipe_of(self, *conn) else { return };
                self.send(node, pipe, *conn);
                self.pipes[pipe].ends[node] = None;
                if self.lost != Some(pipe) {
                    self.pipes[pipe].queues[1 - node].push_back(Event::End);
                }
            }
            Output::Established { conn, .. } => {
                assert_eq!(self.sessions[node], None, "two sessions at once");
                self.sessions[node] = pipe_of(self, *conn);
                self.ups[node] += 1;
            }
            Output::Down { .. } => {
                let pipe = self.sessions[node].take();
                self.downs[node].push(pipe.expect("down without a session"));
            }
            Output::Notified { .. }
            | Output::Offending(_)
            | Output::Update(_)
            | Output::Refresh(..)
            | Output::Transition { .. } => {}
        }
    }

    fn agreed(&self) -> bool {
        self.sessions[0].is_some() && self.sessions[0] == self.sessions[1]
    }

    /// All that decides what comes next.
    fn fingerprint(&self) -> String {
        format!(
            "{:?}{:?}{:?}{:?}{:?}{:?}",
            self.peers, self.pipes, self.started, self.lost, self.ups, self.downs
        )
    }

    /// Lets time run, everything in the order in which it was sent, until both agree.
    fn settle(&mut self) {
        let end = Instant::ZERO + secs(60);
        while !self.agreed() {
            if let Some(choice) = self.choices(false).first() {
                self.happen(*choice);
                continue;
            }
            let next = (0..2)
                .filter_map(|n| Some((self.peers[n].poll_timeout()?, n)))
                .min();
            let (at, node) = next.expect("somebody has a timer");
            assert!(at <= end, "no session within a minute");
            self.now = at;
            self.input(node, Input::Timeout);
        }
    }
}

fn replay(settings: &[Settings; 2], history: &[Choice]) -> World {
    let mut world = World::new(settings);
    for choice in history {
        world.happen(*choice);
    }
    world
}

/// Explores every history, and hands each end of one — nothing is on its way any more — to `check`. How many states
/// there were, and how many ends.
fn explore(
    settings: &[Settings; 2],
    losses: bool,
    mut check: impl FnMut(World, &[Choice]),
) -> (usize, usize) {
    let mut seen = BTreeSet::new();
    let mut ends = 0;
    let mut histories = vec![Vec::new()];
    while let Some(history) = histories.pop() {
        let world = replay(settings, &history);
        if !seen.insert(world.fingerprint()) {
            continue;
        }
        let choices = world.choices(losses);
        for choice in &choices {
            let mut longer = history.clone();
            longer.push(*choice);
            histories.push(longer);
        }
        if choices.iter().all(|c| matches!(c, Choice::Lose(_))) {
            ends += 1;
            check(world, &history);
        }
    }
    (seen.len(), ends)
}

/// Identifiers either way round, and equal ones, where the AS decides.
fn identifiers() -> [[Settings; 2]; 4] {
    [
        [settings(64512, 1), settings(64513, 2)],
        [settings(64512, 2), settings(64513, 1)],
        [settings(64512, 7), settings(64513, 7)],
        [settings(64513, 7), settings(64512, 7)],
    ]
}

#[test]
fn every_order_gives_exactly_one_session_and_no_flap() {
    let mut dialled_by = BTreeMap::<usize, usize>::new();
    for settings in identifiers() {
        let (states, ends) = explore(&settings, false, |world, history| {
            assert!(world.agreed(), "{history:?}");
            assert_eq!(
                (world.ups, &world.downs),
                ([1, 1], &[vec![], vec![]]),
                "{history:?}"
            );
            let open = world.pipes.iter().filter(|p| p.ends.iter().any(Option::is_some));
            assert_eq!(open.count(), 1, "a connection was left open: {history:?}");
            *dialled_by.entry(world.sessions[0].unwrap()).or_default() += 1;
        });
        assert!(states > 200 && ends > 3, "only {states} states and {ends} ends");
    }
    assert!(
        dialled_by.len() >= 2,
        "each connection wins in some order: {dialled_by:?}"
    );
}

/// The same, and at any point in it one connection is lost: there is a session again within a minute, and none but
/// one on the lost connection has flapped.
#[test]
fn a_loss_at_any_point_costs_no_other_session() {
    let mut flapped = 0;
    for settings in identifiers() {
        let (states, ends) = explore(&settings, true, |mut world, history| {
            let Some(lost) = world.lost else { return };
            world.settle();
            for node in 0..2 {
                assert!(world.downs[node].iter().all(|pipe| *pipe == lost), "{history:?}");
                assert_eq!(world.ups[node], world.downs[node].len() + 1, "{history:?}");
                flapped += world.downs[node].len();
            }
        });
        assert!(states > 1000 && ends > 20, "only {states} states and {ends} ends");
    }
    assert!(flapped > 0, "no loss hit a session");
}
