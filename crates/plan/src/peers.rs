//! Each neighbour that [`crate::targets`] found becomes one of the speaker. The defaults of the API are applied here, and what
//! needs the other objects is decided here: the ASN, the filters by name, two objects that name the same neighbour.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use flatroute_api::objects as api;
use flatroute_api::values::PeerAsn as ApiAsn;
use flatroute_api::{BGPPeerSpec, Problem, ProblemReason};
use flatroute_bgp::session::{ConnectMode, PeerAsn, Settings};
use flatroute_bgp::speaker::{
    AdminState, GracefulRestart, GracefulRestartMode, NextHopMode, PeerConfig, PrefixLimit,
    PrefixLimitAction, RangeConfig, Reflection, Ttl,
};
use flatroute_bgp::types::{Asn, Family, FamilySet, Prefix, Role};
use flatroute_bgp::wire::AddPathMode;
use ipnetwork::IpNetwork;

use crate::filters::{self, Context};
use crate::identity::Identity;
use crate::targets::{Origin, Target};
use crate::{auth, unnumbered};

/// The hold time that is proposed unless configured.
const HOLD_TIME: Duration = Duration::from_secs(90);
/// The pause before another attempt to connect unless configured.
const CONNECT_RETRY_TIME: Duration = Duration::from_secs(5);
/// How many prefixes a family a neighbour may send unless configured.
const MAX_PREFIXES: u32 = 10_000;
/// How many neighbours a range may have at once unless configured.
const LISTEN_LIMIT: u16 = 100;
/// How far an internal neighbour may be away unless configured: as far as IP goes.
const INTERNAL_HOPS: u8 = 255;

/// A neighbour, and the object that it comes from.
pub(crate) struct Planned<'a> {
    pub(crate) config: PeerConfig,
    pub(crate) origin: Origin,
    pub(crate) spec: &'a BGPPeerSpec,
}

impl Planned<'_> {
    pub(crate) fn advertises(&self, what: api::Advertise) -> bool {
        advertises(self.spec, what)
    }
}

/// Whether a neighbour is told `what`; the default is the pod CIDRs.
pub(crate) fn advertises(spec: &BGPPeerSpec, what: api::Advertise) -> bool {
    spec.advertise
        .as_ref()
        .map_or(what == api::Advertise::PodCIDRs, |set| set.contains(&what))
}

/// Our ASN towards a neighbour, and which it must be of.
fn asns(identity: &Identity, target: &Target<'_>) -> (Asn, PeerAsn) {
    let peer_asn = match target.asn {
        ApiAsn::Number(asn) => PeerAsn::Exact(Asn(asn)),
        ApiAsn::External => PeerAsn::External,
        ApiAsn::Internal => PeerAsn::Internal,
    };
    (target.spec.local_asn.map_or(identity.asn, Asn), peer_asn)
}

/// Whether a neighbour is of our own AS.
pub(crate) fn is_internal(identity: &Identity, target: &Target<'_>) -> bool {
    let (local_asn, peer_asn) = asns(identity, target);
    match peer_asn {
        PeerAsn::Exact(asn) => asn == local_asn,
        PeerAsn::External => false,
        PeerAsn::Internal => true,
    }
}

/// All neighbours of the node, by name.
pub(crate) fn plan<'t>(
    context: &Context<'_>,
    targets: &'t [Target<'_>],
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Planned<'t>> {
    let mut planned: BTreeMap<String, Planned<'t>> = BTreeMap::new();
    let mut addresses: BTreeMap<(IpAddr, Option<u32>), &str> = BTreeMap::new();
    for target in targets {
        match peer(context, target, problems) {
            Err(found) => problems.extend(found),
            Ok(config) => {
                let key = (config.address, config.interface);
                if let Some(first) = addresses.get(&key) {
                    problems.push(conflict(target, first, context));
                    continue;
                }
                if planned.contains_key(&target.name) {
                    problems.push(same_name(target));
                    continue;
                }
                addresses.insert(key, &target.name);
                let neighbour = Planned {
                    config,
                    origin: target.origin.clone(),
                    spec: &target.spec,
                };
                planned.insert(target.name.clone(), neighbour);
            }
        }
    }
    planned
}

