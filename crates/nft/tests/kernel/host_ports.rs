//! hostPorts by packets: who reaches the pod, by which name, and who is left alone.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use flatroute_lab::{Namespace, in_fresh_netns, note_skip_of};
use flatroute_nft::host_ports::{Owned, table};
use flatroute_nft::{Conntrack, Element, Error, HostPort, Kernel, Protocol, Result, TABLE, Width};
use socket2::{Domain, Socket, Type};

use super::lab::{Lab, NODE, OTHER, OUTSIDE, POD, apply, heard, nft, received, send, socket, wanted};

const OWNER: &str = "flatroute net c1 eth0";

/// A port of all addresses, or of one.
fn port(protocol: Protocol, at: &str, number: u16, to: (&str, u16)) -> HostPort {
    let at = (!at.is_empty()).then(|| address(at));
    HostPort::new(protocol, at, number, SocketAddr::new(address(to.0), to.1)).expect("one family")
}

/// The same port of both families.
fn both(protocol: Protocol, number: u16, to: [&str; 2]) -> Vec<HostPort> {
    to.iter().map(|to| port(protocol, "", number, (to, 80))).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Lab {
    fn add(&self, owner: &'static str, ports: Vec<HostPort>) -> Result<()> {
        self.node
            .inside(move || Kernel::open()?.add_host_ports(owner, &ports))
    }

    fn delete(&self, owner: &'static str) -> Vec<Element> {
        let delete = move || Kernel::open()?.delete_host_ports(|found| found == owner);
        self.node.inside(delete).expect("deleted")
    }

    fn with_localnet(&self) {
        self.node.sysctl("net/ipv4/conf/pod0/route_localnet", "1");
    }
}

/// A client that only hears whom it asked.
fn client(there: &Namespace, to: SocketAddr) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = there.udp(any, 0);
    socket.connect(to).expect("a route");
    socket
}

/// Asks and is answered; whom the pod saw.
fn exchange(from: &Namespace, to: SocketAddr, server: &UdpSocket) -> IpAddr {
    let client = client(from, to);
    client.send(b"ask").expect("sent");
    let (word, peer) = received(server);
    assert_eq!(word, "ask");
    server.send_to(b"answer", peer).expect("sent");
    let mut word = [0; 16];
    let length = client.recv(&mut word).expect("the answer, from whom was asked");
    assert_eq!(&word[..length], b"answer");
    peer.ip()
}

/// From outside, from the node by each of its names, from the pod itself and from the pod beside it.
#[test]
fn everybody_reaches_the_pod_by_the_node() {
    let Some(lab) = Lab::new() else { return };
    lab.apply(wanted());
    lab.with_localnet();
    lab.add(OWNER, both(Protocol::Udp, 8080, POD)).expect("added");
    for family in 0..2 {
        let server = socket(&lab.pod, POD[family], 80);
        let node = SocketAddr::new(address(NODE[family]), 8080);
        for (from, seen) in [
            (&lab.world, OUTSIDE[family]),
            (&lab.node, NODE[family]),
            (&lab.pod, NODE[family]),
            (&lab.other, OTHER[family]),
        ] {
            assert_eq!(exchange(from, node, &server), address(seen), "{node}");
        }
    }
    let server = socket(&lab.pod, POD[0], 80);
    for loopback in ["127.0.0.1:8080", "127.0.0.2:8080"] {
        let seen = exchange(&lab.node, loopback.parse().expect("an address"), &server);
        assert_eq!(seen, address(NODE[0]), "{loopback}");
    }
    // IPv6 has no such thing: what listens there is left alone.
    let own = socket(&lab.node, "::1", 8080);
    send(&socket(&lab.node, "::1", 0), &own, "own");
    assert_eq!(heard(&own).0, "own");
}

