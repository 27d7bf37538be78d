//! Neighbours that an interface has not found yet. The speaker does not know them; who asks for neighbours is shown them all the
//! same, with the reason, so that nobody takes a silent link for an object that does not select the node.

use std::collections::BTreeMap;
use std::time::Instant;

use flatroute_api::{Kind, control};
use flatroute_plan::{Outcome, Plan};

/// Since when each of them has not been found.
#[derive(Debug, Default)]
pub(super) struct Sought {
    since: BTreeMap<String, Instant>,
}

impl Sought {
    /// Takes the plan that is in force from `now` on.
    pub(super) fn update(&mut self, plan: &Plan, now: Instant) {
        self.since.retain(|name, _| is_unfound(plan, name));
        for name in plan.sought.keys().filter(|name| is_unfound(plan, name)) {
            self.since.entry(name.clone()).or_insert(now);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.since.len()
    }

    /// Those of the plan in force, beside the `known` ones, all by name.
    pub(super) fn beside(
        &self,
        mut known: Vec<control::Peer>,
        plan: &Plan,
        now: Instant,
    ) -> Vec<control::Peer> {
        let unfound = self.since.iter().filter_map(|(name, since)| {
            let sought = plan.sought.get(name)?;
            Some(control::Peer {
                name: name.clone(),
                address: None,
                interface: Some(sought.interface.clone()),
                asn: sought.asn.map(|asn| asn.0),
                local_asn: sought.local_asn.0,
                state: "Idle".to_owned(),
                reason: (sought.outcome == Outcome::Missing).then(|| reason(plan, name)),
                drain: None,
                since_seconds: now.saturating_duration_since(*since).as_secs(),
                flaps: 0,
                malformed_updates: 0,
                last_error: None,
                negotiated: None,
                silent_seconds: 0,
                retained: None,
                prefixes: Vec::new(),
            })
        });
        known.extend(unfound);
        known.sort_by(|a, b| a.name.cmp(&b.name));
        known
    }
}

fn is_unfound(plan: &Plan, name: &str) -> bool {
    plan.sought.get(name).is_some_and(|sought| match sought.outcome {
        Outcome::Found => false,
        Outcome::Missing | Outcome::Unwanted => true,
    })
}

/// Why it has not been found, and what to do.
pub(super) fn reason(plan: &Plan, name: &str) -> String {
    let mut told = plan.problems.iter();
    let told = told.find(|problem| problem.kind == Kind::BGPPeer.as_str() && problem.name == name);
    told.map_or_else(
        || "NoRouterAdvertisement: nobody has sent one to its interface yet".to_owned(),
        |problem| format!("{}: {}; {}", problem.reason, problem.message, problem.remedy),
    )
}
