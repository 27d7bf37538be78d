//! hostPorts of real pods: who answers, who is told what, and that nothing is left. The rules themselves are tested with
//! packets of all kinds in `crates/nft/tests/kernel/host_ports.rs`. Numbers in brackets: the black-box checklist.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{HOST_V4, HOST_V6, Lab, Pod, finish, in_lab, ips};
use flatroute_netlink::netns;
use flatroute_nft::host_ports::Owned;
use flatroute_nft::{Kernel, PodNetwork, TABLE};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// UDP and TCP of one port, as the conventions write it and as containerd does.
fn mappings() -> Value {
    json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": ""},
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
    ])
}

trait HostPorts {
    fn with(&self, mappings: &Value) -> Value;
    fn publish(&self, id: &str, pod: &Pod, mappings: &Value) -> Value;
    fn elements(&self) -> Vec<Owned>;
    fn has_table(&self) -> bool;
    fn assert_gone(&self);
}

impl HostPorts for Lab {
    fn with(&self, mappings: &Value) -> Value {
        self.config(&json!({"runtimeConfig": {"portMappings": mappings}}))
    }

    fn publish(&self, id: &str, pod: &Pod, mappings: &Value) -> Value {
        self.call("ADD", id, &pod.path(), &self.with(mappings)).result()
    }

    fn elements(&self) -> Vec<Owned> {
        let read = || Kernel::open()?.host_ports();
        netns::within(self.host.as_fd(), read).unwrap().unwrap()
    }

    fn has_table(&self) -> bool {
        let read = || Kernel::open()?.observe(TABLE);
        netns::within(self.host.as_fd(), read).unwrap().unwrap().exists
    }

    #[track_caller]
    fn assert_gone(&self) {
        self.assert_clean();
        assert_eq!(self.elements(), []);
    }
}

fn socket(there: &File, address: &str, port: u16) -> UdpSocket {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match netns::within(there.as_fd(), || UdpSocket::bind((address, port))).unwrap() {
            // A child of another test holds a copy of a socket from its fork to its exec.
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            made => {
                let made = made.unwrap();
                made.set_read_timeout(Some(PATIENCE)).unwrap();
                return made;
            }
        }
    }
}

fn client(there: &File, to: SocketAddr) -> UdpSocket {
    let client = socket(there, if to.is_ipv4() { "0.0.0.0" } else { "::" }, 0);
    connect(&client, to);
    client
}

