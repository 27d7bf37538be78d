//! Questions by sockets in a namespace.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::namespace::Namespace;

/// How long a connection and each answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// What datagrams say that only have to arrive.
const WORD: &[u8] = b"who am I?";
/// How long a silence must last.
const SILENCE: Duration = Duration::from_secs(1);

/// The body of the answer to a GET.
pub(crate) fn http(from: &Namespace, target: SocketAddr, path: &str) -> Result<String> {
    let asked = from.run(|| {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    let text = asked.with_context(|| format!("{} asks {target}", from.name()))?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .with_context(|| format!("{target} answered {text:?}"))?;
    ensure!(head.contains(" 200 "), "{target} answered {head:?}");
    Ok(body.to_owned())
}

/// The answer to one datagram.
pub(crate) fn datagram(from: &Namespace, target: SocketAddr, text: &str) -> Result<String> {
    let asked = from.run(|| {
        let socket = connected(target)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(text.as_bytes())?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
    });
    asked.with_context(|| format!("{} asks {target} by UDP", from.name()))
}

/// A socket that sends to `target` alone, always from the same port.
pub(crate) fn connected(target: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket)
}

/// The address that the server saw a client of `from` come from.
pub(crate) fn client_of(from: &Namespace, target: SocketAddr) -> Result<IpAddr> {
    let body = http(from, target, "/clientip")?;
    let client: SocketAddr = body
        .trim()
        .parse()
        .with_context(|| format!("{target} saw {body:?}"))?;
    Ok(canonical(client.ip()))
}

/// Whether nobody answers there.
pub(crate) fn is_silent(from: &Namespace, target: SocketAddr) -> Result<bool> {
    from.run(|| Ok(TcpStream::connect_timeout(&target, SILENCE).is_err()))
}

/// The address that a server in `at`, on `address`, sees a client of `from` come from.
pub(crate) fn seen_by(at: &Namespace, address: IpAddr, from: &Namespace) -> Result<IpAddr> {
    seen_at(at, SocketAddr::new(address, 0), from)
}

/// As [`seen_by`], on a port that counts; 0 is any.
pub(crate) fn seen_at(at: &Namespace, place: SocketAddr, from: &Namespace) -> Result<IpAddr> {
    let listener = at.run(|| Ok(TcpListener::bind(place)?))?;
    let target = listener.local_addr().context("a listener's address")?;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| from.run(|| Ok(TcpStream::connect_timeout(&target, PATIENCE)?)));
        let stream = client.join().map_err(|_| anyhow!("the asking thread panicked"))?;
        let _stream = stream.with_context(|| format!("{} connects to {target}", from.name()))?;
        let (_, peer) = listener.accept().context("accept")?;
        Ok(canonical(peer.ip()))
    })
}

/// As [`seen_by`], of a datagram.
pub(crate) fn seen_by_udp(at: &Namespace, address: IpAddr, from: &Namespace) -> Result<IpAddr> {
    let inbox = open(at, address)?;
    let target = inbox.local_addr().context("a socket's address")?;
    let send = || {
        connected(target)?.send(WORD)?;
        Ok(())
    };
    from.run(send)
        .with_context(|| format!("{} sends to {target}", from.name()))?;
    let (_, sender) = receive(&inbox).with_context(|| format!("{} to {target} by UDP", from.name()))?;
    Ok(canonical(sender.ip()))
}

/// A socket for datagrams at an address of a namespace, on any port, that waits for [`PATIENCE`].
pub(crate) fn open(at: &Namespace, address: IpAddr) -> Result<UdpSocket> {
    let opened = at.run(|| {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    });
    opened.with_context(|| format!("{}: a socket on {address}", at.name()))
}

/// The next datagram and its sender.
pub(crate) fn receive(at: &UdpSocket) -> Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 64];
    loop {
        match at.recv_from(&mut buffer) {
            Ok((length, sender)) => {
                return Ok((buffer.get(..length).unwrap_or_default().to_vec(), sender));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("nothing arrives"),
        }
    }
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
