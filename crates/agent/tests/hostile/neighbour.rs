//! A neighbour made of a socket and octets, which sends what a row wants.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::lab::Namespace;
use super::octets::to_hex;

/// How long any answer may take.
pub(crate) const BOUND: Duration = Duration::from_secs(10);

/// Where the agent listens.
pub(crate) const AGENT_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 0, 1));
pub(crate) const AGENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x255, 0, 0, 0, 0, 0, 1));

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message: its type and its body.
    Message(u8, Vec<u8>),
    /// The agent closed the connection in order.
    End,
    /// The connection broke.
    Broken(ErrorKind),
    /// Nothing, for the time given.
    Silence,
}

pub(crate) struct Neighbour {
    stream: TcpStream,
    inbound: Vec<u8>,
}

impl Neighbour {
    /// Connects from `source` inside the agent's namespace.
    pub(crate) fn connect(namespace: &Namespace, source: IpAddr) -> Self {
        Self::try_connect(namespace, source).unwrap_or_else(|error| panic!("connect from {source}: {error}"))
    }

    pub(crate) fn try_connect(namespace: &Namespace, source: IpAddr) -> std::io::Result<Self> {
        let stream = namespace.inside(move || dial(source))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(BOUND))?;
        Ok(Self {
            stream,
            inbound: Vec::new(),
        })
    }

    /// Sends all of it; a connection that the agent has closed meanwhile takes no more, which is not our error.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        // What came of it is seen in what is heard.
        let _ = self.stream.write_all(octets);
    }

    /// Sends one octet a segment.
    pub(crate) fn trickle(&mut self, octets: &[u8]) {
        for octet in octets {
            self.send(&[*octet]);
        }
    }

    /// Closes our direction.
    pub(crate) fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Ends the connection by a RST.
    pub(crate) fn reset(self) {
        let linger = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        linger.expect("SO_LINGER");
    }

    /// The next thing that is heard within `bound`.
    pub(crate) fn hear(&mut self, bound: Duration) -> Heard {
        let start = Instant::now();
        loop {
            if let Some(message) = self.message() {
                return message;
            }
            let left = bound
                .saturating_sub(start.elapsed())
                .max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("a bound");
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(count) => self.inbound.extend(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Heard::Silence;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Heard::Broken(error.kind()),
            }
        }
    }

    /// The next message of this type, others passed over.
    pub(crate) fn expect(&mut self, kind: u8) -> Vec<u8> {
        loop {
            match self.hear(BOUND) {
                Heard::Message(found, body) if found == kind => return body,
                Heard::Message(3, body) => panic!(
                    "NOTIFICATION {} instead of a message of type {kind}",
                    to_hex(&body)
                ),
                Heard::Message(..) => {}
                other @ (Heard::End | Heard::Broken(_) | Heard::Silence) => {
                    panic!("{other:?} instead of a message of type {kind}")
                }
            }
        }
    }

    /// All that the agent says until it ends: a NOTIFICATION's body, if there was one, and how it ended.
    pub(crate) fn last_words(&mut self) -> (Option<Vec<u8>>, Heard) {
        let mut notification = None;
        loop {
            match self.hear(BOUND) {
                Heard::Message(3, body) => {
                    assert_eq!(notification, None, "a second NOTIFICATION");
                    notification = Some(body);
                }
                Heard::Message(kind, _) => {
                    assert_eq!(
                        notification, None,
                        "a message of type {kind} after the NOTIFICATION"
                    );
                }
                end @ (Heard::End | Heard::Broken(_) | Heard::Silence) => return (notification, end),
            }
        }
    }

    /// What waits to be read now, of which nothing may be a NOTIFICATION or the end. The number of UPDATEs.
    pub(crate) fn is_well(&mut self) -> usize {
        let mut updates = 0;
        loop {
            match self.hear(Duration::from_millis(1)) {
                Heard::Silence => return updates,
                Heard::Message(3, body) => panic!("NOTIFICATION {}", to_hex(&body)),
                Heard::Message(kind, _) => updates += usize::from(kind == 2),
                end @ (Heard::End | Heard::Broken(_)) => panic!("the session ended: {end:?}"),
            }
        }
    }

    /// Cuts a message off. What the agent sends is well-formed.
    fn message(&mut self) -> Option<Heard> {
        let header = self.inbound.get(..19)?;
        assert!(
            header[..16].iter().all(|octet| *octet == 0xff),
            "the marker: {}",
            to_hex(header)
        );
        let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
        assert!(len >= 19, "{}", to_hex(header));
        let kind = header[18];
        let body = self.inbound.get(19..len)?.to_vec();
        self.inbound.drain(..len);
        Some(Heard::Message(kind, body))
    }
}

/// Dials from an address of our choice. The namespace routes a range of addresses to itself, of which any may be used.
pub(crate) fn dial(source: IpAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let (family, agent) = match source {
        IpAddr::V4(_) => (AddressFamily::INET, AGENT_V4),
        IpAddr::V6(_) => (AddressFamily::INET6, AGENT_V6),
    };
    let socket = socket(family, SocketType::STREAM, None)?;
    if source.is_ipv6() {
        rustix::net::sockopt::set_ipv6_freebind(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(source, 0))?;
    connect(&socket, &SocketAddr::new(agent, 179))?;
    Ok(TcpStream::from(socket))
}
