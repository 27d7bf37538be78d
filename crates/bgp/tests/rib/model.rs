//! Random histories against a model that keeps everything in plain maps and works everything out from nothing.
//!
//! The model knows no dirty sets, handles or increments: after each step the best path, the kernel's routes and
//! what each peer was told must be what a fresh calculation over all that was announced says. The decision is
//! written down a second time, in another way: as one sort key where RFC 4271 allows it, and MED by groups before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flatroute_bgp::policy::{Action, Condition, Filter, PrefixRange, Reflection, Rule, Set, Source, Verdict};
use flatroute_bgp::rib::{
    Batch, FibPath, Loss, MAX_LOSSES, Multipath, PeerIndex, PeerSettings, Rib, RouteView, Usage,
};
use flatroute_bgp::types::{
    Asn, Community, Family, FamilySet, LargeCommunity, NextHop, Origin, PathAttributes, PathId, Prefix,
    RouterId,
};
use proptest::prelude::*;

use super::support::{RELAXED, hop, hop6, path, peer, rib};

const PEERS: usize = 5;
const PREFIXES: usize = 10;
const CLUSTER: RouterId = RouterId(500);
/// How many paths of a prefix there may be of a peer that says several.
const IDS: u32 = 3;

/// A path: its prefix, its peer, and its identifier, which is zero where a peer says one path a prefix.
type Key = (Prefix, usize, u32);

