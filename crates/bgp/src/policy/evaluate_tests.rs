use super::*;
use crate::policy::{Rule, Source};
use crate::types::{AsPath, Asn, Community, LargeCommunity, PeerName, Prefix};

fn prefix(text: &str) -> Prefix {
    text.parse::<ipnetwork::IpNetwork>().unwrap().into()
}

fn rule(name: &str, condition: Condition, action: Action) -> Rule {
    Rule {
        name: name.into(),
        condition,
        action,
        set: Set::default(),
    }
}

fn within(cidr: &str, ge: u8, le: u8) -> Condition {
    Condition {
        prefixes: Some(vec![PrefixRange {
            prefix: prefix(cidr),
            ge,
            le,
        }]),
        ..Condition::default()
    }
}

fn large(local2: u32) -> LargeCommunity {
    LargeCommunity {
        global: 4_200_000_001,
        local1: 1,
        local2,
    }
}

struct Route {
    prefix: Prefix,
    path: AsPath,
    communities: Vec<Community>,
    large_communities: Vec<LargeCommunity>,
    peer: PeerName,
}

impl Route {
    fn new(cidr: &str) -> Self {
        Self {
            prefix: prefix(cidr),
            path: AsPath::sequence([Asn(65001), Asn(64512)]),
            communities: vec![Community(0x0001_0002)],
            large_communities: vec![large(7)],
            peer: "tor-a".into(),
        }
    }

    fn view(&self) -> View<'_> {
        View {
            prefix: self.prefix,
            as_path: &self.path,
            communities: &self.communities,
            large_communities: &self.large_communities,
            source: Source::Learned,
            peer: Some(&self.peer),
        }
    }
}

#[test]
fn each_condition_matches_what_it_says_and_nothing_else() {
    let yes = |c: Condition| assert!(c.matches(&Route::new("10.244.1.0/24").view()), "{c:?}");
    let no = |c: Condition| assert!(!c.matches(&Route::new("10.244.1.0/24").view()), "{c:?}");
    yes(Condition::default());
    yes(within("10.244.0.0/16", 16, 24));
    no(within("10.244.0.0/16", 25, 32));
    no(within("10.244.0.0/16", 16, 23));
    no(within("10.245.0.0/16", 0, 32));
    no(within("::/0", 0, 128));
    let communities = |c| Condition {
        communities: Some(c),
        ..Condition::default()
    };
    yes(communities(vec![Community(9), Community(0x0001_0002)]));
    no(communities(vec![Community(9)]));
    no(communities(Vec::new()));
    let large_communities = |c| Condition {
        large_communities: Some(c),
        ..Condition::default()
    };
    yes(large_communities(vec![large(9), large(7)]));
    no(large_communities(vec![large(9)]));
    let as_path = |a| Condition {
        as_path: Some(vec![Asn(a)]),
        ..Condition::default()
    };
    yes(as_path(64512));
    no(as_path(65002));
    let sources = |s| Condition {
        sources: Some(vec![s]),
        ..Condition::default()
    };
    yes(sources(Source::Learned));
    no(sources(Source::PodCidrs));
    let peers = |p: &str| Condition {
        peers: Some(vec![p.into()]),
        ..Condition::default()
    };
    yes(peers("tor-a"));
    no(peers("tor-b"));
    no(Condition {
        sources: Some(vec![Source::PodCidrs]),
        ..within("10.244.0.0/16", 16, 24)
    });
}

#[test]
fn the_first_rule_that_ends_wins_and_is_named() {
    let filter = Filter {
        rules: vec![
            rule("rail OwnPodCIDR", within("10.244.1.0/24", 24, 32), Action::Reject),
            rule(
                "built-in PodCIDRs",
                within("10.244.0.0/16", 16, 32),
                Action::Accept,
            ),
        ],
        default: Verdict::Reject,
    };
    for (cidr, verdict, name) in [
        ("10.244.1.0/24", Verdict::Reject, "rail OwnPodCIDR"),
        ("10.244.2.0/24", Verdict::Accept, "built-in PodCIDRs"),
        ("192.0.2.0/24", Verdict::Reject, "default"),
    ] {
        let decision = filter.decide(&Route::new(cidr).view());
        assert_eq!((decision.verdict, &*decision.rule), (verdict, name), "{cidr}");
    }
}

#[test]
fn no_rules_reject_rfc_8212() {
    let decision = Filter::reject_all().decide(&Route::new("10.0.0.0/8").view());
    assert_eq!(decision.verdict, Verdict::Reject);
}

#[test]
fn next_collects_changes_and_a_rejection_drops_them() {
    let mut mark = rule("mark", Condition::default(), Action::Next);
    mark.set.med = Some(7);
    let mut accept = rule("accept", within("10.0.0.0/8", 0, 32), Action::Accept);
    accept.set.local_pref = Some(200);
    accept.set.add_communities = vec![Community(1), Community(1)];
    accept.set.add_large_communities = vec![large(1), large(1)];
    let filter = Filter {
        rules: vec![mark, accept],
        default: Verdict::Reject,
    };
    let mut changed = vec![99];
    let outcome = filter.evaluate(&Route::new("10.1.0.0/16").view(), &mut changed);
    assert_eq!(
        (outcome.verdict, changed.as_slice()),
        (Verdict::Accept, &[0, 1][..])
    );
    let mut attributes = PathAttributes::local();
    for set in filter.changes(&changed) {
        set.apply(&mut attributes);
    }
    assert_eq!(attributes.med, Some(7));
    assert_eq!(attributes.local_pref, Some(200));
    assert_eq!(attributes.communities, vec![Community(1)]);
    assert_eq!(attributes.large_communities, vec![large(1)]);
    let outcome = filter.evaluate(&Route::new("192.0.2.0/24").view(), &mut changed);
    assert_eq!((outcome.verdict, changed.as_slice()), (Verdict::Reject, &[][..]));
}

#[test]
fn what_may_pass_is_known_from_the_rules_alone() {
    let of = |sources: &[Source]| Condition {
        sources: Some(sources.to_vec()),
        ..Condition::default()
    };
    let learned_within = Condition {
        prefixes: within("10.0.0.0/8", 8, 32).prefixes,
        ..of(&[Source::Learned])
    };
    let filter = |rules: &[(&Condition, Action)], default| Filter {
        rules: rules
            .iter()
            .map(|(condition, action)| rule("r", (*condition).clone(), *action))
            .collect(),
        default,
    };
    let (own, learned, all) = (
        of(&[Source::PodCidrs]),
        of(&[Source::Learned]),
        Condition::default(),
    );
    for (rules, default, may) in [
        (&[][..], Verdict::Reject, false),
        (&[], Verdict::Accept, true),
        (&[(&own, Action::Accept)], Verdict::Reject, false),
        (&[(&own, Action::Reject)], Verdict::Accept, true),
        (&[(&learned, Action::Reject)], Verdict::Accept, false),
        (&[(&learned_within, Action::Reject)], Verdict::Accept, true),
        (&[(&learned_within, Action::Accept)], Verdict::Reject, true),
        (
            &[(&all, Action::Next), (&all, Action::Reject)],
            Verdict::Accept,
            false,
        ),
        (
            &[(&all, Action::Reject), (&learned, Action::Accept)],
            Verdict::Accept,
            false,
        ),
    ] {
        assert_eq!(filter(rules, default).may_pass(Source::Learned), may, "{rules:?}");
    }
}
