//! Sentences about who reaches whom, and as whom.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};

use super::ask::{self, PATIENCE};
use super::{Answer, Scene, ok, path};
use crate::capture::Capture;
use crate::cluster::site::CONTROL;
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::probe;
use crate::wait;

/// What is said of SCTP.
pub(crate) const SCTP: &str = "and an INIT of SCTP by a raw socket";
/// What a transfer carries.
pub(crate) const OCTETS: usize = 1 << 20;
/// How long a transfer may stand still.
const STILL: Duration = Duration::from_secs(10);
/// INIT (RFC 9260 §3.3.2), from port 5001 to port 5000: verification tag 0, checksum, then the chunk: a tag of its own, window,
/// one stream each way, the first number.
const INIT: [u8; 32] = [
    0x13, 0x89, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, //
    1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1,
];

pub(crate) fn m3(scene: &Scene<'_>) -> Answer {
    let near = scene.pods.first().context("a pod")?;
    for (from, to) in [(near, scene.pair), (scene.pair, near)] {
        for ipv6 in scene.families() {
            probe::pair(from, to, *ipv6).map_err(anyhow::Error::msg)?;
            ensure!(
                path::ping(from, to, *ipv6, 56)?.0,
                "{} does not answer an echo of {}",
                to.name,
                from.name
            );
            sctp(from, to, *ipv6)?;
        }
    }
    ok(format!("TCP, UDP, ICMP echo {SCTP}, both ways"))
}

pub(crate) fn m5(scene: &Scene<'_>) -> Answer {
    for pod in scene.everybody() {
        let node = scene.node(&pod.node)?;
        let own = node.addresses()?;
        for ipv6 in scene.families() {
            let seen = seen_by_pod(node, pod, *ipv6)?;
            ensure!(
                own.contains(&seen),
                "{} saw {seen}, which is no address of {}",
                pod.name,
                pod.node
            );
        }
    }
    ok("TCP and UDP from every node to its own pods")
}

pub(crate) fn m6(scene: &Scene<'_>) -> Answer {
    let mut asked = 0;
    for home in scene.pods {
        let node = scene.node(&home.node)?;
        let own = node.addresses()?;
        let router = scene.router(&home.node)?;
        for pod in scene.everybody() {
            for ipv6 in scene.families() {
                let seen = seen_by_pod(node, pod, *ipv6)?;
                ensure!(
                    own.contains(&seen),
                    "{} saw {seen}, which is no address of {}",
                    pod.name,
                    home.node
                );
                let target: IpAddr = if *ipv6 {
                    router.ipv6.into()
                } else {
                    router.ipv4.into()
                };
                let seen = ask::seen_by(node, target, &pod.namespace)?;
                ensure!(
                    seen == pod.address(*ipv6),
                    "{} saw {seen} instead of the pod {}",
                    home.node,
                    pod.address(*ipv6)
                );
                asked += 1;
            }
        }
    }
    ok(format!("every node to every pod and back, {asked} times"))
}

pub(crate) fn m7(scene: &Scene<'_>) -> Answer {
    for pod in scene.everybody() {
        for ipv6 in scene.families() {
            let own = pod.address(*ipv6);
            let seen = seen_by_pod(&pod.namespace, pod, *ipv6)?;
            ensure!(seen == own, "{}: saw {seen}", pod.name);
        }
    }
    ok("every pod, TCP and UDP")
}

pub(crate) fn m12(scene: &Scene<'_>) -> Answer {
    for pod in scene.everybody() {
        for ipv6 in scene.families() {
            let own: IpAddr = if *ipv6 { CONTROL.1.into() } else { CONTROL.0.into() };
            let seen = seen_by_pod(scene.outside(), pod, *ipv6)?;
            ensure!(seen == own, "{}: saw {seen} instead of {own}", pod.name);
        }
    }
    ok("every pod, from the machine behind the spine, its own address seen")
}

