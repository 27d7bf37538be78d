//! The owner watches the mesh between nodes while the fabric takes over from it.
//!
//! What the planner must be told for that ([`flatroute_plan::Mesh`]) is seen here: whether the fabric has sent this node all
//! its routes, and which sessions of the mesh are in force. One that no object wants any more is let go when it is no
//! longer Established, or when this node and the other one have both marked their routes as in the fabric for [`GRACE`], by
//! which time our mark has reached the other end. That end may let go first: then the session is no longer Established. With route
//! reflectors a session carries the routes of many nodes, and all of them have to be marked; a reflector lets its sessions go
//! together. A session that is no longer wanted because reflectors came between its two nodes is let go when one of them has told
//! all its routes for [`GRACE`].
//!
//! It looks only while a node has both a mesh and a neighbour in the fabric.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use flatroute_bgp::types::Family;
use flatroute_plan::{MARK, Plan};
use tokio::time::timeout;

use flatroute_api::control::Route;

use super::{Owner, PATIENCE};
use crate::act::Act;
use crate::control::query::{RouteQuery, RouteView};
use crate::ready;

/// How often it looks.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// How long both nodes are in the fabric before the session between them ends.
const GRACE: Duration = Duration::from_secs(3);
/// How many routes of a neighbour are looked at: as many as it may send. With more, its session stays.
const MAX_LOOKED_AT: usize = 10_000;

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    /// Since when a session is not needed, by the name of the other node.
    spare_since: BTreeMap<String, Instant>,
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
        let reflected = if outliving.is_empty() {
            BTreeSet::new()
        } else {
            self.reflected().await
        };
        let now = Instant::now();
        let mut spare = Vec::new();
        for (peer, node) in outliving {
            if peers.iter().any(|p| p.name == peer && p.session.is_some()) {
                let routes = self.routes_of(&peer).await;
                let is_marked = in_fabric && routes.as_deref().is_some_and(are_marked);
                let is_reflected = routes.as_deref().is_some_and(|r| are_among(r, &reflected));
                spare.push((node, is_marked, is_reflected));
            } else {
                self.hand_over.released.insert(node);
            }
        }
        let all_marked = spare.iter().all(|(_, is_marked, _)| *is_marked);
        let reflects = self.in_force.as_ref().is_some_and(Plan::reflects_mesh);
        let mut spare_since = BTreeMap::new();
        for (node, is_marked, is_reflected) in spare {
            if !is_reflected && !(is_marked && (all_marked || !reflects)) {
                continue;
            }
            let since = self.hand_over.spare_since.get(&node).copied().unwrap_or(now);
            if now.duration_since(since) >= GRACE {
                self.hand_over.released.insert(node);
            } else {
                spare_since.insert(node, since);
            }
        }
        self.hand_over.spare_since = spare_since;
        if in_fabric != self.facts.mesh.in_fabric || !self.hand_over.released.is_empty() {
            self.facts.mesh.in_fabric = in_fabric;
            self.replan().await?;
        }
        Ok(())
    }

    /// What a neighbour has sent; nothing when that cannot be seen now, or is too much.
    async fn routes_of(&mut self, peer: &str) -> Option<Vec<Route>> {
        let query = RouteQuery {
            view: RouteView::Received,
            peer: Some(peer.to_owned()),
            prefix: None,
            limit: MAX_LOOKED_AT + 1,
        };
        let found = timeout(PATIENCE, self.act.routes(&query)).await.ok()?.ok()?;
        (found.routes.len() <= MAX_LOOKED_AT).then_some(found.routes)
    }

    /// The prefixes that reflectors tell on sessions of the mesh that are here to stay.
    async fn reflected(&mut self) -> BTreeSet<String> {
        let origins = self.in_force.iter().flat_map(|plan| &plan.origins);
        let wanted = origins.filter(|(_, origin)| origin.object.is_none() && !origin.outlives);
        let wanted: Vec<String> = wanted.map(|(peer, _)| peer.to_string()).collect();
        let mut reflected = BTreeSet::new();
        for peer in wanted {
            let routes = self.routes_of(&peer).await.unwrap_or_default();
            let others = routes.into_iter().filter(|route| route.originator_id.is_some());
            reflected.extend(others.map(|route| route.prefix));
        }
        reflected
    }
}

/// Whether routes bear the mark, all of them. Who says nothing has nothing to mark.
fn are_marked(routes: &[Route]) -> bool {
    let [one, two] = MARK;
    let mark = format!(":{one}:{two}");
    let bears = |route: &Route| route.large_communities.iter().any(|c| c.ends_with(&mark));
    !routes.is_empty() && routes.iter().all(bears)
}

/// Whether all that a neighbour says is said by reflectors too.
fn are_among(routes: &[Route], reflected: &BTreeSet<String>) -> bool {
    !routes.is_empty() && routes.iter().all(|route| reflected.contains(&route.prefix))
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
    fn all_routes_of_a_session_are_marked_or_told_by_reflectors_before_it_goes() {
        let route = |prefix: &str, marks: &[&str]| Route {
            prefix: prefix.to_owned(),
            large_communities: marks.iter().map(|m| (*m).to_owned()).collect(),
            ..Route::default()
        };
        let marked = route("10.1.0.0/24", &["64512:1:2", "64512:1718378868:1"]);
        let plain = route("10.2.0.0/24", &["64512:1:2"]);
        for (routes, want) in [
            (vec![], false),
            (vec![marked.clone()], true),
            (vec![plain.clone()], false),
            // A reflector is in the fabric, and one of its clients is not.
            (vec![marked.clone(), plain.clone()], false),
        ] {
            assert_eq!(are_marked(&routes), want, "{routes:?}");
        }
        let reflected: BTreeSet<String> = ["10.2.0.0/24".to_owned()].into();
        for (routes, want) in [
            (vec![], false),
            (vec![plain.clone()], true),
            (vec![plain, marked], false),
        ] {
            assert_eq!(are_among(&routes, &reflected), want, "{routes:?}");
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
