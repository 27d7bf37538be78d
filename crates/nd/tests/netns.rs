//! Kernel tests: real sockets on a veth whose other end sends what it likes.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use flatroute_lab::Namespace;
use flatroute_nd::link::State;
use flatroute_nd::{Heard, Message, decode, encode};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::watch;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const SAID: Message = Message::Advertisement { lifetime: 1800 };
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Two namespaces with a link: `here` is fe80::1, `there` fe80::2, and no other address.
fn cable() -> Option<(Namespace, Namespace)> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    here.ip(&format!(
        "link add here type veth peer name there netns {}",
        there.thread()
    ));
    for (namespace, link, address) in [(&here, "here", "fe80::1/64"), (&there, "there", "fe80::2/64")] {
        namespace.ip(&format!("link set {link} addrgenmode none"));
        namespace.ip(&format!("-6 addr add {address} dev {link} nodad"));
        namespace.ip(&format!("link set {link} up"));
    }
    Some((here, there))
}

fn index(namespace: &Namespace, link: &str) -> u32 {
    let shown = namespace.ip(&format!("-o link show {link}"));
    let (index, _) = shown.split_once(':').expect("an index");
    index.trim().parse().expect("a number")
}

/// The other end: a socket that hears all ICMPv6 and sends what it is told.
struct Puppet {
    socket: Socket,
    index: u32,
}

impl Puppet {
    fn open(namespace: &Namespace) -> Self {
        let index = index(namespace, "there");
        let socket = namespace.inside(move || -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
            socket.bind_device_by_index_v6(NonZeroU32::new(index))?;
            socket.set_multicast_if_v6(index)?;
            socket.join_multicast_v6(&ALL_ROUTERS, index)?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        });
        Self {
            socket: socket.expect("a socket"),
            index,
        }
    }

    fn say(&self, octets: &[u8], to: Ipv6Addr, hops: u32) {
        self.socket.set_multicast_hops_v6(hops).expect("set");
        self.socket.set_unicast_hops_v6(hops).expect("set");
        let to = SockAddr::from(SocketAddrV6::new(to, 0, 0, self.index));
        self.socket.send_to(octets, &to).expect("sent");
    }

    /// From an address of its own.
    fn say_from(&self, namespace: &Namespace, from: Ipv6Addr, message: Message) {
        let index = self.index;
        namespace.ip(&format!("-6 addr replace {from}/64 dev there nodad"));
        let sent = namespace.inside(move || -> io::Result<()> {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
            socket.bind(&SockAddr::from(SocketAddrV6::new(from, 0, 0, index)))?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(255)?;
            let to = SockAddr::from(SocketAddrV6::new(ALL_NODES, 0, 0, index));
            socket.send_to(&encode(message), &to).map(drop)
        });
        sent.expect("sent");
    }

    /// Takes what has come already.
    fn drain(&self) {
        while self
            .hear(Message::Advertisement { lifetime: 0 }, Duration::from_millis(300))
            .is_some()
        {}
    }

    /// The next message of ours, in the time that is left.
    fn hear(&self, wanted: Message, within: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + within;
        let mut octets = [0; 2048];
        while Instant::now() < end {
            let mut socket = &self.socket;
            let Ok(length) = io::Read::read(&mut socket, &mut octets) else {
                continue;
            };
            if decode(&octets[..length]) == Ok(wanted) {
                return Some(octets[..length].to_vec());
            }
        }
        None
    }
}

