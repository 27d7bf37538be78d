//! A writer that does nothing but write: what the kernel itself needs for the routes of row 1.
//!
//! It knows all routes from the start and has the same objects made for them as our agent: a nexthop object for each next hop, a group
//! for two. It writes 256 routes at once, as the agent does, and has only the last of them acknowledged. What a listener on the route group
//! costs every writer (the kernel makes a message of each route for it) it pays too: there are as many such sockets as the agent was seen
//! to have, and like the agent's they throw away what they hear in a filter.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::time::{ClockId, clock_gettime};
use socket2::{SockFilter, SockRef};

use super::feeder::Feeder;
use super::ground::{Ground, Transport};
use super::{ROUND_BOUND, Shape, watch};
use crate::namespace::Namespace;

/// Routes in one write, as in our agent.
const BATCH: u32 = 256;
/// Table, metric and protocol of the routes: our agent's defaults.
const MAIN: u8 = 254;
const METRIC: u32 = 512;
const PROTOCOL: u8 = 79;
/// The identifier of the group; those of next hops begin with 1.
const GROUP: u32 = 1000;
/// The groups of routes of IPv4 and of IPv6 (RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE).
const ROUTES: [u32; 2] = [7, 11];

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEXTHOP: u16 = 104;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const RTN_UNICAST: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RTA_DST: u16 = 1;
const RTA_PRIORITY: u16 = 6;
const RTA_NH_ID: u16 = 30;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

/// One round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// From the first write until every route is seen in the kernel.
    pub(super) time: Duration,
    /// Of the writer.
    pub(super) cpu: Duration,
}

/// How many sockets in a namespace hear of routes.
pub(super) fn listeners(namespace: &Namespace) -> Result<usize> {
    // /proc/net would be that of the program's first thread.
    let table = namespace
        .run(|| fs::read_to_string("/proc/thread-self/net/netlink").context("read the netlink sockets"))?;
    let hears = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let groups = words.get(3).and_then(|word| u32::from_str_radix(word, 16).ok());
        words.get(1) == Some(&"0")
            && groups.is_some_and(|mask| ROUTES.iter().any(|group| mask & (1 << (group - 1)) != 0))
    };
    Ok(table.lines().skip(1).filter(hears).count())
}

/// One round on fresh ground.
pub(super) fn write(feeders: &[Feeder], shape: Shape, listeners: usize) -> Result<Written> {
    let feeders = feeders.get(..shape.hops).context("too few feeders")?;
    let ground = Ground::lay(feeders)?;
    let mut legs = Vec::new();
    for (number, _) in ground.feeders() {
        let link = ground
            .namespace()
            .netlink()?
            .link_by_name(&format!("up{number}"))?;
        let (gateway, _) = shape.transport.link(*number);
        legs.push((gateway, link.context("the link to a feeder")?.index));
    }
    let mut watch = watch::Watch::new(ground.namespace(), shape)?;
    let ((start, cpu), done) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| ground.namespace().run(|| write_all(&legs, shape, listeners)));
        let done = watch.until_all(ROUND_BOUND, || Ok(()));
        let written = writer.join().ok().context("the writer panicked")??;
        anyhow::Ok((written, done?))
    })?;
    drop(watch);
    ground.clear(feeders)?;
    let time = done
        .duration_since(start)
        .context("the end is before the start")?;
    Ok(Written { time, cpu })
}

/// Writes all routes of a shape; when it began, and the CPU time that it took.
fn write_all(legs: &[(IpAddr, u32)], shape: Shape, listeners: usize) -> Result<(SystemTime, Duration)> {
    let _heard = (0..listeners).map(|_| listen()).collect::<Result<Vec<_>>>()?;
    let mut writer = Writer::open()?;
    let (start, before) = (SystemTime::now(), cpu()?);
    let target = writer.objects(legs)?;
    for first in (0..shape.routes).step_by(BATCH as usize) {
        let last = shape.routes.min(first + BATCH) - 1;
        for number in first..=last {
            writer.route(shape.transport, number, target, number == last)?;
        }
        writer.send()?;
    }
    Ok((start, cpu()?.saturating_sub(before)))
}

/// What this thread has used so far, in the kernel too.
fn cpu() -> Result<Duration> {
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .context("a time before the thread began")
}

/// A socket that hears of routes and keeps nothing.
fn listen() -> Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE).context("open a listener")?;
    socket.bind_auto().context("bind a listener")?;
    SockRef::from(&socket)
        .attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])
        .context("filter what a listener hears")?;
    for group in ROUTES {
        socket.add_membership(group).context("subscribe to routes")?;
    }
    Ok(socket)
}