/// The same by TCP, which goes on after the port went.
#[test]
fn connections_end_with_the_port_for_new_ones_only() {
    let Some(lab) = Lab::new() else { return };
    lab.with_localnet();
    lab.add(OWNER, both(Protocol::Tcp, 8080, POD)).expect("added");
    for family in 0..2 {
        let listener = lab
            .pod
            .inside(move || TcpListener::bind((address(POD[family]), 80)))
            .expect("a listener");
        let mut names = vec![(&lab.world, NODE[family]), (&lab.pod, NODE[family])];
        if family == 0 {
            names.push((&lab.node, "127.0.0.1"));
        }
        for (from, name) in names {
            let to = SocketAddr::new(address(name), 8080);
            let connect = move || TcpStream::connect_timeout(&to, Duration::from_secs(10));
            let mut client = from.inside(connect).expect("connected");
            let (mut server, _) = listener.accept().expect("accepted");
            server.write_all(b"answer").expect("written");
            let mut word = [0; 6];
            client.read_exact(&mut word).expect("read");
            assert_eq!(&word, b"answer");
            if (family, name) == (1, NODE[1]) {
                lab.delete(OWNER);
                client.write_all(b"more").expect("written");
                let mut word = [0; 4];
                server.read_exact(&mut word).expect("read");
                let refused = lab.world.inside(connect).expect_err("nothing is there");
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
                break;
            }
        }
    }
}

/// SCTP: the first packet of an association comes to the pod with its own port.
#[test]
fn an_sctp_association_is_begun_with_the_pod() {
    let Some(lab) = Lab::new() else { return };
    lab.add(OWNER, both(Protocol::Sctp, 8080, POD)).expect("added");
    for family in 0..2 {
        let raw = move || {
            let domain = [Domain::IPV4, Domain::IPV6][family];
            let socket = Socket::new(domain, Type::RAW, Some(socket2::Protocol::from(132)))?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            std::io::Result::Ok(socket)
        };
        let server = lab.pod.inside(raw).expect("a socket");
        let client = lab.world.inside(raw).expect("a socket");
        let to = SocketAddr::new(address(NODE[family]), 0);
        client.send_to(&init(4000, 8080), &to.into()).expect("sent");
        let mut packet = [0; 128];
        let length = (&server).read(&mut packet).expect("it arrives");
        // A raw socket of IPv4 also shows the header before.
        let packet = &packet[[20, 0][family]..length];
        assert_eq!(packet, init(4000, 80));
    }
}

/// A packet that begins an association: ports, no tag yet, a checksum, and a chunk INIT (RFC 9260 §3).
fn init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = [from.to_be_bytes(), to.to_be_bytes()].concat();
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0x10, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

/// The checksum of SCTP (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let of_octet = |sum: u32, octet: &u8| {
        (0..8).fold(sum ^ u32::from(*octet), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, of_octet)
}

/// A port of one address goes before that of all, and another protocol is another port.
#[test]
fn one_port_leads_to_several_pods_by_address_and_protocol() {
    let Some(lab) = Lab::new() else { return };
    let second = ["203.0.113.7", "2001:db8:9::7"];
    for family in 0..2 {
        lab.node.address(second[family], "lo");
        let via = NODE[family];
        lab.world.ip(&format!("route add {} via {via}", second[family]));
        let all = vec![
            port(Protocol::Udp, "", 8080, (POD[family], 80)),
            port(Protocol::Tcp, "", 8080, (POD[family], 82)),
        ];
        lab.add("all", all).expect("added");
        let one = vec![port(Protocol::Udp, second[family], 8080, (OTHER[family], 81))];
        lab.add("one", one).expect("added");
        let (all, one) = (
            socket(&lab.pod, POD[family], 80),
            socket(&lab.other, OTHER[family], 81),
        );
        for (name, server) in [(NODE[family], &all), (second[family], &one)] {
            exchange(&lab.world, SocketAddr::new(address(name), 8080), server);
        }
        lab.delete("one");
        exchange(&lab.world, SocketAddr::new(address(second[family]), 8080), &all);
    }
}