/// The kernel makes an IPv6 address usable from a work queue: also the host's, which was made a moment ago.
fn connect(client: &UdpSocket, to: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = client.connect(to) {
        assert!(Instant::now() < deadline, "{to}: {error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks and is answered by the server, by the name that was asked; whom the server saw.
#[track_caller]
fn exchange(from: &File, to: SocketAddr, server: &UdpSocket) -> IpAddr {
    let client = client(from, to);
    client.send(b"ask").unwrap();
    let mut word = [0; 16];
    let (_, peer) = server.recv_from(&mut word).expect("the question arrives");
    server.send_to(b"answer", peer).unwrap();
    let length = client.recv(&mut word).expect("the answer arrives");
    assert_eq!(&word[..length], b"answer");
    peer.ip()
}

#[test]
fn ports_lead_to_the_pod_until_del() {
    // [62, 71, 83], M20
    in_lab("ports_lead_to_the_pod_until_del", |lab| {
        let (pod, other) = (Pod::new(), Pod::new());
        lab.add("c2", &other);
        assert!(
            !lab.has_table(),
            "a pod without hostPort touches nothing of nf_tables"
        );
        let result = lab.publish("c1", &pod, &mappings());
        let addresses = ips(&result);
        for (host, own) in [(HOST_V4, addresses[0]), (HOST_V6, addresses[1])] {
            let server = socket(&pod.netns, &own.to_string(), 80);
            let host: IpAddr = host.parse().unwrap();
            let to = SocketAddr::new(host, 8080);
            assert_eq!(exchange(&lab.host, to, &server), host);
            assert_eq!(exchange(&pod.netns, to, &server), host, "hairpin");
            let seen = exchange(&other.netns, to, &server);
            assert!(seen != host && seen != own, "the other pod's own address: {seen}");
        }
        let server = socket(&pod.netns, &addresses[0].to_string(), 80);
        let loopback = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(exchange(&lab.host, loopback, &server).to_string(), HOST_V4);

        let config = lab.config(&json!({
            "prevResult": result, "runtimeConfig": {"portMappings": mappings()},
        }));
        lab.call("CHECK", "c1", &pod.path(), &config).fine();
        lab.call("DEL", "c1", &pod.path(), &config).fine();
        assert_eq!(lab.elements(), []);
        lab.call("DEL", "c1", &pod.path(), &config).fine();
        lab.del("c2");
        lab.assert_gone();
    });
}

#[test]
fn the_next_pod_gets_what_a_client_goes_on_sending() {
    // Complaint 11: the client never changes its port and never stops.
    in_lab("the_next_pod_gets_what_a_client_goes_on_sending", |lab| {
        let mut clients = Vec::new();
        for (host, from) in [(HOST_V4, HOST_V4), (HOST_V6, HOST_V6), ("127.0.0.1", "127.0.0.1")] {
            let client = socket(&lab.host, from, 0);
            connect(&client, SocketAddr::new(host.parse().unwrap(), 8080));
            client.set_nonblocking(true).unwrap();
            clients.push(client);
        }
        // A flow to the same port that is not the node's: it must not be forgotten.
        let beside = Pod::new();
        let beside_ip = ips(&lab.add("beside", &beside))[0];
        let theirs = socket(&beside.netns, &beside_ip.to_string(), 8080);
        let to_theirs = client(&lab.host, theirs.local_addr().unwrap());
        let send = || {
            for client in &clients {
                // Refused while nobody is there: that is what the client does not mind.
                let _ = client.send(b"load");
            }
        };
        send();
        for round in 0..4 {
            let pod = Pod::new();
            let id = format!("c{round}");
            send();
            let addresses = ips(&lab.publish(&id, &pod, &mappings()));
            let servers = [0, 1, 0].map(|family| (addresses[family], family));
            let mut bound: Vec<UdpSocket> = Vec::new();
            for (address, _) in servers.iter().take(2) {
                bound.push(socket(&pod.netns, &address.to_string(), 80));
            }
            // One more packet of each client arrives, each from a flow of its own.
            send();
            let mut word = [0; 8];
            let mut seen = std::collections::BTreeSet::new();
            for (server, count) in bound.iter().zip([2, 1]) {
                while seen
                    .iter()
                    .filter(|peer: &&SocketAddr| peer.is_ipv4() == (count == 2))
                    .count()
                    < count
                {
                    let (length, peer) = server.recv_from(&mut word).expect("the next pod is reached");
                    assert_eq!(&word[..length], b"load");
                    seen.insert(peer);
                }
            }
            // Connections are tracked from the first rule on.
            to_theirs.send(b"ask").unwrap();
            theirs.recv_from(&mut [0; 8]).unwrap();
            // The old pod's end and the new one's start: the client goes on in between.
            lab.del(&id);
            send();
        }
        let flows = netns::within(lab.host.as_fd(), || {
            flatroute_nft::Conntrack::open()?.udp_from(flatroute_nft::Width::Ipv4, Some(8080))
        });
        let flows = flows.unwrap().unwrap().into_iter();
        let theirs = flows.filter(|flow| flow.reply.source.ip() == beside_ip);
        assert_eq!(theirs.count(), 1, "a flow of others stays");
        lab.del("beside");
        lab.assert_gone();
    });
}

#[test]
fn killed_at_any_point_leaves_no_port_after_del() {
    // [52]
    in_lab("killed_at_any_point_leaves_no_port_after_del", |lab| {
        let config = lab.with(&mappings());
        let pod = Pod::new();
        let mut reached = std::collections::BTreeSet::new();
        let mut seed = 0x1234_5678_u32;
        // At least 60 kills, and as many more as it takes to have hit an ADD before its ports and after.
        for round in 0..600 {
            if round >= 60 && reached.len() > 1 {
                break;
            }
            let mut child = lab.start("ADD", "killed", "eth0", &pod.path(), &config);
            while child.try_wait().expect("wait").is_none() {
                let is_reached = match round % 3 {
                    0 => true,
                    1 => !lab.host_links().is_empty(),
                    _ => !lab.elements().is_empty(),
                };
                if is_reached {
                    break;
                }
            }
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let until = Instant::now() + Duration::from_micros(u64::from((seed >> 8) % 3000));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            let _ = child.kill();
            child.wait().expect("wait");
            reached.insert(lab.elements().len());
            lab.del("killed");
            lab.assert_gone();
        }
        // All four ports and both ways of the pod to itself, or nothing.
        assert_eq!(reached.into_iter().collect::<Vec<_>>(), [0, 6]);
        // A later pod finds the port free.
        lab.publish("after", &pod, &mappings());
        lab.del("after");
        lab.assert_gone();
    });
}

#[test]
fn a_port_that_is_taken_is_told_with_its_owner() {
    in_lab("a_port_that_is_taken_is_told_with_its_owner", |lab| {
        let (one, two) = (Pod::new(), Pod::new());
        lab.publish("c1", &one, &mappings());
        let refused = lab.call("ADD", "c2", &two.path(), &lab.with(&mappings()));
        assert_eq!(refused.code(), 11, "{refused:?}");
        let msg = refused.json()["msg"].as_str().unwrap().to_owned();
        for part in [
            "runtimeConfig.portMappings: hostPort 8080 ",
            "flatroute net c1 eth0",
        ] {
            assert!(msg.contains(part), "{msg}");
        }
        assert_eq!(two.socket().link_by_name("eth0").unwrap(), None);
        assert_eq!((lab.attachments().len(), lab.used().len()), (1, 2));
        // By another address or protocol it is another port.
        let others = json!([
            {"hostPort": 8080, "containerPort": 80, "protocol": "sctp"},
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": HOST_V4},
        ]);
        let addresses = ips(&lab.publish("c2", &two, &others));
        let server = socket(&two.netns, &addresses[0].to_string(), 80);
        exchange(
            &lab.host,
            SocketAddr::new(HOST_V4.parse().unwrap(), 8080),
            &server,
        );
        lab.del("c1");
        exchange(
            &lab.host,
            SocketAddr::new(HOST_V4.parse().unwrap(), 8080),
            &server,
        );
        lab.del("c2");
        lab.assert_gone();
    });
}

#[test]
fn a_pod_that_ended_without_del_keeps_no_port() {
    in_lab("a_pod_that_ended_without_del_keeps_no_port", |lab| {
        let (one, two) = (Pod::new(), Pod::new());
        lab.publish("c1", &one, &mappings());
        let links = lab.socket().links().unwrap();
        let link = links.iter().find(|link| link.alias.is_some()).unwrap();
        lab.socket().delete_link(link.index).unwrap();
        // Whoever has a link keeps his, also when he is of another network.
        let other = Pod::new();
        let mut of_other = lab.with(&json!([{"hostPort": 8081, "containerPort": 80}]));
        of_other["name"] = json!("other");
        of_other["podCIDRs"] = json!(["10.9.0.0/24"]);
        lab.call("ADD", "c9", &other.path(), &of_other).result();
        let both = json!([
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp"},
            {"hostPort": 8081, "containerPort": 80},
        ]);
        let refused = lab.call("ADD", "c2", &two.path(), &lab.with(&both));
        assert_eq!(refused.code(), 11, "{refused:?}");
        assert!(refused.stdout.contains("flatroute other c9 eth0"), "{refused:?}");
        let addresses = ips(&lab.publish("c2", &two, &mappings()));
        // What comes too late takes nothing away from the next one.
        lab.del("c1");
        let server = socket(&two.netns, &addresses[1].to_string(), 80);
        exchange(
            &lab.host,
            SocketAddr::new(HOST_V6.parse().unwrap(), 8080),
            &server,
        );
        lab.del("c2");
        lab.call("DEL", "c9", "", &of_other).fine();
        lab.assert_gone();
    });
}

#[test]
fn check_finds_ports_that_are_gone() {
    in_lab("check_finds_ports_that_are_gone", |lab| {
        let pod = Pod::new();
        let result = lab.publish("c1", &pod, &mappings());
        let check = |mappings: &Value| {
            let more = json!({"prevResult": result, "runtimeConfig": {"portMappings": mappings}});
            lab.call("CHECK", "c1", &pod.path(), &lab.config(&more))
        };
        let faults = |mappings: &Value| {
            let outcome = check(mappings);
            assert_eq!(outcome.code(), 101, "{outcome:?}");
            outcome.json()["details"].as_str().unwrap().to_owned()
        };
        check(&mappings()).fine();
        let one = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]);
        assert!(
            faults(&one).contains("hostPort 8080 tcp of IPv4 to 10.244.1.1:80 is there, and not asked for")
        );
        let other = json!([{"hostPort": 8081, "containerPort": 80}]);
        assert!(faults(&other).contains("hostPort 8081 tcp of IPv6 to [fd00:244:1::1]:80 is gone"));
        let delete = |owner: &'static str| {
            let delete = || Kernel::open()?.delete_host_ports(|found| found.ends_with(owner));
            netns::within(lab.host.as_fd(), delete).unwrap().unwrap()
        };
        delete("c1 eth0");
        let text = faults(&mappings());
        assert!(
            text.contains("hostPort 8080 udp of IPv4 to 10.244.1.1:80 is gone"),
            "{text}"
        );
        assert!(text.contains("the way of 10.244.1.1 to itself is gone"), "{text}");
        let link = lab.host_links().remove(0);
        let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
        netns::within(lab.host.as_fd(), || std::fs::write(path, "0").unwrap()).unwrap();
        let text = faults(&mappings());
        assert!(
            text.contains(&format!("net.ipv4.conf.{link}.route_localnet")),
            "{text}"
        );
        // The chains, as if another program had flushed everything.
        let flush = || {
            let mut nothing = flatroute_nft::host_ports::table();
            (nothing.maps, nothing.chains) = (Vec::new(), Vec::new());
            Kernel::open()?.apply(&nothing)
        };
        netns::within(lab.host.as_fd(), flush).unwrap().unwrap();
        let text = faults(&mappings());
        assert!(
            text.contains("the rules for hostPort in the table inet flatroute are gone"),
            "{text}"
        );
        lab.del("c1");
        lab.assert_gone();
    });
}

