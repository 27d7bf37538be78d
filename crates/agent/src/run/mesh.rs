//! The owner watches the mesh between nodes while the fabric takes over from it.
//!
//! What the planner must be told for that ([`flatroute_plan::Mesh`]) is seen here: whether the fabric has sent this node all
//! its routes, and which sessions of the mesh are in force. One that no object wants any more is let go when it is no
//! longer Established, or when this node and the other one have both marked their routes as in the fabric for [`GRACE`], by
//! which time our mark has reached the other end. That end may let go first: then the session is no longer Established.
//!
//! It looks only while a node has both a mesh and a neighbour in the fabric.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use flatroute_bgp::types::Family;
use flatroute_plan::{MARK, Plan};
use tokio::time::timeout;

use super::{Owner, PATIENCE};
use crate::act::Act;
use crate::control::query::{RouteQuery, RouteView};
use crate::ready;

/// How often it looks.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// How long both nodes are in the fabric before the session between them ends.
const GRACE: Duration = Duration::from_secs(3);

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    /// Since when both ends are in the fabric, by the name of the other node.
    both_since: BTreeMap<String, Instant>,
    /// The nodes whose session the next plan lets go.
    released: BTreeSet<String>,
}

impl<A: Act> Owner<A> {
    /// Whether there is anything to look for.
    pub(super) fn is_watching_mesh(&self) -> bool {
        self.in_force.as_ref().is_some_and(|plan| {
            let has = |fabric| plan.origins.values().any(|origin| origin.is_fabric() == fabric);
            let has_mesh = plan.origins.values().any(|origin| origin.object.is_none());
            has_mesh && (has(true) || plan.outliving().next().is_some() || self.facts.mesh.in_fabric)
        })
    }

    /// Takes the sessions of the mesh over into the next plan, but for those that are let go.
    pub(super) fn carry_mesh_over(&mut self) {
        let mut in_force = self.in_force.as_ref().map(Plan::mesh).unwrap_or_default();
        in_force.retain(|node, _| !self.hand_over.released.contains(node));
        self.hand_over.released.clear();
        self.facts.mesh.in_force = in_force;
    }

    /// Looks. What cannot be seen now is seen the next time.
    ///
    /// # Errors
    /// When the plan that follows cannot be carried out.
    pub(super) async fn watch_mesh(&mut self) -> anyhow::Result<()> {
        let Ok(Ok(seen)) = timeout(PATIENCE, self.act.seen()).await else {
            return Ok(());
        };
        let peers = self.facts(&seen).peers;
        let in_fabric = has_all_from_fabric(&peers);
        let outliving: Vec<(String, String)> = self
            .in_force
            .iter()
            .flat_map(Plan::outliving)
            .map(|(peer, node)| (peer.to_string(), node.to_owned()))
            .collect();
        let now = Instant::now();
        let mut both_since = BTreeMap::new();
        for (peer, node) in outliving {
            let is_established = peers.iter().any(|p| p.name == peer && p.session.is_some());
            if !is_established {
                self.hand_over.released.insert(node);
            } else if in_fabric && self.is_marked(&peer).await {
                let since = self.hand_over.both_since.get(&node).copied().unwrap_or(now);
                if now.duration_since(since) >= GRACE {
                    self.hand_over.released.insert(node);
                } else {
                    both_since.insert(node, since);
                }
            }
        }
        self.hand_over.both_since = both_since;
        if in_fabric != self.facts.mesh.in_fabric || !self.hand_over.released.is_empty() {
            self.facts.mesh.in_fabric = in_fabric;
            self.replan().await?;
        }
        Ok(())
    }

    /// Whether the routes of a neighbour bear the mark. One without routes has none to mark.
    async fn is_marked(&mut self, peer: &str) -> bool {
        let query = RouteQuery {
            view: RouteView::Received,
            peer: Some(peer.to_owned()),
            prefix: None,
            limit: 1,
        };
        let Ok(Ok(found)) = timeout(PATIENCE, self.act.routes(&query)).await else {
            return false;
        };
        let [one, two] = MARK;
        let mark = format!(":{one}:{two}");
        let bears = |communities: &[String]| communities.iter().any(|c| c.ends_with(&mark));
        found.routes.iter().any(|route| bears(&route.large_communities))
    }
}

/// Whether for each family of the mesh some neighbour in the fabric has sent all its routes.
fn has_all_from_fabric(peers: &[ready::Peer]) -> bool {
    let mesh = peers.iter().filter(|peer| !peer.fabric);
    let wanted: Vec<Family> = Family::ALL
        .into_iter()
        .filter(|family| mesh.clone().any(|peer| peer.offered.contains(*family)))
        .collect();
    let has_all = |family: Family| {
        let mut fabric = peers.iter().filter(|peer| peer.fabric);
        fabric.any(|peer| peer.session.is_some_and(|session| session.has_sent_all(family)))
    };
    !wanted.is_empty() && wanted.into_iter().all(has_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flatroute_bgp::types::FamilySet;

    fn peer(fabric: bool, offered: FamilySet, end_of_rib: Option<FamilySet>) -> ready::Peer {
        ready::Peer {
            name: "p".to_owned(),
            fabric,
            offered,
            held: None,
            session: end_of_rib.map(|end_of_rib| ready::Session {
                negotiated: offered,
                end_of_rib,
                silent: Duration::ZERO,
            }),
        }
    }

    #[test]
    fn the_fabric_has_to_have_sent_every_family_of_the_mesh() {
        let (both, none) = (FamilySet::BOTH, FamilySet::NONE);
        let v4: FamilySet = [Family::Ipv4].into_iter().collect();
        let v6: FamilySet = [Family::Ipv6].into_iter().collect();
        let mesh = |families| peer(false, families, Some(both));
        for (peers, want) in [
            (vec![mesh(both), peer(true, both, Some(both))], true),
            (vec![mesh(both), peer(true, both, Some(v4))], false),
            (vec![mesh(both), peer(true, both, Some(none))], false),
            (vec![mesh(both), peer(true, both, None)], false),
            (vec![mesh(both), peer(true, v4, Some(v4))], false),
            (
                vec![mesh(both), peer(true, v4, Some(v4)), peer(true, v6, Some(v6))],
                true,
            ),
            (vec![mesh(v4), peer(true, v4, Some(v4))], true),
            (vec![mesh(v4)], false),
            (vec![peer(true, both, Some(both))], false),
        ] {
            assert_eq!(has_all_from_fabric(&peers), want, "{peers:?}");
        }
    }
}
