use super::*;

/// A connection over the loopback as both sides have it: dialled by us, and taken by our listener.
async fn connected(ip: IpAddr, ttl: Ttl) -> (TcpStream, TcpStream) {
    let (listener, _) = listen(SocketAddr::new(ip, 0), None, &BTreeMap::new()).unwrap();
    let target = Target {
        address: ip,
        interface: None,
        port: listener.local_addr().unwrap().port(),
        source: Some(ip),
        ttl,
        auth: Auth::None,
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
            assert_eq!(hops(&accepted), 255, "nobody has prepared it yet");
            let prepared = prepare(&accepted, ttl, &Auth::None);
            assert!(prepared.is_ok(), "{prepared:?}");
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
            let prepared = prepare(&accepted, ours, &Auth::None);
            assert_eq!(
                prepared.is_ok(),
                welcome,
                "{theirs:?} to {ours:?} over {ip}: {prepared:?}"
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

fn key(text: &str) -> Md5Key {
    Md5Key::new(text.as_bytes()).unwrap()
}

fn target(ip: IpAddr, port: u16, auth: Auth) -> Target {
    Target {
        address: ip,
        interface: None,
        port,
        source: Some(ip),
        ttl: Ttl::Direct,
        auth,
    }
}

/// A connection of a dialler with a key, or none, to a listener with a key, or none.
async fn signed(ip: IpAddr, ours: Option<&str>, theirs: Option<&str>) -> (TcpStream, TcpStream) {
    let keys = ours.map(|k| (host(ip), key(k))).into_iter().collect();
    let (listener, refused) = listen(SocketAddr::new(ip, 0), None, &keys).unwrap();
    assert_eq!(refused, BTreeMap::new());
    let auth = theirs.map_or(Auth::None, |k| Auth::Md5(key(k)));
    let port = listener.local_addr().unwrap().port();
    let (dialled, accepted) = tokio::join!(dial(target(ip, port, auth)), listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn what_was_not_signed_from_its_syn_on_is_refused_though_the_key_is_set_now() {
    for ip in LOOPBACKS {
        let (_dialled, accepted) = signed(ip, None, None).await;
        let error = prepare(&accepted, Ttl::Direct, &Auth::Md5(key("k"))).unwrap_err();
        assert!(error.to_string().contains("not signed"), "{error}");
        // Its SYN has been read, so that nothing is known of it any more.
        let error = prepare(&accepted, Ttl::Direct, &Auth::Md5(key("k"))).unwrap_err();
        assert!(error.to_string().contains("SYN cookies"), "{error}");

        let (_dialled, accepted) = signed(ip, Some("k"), Some("k")).await;
        assert!(prepare(&accepted, Ttl::Direct, &Auth::Md5(key("k"))).is_ok());
        let (_dialled, accepted) = signed(ip, Some("k"), Some("k")).await;
        let error = prepare(&accepted, Ttl::Direct, &Auth::None).unwrap_err();
        assert!(error.to_string().contains("no key for it any more"), "{error}");
    }
}

#[tokio::test]
async fn a_newer_key_makes_an_older_connection_fall_silent() {
    for ip in LOOPBACKS {
        for (now, heard) in [("old", true), ("new", false)] {
            let (dialled, accepted) = signed(ip, Some("old"), Some("old")).await;
            prepare(&accepted, Ttl::Direct, &Auth::Md5(key(now))).unwrap();
            dialled.try_write(b"hello").unwrap();
            let mut buffer = [0; 8];
            let read = async {
                loop {
                    accepted.readable().await.unwrap();
                    match accepted.try_read(&mut buffer) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        read => return read,
                    }
                }
            };
            let read = tokio::time::timeout(std::time::Duration::from_millis(300), read).await;
            assert_eq!(read.is_ok(), heard, "{ip}, {now}: {read:?}");
        }
    }
}

#[tokio::test]
async fn an_option_that_cannot_be_set_opens_nothing() {
    let v4 = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    assert!(limit_hops(&SockRef::from(&v4), true, Ttl::Security(1)).is_err());
    // The key of an address of the other family.
    let error = set_key(&v4, host(LOOPBACKS[1]), Some(&key("k"))).unwrap_err();
    assert!(
        error.to_string().contains("refused the TCP MD5 key of ::1"),
        "{error}"
    );
    // A listener tells which keys it lacks; there is none to take away.
    let keys = [(host(LOOPBACKS[1]), key("k"))].into_iter().collect();
    let (listener, refused) = listen(SocketAddr::new(LOOPBACKS[0], 0), None, &keys).unwrap();
    assert_eq!(refused.keys().collect::<Vec<_>>(), [&host(LOOPBACKS[1])]);
    assert!(set_key(&listener, host(LOOPBACKS[0]), None).is_err());
}
