//! The chapters. Each takes the lab, does one thing, prints what it saw, and fails when that is not what was promised.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{ROUTES_BOUND, SESSIONS_BOUND, Teller, Wishes, cast_in_words, lab_with_pods};
use crate::lab::{Lab, prefixes};
use crate::paint::{self, table};
use crate::probe::Matrix;
use crate::speaker::{Session, Software, Speaker};
use crate::topology::{Numbering, Topology};
use crate::traffic::{Outcome, Stream};

/// Where the story looks closely.
const NODE: &str = "node1";
/// The ToR that loses its power.
const VICTIM: &str = "tor1a";
/// Packets a second of each stream while the ToR is cut.
const RATE: u32 = 1000;
/// Most packets of a stream that the return of the ToR may cost: what is sent in 20 ms.
const RETURN_BOUND: usize = 20;
/// Source ports of each stream.
pub(super) const FLOWS: u16 = 16;

/// The fabric comes up: drawing, speakers, sessions, routes, pods.
pub(super) fn rise(teller: &Teller, topology: Topology, wishes: &Wishes) -> Result<Lab> {
    teller.chapter("The fabric");
    teller.say("building namespaces and links");
    println!("\n{}", topology.drawing());
    let (routers, links) = (topology.routers.len(), topology.links.len());
    let addresses = match topology.numbering {
        Numbering::Numbered => "IPv4 and IPv6",
        Numbering::Unnumbered => "none of them numbered",
    };
    let mut lab = Lab::build(topology)?;
    expect_no_other_routes(&lab, None)?;
    teller.say(&format!(
        "{routers} network namespaces, {links} links, {addresses}; no node has a route to another node's pods"
    ));

    teller.chapter("BGP");
    teller.say(&format!("starting {}", cast_in_words(wishes.cast)));
    let begin = Instant::now();
    lab.start_speakers(wishes.cast)?;
    teller.say(&format!(
        "{routers} programs run, started one after the other in {:.0} ms; waiting for their sessions",
        millis(begin.elapsed())
    ));
    let (sessions, _) = lab.await_sessions(SESSIONS_BOUND)?;
    let count: usize = sessions.iter().map(|(_, sessions)| sessions.len()).sum();
    teller.say(&format!(
        "all {} sessions are established, {:.0} ms after the first start",
        count / 2,
        millis(begin.elapsed())
    ));
    lab.await_routes(ROUTES_BOUND, None)?;
    teller.say(&format!(
        "every node's kernel has every route, over two ToRs each, {:.0} ms after the first start",
        millis(begin.elapsed())
    ));
    // A second look: counts of routes are settled only now.
    let (sessions, _) = lab.await_sessions(SESSIONS_BOUND)?;
    print_sessions(&sessions);

    teller.chapter("Pods");
    teller.say("two on each node, through the CNI plugin");
    let lab = lab_with_pods(lab, wishes.wiring)?;
    let mut rows = vec![["pod", "IPv4", "IPv6"].map(str::to_owned).to_vec()];
    rows.extend(
        lab.pods
            .iter()
            .map(|pod| vec![pod.name.clone(), pod.ipv4.to_string(), pod.ipv6.to_string()]),
    );
    print!("{}", table(&rows));
    Ok(lab)
}