#[derive(Clone, Debug)]
enum Op {
    Up(usize),
    Down(usize),
    Announce(usize, usize, Vec<(usize, u32)>),
    Withdraw(usize, Vec<(usize, u32)>),
    Originate(usize, bool),
    Unoriginate(usize),
    Filters(usize, usize, usize),
    Install(usize),
    /// Whether we reflect to a peer, and it is a client.
    Client(usize, Option<bool>),
    Multipath(bool, u16),
    Resend(usize, bool),
    /// A refresh between brackets, out and in.
    Answer(usize, bool),
    Begins(usize, bool),
    Ends(usize, bool),
    ResendFib,
    /// The session is lost, and these families are kept.
    Lost(usize, bool, bool),
    /// What one loss, or any, has left goes.
    Sweep(usize, bool, Option<u64>),
    LongLived(usize, bool, Option<u64>),
    /// The selection after a restart.
    Resume,
    Batch(usize),
    Fib(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let p = 0..PEERS;
    let some = || prop::collection::vec((0..PREFIXES, 0..IDS), 1..5);
    prop_oneof![
        3 => p.clone().prop_map(Op::Up),
        1 => p.clone().prop_map(Op::Down),
        12 => (p.clone(), 0usize..40, some()).prop_map(|(p, a, x)| Op::Announce(p, a, x)),
        4 => (p.clone(), some()).prop_map(|(p, x)| Op::Withdraw(p, x)),
        1 => (0..PREFIXES, any::<bool>()).prop_map(|(x, s)| Op::Originate(x, s)),
        1 => (0..PREFIXES).prop_map(Op::Unoriginate),
        2 => (p.clone(), 0usize..4, 0usize..4).prop_map(|(p, i, e)| Op::Filters(p, i, e)),
        1 => (0usize..4).prop_map(Op::Install),
        1 => (p.clone(), prop::option::of(any::<bool>())).prop_map(|(p, c)| Op::Client(p, c)),
        1 => (any::<bool>(), 1u16..4).prop_map(|(r, m)| Op::Multipath(r, m)),
        1 => (p.clone(), any::<bool>()).prop_map(|(p, f)| Op::Resend(p, f)),
        2 => (p.clone(), any::<bool>()).prop_map(|(p, f)| Op::Answer(p, f)),
        2 => (p.clone(), any::<bool>()).prop_map(|(p, f)| Op::Begins(p, f)),
        2 => (p.clone(), any::<bool>()).prop_map(|(p, f)| Op::Ends(p, f)),
        1 => Just(Op::ResendFib),
        3 => (p.clone(), any::<bool>(), any::<bool>()).prop_map(|(p, f, s)| Op::Lost(p, f, s)),
        1 => (p.clone(), any::<bool>(), prop::option::of(1u64..6)).prop_map(|(p, f, n)| Op::Sweep(p, f, n)),
        2 => (p.clone(), any::<bool>(), prop::option::of(1u64..6)).prop_map(|(p, f, n)| Op::LongLived(p, f, n)),
        1 => Just(Op::Resume),
        6 => p.prop_map(Op::Batch),
        3 => (0usize..4).prop_map(Op::Fib),
    ]
}

fn prefix_of(i: usize) -> Prefix {
    let n = u32::try_from(i).unwrap();
    if i < PREFIXES - 3 {
        Prefix::v4((10 << 24) | (n << 16), 16).unwrap()
    } else {
        Prefix::v6((0xfd << 120) | (u128::from(n) << 64), 64).unwrap()
    }
}

/// Peers 0 to 3 are external (2 and 3 of one AS), 4 is internal and a client of ours, and so is 1, which is none. 0 says several
/// paths of an IPv4 prefix and 4 of any; 2 and 4 are told several.
fn settings(i: usize) -> PeerSettings {
    let n = u8::try_from(i).unwrap();
    let four: FamilySet = [Family::Ipv4].into_iter().collect();
    let mut s = peer(n, [65001, 64512, 65003, 65003, 64512][i]);
    s.allow_own_asn = n % 2;
    s.relays = n.is_multiple_of(2);
    s.long_lived = n % 3 == 1;
    s.restarted = n % 4 == 3;
    s.reflection = reflection(Some(i == 4));
    s.path_ids.received = [
        four,
        FamilySet::NONE,
        FamilySet::NONE,
        FamilySet::NONE,
        FamilySet::BOTH,
    ][i];
    s.path_ids.sent = [
        FamilySet::NONE,
        FamilySet::NONE,
        FamilySet::BOTH,
        FamilySet::NONE,
        FamilySet::BOTH,
    ][i];
    if i == 3 {
        s.local.ipv6 = None;
    }
    s
}

fn reflection(client: Option<bool>) -> Option<Reflection> {
    client.map(|client| Reflection {
        cluster_id: CLUSTER,
        client,
    })
}

/// Identifiers 0 and 1 share a next hop.
fn next_hop_of(n: u8, family: Family, id: u32) -> NextHop {
    match (family, id) {
        (Family::Ipv4, 0 | 1) => hop(n),
        (Family::Ipv4, _) => NextHop::V4([10, 0, n, 9].into()),
        (Family::Ipv6, 0 | 1) => hop6(n),
        (Family::Ipv6, _) => NextHop::V6 {
            global: format!("fd00::{n}:9").parse().unwrap(),
            link_local: None,
        },
    }
}

fn filter(i: usize) -> Arc<Filter> {
    let rule = |condition, action, set| Rule {
        name: "rule".into(),
        condition,
        action,
        set,
    };
    let rules = match i {
        0 => Vec::new(),
        1 => vec![rule(
            Condition {
                prefixes: Some(vec![PrefixRange {
                    prefix: Prefix::v4(10 << 24, 13).unwrap(),
                    ge: 0,
                    le: 32,
                }]),
                ..Condition::default()
            },
            Action::Accept,
            Set {
                local_pref: Some(150),
                med: Some(3),
                add_communities: vec![Community(77)],
                add_large_communities: vec![LargeCommunity {
                    global: 1,
                    local1: 2,
                    local2: 3,
                }],
                prepend: 2,
            },
        )],
        2 => vec![rule(
            Condition {
                communities: Some(vec![Community(5)]),
                ..Condition::default()
            },
            Action::Reject,
            Set::default(),
        )],
        _ => vec![
            rule(
                Condition {
                    as_path: Some(vec![Asn(7)]),
                    ..Condition::default()
                },
                Action::Next,
                Set {
                    med: Some(1),
                    ..Set::default()
                },
            ),
            rule(
                Condition {
                    peers: Some(vec!["peer0".into(), "peer4".into()]),
                    ..Condition::default()
                },
                Action::Accept,
                Set::default(),
            ),
        ],
    };
    let default = if i == 1 || i == 3 {
        Verdict::Reject
    } else {
        Verdict::Accept
    };
    Arc::new(Filter { rules, default })
}

/// Forty sets of attributes that differ in what the decision and the filters look at.
fn attributes(p: usize, a: usize) -> PathAttributes {
    let first = settings(p).asn.0;
    let mut asns = match a % 5 {
        0 => vec![first],
        1 => vec![first, 7],
        2 => vec![first, 64512],
        3 => vec![first, 9],
        _ => vec![8, first],
    };
    if first == 64512 && a % 5 != 2 {
        asns.retain(|x| *x != 64512);
    }
    let mut attrs = path(&asns);
    attrs.med = [None, Some(3), Some(9)][a % 3];
    attrs.local_pref = [None, Some(200)][a / 5 % 2];
    attrs.origin = [Origin::Igp, Origin::Incomplete][a / 10 % 2];
    attrs.communities = match a / 4 % 7 {
        0 => vec![Community(5)],
        1 => vec![Community::NO_EXPORT],
        2 => vec![Community::NO_ADVERTISE],
        3 => vec![Community::NO_LLGR],
        4 => vec![Community::LLGR_STALE],
        _ => Vec::new(),
    };
    if first == 64512 {
        attrs.originator_id = [None, Some(RouterId(1)), Some(RouterId(4)), Some(RouterId(1000))][a / 3 % 4];
        attrs.cluster_list = match a / 6 % 4 {
            0 => vec![RouterId(501)],
            1 => vec![RouterId(501), CLUSTER],
            _ => Vec::new(),
        };
    }
    attrs
}

#[derive(Default)]
struct Told {
    routes: BTreeMap<(Prefix, PathId), PathAttributes>,
    end_of_rib: BTreeSet<Family>,
    /// While it is told all of a family again: what has not come yet.
    awaited: BTreeMap<Family, BTreeSet<(Prefix, PathId)>>,
}

impl Told {
    fn unreach(&mut self, family: Family, paths: Vec<(Prefix, PathId)>) {
        for path in paths {
            assert_eq!(path.0.family(), family);
            assert!(
                self.routes.remove(&path).is_some(),
                "withdrawn without an announcement"
            );
            self.awaited.values_mut().for_each(|a| _ = a.remove(&path));
        }
    }