/// CVE-2025-67499: what is sent to another machine, or to a pod itself, is nobody's hostPort.
#[test]
fn what_passes_through_is_left_alone() {
    let Some(lab) = Lab::new() else { return };
    lab.add(OWNER, both(Protocol::Udp, 5000, POD)).expect("added");
    for family in 0..2 {
        lab.world
            .ip(&format!("route add {} via {}", OTHER[family], NODE[family]));
        let (outside, other) = (
            socket(&lab.world, OUTSIDE[family], 5000),
            socket(&lab.other, OTHER[family], 5000),
        );
        // Out of the node, into it, between its pods, and of the node itself.
        for (from, at, to) in [
            (&lab.other, OTHER[family], &outside),
            (&lab.world, OUTSIDE[family], &other),
            (&lab.pod, POD[family], &other),
            (&lab.node, NODE[family], &outside),
        ] {
            send(&socket(from, at, 0), to, "passes");
            assert_eq!(heard(to), ("passes".to_owned(), address(at)));
        }
    }
}

/// CVE-2020-8558: the links with hostPorts let loopback addresses through, but not from pods.
#[test]
fn a_pod_does_not_reach_the_loopback_of_the_node() {
    let Some(lab) = Lab::new() else { return };
    lab.with_localnet();
    let own = socket(&lab.node, "127.0.0.1", 5300);
    lab.pod.ip("address del 127.0.0.1/8 dev lo");
    lab.pod.ip("route add 127.0.0.1 via 169.254.1.1 dev eth0 onlink");
    lab.pod.sysctl("net/ipv4/conf/eth0/route_localnet", "1");
    let pod = socket(&lab.pod, POD[0], 0);
    send(&pod, &own, "before");
    assert_eq!(heard(&own).0, "before", "the subject is there");
    lab.add(OWNER, both(Protocol::Udp, 8080, POD)).expect("added");
    send(&pod, &own, "after");
    // Packets of one link keep their order.
    let last = socket(&lab.node, NODE[0], 5300);
    send(&pod, &last, "last");
    assert_eq!(heard(&last).0, "last");
    own.set_nonblocking(true).expect("set");
    let mut word = [0; 16];
    assert_eq!(own.recv(&mut word).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Who comes second is told who was first; nothing of his is left.
#[test]
fn a_port_that_is_taken_names_its_owner() {
    let Some(lab) = Lab::new() else { return };
    lab.add(OWNER, both(Protocol::Tcp, 8080, POD)).expect("added");
    let mut ports = both(Protocol::Tcp, 8080, OTHER);
    ports.push(port(Protocol::Udp, "", 8080, (OTHER[0], 80)));
    for attempt in [ports, both(Protocol::Tcp, 8080, POD)] {
        let error = lab.add("flatroute net c2 eth0", attempt).expect_err("taken");
        assert!(matches!(error, Error::Taken { .. }), "{error:?}");
        let text = error.to_string();
        for part in ["hostPort 8080 tcp of IPv4", OWNER, "10.244.1.10:80"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let all = lab.node.inside(|| Kernel::open()?.host_ports()).expect("read");
    assert!(
        all.iter().all(|owned| owned.owner == OWNER) && all.len() == 4,
        "{all:?}"
    );
    assert_eq!(lab.delete(OWNER).len(), 4);
    assert_eq!(lab.delete(OWNER), []);
    lab.add("flatroute net c2 eth0", both(Protocol::Tcp, 8080, OTHER))
        .expect("free again");
}

/// Neither part of the table touches the other, whoever comes first and whatever is damaged.
#[test]
fn the_agents_part_and_the_plugins_leave_each_other_alone() {
    in_fresh_netns("parts", || {
        let mut kernel = Kernel::open().unwrap();
        assert_eq!(kernel.host_ports().unwrap(), []);
        assert!(!kernel.has_host_port_rules().unwrap());
        let ports = both(Protocol::Tcp, 8080, POD);
        kernel.add_host_ports(OWNER, &ports).unwrap();
        assert!(kernel.has_host_port_rules().unwrap());
        let elements = kernel.host_ports().unwrap();
        assert_eq!(elements.len(), 4);
        apply(&wanted()).unwrap();
        assert_eq!(apply(&wanted()).unwrap(), []);
        assert_eq!(kernel.apply(&table()).unwrap(), []);
        assert!(kernel.has_host_port_rules().unwrap());
        assert_eq!(kernel.host_ports().unwrap(), elements);
        // The plugin repairs its part when it comes next, and what is in the maps stays where it was.
        for (damage, is_kept) in [
            ("flush chain inet flatroute host-ports-in", true),
            ("delete chain inet flatroute host-ports-out", true),
            ("flush map inet flatroute host-ports-ipv4", false),
            ("delete table inet flatroute", false),
        ] {
            if nft(&[damage]).is_none() {
                note_skip_of(
                    "the_agents_part_and_the_plugins_leave_each_other_alone",
                    "there is no nft program",
                );
                return;
            }
            let more = [port(Protocol::Udp, "", 99, (OTHER[0], 80))];
            kernel.add_host_ports("more", &more).unwrap();
            assert!(kernel.has_host_port_rules().unwrap(), "{damage}");
            kernel.delete_host_ports(|owner| owner == "more").unwrap();
            assert_eq!(kernel.host_ports().unwrap() == elements, is_kept, "{damage}");
            kernel.delete_host_ports(|owner| owner == OWNER).unwrap();
            kernel.add_host_ports(OWNER, &ports).unwrap();
            assert_eq!(kernel.host_ports().unwrap(), elements, "{damage}");
        }
    });
}

/// As many as a pod may have, at once.
#[test]
fn many_ports_are_written_at_once() {
    in_fresh_netns("many", || {
        let owner = "o".repeat(flatroute_nft::host_ports::MAX_OWNER);
        let ports: Vec<HostPort> = (1..=256)
            .flat_map(|number| both(Protocol::Tcp, number, POD))
            .collect();
        let mut kernel = Kernel::open().unwrap();
        kernel.add_host_ports(&owner, &ports).unwrap();
        let all = kernel.host_ports().unwrap();
        assert_eq!(all.len(), 514);
        assert!(all.iter().all(|owned: &Owned| owned.owner == owner));
        assert_eq!(
            kernel.delete_host_ports(|found| found == owner).unwrap().len(),
            514
        );
    });
}

/// Two who come at once make one table; a third who takes the same port is told.
#[test]
fn many_who_come_first_at_once_all_succeed() {
    in_fresh_netns("first", || {
        std::thread::scope(|scope| {
            for number in 1..=4_u16 {
                scope.spawn(move || {
                    let mut kernel = Kernel::open().unwrap();
                    for turn in 0..10 {
                        let ports = [port(Protocol::Tcp, "", number * 100 + turn, (POD[0], number))];
                        let owner = format!("{number}");
                        let hairpin_is_taken = kernel.add_host_ports(&owner, &ports);
                        if let Err(error) = hairpin_is_taken {
                            assert!(matches!(error, Error::Taken { .. }), "{error}");
                        }
                        kernel.delete_host_ports(|found| found == owner).unwrap();
                    }
                });
            }
        });
        let mut kernel = Kernel::open().unwrap();
        assert_eq!(kernel.host_ports().unwrap(), []);
        assert!(kernel.has_host_port_rules().unwrap());
        assert_eq!(kernel.apply(&table()).unwrap(), []);
    });
}

/// Exactly the flows that are asked for are found, and forgotten.
#[test]
fn flows_are_found_and_forgotten_one_by_one() {
    let Some(lab) = Lab::new() else { return };
    lab.add(OWNER, both(Protocol::Udp, 8080, POD)).expect("added");
    for family in 0..2 {
        let width = [Width::Ipv4, Width::Ipv6][family];
        let server = socket(&lab.pod, POD[family], 80);
        let node = SocketAddr::new(address(NODE[family]), 8080);
        exchange(&lab.world, node, &server);
        // Others: to the same port of another machine, and to the pod by its own name.
        let outside = socket(&lab.world, OUTSIDE[family], 8080);
        send(&socket(&lab.pod, POD[family], 0), &outside, "out");
        heard(&outside);
        send(&socket(&lab.node, NODE[family], 0), &server, "direct");
        heard(&server);
        let (found, to_port, left) = lab
            .node
            .inside(move || {
                let mut conntrack = Conntrack::open()?;
                assert_eq!(conntrack.udp_from(width, Some(81))?, []);
                let mut found = conntrack.udp_from(width, Some(80))?;
                found.retain(|flow| flow.reply.source.ip() == address(POD[family]));
                let to_port = conntrack.udp_to(width, Some(8080))?;
                for flow in &found {
                    conntrack.forget(flow)?;
                    conntrack.forget(flow)?;
                }
                let left = conntrack.udp_to(width, None)?;
                assert_eq!(conntrack.udp_from(width, None)?, left);
                Result::Ok((found, to_port, left))
            })
            .expect("conntrack");
        assert_eq!((found.len(), to_port.len()), (2, 2), "{found:?} {to_port:?}");
        assert!(found.iter().any(|flow| flow.original.destination == node));
        let ports: Vec<u16> = left.iter().map(|flow| flow.original.destination.port()).collect();
        assert_eq!(ports, [8080], "{left:?}");
        assert_eq!(left[0].original.destination.ip(), address(OUTSIDE[family]));
    }
}

const IN_WORDS: &str = "table inet flatroute {
  map host-ports-ipv4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map host-ports-at-ipv4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  set hairpin-ipv4 { type ipv4_addr . ipv4_addr; }
  map host-ports-ipv6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  map host-ports-at-ipv6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
  set hairpin-ipv6 { type ipv6_addr . ipv6_addr; }
  chain host-ports-guard { type filter hook prerouting priority raw; policy accept;
    iifgroup 79 meta nfproto ipv4 ip daddr 127.0.0.0/8 counter drop
  }
  chain host-ports-in { type nat hook prerouting priority dstnat; policy accept;
    fib daddr type != local accept
    meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @host-ports-at-ipv4
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @host-ports-ipv4
    meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @host-ports-at-ipv6
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @host-ports-ipv6
  }
  chain host-ports-own { type nat hook output priority -100; policy accept;
    fib daddr type != local accept
    meta nfproto ipv6 ip6 daddr ::1 accept
    meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @host-ports-at-ipv4
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @host-ports-ipv4
    meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @host-ports-at-ipv6
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @host-ports-ipv6
  }
  chain host-ports-out { type nat hook postrouting priority srcnat; policy accept;
    meta nfproto ipv4 ip saddr . ip daddr @hairpin-ipv4 masquerade fully-random
    meta nfproto ipv6 ip6 saddr . ip6 daddr @hairpin-ipv6 masquerade fully-random
    oifgroup 79 meta nfproto ipv4 ip saddr 127.0.0.0/8 masquerade fully-random
  }
}";

/// The `nft` program shows our table as it shows one that was written in its own language.
#[test]
fn the_nft_program_shows_what_was_meant() {
    in_fresh_netns("in words", || {
        let file = std::env::temp_dir().join(format!("flatroute-nft-ports-{}", std::process::id()));
        std::fs::write(&file, IN_WORDS).unwrap();
        let made = nft(&["-f", file.to_str().unwrap()]);
        std::fs::remove_file(&file).unwrap();
        if made.is_none() {
            note_skip_of("the_nft_program_shows_what_was_meant", "there is no nft program");
            return;
        }
        let listed = || {
            let text = nft(&["list", "table", "inet", TABLE]).unwrap();
            let lines = text
                .lines()
                .map(|line| line.split(" comment ").next().unwrap().trim_end());
            let mut lines: Vec<String> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let theirs = listed();
        nft(&["delete", "table", "inet", TABLE]);
        let mut kernel = Kernel::open().unwrap();
        kernel.apply(&table()).unwrap();
        assert_eq!(listed(), theirs);
        // And elements, with whose they are.
        kernel
            .add_host_ports(OWNER, &[port(Protocol::Sctp, "192.0.2.1", 8080, (POD[0], 80))])
            .unwrap();
        let text = nft(&["list", "table", "inet", TABLE]).unwrap();
        let element = format!("192.0.2.1 . sctp . 8080 comment \"{OWNER}\" : 10.244.1.10 . 80");
        assert!(text.contains(&element), "{text}");
    });
}
