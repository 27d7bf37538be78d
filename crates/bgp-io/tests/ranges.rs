//! Neighbours that come by themselves, with the key and the distance of their range.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use flatroute_bgp::session::PeerAsn;
use flatroute_bgp::speaker::{Auth, Config, RangeConfig, Ttl};
use flatroute_bgp::types::{PeerName, Prefix};

use world::raw::{self, RawPeer};
use world::{BOUND, LOOPBACK6, Node, config, key, own_address, peer, prefix, within};

const THEIRS: u32 = 65_001;
/// How long a connection that the kernel refuses is tried.
const BRIEF: Duration = Duration::from_millis(300);

/// The addresses of this process, or the loopback of IPv6.
fn around(address: IpAddr) -> Prefix {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            prefix(&format!("{a}.{b}.{c}.0/24"))
        }
        IpAddr::V6(_) => prefix("::/64"),
    }
}

fn with_range(prefix: Prefix, auth: Auth, ttl: Ttl) -> Config {
    let mut template = peer(prefix.addr(), THEIRS);
    template.session.peer_asn = PeerAsn::External;
    template.auth = auth;
    template.ttl = ttl;
    let range = RangeConfig {
        prefix,
        limit: 10,
        template,
    };
    let mut config = config([], []);
    config.ranges.insert(PeerName::from("r"), range);
    config
}

fn source_for(address: IpAddr) -> IpAddr {
    if address.is_ipv4() {
        own_address()
    } else {
        LOOPBACK6
    }
}

async fn signed(source: IpAddr, node: &Node, with: &str) -> Option<RawPeer> {
    let dialled = RawPeer::signed(source, node.address, THEIRS, with);
    tokio::time::timeout(BRIEF, dialled)
        .await
        .ok()
        .and_then(Result::ok)
}

#[tokio::test]
async fn the_key_of_a_range_is_asked_of_all_that_come_from_it() {
    for address in [own_address(), LOOPBACK6] {
        let range = with_range(around(address), key("secret"), Ttl::Direct);
        let node = Node::start(address, range).await;
        let sources = if address.is_ipv4() {
            vec![own_address(), own_address()]
        } else {
            vec![LOOPBACK6]
        };
        assert!(signed(sources[0], &node, "Secret").await.is_none());
        let unsigned = RawPeer::connect(sources[0], node.address, THEIRS);
        assert!(tokio::time::timeout(BRIEF, unsigned).await.is_err());
        assert!(node.status().await.peers.is_empty(), "nobody was let in");
        let mut held = Vec::new();
        for source in sources {
            let mut peer = signed(source, &node, "secret").await.unwrap();
            peer.establish().await;
            node.until_established(&format!("r-{source}")).await;
            held.push(peer);
        }
        assert_eq!(node.status().await.peers.len(), held.len());
    }
}

#[tokio::test]
async fn the_key_of_a_named_neighbour_and_of_a_longer_range_count_more() {
    let address = own_address();
    let (named, near, far) = (own_address(), own_address(), own_address());
    let mut config = with_range(around(address), key("of all"), Ttl::Direct);
    let mut own = peer(named, THEIRS);
    own.auth = key("its own");
    config.peers.insert(PeerName::from("named"), own);
    let mut longer = config.ranges.values().next().unwrap().clone();
    longer.prefix = Prefix::new(near, 32).unwrap();
    longer.template.auth = key("of few");
    config.ranges.insert(PeerName::from("s"), longer);
    let node = Node::start(address, config).await;
    for (source, with) in [(named, "of all"), (near, "of all"), (far, "of few")] {
        assert!(signed(source, &node, with).await.is_none(), "{source} {with}");
    }
    let mut held = Vec::new();
    for (source, with, name) in [
        (named, "its own", "named".to_owned()),
        (near, "of few", format!("s-{near}")),
        (far, "of all", format!("r-{far}")),
    ] {
        let mut peer = signed(source, &node, with).await.unwrap();
        peer.establish().await;
        node.until_established(&name).await;
        held.push(peer);
    }
}

#[tokio::test]
async fn a_key_that_changes_or_goes_changes_for_the_whole_range() {
    let address = own_address();
    let range = around(address);
    let node = Node::start(address, with_range(range, key("old"), Ttl::Direct)).await;
    let source = own_address();
    let mut before = signed(source, &node, "old").await.unwrap();
    before.establish().await;
    let name = format!("r-{source}");
    node.until_established(&name).await;
    node.configure(with_range(range, key("new"), Ttl::Direct)).await;
    node.until("the session to end", BOUND, |status| {
        world::state(status, &name) != flatroute_bgp::peer::State::Established
    })
    .await;
    assert!(signed(source, &node, "old").await.is_none());
    let mut after = signed(source, &node, "new").await.unwrap();
    after.establish().await;
    node.until_established(&name).await;
    node.configure(with_range(range, Auth::None, Ttl::Direct)).await;
    node.until("the key to go", BOUND, |status| {
        world::state(status, &name) != flatroute_bgp::peer::State::Established
    })
    .await;
    assert!(signed(source, &node, "new").await.is_none());
    let mut plain = within("connect", BOUND, RawPeer::connect(source, node.address, THEIRS)).await;
    plain.establish().await;
    node.until_established(&name).await;
}

#[tokio::test]
async fn who_comes_from_afar_becomes_no_neighbour() {
    for address in [own_address(), LOOPBACK6] {
        let source = source_for(address);
        let node = Node::start(address, with_range(around(address), Auth::None, Ttl::Security(1))).await;
        let domain = socket2::Domain::for_address(node.address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        match node.address {
            SocketAddr::V4(_) => socket.set_ttl_v4(64).unwrap(),
            SocketAddr::V6(_) => socket.set_unicast_hops_v6(64).unwrap(),
        }
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&node.address.into()).unwrap();
        let mut stream = std::net::TcpStream::from(socket);
        stream.write_all(&raw::open(THEIRS, 90)).unwrap();
        let mut far = RawPeer::adopt(stream, THEIRS);
        let end = within("the end of the connection", BOUND, far.next()).await;
        assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
        let status = node.status().await;
        assert_eq!((status.refused, status.peers.len()), (1, 0), "{status:#?}");
    }
}