    fn reach(&mut self, attributes: &PathAttributes, paths: Vec<(Prefix, PathId)>) {
        assert!(!paths.is_empty());
        for path in paths {
            self.routes.insert(path, attributes.clone());
            self.awaited.values_mut().for_each(|a| _ = a.remove(&path));
        }
    }

    /// The attributes told of each prefix, in an order of their own.
    fn by_prefix(&self) -> BTreeMap<Prefix, Vec<String>> {
        let mut all: BTreeMap<Prefix, Vec<String>> = BTreeMap::new();
        for ((prefix, _), a) in &self.routes {
            all.entry(*prefix).or_default().push(format!("{a:?}"));
        }
        all.values_mut().for_each(|v| v.sort());
        all
    }
}

struct Model {
    up: BTreeMap<usize, (PeerIndex, PeerSettings)>,
    /// As received: next hop set, LOCAL_PREF of external peers gone.
    routes: BTreeMap<Key, PathAttributes>,
    local: BTreeMap<Prefix, Source>,
    install: Arc<Filter>,
    multipath: Multipath,
    /// Those that a peer has not announced again since it said BoRR.
    stale: BTreeSet<Key>,
    /// Those whose session was lost, with what is kept of theirs.
    away: BTreeSet<usize>,
    /// What outlived a session: which loss it was, and whether it is a last resort.
    retained: BTreeMap<Key, (u64, bool)>,
    losses: u64,
    /// No routes are chosen yet.
    deferred: bool,
    told: BTreeMap<usize, Told>,
    kernel: BTreeMap<Prefix, Vec<FibPath>>,
}

fn apply(filter: &Filter, view: &flatroute_bgp::policy::View<'_>, a: &mut PathAttributes) -> Option<usize> {
    let mut changed = Vec::new();
    if filter.evaluate(view, &mut changed).verdict == Verdict::Reject {
        return None;
    }
    let mut prepend = 0;
    for set in filter.changes(&changed) {
        set.apply(a);
        prepend += usize::from(set.prepend);
    }
    Some(prepend)
}

fn view<'a>(
    prefix: Prefix,
    a: &'a PathAttributes,
    source: Source,
    from: Option<&'a PeerSettings>,
) -> flatroute_bgp::policy::View<'a> {
    flatroute_bgp::policy::View {
        prefix,
        as_path: &a.as_path,
        communities: &a.communities,
        large_communities: &a.large_communities,
        source,
        peer: from.map(|s| &s.name),
    }
}

impl Model {
    /// The path that an announcement means.
    fn key(&self, p: usize, prefix: Prefix, id: u32) -> Key {
        let several = self.up[&p].1.path_ids.received.contains(prefix.family());
        (prefix, p, if several { id } else { 0 })
    }

    fn accepted(&self, prefix: Prefix) -> BTreeMap<(usize, u32), PathAttributes> {
        let of_prefix = self.routes.iter().filter(|((x, ..), _)| *x == prefix);
        of_prefix
            .filter_map(|((_, p, id), a)| {
                let s = &self.up[p].1;
                let first_ok = s.is_internal() || a.as_path.first() == Some(s.asn);
                let own = a.as_path.iter().filter(|x| *x == Asn(64512)).count();
                let cluster = s.reflection.map(|r| r.cluster_id);
                let looped = a.originator_id == Some(s.local_router_id)
                    || a.cluster_list.iter().any(|c| Some(*c) == cluster);
                if !first_ok || looped || own > usize::from(s.allow_own_asn) {
                    return None;
                }
                let mut out = a.clone();
                apply(&s.import, &view(prefix, a, Source::Learned, Some(s)), &mut out)?;
                if self.retained.get(&(prefix, *p, *id)).is_some_and(|r| r.1)
                    && !out.communities.contains(&Community::LLGR_STALE)
                {
                    out.communities.push(Community::LLGR_STALE);
                }
                Some(((*p, *id), out))
            })
            .collect()
    }

