//! Who reaches whom, and as whom: every pod to every other, both families, UDP and TCP.
//!
//! Each pod runs a server that answers every datagram and every connection with the address that it saw the client come
//! from. A client compares that with its pod's own address: a pair counts as reached only when nothing between them
//! rewrote the source. Servers and clients are threads of this program; only their sockets live in the pods.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::pod::Pod;

/// Where the servers listen, UDP and TCP.
pub const PORT: u16 = 7000;
/// How long a client waits for each answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts the servers of a pod; they end with the sandbox.
///
/// # Errors
/// An address cannot be bound: it is not there or not usable yet.
pub fn serve(pod: &Pod) -> Result<()> {
    serve_families(pod, &[false, true])
}

/// As [`serve`], for some families (whether each is IPv6).
///
/// # Errors
/// An address cannot be bound: it is not there or not usable yet.
pub fn serve_families(pod: &Pod, families: &[bool]) -> Result<()> {
    for ipv6 in families {
        let address = SocketAddr::new(pod.address(*ipv6), PORT);
        let open = || Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?));
        let (datagrams, connections) = pod
            .namespace
            .run(open)
            .with_context(|| format!("{}: listen on {address}", pod.name))?;
        std::thread::spawn(move || answer_datagrams(&datagrams));
        std::thread::spawn(move || answer_connections(&connections));
    }
    Ok(())
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 64];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((_, from)) => drop(socket.send_to(from.ip().to_string().as_bytes(), from)),
            // An ICMP error about an earlier answer; the client has its own bound.
            Err(error) if error.kind() != ErrorKind::InvalidInput => {}
            Err(_) => return,
        }
    }
}

fn answer_connections(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        if let (Ok(from), mut stream) = (stream.peer_addr(), stream) {
            drop(stream.write_all(from.ip().to_string().as_bytes()));
        }
    }
}

/// Whether one pod reached another, of a family, and if not why.
pub type Reach = std::result::Result<(), String>;

/// What every pod found of every other.
#[derive(Debug, Clone)]
pub struct Matrix {
    names: Vec<String>,
    /// By source, then by destination; `None` on the diagonal. IPv4, then IPv6.
    cells: Vec<Vec<Option<[Reach; 2]>>>,
}

impl Matrix {
    /// Probes all ordered pairs of pods, the sources side by side.
    ///
    /// # Errors
    /// A pod's namespace cannot be entered.
    pub fn probe(pods: &[Pod]) -> Result<Self> {
        let cells = std::thread::scope(|scope| {
            let rows: Vec<_> = pods
                .iter()
                .map(|from| scope.spawn(move || probe_row(from, pods)))
                .collect();
            rows.into_iter()
                .map(|row| row.join().map_err(|_| anyhow!("a probing thread panicked"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(Self {
            names: pods.iter().map(|pod| pod.name.clone()).collect(),
            cells,
        })
    }

    /// Ordered pairs that reached each other in both families, and all ordered pairs.
    #[must_use]
    pub fn reached(&self) -> (usize, usize) {
        let all: Vec<_> = self.cells.iter().flatten().flatten().collect();
        (
            all.iter().filter(|cell| cell.iter().all(Result::is_ok)).count(),
            all.len(),
        )
    }

    /// The line that ends the matrix.
    #[must_use]
    pub fn summary(&self) -> String {
        let (reached, all) = self.reached();
        format!("reached: {reached} of {all} pairs (IPv4 and IPv6)")
    }

    /// Every failure in words.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (from, row) in self.names.iter().zip(&self.cells) {
            for (to, cell) in self.names.iter().zip(row) {
                for reason in cell.iter().flatten().filter_map(|reach| reach.as_ref().err()) {
                    found.push(format!("{from} to {to}: {reason}"));
                }
            }
        }
        found
    }

    /// A table: sources down, destinations across; `46` both families, `4·` or `·6` one of them, `··` none.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self.names.iter().map(String::len).max().unwrap_or(0);
        let mut text = format!("{:width$} ", "from \\ to");
        for number in 1..=self.names.len() {
            let _ = write!(text, " {number:>2}");
        }
        text.push('\n');
        for (number, (name, row)) in self.names.iter().zip(&self.cells).enumerate() {
            let _ = write!(text, "{name:width$} ");
            for cell in row {
                let mark = |reach: &Reach, mark| if reach.is_ok() { mark } else { "·" };
                let shown = cell.as_ref().map_or(" -".to_owned(), |[v4, v6]| {
                    format!("{}{}", mark(v4, "4"), mark(v6, "6"))
                });
                let _ = write!(text, " {shown}");
            }
            let _ = writeln!(text, "   {}", number + 1);
        }
        text
    }
}

fn probe_row(from: &Pod, pods: &[Pod]) -> Result<Vec<Option<[Reach; 2]>>> {
    from.namespace.enter()?;
    Ok(pods
        .iter()
        .map(|to| (from.name != to.name).then(|| [false, true].map(|v6| probe_pair(from, to, v6))))
        .collect())
}

/// Whether a pod reaches another, by UDP and TCP, and is seen as itself.
///
/// # Errors
/// Why not.
pub fn pair(from: &Pod, to: &Pod, ipv6: bool) -> Reach {
    let entered = from.namespace.run(|| Ok(probe_pair(from, to, ipv6)));
    entered
        .unwrap_or_else(|error| Err(format!("{error:#}")))
        .map_err(|reason| format!("{} to {}: {reason}", from.name, to.name))
}

fn probe_pair(from: &Pod, to: &Pod, ipv6: bool) -> Reach {
    let (own, target) = (from.address(ipv6), SocketAddr::new(to.address(ipv6), PORT));
    let udp = ask_by_udp(own, target).map_err(|error| format!("UDP to {target}: {error}"))?;
    let tcp = ask_by_tcp(target).map_err(|error| format!("TCP to {target}: {error}"))?;
    for (protocol, seen) in [("UDP", udp), ("TCP", tcp)] {
        if seen != own.to_string() {
            return Err(format!(
                "{protocol} to {target}: the receiver saw {seen} instead of {own}"
            ));
        }
    }
    Ok(())
}

/// One datagram and its answer: the address that the receiver saw.
///
/// # Errors
/// No answer in time, or an ICMP error.
pub fn ask_by_udp(own: IpAddr, target: SocketAddr) -> std::io::Result<String> {
    let any: IpAddr = if own.is_ipv6() {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"who am I?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

/// A connection: the address that the server saw.
///
/// # Errors
/// No connection or no answer in time.
pub fn ask_by_tcp(target: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
