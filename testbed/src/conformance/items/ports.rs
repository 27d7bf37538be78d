//! Item 62: ports of the host.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::super::verdict::{Verdict, not_applicable};
use super::super::world::World;

const WORDS: &[u8] = b"from the pod";
const BOUND: Duration = Duration::from_secs(5);

/// TCP and UDP over IPv4, from the host itself to its own address.
pub(super) fn mapped(world: &World<'_>) -> Result<Verdict> {
    if !world.network.declares("portMappings") {
        return not_applicable("the configuration does not declare the capability portMappings");
    }
    let mut network = world.network.clone();
    let mapping = |protocol| json!({"hostPort": 8080, "containerPort": 80, "protocol": protocol});
    network
        .runtime
        .insert("portMappings".into(), json!([mapping("tcp"), mapping("udp")]));
    let attachment = world.add_to(&network, &world.pod()?, "eth0")?;
    let Some(address) = attachment
        .addresses()?
        .into_iter()
        .map(|address| address.ip())
        .find(IpAddr::is_ipv4)
    else {
        return not_applicable("the pod has no IPv4 address");
    };
    let pod = &attachment.pod.namespace;
    let tcp = pod.run(|| Ok(TcpListener::bind((address, 80))?))?;
    let udp = pod.run(|| Ok(UdpSocket::bind((address, 80))?))?;
    let server = std::thread::spawn(move || -> std::io::Result<()> { tcp.accept()?.0.write_all(WORDS) });
    let target: SocketAddr = "192.0.2.2:8080".parse()?;
    let heard = world.host.run(|| {
        let mut stream = TcpStream::connect_timeout(&target, BOUND).context("TCP")?;
        stream.set_read_timeout(Some(BOUND))?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).context("TCP")?;
        Ok(heard)
    })?;
    ensure!(heard == WORDS, "TCP: heard {heard:?}");
    server
        .join()
        .map_err(|_| anyhow::anyhow!("the server panicked"))??;
    udp.set_read_timeout(Some(BOUND))?;
    world.host.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.send_to(WORDS, target)?;
        Ok(())
    })?;
    let mut buffer = [0; 64];
    let (length, _) = udp.recv_from(&mut buffer).context("UDP")?;
    ensure!(buffer.get(..length) == Some(WORDS), "UDP: other words arrived");
    attachment.delete()?;
    if world
        .host
        .run(|| Ok(TcpStream::connect_timeout(&target, BOUND).is_ok()))?
    {
        bail!("after DEL the host's port still answers");
    }
    Ok(Verdict::Pass)
}