    /// Best and multipath, the best first.
    fn selected(&self, prefix: Prefix) -> Vec<((usize, u32), PathAttributes)> {
        if self.local.contains_key(&prefix) {
            return Vec::new();
        }
        let rank = |a: &PathAttributes| {
            (
                u32::MAX - a.local_pref.unwrap_or(100),
                a.as_path.decision_len(),
                a.origin,
            )
        };
        let mut left = self.accepted(prefix);
        let last = |a: &PathAttributes| a.communities.contains(&Community::LLGR_STALE);
        if !left.values().all(last) {
            left.retain(|_, a| !last(a));
        }
        let Some(top) = left.values().map(rank).min() else {
            return Vec::new();
        };
        left.retain(|_, a| rank(a) == top);
        let mut lowest: BTreeMap<Option<Asn>, u32> = BTreeMap::new();
        for a in left.values() {
            let med = lowest.entry(a.as_path.first()).or_insert(u32::MAX);
            *med = (*med).min(a.med.unwrap_or(0));
        }
        left.retain(|_, a| a.med.unwrap_or(0) == lowest[&a.as_path.first()]);
        let external = |(p, _): &(usize, u32)| !self.up[p].1.is_internal();
        if left.keys().any(external) {
            left.retain(|p, _| external(p));
        }
        let fresh = |(p, id): &(usize, u32), a: &PathAttributes| {
            last(a) || !self.retained.contains_key(&(prefix, *p, *id))
        };
        if left.iter().any(|(p, a)| fresh(p, a)) {
            left.retain(|p, a| fresh(p, a));
        }
        // Router ids and addresses rise with the number of the peer.
        let mut left: Vec<((usize, u32), PathAttributes)> = left.into_iter().collect();
        left.sort_by_key(|(p, a)| {
            let id = a.originator_id.unwrap_or(self.up[&p.0].1.router_id);
            (id, a.cluster_list.len(), *p)
        });
        let mut left = left.into_iter();
        let best = left.next().unwrap();
        let mut out = vec![best.clone()];
        if external(&best.0) {
            out.extend(left.filter(|(_, a)| self.multipath.relaxed || a.as_path == best.1.as_path));
            out.truncate(usize::from(self.multipath.max_paths));
        }
        out
    }

    fn kernel_wants(&self, prefix: Prefix) -> Vec<FibPath> {
        let mut paths: Vec<FibPath> = self
            .selected(prefix)
            .into_iter()
            .filter_map(|((p, _), a)| {
                let s = &self.up[&p].1;
                apply(
                    &self.install,
                    &view(prefix, &a, Source::Learned, Some(s)),
                    &mut a.clone(),
                )?;
                Some(FibPath {
                    next_hop: a.next_hop?,
                    interface: None,
                    peer: s.name.clone(),
                })
            })
            .collect();
        paths.sort();
        paths
    }

    /// What the kernel gets: paths with one next hop are one leg.
    fn legs(&self, prefix: Prefix) -> Vec<FibPath> {
        let mut legs = self.kernel_wants(prefix);
        legs.dedup_by_key(|leg| leg.next_hop);
        legs
    }

    /// What a peer is to be told of a prefix: each path with its attributes, at most one unless it is told several.
    fn peer_wants(&self, to: usize, prefix: Prefix) -> Vec<PathAttributes> {
        let s = &self.up[&to].1;
        if self.local.contains_key(&prefix) {
            let own = self.peer_wants_path(to, prefix, None, PathAttributes::local());
            return own.into_iter().collect();
        }
        if self.deferred && !s.restarted {
            return Vec::new();
        }
        let paths: Vec<((usize, u32), PathAttributes)> = if s.path_ids.sent.contains(prefix.family()) {
            self.accepted(prefix).into_iter().collect()
        } else {
            self.selected(prefix).into_iter().take(1).collect()
        };
        let told = paths.into_iter();
        told.filter_map(|((p, _), a)| self.peer_wants_path(to, prefix, Some(p), a))
            .collect()
    }