#[test]
fn what_lost_its_files_is_found_by_its_name() {
    // [75, 81, 94–97]
    in_lab("what_lost_its_files_is_found_by_its_name", |lab| {
        let pods: Vec<Pod> = (0..3).map(|_| Pod::new()).collect();
        for (number, pod) in pods.iter().enumerate() {
            let mapping = json!([{"hostPort": 8080 + number, "containerPort": 80}]);
            lab.publish(&format!("c{number}"), pod, &mapping);
        }
        let foreign = || {
            let to = "192.0.2.9:80".parse().unwrap();
            let port = flatroute_nft::HostPort::new(flatroute_nft::Protocol::Tcp, None, 99, to).unwrap();
            let mut kernel = Kernel::open()?;
            kernel.add_host_ports("flatroute other c0 eth0", &[port])
        };
        netns::within(lab.host.as_fd(), foreign).unwrap().unwrap();
        let owners = || {
            let owners = lab.elements().into_iter().map(|owned| owned.owner);
            owners.collect::<std::collections::BTreeSet<String>>()
        };
        assert_eq!(owners().len(), 4);
        std::fs::remove_dir_all(lab.network_dir()).unwrap();
        // DEL without files, prevResult and runtimeConfig.
        lab.del("c0");
        assert!(!owners().contains("flatroute net c0 eth0"));
        let valid = json!([{"containerID": "c1", "ifname": "eth0"}]);
        let config = lab.config(&json!({"cni.dev/valid-attachments": valid}));
        finish(lab.start("GC", "", "", "", &config)).fine();
        assert_eq!(
            owners().into_iter().collect::<Vec<_>>(),
            ["flatroute net c1 eth0", "flatroute other c0 eth0"]
        );
        let config = lab.config(&json!({"cni.dev/valid-attachments": []}));
        finish(lab.start("GC", "", "", "", &config)).fine();
        assert_eq!(
            owners().into_iter().collect::<Vec<_>>(),
            ["flatroute other c0 eth0"]
        );
        lab.assert_clean();
    });
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    in_lab("what_cannot_be_is_refused_before_anything_is_made", |lab| {
        let pod = Pod::new();
        let rows = [
            (json!([{"hostPort": 0, "containerPort": 80}]), "[0].hostPort"),
            (
                json!([{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}]),
                "[0].protocol",
            ),
            (
                json!([{"hostPort": 80, "containerPort": 80, "hostIP": "::1"}]),
                "[0].hostIP",
            ),
            (json!({"hostPort": 80}), ""),
        ];
        for (mappings, field) in rows {
            let outcome = lab.call("ADD", "c1", &pod.path(), &lab.with(&mappings));
            assert_eq!(outcome.code(), 7, "{mappings}: {outcome:?}");
            let msg = outcome.json()["msg"].as_str().unwrap().to_owned();
            let want = format!("network configuration: runtimeConfig.portMappings{field}: ");
            assert!(msg.starts_with(&want), "{msg}");
            lab.assert_gone();
            // Spoilt as it is, the pod can be deleted.
            lab.call("DEL", "c1", "", &lab.with(&mappings)).fine();
        }
        // Known only when the pod's families are.
        let config = lab.config(&json!({
            "podCIDRs": ["10.244.1.0/24"],
            "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "hostIP": "::"}]},
        }));
        let outcome = lab.call("ADD", "c1", &pod.path(), &config);
        assert_eq!(outcome.code(), 7, "{outcome:?}");
        lab.assert_gone();
        assert!(!lab.has_table());
    });
}

