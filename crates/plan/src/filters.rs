//! Filters as data. For each neighbour an import filter and an export filter, for the node one install filter;
//! each is a list of rules in this order:
//!
//! - **rails**, which nothing turns off: never a route into this node's own pod CIDRs or to its own addresses;
//!   never a default route, nor the API server's address, unless the neighbour's `installRoutes` says so;
//! - the changes of `set`, on export;
//! - **user filters**, in the order of their names in the peer, each rule named `filter NAME rule N`;
//! - **built-ins**: on import the prefixes of the cluster and what `installRoutes` asks for; on export what
//!   `advertise` lists, and from a route reflector to neighbours of its AS what others of its AS said.
//!
//! What no rule ends is refused (RFC 8212).
//!
//! The install filter is asked after the import filter and is one for all neighbours, so its rules carry the names
//! of the neighbours that they are for. `Filtered` means what a rule of the user's filters accepted: those rules
//! stand in it once more, as far as they accept. With `builtInFilters: Disabled` what the filters accept is
//! enough: all of it is installed, unless `installRoutes` is empty.

use std::collections::{BTreeMap, BTreeSet};

use flatroute_api::objects::{self as api, Advertise, FilterAction, InstallRoutes, RouteSource};
use flatroute_api::{BGPPeerSpec, ClusterState};
use flatroute_bgp::policy::{Action, Condition, Filter, PrefixRange, Rule, Set, Source, Verdict};
use flatroute_bgp::types::{Asn, Community, LargeCommunity, PeerName, Prefix, RouterId};
use ipnetwork::IpNetwork;

use crate::identity::{Identity, host};
use crate::peers::{Planned, advertises, is_internal};
use crate::targets::Target;
use crate::{ClusterCidrs, Facts};

/// All that filters are made from.
pub(crate) struct Context<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) state: &'a ClusterState,
    pub(crate) facts: &'a Facts,
    /// Everything inside the cluster's pod CIDRs; `None` when those are not known and everything may be.
    cluster: Option<Vec<PrefixRange>>,
    /// The addresses of the other nodes.
    other_nodes: Vec<PrefixRange>,
    /// The neighbours of each object.
    members: BTreeMap<&'a str, Vec<PeerName>>,
    /// The cluster that this node reflects routes for, if it is a route reflector.
    pub(crate) cluster_id: Option<RouterId>,
    /// The neighbours of our own AS, and whether they belong to the mesh: what is reflected comes from them.
    internal: Vec<(PeerName, bool)>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        identity: &'a Identity,
        cluster: &ClusterCidrs,
        (state, facts): (&'a ClusterState, &'a Facts),
        targets: &[&'a Target<'_>],
    ) -> Self {
        let mut members: BTreeMap<&str, Vec<PeerName>> = BTreeMap::new();
        for target in targets {
            if let Some(object) = &target.origin.object {
                let name = PeerName::from(target.name.as_str());
                members.entry(object).or_default().push(name);
            }
        }
        let internal = || {
            targets
                .iter()
                .copied()
                .filter(|target| is_internal(identity, target))
        };
        let reflects = identity.cluster_id.is_some() || internal().any(|target| target.is_client);
        let others: BTreeSet<Prefix> = state
            .nodes
            .values()
            .flat_map(api::Node::internal_ips)
            .map(host)
            .collect();
        Self {
            identity,
            state,
            facts,
            cluster: cluster
                .prefixes
                .as_ref()
                .map(|set| set.iter().map(|p| inside(*p)).collect()),
            other_nodes: others
                .into_iter()
                .filter(|p| !identity.internal_ips.contains(&p.addr()))
                .map(exactly)
                .collect(),
            members,
            cluster_id: reflects.then(|| identity.cluster_id.unwrap_or(identity.router_id)),
            internal: internal()
                .map(|t| (PeerName::from(t.name.as_str()), t.is_of_mesh()))
                .collect(),
        }
    }

    /// The neighbours that a filter means by this name: those of the object, or the one neighbour.
    fn named(&self, name: &str) -> Vec<PeerName> {
        let alone = || vec![PeerName::from(name)];
        self.members.get(name).cloned().unwrap_or_else(alone)
    }
}