    fn peer_wants_path(
        &self,
        to: usize,
        prefix: Prefix,
        from: Option<usize>,
        mut a: PathAttributes,
    ) -> Option<PathAttributes> {
        let s = &self.up[&to].1;
        let from_settings = from.map(|p| &self.up[&p].1);
        let is_client = |s: &PeerSettings| s.reflection.is_some_and(|r| r.client);
        let reflected = s.is_internal() && from_settings.is_some_and(PeerSettings::is_internal);
        let forbidden = from == Some(to)
            || (reflected
                && !(s.reflection.is_some() && (is_client(s) || from_settings.is_some_and(is_client))))
            || (reflected && a.originator_id.or(from_settings.map(|f| f.router_id)) == Some(s.router_id))
            || a.communities.contains(&Community::NO_ADVERTISE)
            || (a.communities.contains(&Community::NO_EXPORT) && !s.is_internal())
            || (a.communities.contains(&Community::LLGR_STALE) && !s.long_lived && !s.is_internal());
        let own = match prefix.family() {
            Family::Ipv4 => NextHop::V4(s.local.ipv4?),
            Family::Ipv6 => NextHop::V6 {
                global: s.local.ipv6?,
                link_local: s.local.link_local,
            },
        };
        if forbidden {
            return None;
        }
        let source = self.local.get(&prefix).copied().unwrap_or(Source::Learned);
        let seen = a.clone();
        if !s.is_internal() {
            (a.med, a.originator_id) = (None, None);
            a.cluster_list.clear();
        }
        if let Some(r) = s.reflection.filter(|_| reflected) {
            a.originator_id = a.originator_id.or(from_settings.map(|f| f.router_id));
            a.cluster_list.insert(0, r.cluster_id);
        }
        let mut prepend = apply(&s.export, &view(prefix, &seen, source, from_settings), &mut a)?;
        prepend += usize::from(!s.is_internal());
        for _ in 0..prepend {
            a.as_path.prepend(Asn(64512));
        }
        a.local_pref = s.is_internal().then(|| a.local_pref.unwrap_or(100));
        if a.communities.contains(&Community::LLGR_STALE) && !s.long_lived {
            a.local_pref = Some(0);
            if !a.communities.contains(&Community::NO_EXPORT) {
                a.communities.push(Community::NO_EXPORT);
            }
        }
        a.next_hop = match a.next_hop {
            Some(NextHop::V6 { global, .. }) if s.is_internal() => Some(NextHop::V6 {
                global,
                link_local: None,
            }),
            Some(hop) if s.is_internal() => Some(hop),
            _ => Some(own),
        };
        Some(a)
    }

    fn hear(&mut self, to: usize, batch: Batch) {
        let told = self.told.get_mut(&to).unwrap();
        let several = settings(to).path_ids.sent;
        let plain = |prefixes: Vec<Prefix>| -> Vec<(Prefix, PathId)> {
            assert!(prefixes.iter().all(|p| !several.contains(p.family())));
            prefixes.into_iter().map(|p| (p, PathId(0))).collect()
        };
        match batch {
            Batch::Unreach { prefixes, family } => told.unreach(family, plain(prefixes)),
            Batch::UnreachPaths { paths, family } => {
                assert!(several.contains(family));
                told.unreach(family, paths);
            }
            Batch::Reach { attributes, prefixes } => told.reach(&attributes, plain(prefixes)),
            Batch::ReachPaths { attributes, paths } => {
                assert!(
                    paths
                        .iter()
                        .all(|(p, id)| several.contains(p.family()) && id.0 != 0)
                );
                told.reach(&attributes, paths);
            }
            Batch::EndOfRib(family) => assert!(told.end_of_rib.insert(family), "one End-of-RIB a session"),
            Batch::BeginRefresh(family) => {
                assert!(told.end_of_rib.contains(&family), "BoRR before End-of-RIB");
                let all = told.routes.keys().filter(|(x, _)| x.family() == family).copied();
                let old = told.awaited.insert(family, all.collect());
                assert_eq!(old, None, "BoRR twice");
            }
            Batch::EndRefresh(family) => {
                let left = told.awaited.remove(&family);
                assert_eq!(left, Some(BTreeSet::new()), "EoRR before all was told again");
            }
        }
    }

    fn hear_kernel(&mut self, rib: &mut Rib, max: usize) {
        for change in rib.poll_fib(max) {
            if change.paths.is_empty() {
                assert!(
                    self.kernel.remove(&change.prefix).is_some(),
                    "removed without a route"
                );
            } else {
                self.kernel.insert(change.prefix, change.paths.to_vec());
            }
        }
    }

    /// Forgets what losses have left of one peer and family; how much that was.
    fn sweep(&mut self, number: Option<u64>, of: impl Fn(&Key) -> bool) -> usize {
        let swept = self
            .retained
            .extract_if(.., |k, r| of(k) && number.is_none_or(|n| n == r.0));
        let swept: Vec<_> = swept.map(|(k, _)| k).collect();
        for key in &swept {
            self.routes.remove(key);
            self.stale.remove(key);
        }
        swept.len()
    }

