//! What follows from roles: ONLY_TO_CUSTOMER is added, and looked at (RFC 9234 §5).

use flatroute_bgp::rib::{Batch, PeerIndex, PeerSettings, Rib};
use flatroute_bgp::types::{Asn, PathAttributes, Role};

use super::support::{drain, fib, hop, path, peer, prefix, reasons, rib};

const NET: &str = "10.244.2.0/24";
const ROLES: [Role; 5] = [
    Role::Provider,
    Role::RouteServer,
    Role::RouteServerClient,
    Role::Customer,
    Role::Peer,
];

/// Peer `n` of AS 65000 + n, to which we are this.
fn with(n: u8, role: Option<Role>) -> PeerSettings {
    PeerSettings {
        role,
        ..peer(n, 65000 + u32::from(n))
    }
}

fn marked(asn: u32, asns: &[u32]) -> PathAttributes {
    PathAttributes {
        only_to_customer: Some(Asn(asn)),
        ..path(asns)
    }
}

/// ONLY_TO_CUSTOMER of the one route that a peer is told; `None`: it is told of none.
fn told(rib: &mut Rib, p: PeerIndex) -> Option<Option<Asn>> {
    match drain(rib, p).as_slice() {
        [] => None,
        [Batch::Reach { attributes, .. }] => Some(attributes.only_to_customer),
        other => panic!("{other:?}"),
    }
}

fn settled(rib: &mut Rib, settings: PeerSettings) -> PeerIndex {
    let p = rib.peer_up(settings);
    drain(rib, p);
    p
}

/// Ingress, 1 and 2: from somebody below us a marked route is a leak, and from beside us one that another AS marked.
#[test]
fn a_marked_route_from_below_is_a_leak() {
    for role in ROLES.map(Some).into_iter().chain([None]) {
        for by in [65001, 65009] {
            let mut rib = rib();
            let p = settled(&mut rib, with(1, role));
            rib.announce(p, hop(1), &marked(by, &[65001]), &[prefix(NET)]);
            let leaked = match role {
                Some(Role::Provider) => Some("customer"),
                Some(Role::RouteServer) => Some("route server client"),
                Some(Role::Peer) if by == 65009 => Some("peer"),
                Some(Role::Peer | Role::Customer | Role::RouteServerClient) | None => None,
            };
            let reason = leaked.map_or_else(
                || "best".to_owned(),
                |peer| format!("route leak: ONLY_TO_CUSTOMER {by} from a {peer} (RFC 9234)"),
            );
            assert_eq!(reasons(&rib, NET), [("peer1".to_owned(), reason)], "{role:?}");
            assert_eq!(fib(&mut rib).is_empty(), leaked.is_some(), "{role:?}");
        }
    }
}

/// Ingress, 3: a route from above or beside that is not marked gets the mark of the AS that it came from; and so it
/// goes down and nowhere else.
#[test]
fn a_route_from_above_or_beside_is_marked_with_the_as_it_came_from() {
    for role in ROLES {
        let mut rib = rib();
        let from = settled(&mut rib, with(1, Some(role)));
        let plain = settled(&mut rib, with(2, None));
        let below = settled(&mut rib, with(3, Some(Role::Provider)));
        let above = settled(&mut rib, with(4, Some(Role::Customer)));
        let beside = settled(&mut rib, with(5, Some(Role::Peer)));
        rib.announce(from, hop(1), &path(&[65001]), &[prefix(NET)]);
        match role {
            Role::Customer | Role::RouteServerClient | Role::Peer => {
                assert_eq!(told(&mut rib, plain), Some(Some(Asn(65001))), "{role:?}");
                assert_eq!(told(&mut rib, below), Some(Some(Asn(65001))), "{role:?}");
                assert_eq!(
                    (told(&mut rib, above), told(&mut rib, beside)),
                    (None, None),
                    "{role:?}"
                );
                let reason = rib.export_reason(above, prefix(NET));
                assert_eq!(reason, "withheld: ONLY_TO_CUSTOMER, and the peer is our provider");
            }
            Role::Provider | Role::RouteServer => {
                assert_eq!(told(&mut rib, plain), Some(None), "{role:?}");
                assert_eq!(told(&mut rib, below), Some(Some(Asn(64512))), "{role:?}");
                assert_eq!(told(&mut rib, above), Some(None), "{role:?}");
                assert_eq!(told(&mut rib, beside), Some(Some(Asn(64512))), "{role:?}");
            }
        }
        rib.withdraw(from, &[prefix(NET)]);
        for p in [from, plain, below, above, beside] {
            drain(&mut rib, p);
            rib.peer_down(p);
        }
        fib(&mut rib);
        assert_eq!(rib.usage(), flatroute_bgp::rib::Usage::default());
    }
}

/// Egress, 1: a mark that is there stays as it is. A filter that changes something loses no mark.
#[test]
fn a_mark_is_kept_whatever_else_changes() {
    use flatroute_bgp::policy::{Action, Condition, Filter, Rule, Set, Verdict};
    let mut rib = rib();
    let change = Filter {
        rules: vec![Rule {
            name: "med".into(),
            condition: Condition::default(),
            action: Action::Accept,
            set: Set {
                local_pref: Some(200),
                ..Set::default()
            },
        }],
        default: Verdict::Reject,
    };
    let from = settled(
        &mut rib,
        PeerSettings {
            import: change.into(),
            ..with(1, Some(Role::Customer))
        },
    );
    let below = settled(&mut rib, with(2, Some(Role::RouteServer)));
    rib.announce(from, hop(1), &marked(65009, &[65001, 65009]), &[prefix(NET)]);
    assert_eq!(told(&mut rib, below), Some(Some(Asn(65009))));
    rib.announce(from, hop(1), &path(&[65001, 65009]), &[prefix(NET)]);
    assert_eq!(told(&mut rib, below), Some(Some(Asn(65001))));
}