fn exactly(prefix: Prefix) -> PrefixRange {
    PrefixRange {
        prefix,
        ge: prefix.prefix_len(),
        le: prefix.prefix_len(),
    }
}

fn inside(prefix: Prefix) -> PrefixRange {
    PrefixRange {
        prefix,
        ge: prefix.prefix_len(),
        le: prefix.family().max_len(),
    }
}

fn default_routes() -> Vec<PrefixRange> {
    vec![exactly(Prefix::V4(0, 0)), exactly(Prefix::V6(0, 0))]
}

fn rule(name: &str, action: Action, condition: Condition) -> Rule {
    Rule {
        name: name.into(),
        condition,
        action,
        set: Set::default(),
    }
}

fn prefixes(ranges: Vec<PrefixRange>) -> Condition {
    Condition {
        prefixes: Some(ranges),
        ..Condition::default()
    }
}

/// What a neighbour's routes are installed for; the default is the pod CIDRs.
fn installs(spec: &BGPPeerSpec) -> BTreeSet<InstallRoutes> {
    let mut set = spec
        .install_routes
        .clone()
        .unwrap_or_else(|| [InstallRoutes::PodCIDRs].into());
    if !spec.has_built_in_filters() && !set.is_empty() {
        set.insert(InstallRoutes::Filtered);
    }
    set
}

/// The rails that hold for every neighbour.
fn rails(context: &Context<'_>) -> impl Iterator<Item = Rule> {
    let pods: Vec<_> = context.identity.pod_cidrs.iter().map(|p| inside(*p)).collect();
    let addresses: Vec<_> = context
        .identity
        .internal_ips
        .iter()
        .map(|a| exactly(host(*a)))
        .collect();
    [("rail OwnPodCIDR", pods), ("rail OwnAddress", addresses)]
        .into_iter()
        .filter(|(_, ranges)| !ranges.is_empty())
        .map(|(name, ranges)| rule(name, Action::Reject, prefixes(ranges)))
}

/// What is taken from a neighbour.
pub(crate) fn import(context: &Context<'_>, spec: &BGPPeerSpec) -> Filter {
    let installs = installs(spec);
    let mut rules: Vec<Rule> = rails(context).collect();
    if !installs.contains(&InstallRoutes::DefaultRoute) {
        rules.push(rule(
            "rail DefaultRoute",
            Action::Reject,
            prefixes(default_routes()),
        ));
    }
    rules.extend(user_rules(context, &spec.import_filters));
    if spec.has_built_in_filters() {
        rules.extend(built_in(context, &installs, &[]));
    }
    Filter {
        rules,
        default: Verdict::Reject,
    }
}

/// The built-in rules that accept. The pod CIDRs are always among them when no neighbours are named: what is taken
/// from a neighbour and not installed may still be passed on.
fn built_in(context: &Context<'_>, installs: &BTreeSet<InstallRoutes>, peers: &[PeerName]) -> Vec<Rule> {
    let named = |condition: Condition| match peers {
        [] => condition,
        some => Condition {
            peers: Some(some.to_vec()),
            ..condition
        },
    };
    let accept = |name: &str, condition: Condition| rule(name, Action::Accept, named(condition));
    let mut rules = Vec::new();
    if peers.is_empty() || installs.contains(&InstallRoutes::PodCIDRs) {
        match &context.cluster {
            Some(cluster) if !cluster.is_empty() => {
                rules.push(accept("built-in PodCIDRs", prefixes(cluster.clone())));
            }
            Some(_) => {}
            None => rules.push(accept("built-in Unprotected", Condition::default())),
        }
    }
    if installs.contains(&InstallRoutes::NodeAddresses) && !context.other_nodes.is_empty() {
        rules.push(accept(
            "built-in NodeAddresses",
            prefixes(context.other_nodes.clone()),
        ));
    }
    if installs.contains(&InstallRoutes::DefaultRoute) {
        rules.push(accept("built-in DefaultRoute", prefixes(default_routes())));
    }
    if installs.contains(&InstallRoutes::All) {
        rules.push(accept("built-in All", Condition::default()));
    }
    rules
}