/// The socket, and what is written next.
struct Writer {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Writer {
    fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("open the writer")?;
        socket.bind_auto().context("bind the writer")?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
            sequence: 0,
        })
    }

    /// Makes the objects; the identifier that routes name.
    fn objects(&mut self, legs: &[(IpAddr, u32)]) -> Result<u32> {
        let mut members = Vec::new();
        for (id, (gateway, interface)) in (1_u32..).zip(legs) {
            let start = self.begin(RTM_NEWNEXTHOP, true);
            let (family, address) = match gateway {
                IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
                IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
            };
            self.buffer.extend([family, 0, PROTOCOL, 0, 0, 0, 0, 0]);
            self.attribute(NHA_ID, &id.to_ne_bytes());
            self.attribute(NHA_OIF, &interface.to_ne_bytes());
            self.attribute(NHA_GATEWAY, &address);
            self.end(start)?;
            self.send()?;
            // A weight of one, and reserved octets.
            members.extend(id.to_ne_bytes().into_iter().chain([0; 4]));
        }
        if legs.len() == 1 {
            return Ok(1);
        }
        let start = self.begin(RTM_NEWNEXTHOP, true);
        self.buffer.extend([0, 0, PROTOCOL, 0, 0, 0, 0, 0]);
        self.attribute(NHA_ID, &GROUP.to_ne_bytes());
        self.attribute(NHA_GROUP, &members);
        self.end(start)?;
        self.send()?;
        Ok(GROUP)
    }

    fn route(&mut self, transport: Transport, number: u32, target: u32, acknowledged: bool) -> Result<()> {
        let prefix = watch::prefix(transport, number);
        let start = self.begin(RTM_NEWROUTE, acknowledged);
        let (family, address) = match prefix.ip() {
            IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
        };
        let head = [
            family,
            prefix.prefix(),
            0,
            0,
            MAIN,
            PROTOCOL,
            0,
            RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        self.buffer.extend(head);
        self.attribute(RTA_DST, &address);
        self.attribute(RTA_PRIORITY, &METRIC.to_ne_bytes());
        self.attribute(RTA_NH_ID, &target.to_ne_bytes());
        self.end(start)
    }

    /// The header of a message, whose length is not known yet; where it stands.
    fn begin(&mut self, kind: u16, acknowledged: bool) -> usize {
        let start = self.buffer.len();
        self.sequence += 1;
        let flags = REQUEST | CREATE | EXCLUSIVE | if acknowledged { ACK } else { 0 };
        self.buffer.extend([0; 4]);
        self.buffer.extend(kind.to_ne_bytes());
        self.buffer.extend(flags.to_ne_bytes());
        self.buffer.extend(self.sequence.to_ne_bytes());
        self.buffer.extend([0; 4]);
        start
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.buffer.extend(length.to_ne_bytes());
        self.buffer.extend(kind.to_ne_bytes());
        self.buffer.extend_from_slice(value);
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }

    fn end(&mut self, start: usize) -> Result<()> {
        let length = u32::try_from(self.buffer.len() - start).context("a message that is too long")?;
        let place = self.buffer.get_mut(start..start + 4).context("a header")?;
        place.copy_from_slice(&length.to_ne_bytes());
        Ok(())
    }

    /// Writes what there is. The kernel does it before it answers.
    fn send(&mut self) -> Result<()> {
        let sent = self.socket.send(&self.buffer, 0).context("write to the kernel")?;
        ensure!(sent == self.buffer.len(), "a part of a batch was written");
        self.buffer.clear();
        loop {
            let mut answer = Vec::with_capacity(4096);
            self.socket
                .recv(&mut answer, 0)
                .context("read the kernel's answer")?;
            let number = |at: usize| {
                let octets = answer.get(at..at + 4)?;
                Some(i32::from_ne_bytes(octets.try_into().ok()?))
            };
            let kind = answer
                .get(4..6)
                .map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
            let (Some(NLMSG_ERROR), Some(sequence), Some(code)) = (kind, number(8), number(HEADER)) else {
                bail!("the kernel answered with something else");
            };
            ensure!(
                code == 0,
                "the kernel refused a write: {}",
                std::io::Error::from_raw_os_error(-code)
            );
            if u32::try_from(sequence) == Ok(self.sequence) {
                return Ok(());
            }
        }
    }
}
