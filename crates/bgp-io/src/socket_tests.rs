use super::*;

/// A connection over the loopback as both sides have it: dialled by us, and taken by our listener.
async fn connected(ip: IpAddr, ttl: Ttl) -> (TcpStream, TcpStream) {
    let listener = listen(SocketAddr::new(ip, 0)).unwrap();
    let target = Target {
        address: ip,
        interface: None,
        port: listener.local_addr().unwrap().port(),
        source: Some(ip),
        ttl,
    };
    let (dialled, accepted) = tokio::join!(dial(target), listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

fn hops(stream: &TcpStream) -> u32 {
    let socket = SockRef::from(stream);
    if stream.peer_addr().unwrap().is_ipv6() {
        socket.unicast_hops_v6().unwrap()
    } else {
        socket.ttl_v4().unwrap()
    }
}

const LOOPBACKS: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
];

#[tokio::test]
async fn both_kinds_of_sockets_send_as_far_as_the_peer_may_be() {
    for ip in LOOPBACKS {
        for (ttl, expected) in [(Ttl::Direct, 1), (Ttl::Multihop(7), 7), (Ttl::Security(3), 255)] {
            let (dialled, accepted) = connected(ip, ttl).await;
            assert_eq!(hops(&dialled), expected, "dialled from {ip}, {ttl:?}");
            assert_eq!(hops(&accepted), 255, "nobody has adopted it yet");
            let adopted = adopt(&accepted, ttl);
            assert!(adopted.is_ok(), "{adopted:?}");
            assert_eq!(hops(&accepted), expected, "accepted on {ip}, {ttl:?}");
        }
    }
}

#[tokio::test]
async fn gtsm_refuses_a_dialler_that_is_too_far_away() {
    for ip in LOOPBACKS {
        for (theirs, ours, welcome) in [
            (Ttl::Multihop(255), Ttl::Security(1), true),
            (Ttl::Multihop(254), Ttl::Security(1), false),
            (Ttl::Multihop(254), Ttl::Security(2), true),
            (Ttl::Multihop(64), Ttl::Security(2), false),
            (Ttl::Multihop(1), Ttl::Security(255), true),
        ] {
            let (_dialled, accepted) = connected(ip, theirs).await;
            let adopted = adopt(&accepted, ours);
            assert_eq!(
                adopted.is_ok(),
                welcome,
                "{theirs:?} to {ours:?} over {ip}: {adopted:?}"
            );
        }
    }
}

#[test]
fn the_least_ttl_is_256_minus_the_hops() {
    assert_eq!(least_hops(Ttl::Security(1)), Some(255));
    assert_eq!(least_hops(Ttl::Security(255)), Some(1));
    assert_eq!(least_hops(Ttl::Direct), None);
}