#[test]
fn sixteen_at_once_make_one_table_beside_the_agent() {
    in_lab("sixteen_at_once_make_one_table_beside_the_agent", |lab| {
        let pods: Vec<Pod> = (0..16).map(|_| Pod::new()).collect();
        let started: Vec<_> = pods
            .iter()
            .enumerate()
            .map(|(number, pod)| {
                let mapping = json!([{"hostPort": 8000 + number, "containerPort": 80}]);
                lab.start(
                    "ADD",
                    &format!("c{number}"),
                    "eth0",
                    &pod.path(),
                    &lab.with(&mapping),
                )
            })
            .collect();
        let network = PodNetwork::default();
        let apply = || Kernel::open()?.apply(&network.table());
        netns::within(lab.host.as_fd(), apply).unwrap().unwrap();
        for child in started {
            finish(child).result();
        }
        assert_eq!(lab.elements().len(), 16 * 4);
        let (agents, plugins) = netns::within(lab.host.as_fd(), || {
            let mut kernel = Kernel::open().unwrap();
            let agents = kernel.apply(&network.table()).unwrap();
            (agents, kernel.has_host_port_rules().unwrap())
        })
        .unwrap();
        assert_eq!((agents, plugins), (vec![], true));
        for number in 0..16 {
            lab.del(&format!("c{number}"));
        }
        lab.assert_gone();
    });
}