    #[allow(clippy::too_many_lines, reason = "one arm an operation")]
    fn step(&mut self, rib: &mut Rib, op: Op) {
        let index = |m: &Self, p: usize| m.up.get(&p).filter(|_| !m.away.contains(&p)).map(|(i, _)| *i);
        match op {
            Op::Up(p) if self.away.remove(&p) => {
                let i = self.up[&p].0;
                self.up.insert(p, (rib.peer_back(i, settings(p)), settings(p)));
                self.told.insert(p, Told::default());
            }
            Op::Up(p) if !self.up.contains_key(&p) => {
                self.up.insert(p, (rib.peer_up(settings(p)), settings(p)));
                self.told.insert(p, Told::default());
            }
            Op::Up(_) => {}
            Op::Down(p) => {
                if let Some((i, _)) = self.up.remove(&p) {
                    rib.peer_down(i);
                    self.routes.retain(|(_, from, _), _| *from != p);
                    self.stale.retain(|(_, from, _)| *from != p);
                    self.retained.retain(|(_, from, _), _| *from != p);
                    self.away.remove(&p);
                    self.told.remove(&p);
                }
            }
            Op::Lost(p, four, six) => {
                let Some(i) = index(self, p) else { return };
                let kept = |f: Family| if f == Family::Ipv4 { four } else { six };
                self.losses += 1;
                rib.peer_lost(
                    i,
                    Family::ALL.into_iter().filter(|f| kept(*f)).collect(),
                    self.losses,
                );
                self.routes
                    .retain(|(x, from, _), _| *from != p || kept(x.family()));
                self.retained
                    .retain(|(x, from, _), _| *from != p || kept(x.family()));
                for key in self.routes.keys().filter(|(_, from, _)| *from == p) {
                    self.retained.entry(*key).or_insert((self.losses, false));
                }
                // More losses than are kept apart: what is left of the oldest goes.
                for family in Family::ALL {
                    let of = |(x, from, _): &Key| *from == p && x.family() == family;
                    let left = self.retained.iter().filter(|(k, _)| of(k)).map(|(_, r)| r.0);
                    let numbers: BTreeSet<u64> = left.collect();
                    if numbers.len() > MAX_LOSSES {
                        let oldest = numbers.first().copied();
                        self.sweep(oldest, of);
                    }
                }
                self.stale.retain(|(_, from, _)| *from != p);
                self.away.insert(p);
                self.told.remove(&p);
            }
            Op::Sweep(p, six, number) => {
                let Some((i, _)) = self.up.get(&p) else { return };
                let family = if six { Family::Ipv6 } else { Family::Ipv4 };
                let removed = rib.sweep(*i, family, number.map_or(Loss::Any, Loss::Number));
                let of = |(x, from, _): &Key| *from == p && x.family() == family;
                assert_eq!(removed, self.sweep(number, of));
            }
            Op::LongLived(p, six, number) => {
                let Some((i, _)) = self.up.get(&p) else { return };
                let family = if six { Family::Ipv6 } else { Family::Ipv4 };
                let (kept, removed) = rib.make_long_lived(*i, family, number.map_or(Loss::Any, Loss::Number));
                let mut done = (0, 0);
                let meant = |(x, from, _): &Key, n: u64| {
                    *from == p && x.family() == family && number.is_none_or(|number| n == number)
                };
                let all = self.retained.iter().filter(|(k, r)| meant(k, r.0) && !r.1);
                for key in all.map(|(k, _)| *k).collect::<Vec<_>>() {
                    if self.routes[&key].communities.contains(&Community::NO_LLGR) {
                        self.routes.remove(&key);
                        self.retained.remove(&key);
                        done.1 += 1;
                    } else {
                        self.retained.get_mut(&key).unwrap().1 = true;
                        done.0 += 1;
                    }
                }
                assert_eq!((kept, removed), done);
            }
            Op::Resume => {
                rib.resume();
                self.deferred = false;
            }
            Op::Announce(p, a, prefixes) => {
                let Some(i) = index(self, p) else { return };
                let n = u8::try_from(p).unwrap();
                let attrs = attributes(p, a);
                for (x, id) in prefixes {
                    let prefix = prefix_of(x);
                    let next_hop = next_hop_of(n, prefix.family(), id);
                    rib.announce_paths(i, next_hop, &attrs, &[prefix], &[PathId(id)]);
                    let key = self.key(p, prefix, id);
                    let mut a = attrs.clone();
                    a.next_hop = Some(next_hop);
                    a.local_pref = a.local_pref.filter(|_| self.up[&p].1.is_internal());
                    self.routes.insert(key, a);
                    self.stale.remove(&key);
                    self.retained.remove(&key);
                }
            }
            Op::Withdraw(p, prefixes) => {
                let Some(i) = index(self, p) else { return };
                let (prefixes, ids): (Vec<Prefix>, Vec<PathId>) = prefixes
                    .into_iter()
                    .map(|(x, id)| (prefix_of(x), PathId(id)))
                    .unzip();
                rib.withdraw_paths(i, &prefixes, &ids);
                for (prefix, id) in prefixes.into_iter().zip(ids) {
                    let key = self.key(p, prefix, id.0);
                    self.routes.remove(&key);
                    self.stale.remove(&key);
                    self.retained.remove(&key);
                }
            }
            Op::Originate(x, pod) => {
                let source = if pod {
                    Source::PodCidrs
                } else {
                    Source::NodeAddresses
                };
                rib.originate(prefix_of(x), source);
                self.local.insert(prefix_of(x), source);
            }
            Op::Unoriginate(x) => {
                rib.unoriginate(prefix_of(x));
                self.local.remove(&prefix_of(x));
            }
            Op::Filters(p, import, export) => {
                if let Some((i, s)) = self.up.get_mut(&p) {
                    (s.import, s.export) = (filter(import), filter(export));
                    rib.set_filters(*i, s.import.clone(), s.export.clone());
                }
            }
            Op::Client(p, client) => {
                if let Some((i, s)) = self.up.get_mut(&p) {
                    s.reflection = reflection(client);
                    rib.set_peer(*i, s.clone());
                }
            }
            Op::Install(f) => {
                self.install = filter(f);
                rib.set_install(self.install.clone());
            }
            Op::Multipath(relaxed, max_paths) => {
                self.multipath = Multipath { relaxed, max_paths };
                rib.set_multipath(self.multipath);
            }
            Op::Resend(p, six) => {
                if let Some(i) = index(self, p) {
                    rib.resend(i, if six { Family::Ipv6 } else { Family::Ipv4 });
                }
            }
            Op::Answer(p, six) => {
                if let Some(i) = index(self, p) {
                    rib.resend_bracketed(i, if six { Family::Ipv6 } else { Family::Ipv4 });
                }
            }
            Op::Begins(p, six) => {
                let Some(i) = index(self, p) else { return };
                let family = if six { Family::Ipv6 } else { Family::Ipv4 };
                rib.refresh_begins(i, family);
                self.stale
                    .retain(|(x, from, _)| *from != p || x.family() != family);
                let held = self.routes.keys();
                self.stale
                    .extend(held.filter(|(x, from, _)| *from == p && x.family() == family));
            }
            Op::Ends(p, six) => {
                let Some(i) = index(self, p) else { return };
                let family = if six { Family::Ipv6 } else { Family::Ipv4 };
                let removed = rib.refresh_ends(i, family);
                let gone = |(x, from, _): &Key| *from == p && x.family() == family;
                assert_eq!(removed, self.stale.iter().filter(|k| gone(k)).count());
                self.routes.retain(|k, _| !gone(k) || !self.stale.contains(k));
                self.retained.retain(|k, _| !gone(k) || !self.stale.contains(k));
                self.stale.retain(|k| !gone(k));
            }
            Op::ResendFib => rib.resend_fib(),
            Op::Batch(p) => {
                if let Some(batch) = index(self, p).and_then(|i| rib.next_batch(i)) {
                    self.hear(p, batch);
                }
            }
            Op::Fib(max) => self.hear_kernel(rib, max),
        }
    }