fn print_sessions(all: &[(String, Vec<Session>)]) {
    let mut rows = vec![
        [
            "router",
            "up",
            "neighbours, each with the prefixes received from it (IPv4/IPv6)",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (router, sessions) in all {
        let up = sessions.iter().filter(|session| session.is_established()).count();
        let mut row = vec![router.clone(), format!("{up} of {}", sessions.len())];
        let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        row.extend(sessions.iter().map(|session| {
            let [v4, v6] = session.received.map(count);
            format!("{} {v4}/{v6}", session.neighbour)
        }));
        rows.push(row);
    }
    let heading = rows.remove(0);
    let body = table(&rows);
    println!("  {:6}  {:6}  {}", heading[0], heading[1], heading[2]);
    print!("{body}");
}

/// What one node's kernel was taught.
pub(super) fn routes(teller: &Teller, lab: &mut Lab, wishes: &Wishes) -> Result<()> {
    teller.chapter(&format!("What BGP taught the kernel of {NODE}"));
    print_routes(lab, None)?;
    expect_no_other_routes(lab, Some(wishes.cast.nodes.route_protocol()))?;
    teller
        .say("two next hops each; on no node does another route, in any table, cover a pod of another node");
    Ok(())
}

/// Nothing but what BGP taught may lead to the pods of another node.
fn expect_no_other_routes(lab: &Lab, learned: Option<u8>) -> Result<()> {
    let others = lab.other_routes_to_pods(learned)?;
    ensure!(
        others.is_empty(),
        "routes to pods of other nodes that BGP did not teach:\n  {}",
        others.join("\n  ")
    );
    Ok(())
}

/// The routes of [`NODE`] to all pods, or to those of one other node.
fn print_routes(lab: &Lab, of: Option<&str>) -> Result<()> {
    let wanted = of.and_then(|name| lab.fabric.topology().find(name)).map(prefixes);
    let mut rows = Vec::new();
    for route in lab.routes_to_pods(NODE)? {
        if wanted
            .as_ref()
            .is_some_and(|wanted| !wanted.contains(&route.prefix))
        {
            continue;
        }
        let mut head = vec![route.prefix.to_string(), String::new()];
        if route.hops.is_empty() {
            head = vec![
                format!("unreachable {}", route.prefix),
                "what is no pod of this node ends here".to_owned(),
            ];
        }
        for (number, hop) in route.hops.iter().enumerate() {
            let via = hop
                .gateway
                .map_or("on link".to_owned(), |gateway| format!("via {gateway}"));
            let words = format!("{via} dev {}", hop.interface);
            if number == 0 {
                head[1] = words;
                if let Some(source) = route.source {
                    head.push(format!("src {source}"));
                }
                rows.push(head.clone());
            } else {
                rows.push(vec![String::new(), words]);
            }
        }
        if route.hops.is_empty() {
            rows.push(head);
        }
    }
    print!("{}", table(&rows));
    Ok(())
}

/// Everybody to everybody.
pub(super) fn matrix(teller: &Teller, lab: &Lab) -> Result<()> {
    teller.chapter("Who reaches whom");
    teller.say(
        "every pod to every other, UDP and TCP, IPv4 and IPv6; the receiver must see the pod's own address",
    );
    let matrix = Matrix::probe(&lab.pods)?;
    println!("\n{}", matrix.table());
    let (reached, all) = matrix.reached();
    if reached == all {
        println!("{}", paint::good(&matrix.summary()));
        return Ok(());
    }
    println!("{}", paint::bad(&matrix.summary()));
    let reasons: Vec<String> = matrix.failures().into_iter().take(12).collect();
    bail!("not all pods reach each other:\n  {}", reasons.join("\n  "))
}

/// A ToR loses its power under traffic, and gets it back.
pub(super) fn cut(teller: &Teller, lab: &mut Lab) -> Result<()> {
    teller.chapter("A ToR goes dark");
    let (from, to) = (lab.pod("node1-pod1")?.clone(), lab.pod("node3-pod1")?.clone());
    teller.say(&format!(
        "{RATE} packets a second each way and family between {} and {}, {FLOWS} flows each",
        from.name, to.name
    ));
    let start = Instant::now();
    let mut streams = Vec::new();
    for (from, to) in [(&from, &to), (&to, &from)] {
        for ipv6 in [false, true] {
            streams.push(Stream::start(from, to, ipv6, RATE, FLOWS)?);
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    let (dark, took) = lab.fabric.cut(VICTIM)?;
    teller.say(&format!(
        "{VICTIM}: all links down, within {:.1} ms; its neighbours see no carrier",
        millis(took)
    ));
    let took = lab.await_routes(ROUTES_BOUND, Some(VICTIM))?;
    teller.say(&format!(
        "nodes of rack 1 route over the other ToR alone (seen after {:.0} ms)",
        millis(took)
    ));
    print_routes(lab, Some(&to.node))?;
    std::thread::sleep(Duration::from_secs(1).saturating_sub(dark.elapsed()));
    let light = Instant::now();
    lab.fabric.restore(VICTIM)?;
    teller.say(&format!(
        "{VICTIM}: all links up again; a link that comes back serves at once what has no other way,"
    ));
    teller.say("and shares load with others when it has been back for a moment");
    lab.await_routes(ROUTES_BOUND, None)?;
    teller.say(&format!(
        "the second path is back in every kernel, {:.0} ms after the links",
        millis(light.elapsed())
    ));
    print_routes(lab, Some(&to.node))?;
    lab.await_sessions(SESSIONS_BOUND)?;
    teller.say("all sessions are established");
    std::thread::sleep(Duration::from_millis(300));
    let outcomes = Stream::finish(streams)?;
    let end = Instant::now();
    print_outcomes(&outcomes, [start, dark, light, end]);
    let before: usize = outcomes
        .iter()
        .map(|outcome| outcome.loss(start, dark).lost)
        .sum();
    ensure!(before == 0, "{before} packets were lost before anything was cut");
    let worst = outcomes.iter().map(|outcome| outcome.loss(light, end).lost).max();
    judge_return(teller, lab, worst.unwrap_or_default())
}

/// A ToR that comes back must hurt nobody: its neighbours had another way all the time. Where other software runs on the
/// fabric, its manners are its own and are only told.
fn judge_return(teller: &Teller, lab: &Lab, worst: usize) -> Result<()> {
    let verdict = format!(
        "packets that the return cost the worst stream: {worst} (more than {RETURN_BOUND} would be a failure)"
    );
    let is_ours = |speaker: &Speaker| speaker.software() == Software::Agent;
    if worst <= RETURN_BOUND {
        teller.say(&verdict);
    } else if lab.speakers.iter().all(is_ours) {
        bail!("the return of {VICTIM} cost a stream {worst} packets; allowed are {RETURN_BOUND}");
    } else {
        teller.say(&paint::bad(&format!(
            "the return cost a stream {worst} packets: ToRs and spines, which are not ours here, used the links too early"
        )));
    }
    Ok(())
}

fn print_outcomes(outcomes: &[Outcome], [start, dark, light, end]: [Instant; 4]) {
    let mut rows = vec![
        [
            "stream",
            "sent",
            "lost by the cut",
            "hurt for",
            "lost by the return",
            "hurt for",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for outcome in outcomes {
        let (cut, back) = (outcome.loss(dark, light), outcome.loss(light, end));
        let mut row = vec![outcome.label.clone(), outcome.loss(start, end).sent.to_string()];
        for loss in [cut, back] {
            row.extend([loss.lost.to_string(), format!("{:.0} ms", millis(loss.hurt))]);
        }
        rows.push(row);
    }
    print!("{}", table(&rows));
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
