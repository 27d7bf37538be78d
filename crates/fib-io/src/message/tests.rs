//! Bytes from the kernel are hostile until they parse.

use flatroute_fib::{KernelRoute, Leg, NexthopContent, NexthopId, Op, Settings, Target};

use super::{Message, decode, messages, write};

fn round_trip(op: &Op) -> super::Found {
    let settings = Settings::default();
    let mut buf = Vec::new();
    write(&mut buf, op, &settings, 7, true);
    let message = messages(&buf).next().expect("one message");
    assert_eq!(message.sequence, 7);
    decode(&message, &settings).expect("decodes")
}

#[test]
fn what_is_written_reads_back() {
    let leg = |gateway: &str, interface| Leg {
        gateway: gateway.parse().expect("address"),
        interface,
    };
    for (prefix, target) in [
        ("10.1.2.0/24", Target::Nexthop(NexthopId(0x4600_0001))),
        (
            "fd00:1::/64",
            Target::Paths(vec![leg("fe80::1", 3), leg("fe80::2", 4)]),
        ),
        (
            "10.0.0.0/8",
            Target::Paths(vec![leg("192.0.2.1", 4), leg("fe80::1", 3)]),
        ),
        ("0.0.0.0/0", Target::Unreachable),
    ] {
        let route = KernelRoute {
            prefix: prefix.parse().expect("prefix"),
            pref_src: (target != Target::Unreachable).then(|| "192.0.2.7".parse().expect("address")),
            target,
        };
        let super::Found::Route {
            route: found,
            ours,
            gone,
            ..
        } = round_trip(&Op::AddRoute(route.clone()))
        else {
            panic!("not a route");
        };
        assert_eq!((found, ours, gone), (route, true, false));
    }
    let content = NexthopContent::Group(vec![NexthopId(1), NexthopId(2)]);
    let super::Found::Nexthop(found) = round_trip(&Op::AddNexthop(NexthopId(9), content.clone())) else {
        panic!("not a nexthop");
    };
    assert_eq!(
        (found.id, found.ours, found.content),
        (NexthopId(9), true, content)
    );
}

#[test]
fn no_cut_and_no_flipped_byte_panics() {
    let settings = Settings::default();
    let mut buf = Vec::new();
    let legs = vec![
        Leg {
            gateway: "fe80::1".parse().expect("address"),
            interface: 3,
        },
        Leg {
            gateway: "fe80::2".parse().expect("address"),
            interface: 4,
        },
    ];
    let route = KernelRoute {
        prefix: "10.1.0.0/16".parse().expect("prefix"),
        target: Target::Paths(legs),
        pref_src: None,
    };
    write(&mut buf, &Op::AddRoute(route), &settings, 1, false);
    for at in 0..buf.len() {
        for value in [0, 1, 4, 0x7f, 0xff] {
            let mut bytes = buf.clone();
            bytes[at] = value;
            for kind in [16, 17, 20, 21, 24, 25, 104, 105] {
                for message in messages(&bytes) {
                    let _ = decode(&Message { kind, ..message }, &settings);
                }
                for message in messages(&bytes[..at]) {
                    let _ = decode(&Message { kind, ..message }, &settings);
                }
            }
        }
    }
}