/// Where neighbours come from by themselves, by name. Of two objects with one range the first by name has it.
pub(crate) fn ranges<'t>(
    context: &Context<'_>,
    targets: &'t [(IpNetwork, Target<'_>)],
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, (IpNetwork, Planned<'t>)> {
    let mut planned: BTreeMap<String, (IpNetwork, Planned<'t>)> = BTreeMap::new();
    let mut taken: BTreeMap<IpNetwork, &str> = BTreeMap::new();
    for (range, target) in targets {
        match peer(context, target, problems) {
            Err(found) => problems.extend(found),
            Ok(mut config) => {
                if let Some(first) = taken.get(range) {
                    let message = format!(
                        "on node {} BGPPeer/{first} has {range} too, and is the one in use",
                        context.identity.name
                    );
                    let remedy = "remove one of the two, or make their nodeSelectors exclude each other";
                    let reason = ProblemReason::ConflictingPeer;
                    problems.push(problem(target, target.field, reason, message, remedy));
                    continue;
                }
                taken.insert(*range, &target.name);
                config.session.connect_mode = ConnectMode::Passive;
                let neighbour = Planned {
                    config,
                    origin: target.origin.clone(),
                    spec: &target.spec,
                };
                planned.insert(target.name.clone(), (*range, neighbour));
            }
        }
    }
    planned
}

/// A range of the speaker.
pub(crate) fn range(prefix: IpNetwork, planned: Planned<'_>) -> RangeConfig {
    RangeConfig {
        prefix: Prefix::from(prefix),
        limit: usize::from(planned.spec.listen_limit.unwrap_or(LISTEN_LIMIT)),
        template: planned.config,
    }
}

fn problem(
    target: &Target<'_>,
    field: &str,
    reason: ProblemReason,
    message: String,
    remedy: &str,
) -> Problem {
    let (kind, name) = target.object();
    Problem::new(kind, name, field, message, remedy).because(reason)
}

fn conflict(target: &Target<'_>, first: &str, context: &Context<'_>) -> Problem {
    let message = format!(
        "on node {} BGPPeer/{first} has {} too, and is the one in use",
        context.identity.name, target.address
    );
    let remedy = "remove one of the two, or make their nodeSelectors exclude each other";
    problem(
        target,
        target.field,
        ProblemReason::ConflictingPeer,
        message,
        remedy,
    )
}

fn same_name(target: &Target<'_>) -> Problem {
    let message = format!("another BGPPeer has a neighbour named {} already", target.name);
    problem(
        target,
        target.field,
        ProblemReason::ConflictingPeer,
        message,
        "rename one of the two",
    )
}

/// A role between two of one AS: it is left out, and said.
fn role_of_internal(target: &Target<'_>, asn: Asn) -> Problem {
    let message = format!(
        "{} is of AS {asn} like this node: between the two a role means nothing",
        target.address
    );
    let remedy = "remove it, or correct peerASN or localASN";
    problem(target, "spec.role", ProblemReason::Invalid, message, remedy)
}

/// What the object refers to: filters, the node's addresses, an interface. Gives the interface's index.
fn references(context: &Context<'_>, target: &Target<'_>) -> Result<Option<u32>, Vec<Problem>> {
    let spec = &target.spec;
    let mut problems = Vec::new();
    let mut refuse = |field: &str, reason: ProblemReason, message: String, remedy: &str| {
        problems.push(problem(target, field, reason, message, remedy));
    };
    let address = target.address;
    if context.identity.internal_ips.contains(&address) {
        let message = format!(
            "{address} is the address of node {} itself",
            context.identity.name
        );
        let remedy = "exclude the node by nodeSelector";
        refuse(target.field, ProblemReason::OwnAddress, message, remedy);
    }
    let interface = target
        .interface
        .as_ref()
        .map(|i| (i, context.facts.links.interfaces.get(i).copied()));
    if let Some((missing, None)) = interface {
        let message = format!(
            "node {} has no interface {missing} that is up",
            context.identity.name
        );
        refuse(
            "spec.interface",
            ProblemReason::InterfaceNotFound,
            message,
            "correct it, or bring the interface up",
        );
    }
    for (field, names) in [
        ("importFilters", &spec.import_filters),
        ("exportFilters", &spec.export_filters),
    ] {
        for (i, filter) in names
            .iter()
            .enumerate()
            .filter(|(_, f)| !context.state.filters.contains_key(*f))
        {
            let message = format!("there is no BGPFilter {filter}: the peer is left out");
            refuse(
                &format!("spec.{field}[{i}]"),
                ProblemReason::FilterNotFound,
                message,
                "add the filter, or remove its name",
            );
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(interface.and_then(|(_, index)| index))
}

/// The neighbour that an object means. `told` gets problems that do not keep it out of the plan.
fn peer(
    context: &Context<'_>,
    target: &Target<'_>,
    told: &mut Vec<Problem>,
) -> Result<PeerConfig, Vec<Problem>> {
    let spec = &*target.spec;
    let interface = references(context, target)?;
    let (_, object) = target.object();
    let found = auth::auth(context, object, spec.auth.as_ref());
    told.extend(found.problem);
    let transit = advertises(spec, api::Advertise::LearnedRoutes);
    let (local_asn, peer_asn) = asns(context.identity, target);
    let internal = is_internal(context.identity, target);
    let reflection = reflection(context, target, told);
    if internal && spec.role.is_some() {
        told.push(role_of_internal(target, local_asn));
    }
    Ok(PeerConfig {
        address: target.address,
        interface,
        port: spec.peer_port.unwrap_or(179),
        source_address: target.source_address,
        session: session(context, target, local_asn, peer_asn),
        ttl: ttl(spec, internal),
        auth: found.auth,
        next_hop: match spec.next_hop {
            None | Some(api::NextHop::Auto) => NextHopMode::Auto,
            Some(api::NextHop::ItSelf) => NextHopMode::ItSelf,
            Some(api::NextHop::Unchanged) => NextHopMode::Unchanged,
        },
        reflection,
        // Nodes share an ASN and are told apart by their prefixes: a stub cannot close a loop, a transit router can.
        allow_own_asn: spec.allow_own_asn.unwrap_or(u8::from(!internal && !transit)),
        next_hops: target.is_of_mesh().then(|| on_link(context)),
        max_prefixes: max_prefixes(spec),
        import: filters::import(context, spec),
        export: filters::export(context, target),
        graceful_restart: graceful_restart(spec),
        // A filter may let learned routes out, whatever is advertised by default.
        relays: transit || reflection.is_some() || !spec.export_filters.is_empty(),
        admin_state: match (spec.state, found.held) {
            (Some(api::State::Down), _) => AdminState::Down(spec.state_message.clone().unwrap_or_default()),
            (None | Some(api::State::Up | api::State::Drained), Some(reason)) => AdminState::Held(reason),
            (None | Some(api::State::Up | api::State::Drained), None) => AdminState::Up,
        },
        drained: spec.state == Some(api::State::Drained),
    })
}

/// What the neighbour is to this node as a route reflector.
fn reflection(context: &Context<'_>, target: &Target<'_>, told: &mut Vec<Problem>) -> Option<Reflection> {
    let internal = is_internal(context.identity, target);
    if target.is_client && !internal && target.spec.route_reflector_client.is_some() {
        let message = format!(
            "the neighbour {} is of another ASN than node {}, and cannot be its client",
            target.address, context.identity.name
        );
        let remedy = "remove it, or correct peerASN or localASN";
        let field = "spec.routeReflectorClient";
        told.push(problem(target, field, ProblemReason::Invalid, message, remedy));
    }
    let cluster_id = context.cluster_id.filter(|_| internal)?;
    Some(Reflection {
        cluster_id,
        client: target.is_client,
    })
}

fn session(context: &Context<'_>, target: &Target<'_>, local_asn: Asn, peer_asn: PeerAsn) -> Settings {
    let spec = &target.spec;
    let timers = spec.timers.clone().unwrap_or_default();
    Settings {
        local_asn,
        router_id: context.identity.router_id,
        peer_asn,
        connect_mode: match spec.connect_mode {
            Some(api::ConnectMode::Active) => ConnectMode::Active,
            Some(api::ConnectMode::Passive) => ConnectMode::Passive,
            None | Some(api::ConnectMode::Both) => ConnectMode::Both,
        },
        hold_time: timers.hold_time.map_or(HOLD_TIME, |d| d.0),
        keepalive_time: timers.keepalive_time.map(|d| d.0),
        send_hold_time: timers.send_hold_time.map(|d| d.0),
        connect_retry_time: timers.connect_retry_time.map_or(CONNECT_RETRY_TIME, |d| d.0),
        families: families(spec).unwrap_or_else(|| match unnumbered::interface(spec) {
            // Its next hops need no address of a family.
            Some(_) => context.identity.all_families(),
            None => context.identity.families(),
        }),
        extended_next_hop: target.address.is_ipv6(),
        add_path: match spec.add_path {
            None | Some(api::AddPath::Disabled) => None,
            Some(api::AddPath::Receive) => Some(AddPathMode::Receive),
            Some(api::AddPath::Send) => Some(AddPathMode::Send),
            Some(api::AddPath::Both) => Some(AddPathMode::Both),
        },
        role: spec.role.map(role),
    }
}

fn role(role: api::Role) -> Role {
    match role {
        api::Role::Provider => Role::Provider,
        api::Role::Customer => Role::Customer,
        api::Role::Peer => Role::Peer,
        api::Role::RouteServer => Role::RouteServer,
        api::Role::RouteServerClient => Role::RouteServerClient,
    }
}

/// Where a next hop can be reached without a gateway. Host prefixes are addresses of this node.
fn on_link(context: &Context<'_>) -> Vec<Prefix> {
    let prefixes = context.facts.links.on_link.iter().map(|p| Prefix::from(*p));
    prefixes
        .filter(|p| p.prefix_len() < p.family().max_len())
        .collect()
}

pub(crate) fn families(spec: &BGPPeerSpec) -> Option<FamilySet> {
    let set = spec.families.as_ref().filter(|set| !set.is_empty())?;
    let family = |f: &api::Family| match f {
        api::Family::IPv4 => Family::Ipv4,
        api::Family::IPv6 => Family::Ipv6,
    };
    Some(set.iter().map(family).collect())
}

fn ttl(spec: &BGPPeerSpec, internal: bool) -> Ttl {
    match (spec.ttl_security, spec.multihop) {
        (Some(hops), _) => Ttl::Security(hops),
        (None, Some(hops)) => Ttl::Multihop(hops),
        (None, None) if internal => Ttl::Multihop(INTERNAL_HOPS),
        (None, None) => Ttl::Direct,
    }
}

fn graceful_restart(spec: &BGPPeerSpec) -> GracefulRestart {
    let configured = spec.graceful_restart.clone().unwrap_or_default();
    let default = GracefulRestart::default();
    GracefulRestart {
        mode: match configured.mode {
            None | Some(api::GracefulRestartMode::Auto) => GracefulRestartMode::Auto,
            Some(api::GracefulRestartMode::HelperOnly) => GracefulRestartMode::HelperOnly,
            Some(api::GracefulRestartMode::Disabled) => GracefulRestartMode::Disabled,
        },
        restart_time: configured
            .restart_time
            .map_or(default.restart_time, |time| time.0),
        long_lived_stale_time: configured
            .long_lived_stale_time
            .map_or(default.long_lived_stale_time, |time| time.0),
        notification: match configured.notification {
            None | Some(api::Toggle::Disabled) => false,
            Some(api::Toggle::Enabled) => true,
        },
    }
}

fn max_prefixes(spec: &BGPPeerSpec) -> PrefixLimit {
    let configured = spec.max_prefixes.as_ref();
    PrefixLimit {
        limit: configured.and_then(|m| m.limit).unwrap_or(MAX_PREFIXES),
        action: match configured.and_then(|m| m.action) {
            Some(api::MaxPrefixesAction::Warn) => PrefixLimitAction::Warn,
            None | Some(api::MaxPrefixesAction::Drop) => PrefixLimitAction::Drop,
            Some(api::MaxPrefixesAction::Restart) => PrefixLimitAction::Restart,
        },
    }
}
