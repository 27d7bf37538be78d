//! The reference model: from what stands and what is broken it predicts which sessions there are and by which neighbours each
//! host reaches each other host's pods. It knows no message, no timer and no table, only the rules of a fabric: a path is as
//! long as its ASes, the shortest are used side by side, a switch passes on what it has and a node does not, and nobody takes a
//! path with its own ASN in it (a node takes one, because all nodes have the same).
//!
//! Where several shortest paths differ in whom they pass, the speaker may tell its neighbours any of them. The topologies are
//! such that this makes no difference; where it would, the model says that it cannot tell, and the run fails.

use std::collections::{BTreeMap, BTreeSet};

use flatroute_bgp::types::Prefix;

use crate::topology::{HostId, LinkId, Role, Topology};

/// By which neighbours each host reaches the pods of one.
pub type Tree = Vec<BTreeSet<HostId>>;

/// What shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The links over which a session is up.
    pub sessions: BTreeSet<LinkId>,
    /// For each host with pods: by which neighbours the others reach it.
    pub trees: BTreeMap<HostId, Tree>,
}

/// Predicts, with these links in order and these hosts running.
///
/// # Errors
/// When the topology is one of those in which the rules do not decide.
pub fn predict(
    topology: &Topology,
    is_usable: impl Fn(LinkId) -> bool,
    runs: impl Fn(HostId) -> bool,
) -> Result<Prediction, String> {
    let is_up = |link: &LinkId| {
        let ends = topology.links[*link].ends;
        is_usable(*link) && ends.into_iter().all(&runs)
    };
    let sessions: BTreeSet<LinkId> = topology.adjacencies.iter().copied().filter(is_up).collect();
    let mut neighbours: Vec<Vec<HostId>> = vec![Vec::new(); topology.hosts.len()];
    for link in &sessions {
        let [a, b] = topology.links[*link].ends;
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let mut trees = BTreeMap::new();
    for (origin, pods) in topology.pods.iter().enumerate() {
        if !pods.is_empty() && runs(origin) {
            trees.insert(origin, tree(topology, &neighbours, origin)?);
        }
    }
    Ok(Prediction { sessions, trees })
}

/// The AS paths that a switch may have of one origin, all equally long. Those of nodes matter to nobody.
type Paths = BTreeSet<Vec<u32>>;

fn tree(topology: &Topology, neighbours: &[Vec<HostId>], origin: HostId) -> Result<Tree, String> {
    let relays = |host: HostId| topology.hosts[host].role.relays();
    let mut via: Tree = vec![BTreeSet::new(); topology.hosts.len()];
    let mut frontier: BTreeMap<HostId, Paths> = [(origin, [Vec::new()].into())].into();
    while !frontier.is_empty() {
        // All paths of one length reach their hosts at once.
        let mut found: BTreeMap<HostId, (BTreeSet<HostId>, Paths)> = BTreeMap::new();
        for (from, paths) in &frontier {
            for to in &neighbours[*from] {
                if *to == origin || !via[*to].is_empty() {
                    continue;
                }
                let takes = paths.iter().filter(|path| accepts(topology, *from, *to, path));
                let count = takes.count();
                if count > 0 && count < paths.len() {
                    let (from, to) = (&topology.hosts[*from].name, &topology.hosts[*to].name);
                    return Err(format!(
                        "whether {to} takes the path of {from} depends on its choice"
                    ));
                }
                if count > 0 {
                    let (hosts, known) = found.entry(*to).or_default();
                    hosts.insert(*from);
                    if relays(*to) {
                        known.extend(paths.iter().map(|path| told(topology, *from, *to, path)));
                    }
                }
            }
        }
        frontier.clear();
        for (host, (hosts, paths)) in found {
            via[host] = hosts;
            if relays(host) {
                frontier.insert(host, paths);
            }
        }
    }
    Ok(via)
}

/// The path as a neighbour gets it: between hosts of one AS it stays as it is.
fn told(topology: &Topology, from: HostId, to: HostId, path: &[u32]) -> Vec<u32> {
    let (asn, theirs) = (topology.hosts[from].asn, topology.hosts[to].asn);
    let own = (asn != theirs).then_some(asn);
    own.into_iter().chain(path.iter().copied()).collect()
}

/// Whether a host takes a path that a neighbour tells it.
fn accepts(topology: &Topology, from: HostId, to: HostId, path: &[u32]) -> bool {
    let this = &topology.hosts[to];
    let allowed = match this.role {
        Role::Node => 1,
        Role::Tor | Role::Spine | Role::Rogue => 0,
    };
    // The neighbour's own ASN comes in front where it is not ours, and so is none of those that count.
    debug_assert!(topology.hosts[from].asn != this.asn || path.is_empty());
    path.iter().filter(|asn| **asn == this.asn).count() <= allowed
}

impl Prediction {
    /// The routes that a host shall have: for each prefix the neighbours that it goes by.
    pub fn routes<'a>(
        &'a self,
        topology: &'a Topology,
        host: HostId,
    ) -> impl Iterator<Item = (Prefix, &'a BTreeSet<HostId>)> {
        let others = self.trees.iter().filter(move |(origin, _)| **origin != host);
        others
            .filter_map(move |(origin, tree)| {
                let via = tree.get(host).filter(|via| !via.is_empty())?;
                Some(topology.pods[*origin].iter().map(move |prefix| (*prefix, via)))
            })
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Fabric, fabric, mesh};
    use flatroute_bgp::types::FamilySet;
    use std::time::Duration;

    fn small(shared_asns: bool) -> Topology {
        fabric(&Fabric {
            racks: 2,
            nodes: 1,
            tors: 2,
            spines: 2,
            families: FamilySet::BOTH,
            shared_asns,
            discovers: true,
            hold: Duration::from_secs(9),
            retry: Duration::from_secs(1),
            notification: false,
            rogues: false,
        })
    }

    fn names(topology: &Topology, of: &BTreeSet<HostId>) -> Vec<String> {
        of.iter().map(|h| topology.hosts[*h].name.clone()).collect()
    }

    fn host(topology: &Topology, name: &str) -> HostId {
        topology
            .hosts
            .iter()
            .position(|h| h.name == name)
            .expect("it is there")
    }

    fn link(topology: &Topology, a: &str, b: &str) -> LinkId {
        let ends = [host(topology, a), host(topology, b)];
        topology
            .links
            .iter()
            .position(|l| l.ends == ends)
            .expect("it is there")
    }

    #[test]
    fn every_host_uses_all_shortest_ways() {
        for shared in [false, true] {
            let topology = small(shared);
            let all = predict(&topology, |_| true, |_| true).unwrap();
            let tree = &all.trees[&host(&topology, "node1")];
            let via = |name: &str| names(&topology, &tree[host(&topology, name)]);
            assert_eq!(via("node0"), ["tor0-0", "tor0-1"], "{shared}");
            assert_eq!(via("tor0-0"), ["spine0", "spine1"]);
            assert_eq!(via("spine1"), ["tor1-0", "tor1-1"]);
            assert_eq!(via("tor1-1"), ["node1"]);
            assert!(via("node1").is_empty());
        }
    }

    #[test]
    fn a_lost_link_is_gone_round_unless_the_way_has_the_own_asn() {
        for (shared, expected) in [(false, vec!["spine0", "spine1"]), (true, vec![])] {
            let topology = small(shared);
            let lost = link(&topology, "node1", "tor1-1");
            let prediction = predict(&topology, |l| l != lost, |_| true).unwrap();
            let tree = &prediction.trees[&host(&topology, "node1")];
            let via = names(&topology, &tree[host(&topology, "tor1-1")]);
            assert_eq!(via, expected, "shared ASNs: {shared}");
            let spine = names(&topology, &tree[host(&topology, "spine0")]);
            assert_eq!(spine, ["tor1-0"], "shared ASNs: {shared}");
        }
    }

    #[test]
    fn nodes_of_a_mesh_reach_each_other_and_pass_nothing_on() {
        let topology = mesh(3, FamilySet::BOTH);
        let lost = link(&topology, "node0", "node2");
        let prediction = predict(&topology, |l| l != lost, |_| true).unwrap();
        let tree = &prediction.trees[&host(&topology, "node2")];
        assert!(tree[host(&topology, "node0")].is_empty());
        assert_eq!(names(&topology, &tree[host(&topology, "node1")]), ["node2"]);
        assert_eq!(prediction.sessions.len(), 2);
    }
}
