//! What the kernel does with an address.

use std::net::IpAddr;

use flatroute_fib_io::lookup::{Fate, Match, lookup, protocol_name};

use super::lab::{in_fresh_netns, ip, uplink};

fn look(address: &str) -> Fate {
    let address: IpAddr = address.parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(lookup(address)).expect("an answer")
}

fn forwarded(address: &str) -> Match {
    let fate = look(address);
    let Fate::Forwarded(found) = fate else {
        panic!("{address}: {fate:?}");
    };
    found
}

fn words(found: &Match) -> (String, u8, Vec<String>) {
    let hops = found.next_hops.iter().map(ToString::to_string).collect();
    (found.prefix.to_string(), found.protocol, hops)
}

#[test]
fn the_kernel_says_what_it_does_with_an_address() {
    in_fresh_netns("lookup", || {
        ip("link set lo up");
        uplink(1);
        uplink(2);
        for address in ["10.244.3.7", "fd00:244:3::7"] {
            assert_eq!(look(address), Fate::NoRoute, "{address}");
        }
        for address in ["10.0.1.2", "fd00:1::2"] {
            assert_eq!(look(address), Fate::Local, "{address}");
        }
        // By a gateway, by two, by an address of the other family, by the link, and the more specific one first.
        ip("route add default via 10.0.1.1 proto static");
        ip("route add 10.244.0.0/16 proto 79 nexthop via 10.0.1.1 nexthop via 10.0.2.1");
        ip("route add 10.244.9.0/24 via inet6 fe80::9 dev up2 proto 79");
        ip("route add 10.244.3.7/32 dev up1 proto 80");
        ip("-6 route add fd00:244:3::/64 proto 79 nexthop via fd00:1::1 nexthop via fe80::1 dev up2");
        let owned = |hops: &[&str]| hops.iter().map(|hop| (*hop).to_owned()).collect::<Vec<_>>();
        for (address, prefix, protocol, hops) in [
            ("8.8.8.8", "0.0.0.0/0", 4, owned(&["10.0.1.1"])),
            (
                "10.244.3.8",
                "10.244.0.0/16",
                79,
                owned(&["10.0.1.1", "10.0.2.1"]),
            ),
            ("10.244.9.1", "10.244.9.0/24", 79, owned(&["fe80::9"])),
            ("10.244.3.7", "10.244.3.7/32", 80, owned(&[])),
            (
                "fd00:244:3::7",
                "fd00:244:3::/64",
                79,
                owned(&["fd00:1::1", "fe80::1"]),
            ),
            ("fd00:1::77", "fd00:1::/64", 2, owned(&[])),
        ] {
            let found = forwarded(address);
            assert_eq!(words(&found), (prefix.to_owned(), protocol, hops), "{address}");
            assert_eq!(found.table, 254, "{address}");
        }
        assert_eq!(forwarded("10.244.3.8").interfaces.len(), 2);

        // By a nexthop object; the route may not say more than its number.
        ip("nexthop add id 77 via 10.0.1.1 dev up1");
        ip("route add 10.245.0.0/16 nhid 77 proto 79");
        let found = forwarded("10.245.0.1");
        assert_eq!(
            (found.prefix.to_string().as_str(), found.nexthop),
            ("10.245.0.0/16", Some(77))
        );

        ip("route add unreachable 10.246.0.0/16");
        ip("-6 route add unreachable fd00:246::/32");
        assert_eq!(look("10.246.0.1"), Fate::Unreachable);
        assert_eq!(look("fd00:246::1"), Fate::Unreachable);
        for (kind, prefix, address) in [
            ("blackhole", "10.247.0.0/16", "10.247.0.1"),
            ("prohibit", "10.248.0.0/16", "10.248.0.1"),
            ("blackhole", "fd00:247::/32", "fd00:247::1"),
        ] {
            ip(&format!("route add {kind} {prefix}"));
            assert_eq!(look(address), Fate::Dropped, "{kind} {prefix}");
        }
    });
}

#[test]
fn protocols_have_the_names_that_people_know() {
    assert_eq!(protocol_name(4).as_deref(), Some("static"));
    assert_eq!(protocol_name(2).as_deref(), Some("kernel"));
    assert_eq!(protocol_name(79), None);
}
