//! Applying a filter: a pure function of the filter and a view of the route.
//!
//! Two ways to ask. [`Filter::evaluate`] is what the RIB runs for every route: it allocates nothing but room for
//! the indices of rules that changed something, because a verdict is needed a million times and a name for it
//! only when somebody asks. [`Filter::decide`] is that somebody: the same verdict with the name of its rule.
//! The RIB therefore stores no reasons; it asks again, and the answer always fits the filter in force.

use std::sync::Arc;

use super::{Action, Condition, Decision, Filter, PrefixRange, RuleName, Set, Source, Verdict, View};
use crate::types::PathAttributes;

/// The name of the rule that stands for a filter's default.
pub const DEFAULT_RULE: &str = "default";

/// A verdict and the index of the rule that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Accepted or rejected.
    pub verdict: Verdict,
    /// The index of the rule that ended the evaluation; `None`: the default.
    pub rule: Option<usize>,
}

impl Filter {
    /// A filter without rules that accepts everything: for tests and for tools, never a default (RFC 8212).
    #[must_use]
    pub fn accept_all() -> Self {
        Self {
            rules: Vec::new(),
            default: Verdict::Accept,
        }
    }

    /// A filter without rules that rejects everything (RFC 8212 §2).
    #[must_use]
    pub fn reject_all() -> Self {
        Self {
            rules: Vec::new(),
            default: Verdict::Reject,
        }
    }

    /// The verdict on a route. `changed` is cleared and then holds the indices of the rules whose changes
    /// apply, in order; it stays empty for a route that is rejected. Conditions see the route as it came: a
    /// community that an earlier rule adds does not match a later one.
    pub fn evaluate(&self, route: &View<'_>, changed: &mut Vec<u16>) -> Outcome {
        changed.clear();
        for (i, rule) in self.rules.iter().enumerate() {
            if !rule.condition.matches(route) {
                continue;
            }
            if rule.action != Action::Reject && !rule.set.is_empty() {
                // A filter of more than 65,536 rules that set something is refused where filters are made.
                changed.extend(u16::try_from(i).ok());
            }
            let verdict = match rule.action {
                Action::Next => continue,
                Action::Accept => Verdict::Accept,
                Action::Reject => Verdict::Reject,
            };
            return Outcome {
                verdict,
                rule: Some(i),
            }
            .keep(changed);
        }
        Outcome {
            verdict: self.default,
            rule: None,
        }
        .keep(changed)
    }

    /// The verdict on a route with the name of the rule that gave it.
    #[must_use]
    pub fn decide(&self, route: &View<'_>) -> Decision {
        let outcome = self.evaluate(route, &mut Vec::new());
        Decision {
            verdict: outcome.verdict,
            rule: self.rule_name(outcome),
        }
    }

    /// The name of the rule behind an outcome of this filter.
    #[must_use]
    pub fn rule_name(&self, outcome: Outcome) -> RuleName {
        outcome
            .rule
            .and_then(|i| self.rules.get(i))
            .map_or_else(|| Arc::from(DEFAULT_RULE), |rule| rule.name.clone())
    }

    /// The changes of the rules at these indices.
    pub fn changes<'a>(&'a self, changed: &'a [u16]) -> impl Iterator<Item = &'a Set> {
        changed
            .iter()
            .filter_map(|i| self.rules.get(usize::from(*i)))
            .map(|rule| &rule.set)
    }

    /// Whether a route of this origin may pass, as far as the rules tell without one: false is certain.
    #[must_use]
    pub fn may_pass(&self, source: Source) -> bool {
        for rule in &self.rules {
            match (rule.action, rule.condition.asks_of(source)) {
                (Action::Accept, Asked::Everything | Asked::Some) => return true,
                (Action::Reject, Asked::Everything) => return false,
                (Action::Reject, Asked::Some) | (Action::Next, _) | (_, Asked::Nothing) => {}
            }
        }
        self.default == Verdict::Accept
    }

    /// Whether any rule looks at the path or the communities; a filter that does not can be asked without them.
    #[must_use]
    pub fn reads_attributes(&self) -> bool {
        self.rules.iter().any(|rule| rule.condition.reads_attributes())
    }
}

impl Outcome {
    fn keep(self, changed: &mut Vec<u16>) -> Self {
        if self.verdict == Verdict::Reject {
            changed.clear();
        }
        self
    }
}

/// How many of the routes of one origin a condition means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Everything,
    Some,
    Nothing,
}

impl Condition {
    fn asks_of(&self, source: Source) -> Asked {
        let Self {
            prefixes,
            communities,
            large_communities,
            as_path,
            sources,
            peers,
        } = self;
        if sources.as_ref().is_some_and(|list| !list.contains(&source)) {
            return Asked::Nothing;
        }
        let asks = prefixes.is_some()
            || communities.is_some()
            || large_communities.is_some()
            || as_path.is_some()
            || peers.is_some();
        if asks { Asked::Some } else { Asked::Everything }
    }

    fn reads_attributes(&self) -> bool {
        self.communities.is_some() || self.large_communities.is_some() || self.as_path.is_some()
    }

    /// Whether every condition that is given holds for this route.
    #[must_use]
    pub fn matches(&self, route: &View<'_>) -> bool {
        let Self {
            prefixes,
            communities,
            large_communities,
            as_path,
            sources,
            peers,
        } = self;
        prefixes
            .as_ref()
            .is_none_or(|list| list.iter().any(|range| range.matches(route)))
            && sources.as_ref().is_none_or(|list| list.contains(&route.source))
            && peers.as_ref().is_none_or(|list| {
                route
                    .peer
                    .is_some_and(|peer| list.iter().any(|name| peer.is_meant_by(name)))
            })
            && communities
                .as_ref()
                .is_none_or(|list| list.iter().any(|c| route.communities.contains(c)))
            && large_communities
                .as_ref()
                .is_none_or(|list| list.iter().any(|c| route.large_communities.contains(c)))
            && as_path
                .as_ref()
                .is_none_or(|list| list.iter().any(|asn| route.as_path.count(*asn) > 0))
    }
}

impl PrefixRange {
    fn matches(&self, route: &View<'_>) -> bool {
        let len = route.prefix.prefix_len();
        self.ge <= len && len <= self.le && self.prefix.covers(route.prefix)
    }
}

impl Set {
    /// Whether this changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.med.is_none()
            && self.local_pref.is_none()
            && self.add_communities.is_empty()
            && self.add_large_communities.is_empty()
            && self.prepend == 0
    }

    /// Applies all but `prepend`, which only the export of a route can do. A community that is there already
    /// is not added again.
    pub fn apply(&self, attributes: &mut PathAttributes) {
        if self.med.is_some() {
            attributes.med = self.med;
        }
        if self.local_pref.is_some() {
            attributes.local_pref = self.local_pref;
        }
        add(&mut attributes.communities, &self.add_communities);
        add(&mut attributes.large_communities, &self.add_large_communities);
    }
}

/// Appends what is not there already.
fn add<T: Copy + PartialEq>(to: &mut Vec<T>, new: &[T]) {
    for community in new {
        if !to.contains(community) {
            to.push(*community);
        }
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