/// Listens in a namespace for as long as it is kept.
struct Listener {
    heard: watch::Receiver<std::collections::BTreeMap<u32, Heard>>,
    handle: flatroute_nd::Handle,
    index: u32,
    /// The runtime ends with it.
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Listener {
    fn start(namespace: &Namespace) -> Self {
        let index = index(namespace, "here");
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        // A thread begins in the namespace of the one that makes it.
        namespace.inside(move || {
            std::thread::spawn(move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let handle = flatroute_nd::spawn([].into());
                    handle.want([index].into());
                    tell.send(handle).expect("somebody waits");
                    drop(ended.await);
                });
            });
        });
        let handle = told.recv().expect("it runs");
        Self {
            heard: handle.heard(),
            handle,
            index,
            _end: end,
        }
    }

    fn state(&self) -> Option<Heard> {
        self.heard.borrow().get(&self.index).cloned()
    }

    fn router(&self) -> Option<Ipv6Addr> {
        match self.state() {
            Some(Heard::Link(State::Router { address, .. })) => Some(address),
            _ => None,
        }
    }

    fn until(&self, what: &str, is: impl Fn(Option<Heard>) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !is(self.state()) {
            assert!(Instant::now() < end, "never: {what}; {:?}", self.state());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_router(of: &'static str) -> impl Fn(Option<Heard>) -> bool {
    move |state| matches!(state, Some(Heard::Link(State::Router { address, .. })) if address.to_string() == of)
}

#[test]
fn a_link_is_asked_and_advertised_on_and_its_router_found() {
    let Some((here, there)) = cable() else { return };
    let puppet = Puppet::open(&there);
    let listener = Listener::start(&here);
    let advertisement = puppet
        .hear(Message::Advertisement { lifetime: 0 }, DEADLINE)
        .expect("an advertisement");
    // Nothing but the sign of life: 16 octets, and zero but for the type and the checksum.
    assert_eq!(advertisement.len(), 16);
    let rest: Vec<u8> = advertisement.iter().skip(4).copied().collect();
    assert_eq!((&advertisement[..2], rest), (&[134, 0][..], vec![0; 12]));
    puppet.hear(Message::Solicitation, DEADLINE).expect("a question");
    listener.until("silence is told", |state| {
        state == Some(Heard::Link(State::Silent))
    });
    puppet.say(&encode(SAID), ALL_NODES, 255);
    listener.until("the router is found", is_router("fe80::2"));
    // A question is answered at once, to who asks.
    puppet.say(&encode(Message::Solicitation), ALL_ROUTERS, 255);
    puppet
        .hear(Message::Advertisement { lifetime: 0 }, Duration::from_secs(2))
        .expect("an answer");
    // What is no longer wanted is forgotten, and nothing more is sent.
    listener.handle.want([].into());
    listener.until("it is forgotten", |state| state.is_none());
    puppet.drain();
    puppet.say(&encode(Message::Solicitation), ALL_ROUTERS, 255);
    assert_eq!(
        puppet.hear(Message::Advertisement { lifetime: 0 }, Duration::from_millis(500)),
        None
    );
}

#[test]
fn what_came_from_afar_or_is_broken_makes_no_neighbour() {
    let Some((here, there)) = cable() else { return };
    let puppet = Puppet::open(&there);
    let listener = Listener::start(&here);
    puppet.hear(Message::Solicitation, DEADLINE).expect("it listens");
    for hops in [1, 64, 254] {
        puppet.say(&encode(SAID), ALL_NODES, hops);
    }
    let mut code = encode(SAID);
    code[1] = 1;
    let mut option = encode(SAID);
    option.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    for octets in [
        code,
        option,
        encode(SAID)[..12].to_vec(),
        vec![134; 1400],
        vec![134, 0, 0, 0],
    ] {
        puppet.say(&octets, ALL_NODES, 255);
    }
    // It has read all of them when it answers the question that comes behind.
    puppet.drain();
    puppet.say(&encode(Message::Solicitation), ALL_ROUTERS, 255);
    puppet
        .hear(Message::Advertisement { lifetime: 0 }, Duration::from_secs(5))
        .expect("an answer");
    assert_eq!(listener.router(), None);
    puppet.say(&encode(SAID), ALL_NODES, 255);
    listener.until("a good one counts", is_router("fe80::2"));
}

#[test]
fn a_flood_costs_little_and_moves_nobody() {
    let Some((here, there)) = cable() else { return };
    let puppet = Puppet::open(&there);
    let mut listener = Listener::start(&here);
    puppet.hear(Message::Solicitation, DEADLINE).expect("it listens");
    puppet.say(&encode(SAID), ALL_NODES, 255);
    listener.until("the router is found", is_router("fe80::2"));
    listener.heard.mark_unchanged();
    for number in 0..50_u16 {
        let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number);
        puppet.say_from(&there, from, SAID);
    }
    for _ in 0..20_000 {
        puppet.say(&encode(SAID), ALL_NODES, 255);
    }
    listener.until("others are told", |state| {
        matches!(state, Some(Heard::Link(State::Router { address, several: true })) if address.to_string() == "fe80::2")
    });
    // It still answers, when the flood is over.
    puppet.drain();
    puppet.say(&encode(Message::Solicitation), ALL_ROUTERS, 255);
    puppet
        .hear(Message::Advertisement { lifetime: 0 }, Duration::from_secs(5))
        .expect("an answer");
}
