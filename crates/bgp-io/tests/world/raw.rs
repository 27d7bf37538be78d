//! A peer made of nothing but a socket and the codec, which does what a test wants, also what no speaker would.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use flatroute_bgp::types::{
    AsPath, Asn, Family, FamilySet, NextHop, PathAttributes, PathIds, Prefix, RouterId,
};
use flatroute_bgp::wire::{self, Capabilities, Context, Message, Notification, Open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{BOUND, within};

/// The context of every session here: what `RawPeer` says in its OPEN.
pub const CONTEXT: Context = Context {
    four_octet_as: true,
    extended_message: false,
    families: FamilySet::BOTH,
    extended_next_hop: false,
    path_ids: PathIds::NONE,
    internal: false,
};

pub fn open(asn: u32, hold_time: u16) -> Vec<u8> {
    let mut out = BytesMut::new();
    Open {
        version: 4,
        asn: Asn(asn),
        hold_time,
        router_id: RouterId(asn),
        capabilities: Capabilities {
            families: Some(FamilySet::BOTH),
            four_octet_as: Some(Asn(asn)),
            route_refresh: true,
            extended_message: false,
            ..Capabilities::default()
        },
    }
    .encode(&mut out);
    out.to_vec()
}

pub fn keepalive() -> Vec<u8> {
    let mut out = BytesMut::new();
    wire::encode_keepalive(&mut out);
    out.to_vec()
}

/// UPDATEs that announce `prefixes` from AS `asn`.
pub fn announce(asn: u32, prefixes: &[Prefix]) -> Vec<u8> {
    let mut attributes = PathAttributes::local();
    attributes.as_path = AsPath::sequence([Asn(asn)]);
    attributes.next_hop = Some(match prefixes.first().expect("a prefix").family() {
        Family::Ipv4 => NextHop::V4(Ipv4Addr::new(192, 0, 2, 9)),
        Family::Ipv6 => NextHop::V6 {
            global: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9),
            link_local: None,
        },
    });
    let mut out = BytesMut::new();
    let mut rest = prefixes;
    while !rest.is_empty() {
        let count = wire::encode_reach(rest, &attributes, &CONTEXT, &mut out).unwrap();
        rest = &rest[count..];
    }
    out.to_vec()
}

/// UPDATEs that withdraw `prefixes`.
pub fn withdraw(prefixes: &[Prefix]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut rest = prefixes;
    while !rest.is_empty() {
        rest = &rest[wire::encode_unreach(rest, &CONTEXT, &mut out)..];
    }
    out.to_vec()
}

/// A connection to a driver.
pub struct RawPeer {
    pub stream: TcpStream,
    pub asn: u32,
    inbound: BytesMut,
}

impl RawPeer {
    /// Connects from `source`. Segments and a buffer of ordinary size (the loopback's are huge) make it a peer that
    /// soon takes no more when it does not read, on both sides of the connection.
    pub async fn connect(source: IpAddr, to: SocketAddr, asn: u32) -> Self {
        let socket = match to {
            SocketAddr::V4(_) => TcpSocket::new_v4().unwrap(),
            SocketAddr::V6(_) => TcpSocket::new_v6().unwrap(),
        };
        socket2::SockRef::from(&socket).set_tcp_mss(1400).unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        let stream = within("connect", BOUND, socket.connect(to)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            asn,
            inbound: BytesMut::new(),
        }
    }

    /// A connection that was made without the runtime.
    pub fn adopt(stream: std::net::TcpStream, asn: u32) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self {
            stream: TcpStream::from_std(stream).unwrap(),
            asn,
            inbound: BytesMut::new(),
        }
    }

    /// Connects with a key.
    pub async fn signed(source: IpAddr, to: SocketAddr, asn: u32, key: &str) -> io::Result<Self> {
        let socket = match to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        super::signed::set(&socket, to.ip(), key)?;
        socket.bind(SocketAddr::new(source, 0))?;
        let stream = socket.connect(to).await?;
        Ok(Self {
            stream,
            asn,
            inbound: BytesMut::new(),
        })
    }

    /// Speaks until the session is up on this side.
    pub async fn establish(&mut self) {
        self.send(&open(self.asn, 90)).await;
        assert!(matches!(self.message().await, Message::Open(_)));
        self.send(&keepalive()).await;
        assert_eq!(self.message().await, Message::Keepalive);
    }

    /// Connects and speaks until the session is up on this side.
    pub async fn established(source: IpAddr, to: SocketAddr, asn: u32, hold_time: u16) -> Self {
        let mut peer = Self::connect(source, to, asn).await;
        peer.send(&open(asn, hold_time)).await;
        assert!(matches!(peer.message().await, Message::Open(_)));
        peer.send(&keepalive()).await;
        assert_eq!(peer.message().await, Message::Keepalive);
        peer
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("send", BOUND, self.stream.write_all(bytes)).await.unwrap();
    }

    /// The next message; none at the end of the stream.
    pub async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            let frame = wire::split(&self.inbound, CONTEXT.max_len()).expect("the driver speaks BGP");
            if let Some(frame) = frame {
                let message = wire::decode(&frame, &CONTEXT).expect("the driver speaks BGP");
                let len = frame.len;
                self.inbound.advance(len);
                return Ok(Some(message));
            }
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub async fn message(&mut self) -> Message {
        within("a message", BOUND, self.next())
            .await
            .unwrap()
            .expect("the connection is open")
    }

    /// Reads until a NOTIFICATION comes.
    pub async fn notification(&mut self, bound: Duration) -> Notification {
        within("a NOTIFICATION", bound, async {
            loop {
                match self.next().await {
                    Ok(Some(Message::Notification(notification))) => return notification,
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the connection was closed without a NOTIFICATION"),
                    Err(error) => panic!("the connection broke before a NOTIFICATION: {error}"),
                }
            }
        })
        .await
    }

    /// Reads until `count` announcements of prefixes have come; how many withdrawals came between them.
    pub async fn announcements(&mut self, count: usize, bound: Duration) -> usize {
        let (mut announced, mut withdrawn) = (0, 0);
        within(&format!("{count} announced prefixes"), bound, async {
            while announced < count {
                if let Message::Update(update) = self.next().await.unwrap().expect("the connection is open") {
                    announced += update.announced.iter().map(|a| a.prefixes.len()).sum::<usize>();
                    withdrawn += update.withdrawn.len();
                }
            }
        })
        .await;
        withdrawn
    }
}
