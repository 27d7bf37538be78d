//! The owner looks around: whether the node can serve pods, until it can.

use std::time::{Duration, Instant};

use flatroute_bgp::speaker::AdminState;
use flatroute_plan::{Origin, Outcome, Plan};
use ipnetwork::IpNetwork;
use tokio::time::timeout;

use super::{Owner, PATIENCE, sought};
use crate::act::{Act, Seen};
use crate::conflist;
use crate::ready::{self, Ready, judge, not_negotiated};

/// How often it looks.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// How often the report is told how things are.
const REPORT: Duration = Duration::from_secs(2);

impl<A: Act> Owner<A> {
    /// Whether there is anything to look for.
    pub(super) fn is_looking(&self) -> bool {
        let reports =
            self.outlets.report.is_some() && self.outlets.reported.is_none_or(|at| at.elapsed() >= REPORT);
        reports || *self.outlets.ready.borrow() != Ready::Yes
    }

    /// Looks. What cannot be seen now is seen the next time.
    pub(super) async fn look(&mut self) {
        if self.in_force.is_none() {
            let awaited = self.awaited.join(", ");
            if !awaited.is_empty() {
                self.is_now(Ready::Waiting(format!("NotListed: waits for {awaited}")), &[]);
            }
            return;
        }
        // Also when nothing is seen: who does not answer is not asked all the time.
        self.outlets.reported = Some(Instant::now());
        let Ok(Ok(seen)) = timeout(PATIENCE, self.act.seen()).await else {
            return;
        };
        if *self.outlets.ready.borrow() != Ready::Yes {
            let facts = self.facts(&seen);
            let now = match judge(&facts) {
                Ok(()) => Ready::Yes,
                Err(missing) => Ready::Waiting(missing.to_string()),
            };
            self.is_now(now, &facts.peers);
        }
        self.report_state(&seen);
    }

    fn is_now(&mut self, now: Ready, peers: &[ready::Peer]) {
        if *self.outlets.ready.borrow() == now {
            return;
        }
        match now.reason() {
            Some(why) => tracing::info!("not ready: {why}"),
            None => {
                tracing::info!("ready: this node can serve pods");
                for (peer, family) in not_negotiated(peers) {
                    tracing::warn!(
                        peer,
                        "FamilyNotNegotiated: its OPEN leaves out {family}; it is not waited for"
                    );
                }
            }
        }
        self.outlets.ready.send_replace(now);
        self.tell_pods();
    }

    /// What the CNI configuration is written for, once the node can serve pods.
    pub(super) fn tell_pods(&self) {
        let Some(sender) = &self.outlets.pods else {
            return;
        };
        let pods = conflist::Pods {
            cidrs: self.pod_cidrs(),
            mtu: self.pod_mtu(),
        };
        // A Node that has lost its podCIDRs keeps its file: pods that run need it for their end.
        if *self.outlets.ready.borrow() == Ready::Yes && !pods.cidrs.is_empty() {
            sender.send_if_modified(|told| {
                let differs = *told != pods;
                *told = pods;
                differs
            });
        }
    }

    /// `podNetwork.mtu`; 0 without.
    fn pod_mtu(&self) -> u16 {
        let configuration = self.state.as_ref().and_then(|state| state.configuration.as_ref());
        let network = configuration.and_then(|object| object.spec.pod_network.as_ref());
        network.and_then(|network| network.mtu).unwrap_or(0)
    }

    fn pod_cidrs(&self) -> Vec<IpNetwork> {
        let node = self.state.as_ref().and_then(|state| state.nodes.get(&self.node));
        node.map(|node| conflist::usable(node.pod_cidrs()))
            .unwrap_or_default()
    }

    pub(super) fn facts(&self, seen: &Seen) -> ready::Facts {
        ready::Facts {
            stale: self.stale_words(),
            lacks_pod_cidrs: self.outlets.pods.is_some() && self.pod_cidrs().is_empty(),
            peers: self
                .in_force
                .as_ref()
                .map_or_else(Vec::new, |plan| peers(plan, seen)),
            kernel: seen.kernel,
        }
    }
}

fn peers(plan: &Plan, seen: &Seen) -> Vec<ready::Peer> {
    let peers = plan.speaker.peers.iter();
    let wanted = peers.filter(|(_, config)| match config.admin_state {
        AdminState::Up | AdminState::Held(_) => true,
        AdminState::Down(_) => false,
    });
    let missing = plan.sought.iter();
    let missing = missing.filter(|(_, sought)| sought.outcome == Outcome::Missing);
    let missing = missing.map(|(name, sought)| ready::Peer {
        name: name.clone(),
        fabric: true,
        offered: sought.families,
        held: Some(sought::reason(plan, name)),
        session: None,
    });
    wanted
        .map(|(name, config)| ready::Peer {
            name: name.to_string(),
            fabric: plan.origins.get(name).is_none_or(Origin::is_fabric),
            offered: config.session.families,
            held: seen
                .peers
                .iter()
                .find(|peer| peer.name == name.as_str())
                .and_then(|peer| peer.reason.clone()),
            session: seen.sessions.get(name.as_str()).copied(),
        })
        .chain(missing)
        .collect()
}