    /// What does not need draining holds after each step.
    fn check_now(&self, rib: &Rib) {
        let mut best = BTreeMap::new();
        let mut used = BTreeSet::new();
        let mut last = None;
        rib.routes(RouteView::Best, None, None, usize::MAX, &mut |r| {
            assert!(last <= Some(r.prefix), "in the order of prefixes");
            last = Some(r.prefix);
            if let Some(peer) = r.peer {
                used.insert((r.prefix, peer.clone(), r.path_id.map_or(0, |id| id.0)));
            }
            if r.best {
                let old = best.insert(r.prefix, (r.peer.cloned(), r.attributes.clone()));
                assert!(old.is_none(), "one best path a prefix");
            }
        });
        for prefix in (0..PREFIXES).map(prefix_of) {
            let selected = self.selected(prefix);
            let expected = match selected.first() {
                Some(((p, _), a)) => Some((Some(settings(*p).name), a.clone())),
                None => self.local.get(&prefix).map(|_| (None, PathAttributes::local())),
            };
            assert_eq!(best.get(&prefix), expected.as_ref(), "best path of {prefix}");
            for p in 0..PEERS {
                for id in 0..IDS {
                    let is = used.contains(&(prefix, settings(p).name, id));
                    assert_eq!(
                        is,
                        selected.iter().any(|(s, _)| *s == (p, id)),
                        "{prefix} through peer {p} by path {id}"
                    );
                }
            }
        }
        for (p, (i, _)) in &self.up {
            for family in Family::ALL {
                let counts = rib.counts(*i, family);
                let of = |x: &Prefix| x.family() == family;
                let all = || (0..PREFIXES).map(prefix_of).filter(of);
                let received = self
                    .routes
                    .keys()
                    .filter(|(x, from, _)| of(x) && from == p)
                    .count();
                assert_eq!(counts.received, received);
                let of_peer = |x| self.accepted(x).keys().filter(|(from, _)| from == p).count();
                let accepted: usize = all().map(of_peer).sum();
                assert_eq!(counts.accepted, accepted);
                let name = settings(*p).name;
                let wanted = |x| self.kernel_wants(x).iter().filter(|l| l.peer == name).count();
                assert_eq!(counts.installed, all().map(wanted).sum::<usize>());
                let told = self
                    .told
                    .get(p)
                    .map_or(0, |t| t.routes.keys().filter(|(x, _)| of(x)).count());
                assert_eq!(counts.advertised, told);
                let stale = self
                    .retained
                    .iter()
                    .filter(|((x, from, _), _)| of(x) && from == p);
                let long_lived = stale.clone().filter(|(_, r)| r.1).count();
                assert_eq!(rib.retained(*i, family), (stale.count(), long_lived));
            }
        }
    }

