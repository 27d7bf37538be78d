//! hostPorts that another program took away: what is put back, and what is not.

use flatroute_lab::Namespace;
use flatroute_netlink::{LinkChange, NetfilterMessage, NetfilterSocket, Socket};
use flatroute_nft::host_ports::Owned;
use flatroute_nft::{HostPort, Kernel, Memory, Protocol, TABLE, Watch};

/// NFT_MSG_DELTABLE of the subsystem of nf_tables.
const DELETE_TABLE: u16 = 10 << 8 | 2;

/// What `nft flush ruleset` sends: every table goes.
fn flush() {
    let every = NetfilterMessage {
        kind: DELETE_TABLE,
        flags: 0,
        port: 0,
        body: vec![0; 4],
    };
    let mut socket = NetfilterSocket::open().unwrap();
    socket.batch(10, 0, &[every], |_| "flush".to_owned()).unwrap();
}

fn ports(number: u16, last: u8) -> Vec<HostPort> {
    let port = |to: String| HostPort::new(Protocol::Udp, None, number, to.parse().unwrap()).unwrap();
    vec![
        port(format!("10.244.1.{last}:80")),
        port(format!("[fd00:244:1::{last}]:80")),
    ]
}

/// Who listens, and acts.
struct Ear {
    kernel: Kernel,
    host: Socket,
    watch: Watch,
    memory: Memory,
}

impl Ear {
    fn new() -> Self {
        let watch = Watch::open(TABLE).unwrap();
        let mut kernel = Kernel::open().unwrap();
        let mut memory = Memory::default();
        memory.see(kernel.host_ports().unwrap());
        Self {
            kernel,
            host: Socket::open().unwrap(),
            watch,
            memory,
        }
    }

    fn hear(&mut self) {
        // The kernel tells who listens before it answers who changed something.
        let own = self.kernel.port();
        self.watch.is_changed(own, &mut self.memory).unwrap();
    }

    fn restore(&mut self) -> Vec<Owned> {
        self.kernel
            .restore_host_ports(&mut self.memory, &mut self.host)
            .unwrap()
    }
}

const ONE: &str = "flatroute net c1 eth0";
const TWO: &str = "flatroute net c2 eth0";

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn ports_of_pods_that_live_come_back_after_a_flush() {
    let Some(node) = Namespace::new() else { return };
    node.ip("link add one group 79 type veth peer name one-pod");
    node.ip("link add two group 79 type veth peer name two-pod");
    node.ip("link add shaper group 80 type veth peer name shaper-end");
    node.inside(|| {
        let mut host = Socket::open().unwrap();
        let alias = |host: &mut Socket, name: &str, alias: &str| {
            let index = host.link_by_name(name).unwrap().unwrap().index;
            let change = LinkChange {
                alias: Some(alias),
                ..Default::default()
            };
            host.change_link(index, &change).unwrap();
            index
        };
        alias(&mut host, "one", &format!("{ONE} 10.244.1.1 fd00:244:1::1"));
        let two = alias(&mut host, "two", TWO);
        let mut plugin = Kernel::open().unwrap();
        // One from before anybody listened.
        plugin.add_host_ports(ONE, &ports(8080, 1)).unwrap();
        let mut ear = Ear::new();
        plugin.add_host_ports(TWO, &ports(8081, 2)).unwrap();
        plugin
            .add_host_ports("flatroute net c3 eth0", &ports(8083, 3))
            .unwrap();
        plugin
            .add_host_ports("flatroute net c1 eth", &ports(8084, 4))
            .unwrap();
        plugin.add_host_ports(TWO, &ports(8085, 2)[..1]).unwrap_err();
        let before = plugin.host_ports().unwrap();
        ear.hear();
        assert_eq!(ear.restore(), [], "nothing is lost");
        assert_eq!(plugin.host_ports().unwrap(), before);

        // Everything goes at once. c3 has no link, and "c1 eth" is not the beginning of a name.
        flush();
        assert_eq!(plugin.host_ports().unwrap(), []);
        ear.hear();
        assert_eq!(ear.restore().len(), 8, "two ports and two hairpins each");
        let sorted = |mut all: Vec<Owned>| {
            all.sort_by_key(|owned| owned.element);
            all
        };
        let alive = |owned: &Owned| owned.owner == ONE || owned.owner == TWO;
        let mut wanted = sorted(before);
        wanted.retain(alive);
        assert_eq!(sorted(plugin.host_ports().unwrap()), wanted);
        assert!(plugin.has_host_port_rules().unwrap());

        // What its owner takes away was meant; and another pod may have a place that was lost.
        plugin.delete_host_ports(|owner| owner == ONE).unwrap();
        ear.hear();
        flush();
        plugin
            .add_host_ports("flatroute net c4 eth0", &ports(8081, 4))
            .unwrap();
        ear.hear();
        assert_eq!(ear.restore(), []);
        let owners: Vec<String> = plugin
            .host_ports()
            .unwrap()
            .into_iter()
            .map(|one| one.owner)
            .collect();
        assert!(
            owners.iter().all(|owner| owner == "flatroute net c4 eth0"),
            "{owners:?}"
        );

        // A pod that ended while nothing was there; the device of its bandwidth has its name, and goes last.
        plugin.delete_host_ports(|_| true).unwrap();
        plugin.add_host_ports(TWO, &ports(8081, 2)).unwrap();
        ear.hear();
        flush();
        alias(&mut host, "shaper", TWO);
        host.delete_link(two).unwrap();
        ear.hear();
        assert_eq!(ear.restore(), []);
        assert_eq!(plugin.host_ports().unwrap(), []);
    });
}
