//! A node with two pods, and the world behind its uplink.
//!
//! ```text
//!  pod, other ──veth, group 79── node ──veth── world
//! ```
//!
//! The world has an address outside (198.51.100.2), a pod of another node (10.244.2.10) and a server that only pods with
//! their own addresses shall reach (192.0.2.7), each in both families. It has no route back to pods: what comes is told by what arrives.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use flatroute_lab::Namespace;
use flatroute_nft::{Kernel, Masquerade, Operation, PodNetwork, Result};

pub(super) struct Lab {
    pub(super) node: Namespace,
    pub(super) pod: Namespace,
    pub(super) world: Namespace,
    pub(super) other: Namespace,
}

pub(super) const POD: [&str; 2] = ["10.244.1.10", "fd00:244:1::10"];
pub(super) const OTHER: [&str; 2] = ["10.244.1.11", "fd00:244:1::11"];
pub(super) const NODE: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];
pub(super) const OUTSIDE: [&str; 2] = ["198.51.100.2", "2001:db8:100::2"];
pub(super) const INSIDE: [&str; 2] = ["10.244.2.10", "fd00:244:2::10"];
pub(super) const LISTED: [&str; 2] = ["192.0.2.7", "2001:db8:7::7"];

/// What the agent of the node wants.
pub(super) fn wanted() -> PodNetwork {
    let prefixes = |of: &[&str]| of.iter().map(|text| text.parse().unwrap()).collect();
    PodNetwork {
        pod_cidrs: prefixes(&["10.244.1.0/24", "fd00:244:1::/64"]),
        masquerade: Some(Masquerade {
            direct: prefixes(&[
                "10.244.0.0/16",
                "fd00:244::/32",
                "192.0.2.7/32",
                "2001:db8:7::/64",
            ]),
            source_ipv4: None,
            source_ipv6: None,
        }),
    }
}

/// Makes the table in the namespace of the calling thread.
pub(super) fn apply(network: &PodNetwork) -> Result<Vec<Operation>> {
    Kernel::open()?.apply(&network.table())
}

impl Lab {
    /// None where namespaces are forbidden.
    pub(super) fn new() -> Option<Self> {
        let (node, pod, other, world) = (
            Namespace::new()?,
            Namespace::new()?,
            Namespace::new()?,
            Namespace::new()?,
        );
        for path in ["net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"] {
            node.sysctl(path, "1");
        }
        for path in ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"] {
            node.sysctl(path, "0");
            world.sysctl(path, "0");
        }
        node.ip("link add up0 type veth peer name up1");
        world.take("up1", &node);
        node.ip("link set up0 up");
        world.ip("link set up1 up");
        for (there, name, number) in [(&node, "up0", 1), (&world, "up1", 2)] {
            there.address(&format!("198.51.100.{number}/24"), name);
            there.address(&format!("2001:db8:100::{number}/64"), name);
        }
        for address in INSIDE.iter().chain(&LISTED) {
            world.address(address, "lo");
        }
        node.ip(&format!("route add default via {}", OUTSIDE[0]));
        node.ip(&format!("-6 route add default via {}", OUTSIDE[1]));
        wire(&node, &pod, "pod0", POD);
        wire(&node, &other, "pod1", OTHER);
        Some(Self {
            node,
            pod,
            world,
            other,
        })
    }

    /// Makes the table on the node.
    pub(super) fn apply(&self, network: PodNetwork) -> Vec<Operation> {
        self.node.inside(move || apply(&network)).expect("the table")
    }
}

/// A pod's link, as the plugin makes it.
fn wire(node: &Namespace, pod: &Namespace, name: &str, addresses: [&str; 2]) {
    node.ip(&format!(
        "link add {name} group 79 address ee:ee:ee:ee:ee:ee type veth peer name eth0"
    ));
    pod.take("eth0", node);
    pod.sysctl("net/ipv6/conf/eth0/accept_dad", "0");
    node.ip(&format!("link set {name} up"));
    pod.ip("link set eth0 up");
    node.ip(&format!("address add fe80::1/64 dev {name} nodad"));
    for address in addresses {
        pod.address(address, "eth0");
        node.ip(&format!("route add {address} dev {name}"));
    }
    pod.ip("route add 169.254.1.1 dev eth0");
    pod.ip("route add default via 169.254.1.1 dev eth0 onlink");
    pod.ip("-6 route add default via fe80::1 dev eth0");
    for gateway in ["169.254.1.1", "fe80::1"] {
        pod.ip(&format!(
            "neighbour add {gateway} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent"
        ));
    }
}

/// A socket in a namespace.
pub(super) fn socket(there: &Namespace, address: &str, port: u16) -> UdpSocket {
    there.udp(address.parse().expect("an address"), port)
}

/// Sends a word from a socket.
pub(super) fn send(from: &UdpSocket, to: &UdpSocket, word: &str) {
    // Sockets are of their namespace, whoever uses them.
    from.send_to(word.as_bytes(), to.local_addr().expect("an address"))
        .expect("sent");
}

/// The next word that arrives, and from whom.
pub(super) fn heard(at: &UdpSocket) -> (String, IpAddr) {
    let (word, from) = received(at);
    (word, from.ip())
}

/// The next word that arrives, and its way back.
pub(super) fn received(at: &UdpSocket) -> (String, SocketAddr) {
    let mut word = [0; 64];
    loop {
        match at.recv_from(&mut word) {
            Ok((length, from)) => return (String::from_utf8_lossy(&word[..length]).into_owned(), from),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no packet arrives: {error}"),
        }
    }
}

/// Runs the `nft` program in the namespace of the calling thread; none where there is none.
pub(super) fn nft(arguments: &[&str]) -> Option<String> {
    let output = Command::new("nft").args(arguments).output().ok()?;
    assert!(
        output.status.success(),
        "nft {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
