//! Netlink sockets: one that writes and asks, one that listens.
//!
//! A batch is one `send` of up to 256 messages of which only the last asks for an acknowledgement. The kernel works
//! through them in order and answers each failure by itself, so that "no error before the acknowledgement" means
//! done, and a batch costs two system calls instead of 257.
//!
//! The listener has a filter in the kernel that drops the echo of our own writes: a hundred thousand of them
//! would overflow its queue and cost as much time as the writes.

use std::io;

use flatroute_fib::{Answers, Op, Refusal, RefusalKind, Settings};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use socket2::{SockFilter, SockRef};

use crate::message::{
    Ask, Message, NLM_F_ACK_TLVS, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, RTM_DELROUTE,
    RTM_NEWROUTE, ask, attributes, messages, write,
};

/// Room for one answer of the kernel; its dumps come in pieces of at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Queue asked for on both sockets, in bytes; the kernel may grant less (`net.core.rmem_max`).
const QUEUE: usize = 8 * 1024 * 1024;
/// How often a dump that changed under the reader is read again before it is taken as it is. What it may have
/// missed arrives as notifications.
const DUMP_ATTEMPTS: usize = 5;

const MSG_DONTWAIT: i32 = 0x40;
const NLMSGERR_ATTR_MSG: u16 = 1;
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EINVAL: i32 = 22;
const EOPNOTSUPP: i32 = 95;
const ENOBUFS: i32 = 105;

/// Multicast groups of links, addresses, routes and nexthops.
const GROUPS: [u32; 6] = [1, 5, 7, 9, 11, 32];

/// Why the kernel could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A netlink socket failed.
    #[error("netlink: cannot {what}: {source}; routes can only be written with CAP_NET_ADMIN")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel refused to show its state.
    #[error("netlink: the kernel refused to list {what}: {source}")]
    Dump {
        /// What was asked for.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The thread that writes routes could not be started.
    #[error("cannot start the thread that writes routes: {0}")]
    Thread(io::Error),
    /// The thread that writes routes ended without saying why.
    #[error("the thread that writes routes died")]
    Died,
}

impl Error {
    fn socket(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Socket { what, source }
    }
}

fn open() -> Result<(Socket, u32), Error> {
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(Error::socket("open a socket"))?;
    let address = socket.bind_auto().map_err(Error::socket("bind a socket"))?;
    let _ = socket.set_rx_buf_sz(QUEUE);
    Ok((socket, address.port_number()))
}

/// Writes batches and reads dumps.
#[derive(Debug)]
pub(crate) struct Requests {
    socket: Socket,
    port: u32,
    sequence: u32,
    out: Vec<u8>,
    inbox: Vec<u8>,
    settings: Settings,
}

impl Requests {
    pub(crate) fn open(settings: Settings) -> Result<Self, Error> {
        let (socket, port) = open()?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(Error::socket("connect to the kernel"))?;
        socket
            .set_cap_ack(true)
            .map_err(Error::socket("ask for short acknowledgements"))?;
        socket
            .set_ext_ack(true)
            .map_err(Error::socket("ask for error texts"))?;
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(Error::socket("ask for strict dumps"))?;
        let (out, inbox) = (
            Vec::with_capacity(RECEIVE_BUFFER),
            Vec::with_capacity(RECEIVE_BUFFER),
        );
        Ok(Self {
            socket,
            port,
            sequence: 0,
            out,
            inbox,
            settings,
        })
    }

    /// The netlink address of this socket: what the kernel puts into the echo of our writes.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.inbox.clear();
            match self.socket.recv(&mut self.inbox, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// Writes a batch and waits for the kernel to have worked through it.
    pub(crate) fn apply(&mut self, ops: Vec<Op>) -> Result<Answers, Error> {
        let first = self.sequence.wrapping_add(1);
        self.out.clear();
        let count = ops.len();
        for (at, op) in ops.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            write(&mut self.out, op, &self.settings, self.sequence, at + 1 == count);
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let last = self.sequence;
        self.socket
            .send(&self.out, 0)
            .map_err(Error::socket("write a batch"))?;
        let mut refused: Vec<(usize, Refusal)> = Vec::new();
        let mut is_done = false;
        while !is_done {
            self.receive()
                .map_err(Error::socket("read the answers to a batch"))?;
            for message in messages(&self.inbox).filter(|message| message.kind == NLMSG_ERROR) {
                is_done |= message.sequence == last;
                let at = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if let Some(refusal) = refusal(&message)
                    && at < count
                {
                    refused.push((at, refusal));
                }
            }
        }
        let mut refused = refused.into_iter().peekable();
        let answer = |(at, op)| match refused.next_if(|(refused, _)| *refused == at) {
            Some((_, refusal)) => (op, Err(refusal)),
            None => (op, Ok(())),
        };
        Ok(ops.into_iter().enumerate().map(answer).collect())
    }

    /// Reads a complete dump. `begin` is called before each attempt, `take` for each message.
    pub(crate) fn dump<T>(
        &mut self,
        what: Ask,
        decode: impl Fn(&Message<'_>, &Settings) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let failed = |source| Error::Dump {
            what: format!("{what:?}"),
            source,
        };
        let mut found = Vec::new();
        for attempt in 1..=DUMP_ATTEMPTS {
            found.clear();
            self.sequence = self.sequence.wrapping_add(1);
            self.out.clear();
            ask(&mut self.out, what, &self.settings, self.sequence);
            self.socket.send(&self.out, 0).map_err(failed)?;
            let (mut interrupted, mut is_done) = (false, false);
            while !is_done {
                self.receive().map_err(failed)?;
                for message in messages(&self.inbox).filter(|message| message.sequence == self.sequence) {
                    interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                    match message.kind {
                        NLMSG_DONE | NLMSG_ERROR => {
                            is_done = true;
                            let errno = error_number(&message);
                            // A table that does not exist yet has no routes.
                            if errno != 0 && errno != ENOENT {
                                return Err(failed(io::Error::from_raw_os_error(errno)));
                            }
                        }
                        NLMSG_NOOP => {}
                        _ => found.extend(decode(&message, &self.settings)),
                    }
                }
            }
            if !interrupted {
                break;
            }
            tracing::debug!(?what, attempt, "the kernel's state changed while it was read");
        }
        Ok(found)
    }
}

impl Error {
    /// Whether the kernel does not know what was asked for.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Dump { source, .. } if matches!(source.raw_os_error(), Some(EOPNOTSUPP | EINVAL)))
    }
}

