//! Namespaces for agents, joined by links, questions over HTTP, and patience.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use flatroute_lab::Namespace;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Joins two namespaces by a link with addresses of both families: `10.0.NUMBER.1` and `.2`,
/// `fd00:0:NUMBER::1` and `::2`, `fe80::1` and `::2`.
pub(crate) fn join(number: u8, one: &Namespace, other: &Namespace) {
    one.ip(&format!(
        "link add link{number} type veth peer name link{number} netns {}",
        other.thread()
    ));
    for (end, namespace) in [(1, one), (2, other)] {
        // The kernel's own link-local address, once it is no longer tentative, would be the source of what is dialled.
        namespace.ip(&format!("link set link{number} addrgenmode none"));
        namespace.ip(&format!("addr add 10.0.{number}.{end}/24 dev link{number}"));
        namespace.ip(&format!(
            "-6 addr add fd00:0:{number}::{end}/64 dev link{number} nodad"
        ));
        namespace.ip(&format!("-6 addr add fe80::{end}/64 dev link{number} nodad"));
        namespace.ip(&format!("link set link{number} up"));
    }
}

/// Asks over HTTP and gives the status and the body. `request` is `METHOD PATH`.
pub(crate) fn http(mut stream: impl Read + Write, request: &str) -> io::Result<(u16, String)> {
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let broken = || io::Error::other(format!("no HTTP answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(broken)?, body.to_owned()))
}

/// Looks again and again until there is what is looked for. What stood in the way is said at the end.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(start.elapsed() < DEADLINE, "never: {what}; {why}"),
        }
        thread::sleep(Duration::from_millis(25));
    }
}
