//! What to write, so that what stands becomes what there shall be: a pure function.
//!
//! The order is that of one batch: rules go first, because they hold chains and sets; then come sets, chains, and the
//! rules that use them. A chain or set that stands but is of another kind cannot be changed: it is made anew, and with it
//! the rules of all our chains, since any may use it. That happens when somebody else made it, or
//! when a version of ours changes what it means.

use std::collections::BTreeSet;
use std::fmt;

use flatroute_netlink::NetfilterMessage;

use crate::description::{Chain, Map, Rule, Set, Table, Width};
use crate::encode;
use crate::maps;
use crate::observed::{Observed, ObservedChain, ObservedSet};
use crate::ranges::Range;

/// One step of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes the table, or wakes it.
    AddTable,
    /// Removes a rule.
    DeleteRule {
        /// Its chain.
        chain: String,
        /// What the kernel calls it.
        handle: u64,
        /// Its comment.
        comment: String,
    },
    /// Removes all rules of a chain.
    DeleteRules(String),
    /// Removes a chain.
    DeleteChain(String),
    /// Removes a set.
    DeleteSet(String),
    /// Makes a set, empty.
    AddSet(Set),
    /// Makes a map, empty.
    AddMap(Map),
    /// Empties a set.
    FlushSet(String),
    /// Takes intervals out of a set.
    DeleteElements(&'static str, Width, Vec<Range>),
    /// Puts intervals into a set.
    AddElements(&'static str, Width, Vec<Range>),
    /// Makes a chain, empty.
    AddChain(Chain),
    /// Adds a rule behind those of its chain.
    AddRule(&'static str, Rule),
}

/// What to write; nothing when all is as it shall be.
#[must_use]
pub fn difference(table: &Table, observed: &Observed) -> Vec<Operation> {
    let mut out = Vec::new();
    if !observed.exists || observed.dormant {
        out.push(Operation::AddTable);
    }
    let unwanted = Unwanted::of(table, observed);
    unwanted.remove(table, observed, &mut out);
    for set in &table.sets {
        fill(set, observed.sets.get(set.name), &mut out);
    }
    let maps = table.maps.iter().filter(|map| !has(observed, map));
    out.extend(maps.map(|map| Operation::AddMap(*map)));
    for chain in &table.chains {
        let there = observed.chains.get(chain.name);
        if there.is_none_or(|there| !is_same(chain, there)) {
            out.push(Operation::AddChain(chain.clone()));
        }
        let kept = unwanted.kept(chain, there);
        let missing = chain.rules.iter().skip(kept);
        out.extend(missing.map(|rule| Operation::AddRule(chain.name, rule.clone())));
    }
    out
}

/// What stands and shall not.
struct Unwanted<'a> {
    chains: BTreeSet<&'a str>,
    sets: BTreeSet<&'a str>,
    /// Whether a set is made anew, and with it all rules.
    is_set_replaced: bool,
}

impl<'a> Unwanted<'a> {
    fn of(table: &'a Table, observed: &'a Observed) -> Self {
        let chains = table.own_chains.iter().copied().filter(|name| {
            let there = observed.chains.get(*name);
            let wanted = table.chains.iter().find(|chain| chain.name == *name);
            there.is_some_and(|there| wanted.is_none_or(|chain| !is_same(chain, there)))
        });
        let is_right = |name: &str, there: &ObservedSet| {
            let set = table.sets.iter().find(|set| set.name == name);
            let map = table.maps.iter().find(|map| map.name == name);
            set.is_some_and(|set| there.width == Some(set.width))
                || map.is_some_and(|map| there.kind == map.kind())
        };
        let sets = table.own_sets.iter().copied().filter(|name| {
            let there = observed.sets.get(*name);
            there.is_some_and(|there| !is_right(name, there))
        });
        let sets: BTreeSet<&str> = sets.collect();
        let wanted = table.sets.iter().map(|set| set.name);
        let mut wanted = wanted.chain(table.maps.iter().map(|map| map.name));
        Self {
            chains: chains.collect(),
            is_set_replaced: wanted.any(|name| sets.contains(name)),
            sets,
        }
    }

    /// How many rules at the beginning of a chain are as they shall be.
    fn kept(&self, chain: &Chain, there: Option<&ObservedChain>) -> usize {
        if self.is_set_replaced || self.chains.contains(chain.name) {
            return 0;
        }
        let there = there.into_iter().flat_map(|there| &there.rules);
        let ours = there.filter(|rule| rule.comment.starts_with(Rule::MARK));
        let pairs = chain.rules.iter().zip(ours);
        pairs
            .take_while(|(rule, there)| rule.comment() == there.comment)
            .count()
    }

    fn remove(&self, table: &Table, observed: &Observed, out: &mut Vec<Operation>) {
        for name in table.own_chains {
            let Some(there) = observed.chains.get(*name) else {
                continue;
            };
            if self.chains.contains(name) {
                if !there.rules.is_empty() {
                    out.push(Operation::DeleteRules((*name).to_owned()));
                }
                continue;
            }
            let wanted = table.chains.iter().find(|chain| chain.name == *name);
            let kept = wanted.map_or(0, |chain| self.kept(chain, Some(there)));
            let ours = there
                .rules
                .iter()
                .filter(|rule| rule.comment.starts_with(Rule::MARK));
            out.extend(ours.skip(kept).map(|rule| Operation::DeleteRule {
                chain: (*name).to_owned(),
                handle: rule.handle,
                comment: rule.comment.clone(),
            }));
        }
        let chains = self
            .chains
            .iter()
            .map(|name| Operation::DeleteChain((*name).to_owned()));
        let sets = self
            .sets
            .iter()
            .map(|name| Operation::DeleteSet((*name).to_owned()));
        out.extend(chains.chain(sets));
    }
}

/// Whether a chain that stands can be used as it is.
fn is_same(chain: &Chain, there: &ObservedChain) -> bool {
    let place = (encode::hook_number(chain.hook), chain.priority);
    there.kind == chain.kind && there.place == Some(place) && !there.drops
}

/// Whether a map stands and can be used as it is.
fn has(observed: &Observed, map: &Map) -> bool {
    let there = observed.sets.get(map.name);
    there.is_some_and(|there| there.kind == map.kind())
}

fn fill(set: &Set, there: Option<&ObservedSet>, out: &mut Vec<Operation>) {
    let there = there.filter(|there| there.width == Some(set.width));
    let mut add = |operation: Operation| out.push(operation);
    let all = set.ranges.all().to_vec();
    let missing = match there {
        None => {
            add(Operation::AddSet(set.clone()));
            all
        }
        Some(there) => match &there.ranges {
            None => {
                add(Operation::FlushSet(set.name.to_owned()));
                all
            }
            Some(ranges) => {
                let extra = ranges.without(&set.ranges);
                if !extra.is_empty() {
                    add(Operation::DeleteElements(set.name, set.width, extra));
                }
                set.ranges.without(ranges)
            }
        },
    };
    if !missing.is_empty() {
        add(Operation::AddElements(set.name, set.width, missing));
    }
}

impl Operation {
    /// The messages of this step. `id` is another one for each step of a batch.
    pub(crate) fn messages(&self, table: &str, id: u32) -> Vec<NetfilterMessage> {
        match self {
            Self::AddTable => vec![encode::add_table(table)],
            Self::DeleteRule { chain, handle, .. } => vec![encode::delete_rule(table, chain, Some(*handle))],
            Self::DeleteRules(chain) => vec![encode::delete_rule(table, chain, None)],
            Self::DeleteChain(name) => vec![encode::delete_chain(table, name)],
            Self::DeleteSet(name) => vec![encode::delete_set(table, name)],
            Self::AddSet(set) => vec![encode::add_set(table, set, id)],
            Self::AddMap(map) => vec![maps::add_map(table, map, id)],
            Self::FlushSet(name) => vec![encode::flush_set(table, name)],
            Self::DeleteElements(set, width, ranges) => encode::delete_elements(table, set, *width, ranges),
            Self::AddElements(set, width, ranges) => encode::add_elements(table, set, *width, ranges),
            Self::AddChain(chain) => vec![encode::add_chain(table, chain)],
            Self::AddRule(chain, rule) => vec![encode::add_rule(table, chain, rule)],
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable => f.write_str("make the table"),
            Self::DeleteRule { chain, comment, .. } => {
                write!(f, "remove the rule \"{comment}\" from the chain {chain}")
            }
            Self::DeleteRules(chain) => write!(f, "remove the rules of the chain {chain}"),
            Self::DeleteChain(name) => write!(f, "remove the chain {name}"),
            Self::DeleteSet(name) => write!(f, "remove the set {name}"),
            Self::AddSet(set) => write!(f, "make the set {}", set.name),
            Self::AddMap(map) => write!(f, "make the map {}", map.name),
            Self::FlushSet(name) => write!(f, "empty the set {name}"),
            Self::DeleteElements(set, _, ranges) => {
                write!(f, "take {} intervals out of the set {set}", ranges.len())
            }
            Self::AddElements(set, _, ranges) => {
                write!(f, "put {} intervals into the set {set}", ranges.len())
            }
            Self::AddChain(chain) => write!(f, "make the chain {}", chain.name),
            Self::AddRule(chain, rule) => {
                write!(f, "add the rule \"{}\" to the chain {chain}", rule.comment())
            }
        }
    }
}

#[cfg(test)]
mod tests;