fn error_number(message: &Message<'_>) -> i32 {
    let raw = message
        .payload
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    raw.checked_neg().unwrap_or(i32::MAX)
}

/// The refusal that an error message carries; none in an acknowledgement.
fn refusal(message: &Message<'_>) -> Option<Refusal> {
    let errno = error_number(message);
    if errno == 0 {
        return None;
    }
    let kind = match errno {
        EEXIST => RefusalKind::Exists,
        ENOENT | ESRCH => RefusalKind::Missing,
        _ => RefusalKind::Other,
    };
    let mut text = io::Error::from_raw_os_error(errno).to_string();
    if message.flags & NLM_F_ACK_TLVS != 0 {
        let said = attributes(message.payload.get(20..).unwrap_or_default())
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, value)| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        if let Some(said) = said {
            text = format!("{said} ({text})");
        }
    }
    Some(Refusal { kind, text })
}

/// Hears what changes without us.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    inbox: Vec<u8>,
}

impl Listener {
    /// `ours`: the address of the socket whose writes shall not be heard.
    pub(crate) fn open(ours: u32) -> Result<Self, Error> {
        Self::filtered(&[
            // Load the address of the writer (bytes 12 to 15 of the header) as a big-endian number; when it is ours
            // keep nothing, otherwise all.
            SockFilter::new(0x20, 0, 0, 12),
            SockFilter::new(0x15, 0, 1, ours.to_be()),
            SockFilter::new(0x06, 0, 0, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
        ])
    }

    /// Hears of no route but default routes.
    pub(crate) fn of_default_routes() -> Result<Self, Error> {
        let kind = |kind: u16| u32::from(kind.to_be());
        Self::filtered(&[
            // Load the kind of the message (bytes 4 and 5 of the header) as a big-endian number; keep what is no route.
            SockFilter::new(0x28, 0, 0, 4),
            SockFilter::new(0x15, 1, 0, kind(RTM_NEWROUTE)),
            SockFilter::new(0x15, 0, 2, kind(RTM_DELROUTE)),
            // Load the length of the route's prefix (the second byte behind the header); keep zero.
            SockFilter::new(0x30, 0, 0, 17),
            SockFilter::new(0x15, 0, 1, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ])
    }

    /// Hears of the deletion of routes of one protocol alone.
    pub(crate) fn of_deletions(protocol: u8) -> Result<Self, Error> {
        Self::filtered(&[
            // The kind of the message, as above; then the protocol (the sixth byte behind the header).
            SockFilter::new(0x28, 0, 0, 4),
            SockFilter::new(0x15, 0, 3, u32::from(RTM_DELROUTE.to_be())),
            SockFilter::new(0x30, 0, 0, 21),
            SockFilter::new(0x15, 0, 1, u32::from(protocol)),
            SockFilter::new(0x06, 0, 0, u32::MAX),
            SockFilter::new(0x06, 0, 0, 0),
        ])
    }

    fn filtered(filter: &[SockFilter]) -> Result<Self, Error> {
        let (socket, _) = open()?;
        SockRef::from(&socket)
            .attach_filter(filter)
            .map_err(Error::socket("filter notifications"))?;
        for group in GROUPS {
            socket
                .add_membership(group)
                .map_err(Error::socket("subscribe to notifications"))?;
        }
        Ok(Self {
            socket,
            inbox: Vec::with_capacity(RECEIVE_BUFFER),
        })
    }

    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.socket)
    }

    /// Hands what is queued to `take`; false when notifications were lost.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(&Message<'_>)) -> Result<bool, Error> {
        let mut complete = true;
        loop {
            self.inbox.clear();
            match self.socket.recv(&mut self.inbox, MSG_DONTWAIT) {
                Ok(_) => messages(&self.inbox).for_each(|message| take(&message)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(complete),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => complete = false,
                Err(error) => {
                    return Err(Error::Socket {
                        what: "read notifications",
                        source: error,
                    });
                }
            }
        }
    }
}