/// What a neighbour is told.
pub(crate) fn export(context: &Context<'_>, target: &Target<'_>) -> Filter {
    let spec = &*target.spec;
    let mut rules = Vec::new();
    let reflects = context.cluster_id.is_some() && is_internal(context.identity, target);
    if let Some(changes) = spec.set.as_ref().map(set).filter(|s| *s != Set::default()) {
        // The mark of the mesh says something of the node that it comes from, not of one that passes it on.
        let is_mark = target.is_of_mesh() && reflects;
        let own = vec![Source::PodCidrs, Source::NodeAddresses];
        let condition = Condition {
            sources: is_mark.then_some(own),
            ..Condition::default()
        };
        rules.push(Rule {
            set: changes,
            ..rule("peer set", Action::Next, condition)
        });
    }
    rules.extend(user_rules(context, &spec.export_filters));
    if spec.has_built_in_filters() {
        let sources = [
            (Advertise::PodCIDRs, "built-in PodCIDRs", Source::PodCidrs),
            (
                Advertise::NodeAddresses,
                "built-in NodeAddresses",
                Source::NodeAddresses,
            ),
            (
                Advertise::LearnedRoutes,
                "built-in LearnedRoutes",
                Source::Learned,
            ),
        ];
        for (_, name, source) in sources.into_iter().filter(|(what, _, _)| advertises(spec, *what)) {
            let condition = Condition {
                sources: Some(vec![source]),
                ..Condition::default()
            };
            rules.push(rule(name, Action::Accept, condition));
        }
        if reflects {
            let alike = context.internal.iter();
            let alike = alike.filter(|(_, is_of_mesh)| *is_of_mesh == target.is_of_mesh());
            let condition = Condition {
                sources: Some(vec![Source::Learned]),
                peers: Some(alike.map(|(name, _)| name.clone()).collect()),
                ..Condition::default()
            };
            rules.push(rule("built-in Reflected", Action::Accept, condition));
        }
    }
    Filter {
        rules,
        default: Verdict::Reject,
    }
}

/// What goes into the kernel, of all that was taken.
pub(crate) fn install(
    context: &Context<'_>,
    planned: &BTreeMap<String, Planned<'_>>,
    ranges: &BTreeMap<String, (IpNetwork, Planned<'_>)>,
) -> Filter {
    // The name of a range means all that come from it.
    let of_ranges = ranges.iter().map(|(name, (_, planned))| (name, planned));
    let planned: BTreeMap<&String, &Planned<'_>> = planned.iter().chain(of_ranges).collect();
    let mut rules: Vec<Rule> = rails(context).collect();
    let without = |what: InstallRoutes| -> Vec<PeerName> {
        let lacks = |p: &Planned<'_>| !installs(p.spec).contains(&what);
        planned
            .iter()
            .filter(|(_, p)| lacks(p))
            .map(|(name, _)| PeerName::from(name.as_str()))
            .collect()
    };
    let api_server: Vec<_> = context
        .facts
        .api_server
        .iter()
        .map(|a| exactly(host(*a)))
        .collect();
    let protected = [
        (
            "rail DefaultRoute",
            default_routes(),
            without(InstallRoutes::DefaultRoute),
        ),
        (
            "rail APIServer",
            api_server,
            without(InstallRoutes::NodeAddresses),
        ),
    ];
    for (name, ranges, peers) in protected {
        if !ranges.is_empty() && !peers.is_empty() {
            rules.push(rule(
                name,
                Action::Reject,
                Condition {
                    peers: Some(peers),
                    ..prefixes(ranges)
                },
            ));
        }
    }
    // Neighbours that are treated alike share their rules.
    let mut groups: BTreeMap<BTreeSet<InstallRoutes>, Vec<PeerName>> = BTreeMap::new();
    for (name, planned) in &planned {
        groups
            .entry(installs(planned.spec))
            .or_default()
            .push(PeerName::from(name.as_str()));
    }
    for (installs, peers) in &groups {
        rules.extend(built_in(context, installs, peers));
    }
    for (name, planned) in &planned {
        if installs(planned.spec).contains(&InstallRoutes::Filtered) {
            rules.extend(filtered(context, name, planned.spec));
        }
    }
    Filter {
        rules,
        default: Verdict::Reject,
    }
}

/// The accepting rules of a neighbour's import filters, for its routes alone.
fn filtered(context: &Context<'_>, name: &str, spec: &BGPPeerSpec) -> Vec<Rule> {
    let peer = PeerName::from(name);
    user_rules(context, &spec.import_filters)
        .filter(|rule| match rule.action {
            Action::Accept => rule
                .condition
                .peers
                .as_ref()
                .is_none_or(|peers| peers.contains(&peer)),
            Action::Reject | Action::Next => false,
        })
        .map(|rule| Rule {
            condition: Condition {
                peers: Some(vec![peer.clone()]),
                ..rule.condition
            },
            set: Set::default(),
            ..rule
        })
        .collect()
}

/// The rules of the named filters, in order. Names that are not there were told before.
fn user_rules<'c>(context: &'c Context<'_>, names: &'c [String]) -> impl Iterator<Item = Rule> + use<'c> {
    let filters = names
        .iter()
        .filter_map(|name| context.state.filters.get(name).map(|f| (name, &f.spec)));
    filters.flat_map(move |(name, filter)| {
        filter
            .rules
            .iter()
            .enumerate()
            .map(move |(i, r)| user_rule(context, name, i + 1, r))
    })
}