    fn check_drained(&mut self, rib: &mut Rib) {
        self.hear_kernel(rib, usize::MAX);
        assert!(!rib.has_fib_pending());
        let all = || (0..PREFIXES).map(prefix_of);
        let kernel_wants = |x| {
            if self.deferred { Vec::new() } else { self.legs(x) }
        };
        let wanted: BTreeMap<_, _> = all()
            .map(|x| (x, kernel_wants(x)))
            .filter(|(_, l)| !l.is_empty())
            .collect();
        assert_eq!(self.kernel, wanted);
        for (p, i) in self.up.iter().map(|(p, (i, _))| (*p, *i)).collect::<Vec<_>>() {
            if self.away.contains(&p) {
                assert!(
                    !rib.has_pending(i),
                    "something is to be told to peer {p}, which is away"
                );
                continue;
            }
            while let Some(batch) = rib.next_batch(i) {
                self.hear(p, batch);
            }
            assert!(!rib.has_pending(i));
            let mut wanted: BTreeMap<Prefix, Vec<String>> = BTreeMap::new();
            for x in all() {
                let words = self
                    .peer_wants(p, x)
                    .iter()
                    .map(|a| format!("{a:?}"))
                    .collect::<Vec<_>>();
                if !words.is_empty() {
                    wanted.insert(x, words);
                }
            }
            wanted.values_mut().for_each(|v| v.sort());
            assert_eq!(&self.told[&p].by_prefix(), &wanted, "what peer {p} knows");
            let held = self.deferred && settings(p).relays;
            assert_eq!(self.told[&p].end_of_rib.len(), if held { 0 } else { 2 });
            let mut shown = BTreeMap::new();
            let name = settings(p).name;
            rib.routes(RouteView::Advertised, Some(&name), None, usize::MAX, &mut |r| {
                shown.insert((r.prefix, r.path_id.unwrap_or_default()), r.attributes.clone());
            });
            assert_eq!(&shown, &self.told[&p].routes, "what is shown as told to peer {p}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_history_ends_where_the_model_ends(ops in prop::collection::vec(op(), 1..80), deferred: bool) {
        let mut rib = rib();
        if deferred {
            rib.defer();
        }
        let mut model = Model {
            up: BTreeMap::new(),
            routes: BTreeMap::new(),
            local: BTreeMap::new(),
            install: Arc::new(Filter::accept_all()),
            multipath: RELAXED,
            stale: BTreeSet::new(),
            away: BTreeSet::new(),
            retained: BTreeMap::new(),
            losses: 0,
            deferred,
            told: BTreeMap::new(),
            kernel: BTreeMap::new(),
        };
        for (n, op) in ops.into_iter().enumerate() {
            model.step(&mut rib, op);
            model.check_now(&rib);
            if n % 20 == 19 {
                model.check_drained(&mut rib);
            }
        }
        model.check_drained(&mut rib);
        model.step(&mut rib, Op::Resume);
        for p in 0..PEERS {
            model.step(&mut rib, Op::Down(p));
        }
        for x in 0..PREFIXES {
            model.step(&mut rib, Op::Unoriginate(x));
        }
        model.check_drained(&mut rib);
        prop_assert_eq!(rib.usage(), Usage::default(), "nothing is left");
    }
}
