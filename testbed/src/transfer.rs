//! How long some octets take over TCP, between two network namespaces.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::namespace::Namespace;

/// However busy the machine is: for a connection, and between two pieces.
const MOST: Duration = Duration::from_secs(30);

/// Sends `octets` to a listener on `address`, which is one of `to`. The time begins before the connection is asked for and ends
/// with the last octet read, so that it is never shorter than what the way needed, on however busy a machine.
///
/// # Errors
/// No connection, or nothing arrives for half a minute.
pub(crate) fn time(from: &Namespace, to: &Namespace, address: IpAddr, octets: usize) -> Result<Duration> {
    let listener = to.run(|| Ok(TcpListener::bind((address, 0))?))?;
    let there: SocketAddr = listener.local_addr()?;
    let began = Instant::now();
    let mut sender = from.run(|| Ok(TcpStream::connect_timeout(&there, MOST)?))?;
    let (mut receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(MOST))?;
    sender.set_write_timeout(Some(MOST))?;
    let sending = std::thread::spawn(move || sender.write_all(&vec![7; octets]));
    let mut received = vec![0; octets];
    receiver.read_exact(&mut received).context("receive")?;
    let took = began.elapsed();
    sending
        .join()
        .map_err(|_| anyhow!("the sender panicked"))?
        .context("send")?;
    Ok(took)
}
