//! The fuzz target of router solicitations and advertisements, as a plain function of octets: cargo-fuzz calls it with new inputs,
//! and a test of the nd crate replays the committed corpus through it on stable Rust. It fails by panicking.

use std::time::Duration;

use flatroute_nd::link::{Link, MAX_ROUTERS, State};
use flatroute_nd::{decode, encode};

/// A message, read alone, and then as one of many on a link: each octet that follows says who sends it next, and how much
/// later.
pub(crate) fn router(input: &[u8]) {
    let message = decode(input);
    if let Err(why) = message {
        let _ = why.to_string();
        return;
    }
    let Ok(message) = message else { return };
    assert_eq!(decode(&encode(message)), Ok(message));
    let mut link = Link::new(1, None, Duration::ZERO);
    let mut now = Duration::ZERO;
    for octet in input {
        now += Duration::from_millis(u64::from(*octet) * 100);
        let from = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(*octet));
        link.heard(from, message, now);
        let sent = std::iter::from_fn(|| link.poll_transmit(now)).take(MAX_ROUTERS);
        assert!(sent.count() < MAX_ROUTERS, "it sends without end");
        assert!(link.poll_timeout(now) > now, "it turns without end");
        if let State::Router { address, .. } = link.state(now) {
            assert!(address.is_unicast_link_local());
        }
    }
}