fn user_rule(context: &Context<'_>, filter: &str, number: usize, given: &api::FilterRule) -> Rule {
    let condition = given
        .matches
        .as_ref()
        .map_or_else(Condition::default, |m| Condition {
            prefixes: m
                .prefixes
                .as_ref()
                .map(|ranges| ranges.iter().map(range).collect()),
            communities: m
                .communities
                .as_ref()
                .map(|all| all.iter().map(|c| Community(c.0)).collect()),
            large_communities: m
                .large_communities
                .as_ref()
                .map(|all| all.iter().map(large).collect()),
            as_path: m
                .as_path
                .as_ref()
                .map(|all| all.iter().copied().map(Asn).collect()),
            sources: m.source.map(|source| vec![self::source(source)]),
            peers: m.peer.as_ref().map(|peer| context.named(peer)),
        });
    let action = match given.action {
        FilterAction::Accept => Action::Accept,
        FilterAction::Reject => Action::Reject,
        FilterAction::Next => Action::Next,
    };
    Rule {
        name: format!("filter {filter} rule {number}").into(),
        condition,
        action,
        set: given.set.as_ref().map(set).unwrap_or_default(),
    }
}

fn source(source: RouteSource) -> Source {
    match source {
        RouteSource::PodCIDRs => Source::PodCidrs,
        RouteSource::NodeAddresses => Source::NodeAddresses,
        RouteSource::LearnedRoutes => Source::Learned,
    }
}

fn range(given: &api::PrefixRange) -> PrefixRange {
    let prefix = Prefix::from(given.cidr.0);
    let longest = prefix.family().max_len();
    let unbounded = if given.ge.is_some() {
        longest
    } else {
        prefix.prefix_len()
    };
    PrefixRange {
        prefix,
        ge: given.ge.unwrap_or(prefix.prefix_len()),
        le: given.le.unwrap_or(unbounded),
    }
}

fn large(given: &flatroute_api::values::LargeCommunity) -> LargeCommunity {
    let [global, local1, local2] = given.0;
    LargeCommunity {
        global,
        local1,
        local2,
    }
}

fn set(given: &api::SetAttributes) -> Set {
    Set {
        med: given.med,
        local_pref: given.local_pref,
        add_communities: given.communities.iter().map(|c| Community(c.0)).collect(),
        add_large_communities: given.large_communities.iter().map(large).collect(),
        prepend: given.prepend.unwrap_or(0),
    }
}
