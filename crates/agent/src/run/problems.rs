//! What is wrong, told once when it comes, and, of what comes and goes by itself, once more when it is over.
//!
//! Three sources: objects that cannot be read, the plan, and what other programs do to our routes. All that holds at the moment
//! stands in `problems` of `/v1/status`.

use std::time::Instant;

use flatroute_api::Problem;

use super::{Owner, tell};
use crate::act::Act;
use crate::events::Happening;
use crate::observe::API_SERVER;
use crate::report::Reason;

impl<A: Act> Owner<A> {
    /// Tells those problems that were not there before.
    pub(super) fn tell_problems(&mut self, planned: &[Problem]) {
        let mut all = self.object_problems.clone();
        all.extend(planned.iter().cloned());
        all.extend(self.contest.problem(&self.node, Instant::now()));
        all.sort();
        all.dedup();
        for problem in all.iter().filter(|p| !self.problems.contains(p)) {
            tracing::warn!(reason = problem.reason.as_str(), "{problem}");
            let kind = if passes(problem) {
                problem.reason.to_string()
            } else {
                "ConfigurationInvalid".to_owned()
            };
            let happening = Happening {
                kind,
                peer: (problem.kind == "BGPPeer").then(|| problem.name.clone()),
                text: problem.to_string(),
                ..Happening::default()
            };
            self.report_problem(problem);
            self.events.add(Instant::now(), happening);
        }
        self.tell_what_is_over(&all);
        self.problems = all;
    }

    /// Tells which problems with the API server or the node's settings are over.
    fn tell_what_is_over(&mut self, now: &[Problem]) {
        for problem in self.problems.iter().filter(|p| passes(p)) {
            let same = |p: &Problem| {
                (&p.kind, &p.name, &p.reason) == (&problem.kind, &problem.name, &problem.reason)
                    && (p.kind == API_SERVER || p.field == problem.field)
            };
            if !now.iter().any(same) {
                let text = format!("over: {problem}");
                tracing::info!(reason = problem.reason.as_str(), "{text}");
                let happening = Happening {
                    kind: format!("{}Over", problem.reason),
                    text,
                    ..Happening::default()
                };
                self.events.add(Instant::now(), happening);
            }
        }
    }
}

/// Whether a problem is one of the world around the objects: it comes and goes by itself, and its end is told too.
fn passes(problem: &Problem) -> bool {
    problem.kind == API_SERVER || tell::reason(problem.reason) == Reason::NodeNotPrepared
}
