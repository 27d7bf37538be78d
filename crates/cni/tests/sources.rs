//! Pods of the real plugin under the agent's table: what they need passes, and nobody speaks for another.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use common::{HOST_V4, HOST_V6, Pod, in_lab};
use flatroute_netlink::{NextHop, Route, netns};
use flatroute_nft::{Kernel, PodNetwork};

fn socket(there: &File, address: &str, port: u16) -> UdpSocket {
    let made = netns::within(there.as_fd(), || UdpSocket::bind((address, port)));
    let socket = made.unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn heard(at: &UdpSocket) -> (String, IpAddr) {
    let mut word = [0; 32];
    loop {
        match at.recv_from(&mut word) {
            Ok((length, from)) => return (String::from_utf8_lossy(&word[..length]).into_owned(), from.ip()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no packet arrives: {error}"),
        }
    }
}

#[test]
fn pods_speak_for_themselves_alone() {
    // M22: the plugin gives a pod one route on the host an address, which is all that the check needs.
    in_lab("pods_speak_for_themselves_alone", |lab| {
        let network = PodNetwork {
            pod_cidrs: ["10.244.1.0/24", "fd00:244:1::/64"]
                .map(|text| text.parse().unwrap())
                .into(),
            masquerade: None,
        };
        let apply = || Kernel::open()?.apply(&network.table());
        netns::within(lab.host.as_fd(), apply).unwrap().unwrap();
        let (one, two) = (Pod::new(), Pod::new());
        // Before and after the table: the check is of what the routes say when a packet comes.
        lab.add("c1", &one);
        lab.add("c2", &two);
        for (own, other, host, length) in [
            ("10.244.1.1", "10.244.1.2", HOST_V4, 32),
            ("fd00:244:1::1", "fd00:244:1::2", HOST_V6, 128),
        ] {
            let at_host = socket(&lab.host, host, 5000);
            let at_other = socket(&two.netns, other, 5000);
            // What the other pod's address is does not matter, as long as it is not this pod's.
            let forged: IpAddr = if length == 32 {
                "10.244.1.9"
            } else {
                "fd00:244:1::9"
            }
            .parse()
            .unwrap();
            one.socket().add_address(1, forged, length).unwrap();
            for to in [&at_host, &at_other] {
                let address = to.local_addr().unwrap();
                let _ = socket(&one.netns, &forged.to_string(), 0).send_to(b"forged", address);
                socket(&one.netns, own, 0).send_to(b"own", address).unwrap();
                assert_eq!(heard(to), ("own".to_owned(), own.parse().unwrap()));
            }
            // The subject is there: with a route to it over the pod's link, the same packet arrives.
            let mut host = lab.socket();
            let NextHop::Link { index } = host.route_to(own.parse().unwrap()).unwrap().unwrap().next_hop
            else {
                panic!("a pod is on a link");
            };
            let route = Route {
                destination: forged,
                prefix_len: length,
                next_hop: NextHop::Link { index },
                source: None,
                protocol: 80,
            };
            host.add_route(&route).unwrap();
            socket(&one.netns, &forged.to_string(), 0)
                .send_to(b"forged", at_host.local_addr().unwrap())
                .unwrap();
            assert_eq!(heard(&at_host), ("forged".to_owned(), forged));
        }
    });
}

#[test]
fn a_loose_check_is_strict_on_a_link_without_an_address() {
    // What the kernel does with rp_filter=2, which the plugin sets: a source with a route, but over another link, is let in only by
    // a link that has an IPv4 address. Without the agent's table this is the only check there is.
    in_lab("a_loose_check_is_strict_on_a_link_without_an_address", |lab| {
        let (one, two) = (Pod::new(), Pod::new());
        lab.add("c1", &one);
        lab.add("c2", &two);
        let at_host = socket(&lab.host, HOST_V4, 5000);
        let to = at_host.local_addr().unwrap();
        let of_two: IpAddr = "10.244.1.2".parse().unwrap();
        one.socket().add_address(1, of_two, 32).unwrap();
        let says = |word: &[u8], from: &str| socket(&one.netns, from, 0).send_to(word, to).unwrap();
        says(b"forged", "10.244.1.2");
        says(b"own", "10.244.1.1");
        assert_eq!(heard(&at_host), ("own".to_owned(), "10.244.1.1".parse().unwrap()));
        let mut host = lab.socket();
        let next_hop = host
            .route_to("10.244.1.1".parse().unwrap())
            .unwrap()
            .unwrap()
            .next_hop;
        let NextHop::Link { index } = next_hop else {
            panic!("a pod is on a link");
        };
        host.add_address(index, "192.0.2.77".parse().unwrap(), 32)
            .unwrap();
        says(b"forged", "10.244.1.2");
        assert_eq!(heard(&at_host), ("forged".to_owned(), of_two));
    });
}
