//! Item 62: ports of the host.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::verdict::{Verdict, not_applicable};
use super::super::world::World;
use crate::namespace::Namespace;

const WORDS: &[u8] = b"from the pod";
const BOUND: Duration = Duration::from_secs(5);
/// The host's own addresses.
const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
];
/// The port of the container.
const INSIDE: u16 = 80;
/// The port of the host without `hostIP`, the one with the unspecified address of a family, and the one of one address.
const EVERY: u16 = 8080;
const FAMILY: [u16; 2] = [8081, 8082];
const ONE: u16 = 8083;
/// For SCTP, which not every kernel has sockets of: it has to be accepted.
const ACCEPTED: u16 = 8084;

/// TCP and UDP over each family of the pod, from the host itself to its own addresses, by each kind of `hostIP`.
pub(super) fn mapped(world: &World<'_>) -> Result<Verdict> {
    if !world.network.declares("portMappings") {
        return not_applicable("the configuration does not declare the capability portMappings");
    }
    // Which families there are, a pod without ports tells.
    let plain = world.add_to(&world.network, &world.pod()?, "eth0")?;
    let families: Vec<usize> = plain
        .addresses()?
        .iter()
        .map(|address| usize::from(address.is_ipv6()))
        .collect();
    plain.delete()?;
    let mut network = world.network.clone();
    network.runtime.insert("portMappings".into(), mappings(&families));
    let attachment = world.add_to(&network, &world.pod()?, "eth0")?;
    let addresses = attachment.addresses()?;
    let pod = &attachment.pod.namespace;
    for family in &families {
        let is = |address: &&IpAddr| usize::from(address.is_ipv6()) == *family;
        let own: Vec<IpAddr> = addresses.iter().map(|address| address.ip()).collect();
        let own = *own.iter().find(is).context("the families of the pod before")?;
        for port in [EVERY, FAMILY[*family], ONE] {
            let target = SocketAddr::new(HOST[*family], port);
            tcp(&world.host, target, pod, own)?;
            udp(&world.host, target, pod, own)?;
        }
        let other = SocketAddr::new(HOST[*family], FAMILY[1 - family]);
        ensure!(
            !answers(&world.host, other)?,
            "{other} answers, with the hostIP of the other family"
        );
    }
    attachment.delete()?;
    for family in families {
        for port in [EVERY, FAMILY[family], ONE] {
            let target = SocketAddr::new(HOST[family], port);
            ensure!(!answers(&world.host, target)?, "after DEL {target} still answers");
        }
    }
    Ok(Verdict::Pass)
}

fn mappings(families: &[usize]) -> Value {
    let mut all = Vec::new();
    let mut add = |port: u16, address: &str| {
        for protocol in ["tcp", "udp"] {
            all.push(
                json!({"hostPort": port, "containerPort": INSIDE, "protocol": protocol, "hostIP": address}),
            );
        }
    };
    add(EVERY, "");
    for family in families {
        add(FAMILY[*family], ["0.0.0.0", "::"][*family]);
        add(ONE, &HOST[*family].to_string());
    }
    all.push(json!({"hostPort": ACCEPTED, "containerPort": INSIDE, "protocol": "sctp"}));
    Value::from(all)
}

fn tcp(host: &Namespace, target: SocketAddr, pod: &Namespace, own: IpAddr) -> Result<()> {
    let listener = pod.run(|| Ok(TcpListener::bind((own, INSIDE))?))?;
    let mut stream = host
        .run(|| Ok(TcpStream::connect_timeout(&target, BOUND)?))
        .with_context(|| format!("TCP to {target}"))?;
    listener.accept()?.0.write_all(WORDS)?;
    stream.set_read_timeout(Some(BOUND))?;
    let mut heard = Vec::new();
    stream
        .read_to_end(&mut heard)
        .with_context(|| format!("TCP to {target}"))?;
    ensure!(heard == WORDS, "TCP to {target}: heard {heard:?}");
    Ok(())
}

fn udp(host: &Namespace, target: SocketAddr, pod: &Namespace, own: IpAddr) -> Result<()> {
    let server = pod.run(|| Ok(UdpSocket::bind((own, INSIDE))?))?;
    server.set_read_timeout(Some(BOUND))?;
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let client = host.run(|| Ok(UdpSocket::bind((any, 0))?))?;
    client.connect(target)?;
    client.set_read_timeout(Some(BOUND))?;
    client.send(b"ask")?;
    let mut buffer = [0; 64];
    let (_, peer) = server
        .recv_from(&mut buffer)
        .with_context(|| format!("UDP to {target}"))?;
    server.send_to(WORDS, peer)?;
    // Connected: only what comes from the address that was asked is heard.
    let length = client
        .recv(&mut buffer)
        .with_context(|| format!("UDP from {target}"))?;
    ensure!(
        buffer.get(..length) == Some(WORDS),
        "UDP to {target}: other words arrived"
    );
    Ok(())
}

fn answers(host: &Namespace, target: SocketAddr) -> Result<bool> {
    host.run(|| Ok(TcpStream::connect_timeout(&target, BOUND).is_ok()))
}