/// As whom the servers of a pod see a client of a namespace, which is the same by TCP and by UDP.
fn seen_by_pod(from: &Namespace, pod: &Pod, ipv6: bool) -> Result<IpAddr> {
    let target = SocketAddr::new(pod.address(ipv6), probe::PORT);
    let ask = || {
        let by_tcp = probe::ask_by_tcp(target).context("by TCP")?;
        let by_udp = probe::ask_by_udp(target.ip(), target).context("by UDP")?;
        Ok((by_tcp, by_udp))
    };
    let (by_tcp, by_udp) = from
        .run(ask)
        .with_context(|| format!("{} asks {}, {target}", from.name(), pod.name))?;
    ensure!(
        by_tcp == by_udp,
        "{}: saw {by_tcp} by TCP and {by_udp} by UDP",
        pod.name
    );
    by_tcp.parse().with_context(|| format!("{target} saw {by_tcp:?}"))
}

/// Shows that an INIT of SCTP arrives as it was sent, whether or not the kernel has SCTP: no NAT knows what to do with it.
pub(crate) fn sctp(from: &Pod, to: &Pod, ipv6: bool) -> Result<()> {
    let inside = Capture::start(&to.namespace)?;
    let (source, destination) = (from.address(ipv6), to.address(ipv6));
    let mut packet = INIT;
    let checksum = crc32c(&packet).to_le_bytes();
    if let Some(place) = packet.get_mut(8..12) {
        place.copy_from_slice(&checksum);
    }
    let send = || {
        let family = if ipv6 {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        let socket: OwnedFd = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::SCTP))
            .context("open a raw socket")?;
        sendto(
            &socket,
            &packet,
            SendFlags::empty(),
            &SocketAddr::new(destination, 0),
        )
        .context("send")?;
        Ok(())
    };
    from.namespace
        .run(send)
        .with_context(|| format!("{}: SCTP to {destination}", from.name))?;
    let number = u8::try_from(ipproto::SCTP.as_raw().get()).context("the number of SCTP")?;
    wait::until("the INIT of SCTP", PATIENCE, || {
        let came = inside
            .count(|seen| (seen.protocol, seen.source, seen.destination) == (number, source, destination));
        Ok(if came > 0 {
            Ok(())
        } else {
            Err(format!("nothing of {} came to {}", from.name, to.name))
        })
    })?;
    inside.finish().map(drop)
}

/// CRC-32C (RFC 9260, appendix A).
fn crc32c(octets: &[u8]) -> u32 {
    !octets.iter().fold(!0_u32, |sum, octet| {
        (0..8).fold(sum ^ u32::from(*octet), |sum, _| {
            if sum & 1 == 1 {
                (sum >> 1) ^ 0x82f6_3b78
            } else {
                sum >> 1
            }
        })
    })
}

/// Carries [`OCTETS`] over a connection.
pub(crate) fn transfer(from: &Pod, to: &Pod, ipv6: bool) -> Result<()> {
    let place = SocketAddr::new(to.address(ipv6), 0);
    let listener = to.namespace.run(|| Ok(TcpListener::bind(place)?))?;
    let target = listener.local_addr().context("a listener's address")?;
    let send = || {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_write_timeout(Some(STILL))?;
        stream.write_all(&vec![7; OCTETS])?;
        stream.shutdown(Shutdown::Write)?;
        Ok(stream)
    };
    let context = || format!("{} sends {OCTETS} octets to {}", from.name, to.name);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| from.namespace.run(send));
        let receive = || -> Result<usize> {
            // A sender that fails never connects.
            listener.set_nonblocking(true)?;
            let ((mut stream, _), _) = wait::until("a connection", PATIENCE, || {
                Ok(listener.accept().map_err(|error| error.to_string()))
            })?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(STILL))?;
            let mut octets = Vec::new();
            Ok(stream.read_to_end(&mut octets)?)
        };
        let received = receive().with_context(context);
        let sent = sender
            .join()
            .map_err(|_| anyhow!("the sending thread panicked"))?;
        sent.with_context(context)?;
        let received = received?;
        ensure!(received == OCTETS, "{}: {received} came", context());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// RFC 3720, appendix B.4.
    #[test]
    fn the_checksum_is_that_of_the_examples() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
