//! A socket to nfnetlink: dumps, single questions, batches and notifications, in octets.
//!
//! What the messages mean is the business of who sends them (`flatroute-nft`); here is only how they travel. A batch
//! is one datagram that the kernel takes as a whole or not at all. It names the generation of the rules that its
//! sender has read, so that a batch made from something stale is refused ([`Error::is_stale`]) and not applied over
//! another program's change.
//!
//! Every message of a batch is acknowledged. The kernel answers in the order of the messages, when all is decided; a
//! refusal of the batch as a whole comes with the number of its first message. So the last answer ends the wait,
//! and nothing is read twice.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    ErrorBuffer, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NetlinkBuffer, Parseable,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::socket::{self, DUMP_TRIES, NETLINK_HEADER_BYTES, RECEIVE_BUFFER_BYTES, refused, text_of};
use crate::{Error, Result};

/// The first message of a batch.
const BATCH_BEGIN: u16 = 0x10;
/// The last message of a batch.
const BATCH_END: u16 = 0x11;
/// Attribute of the first one: the generation that the batch is made for (`NFNL_BATCH_GENID`).
const BATCH_GENERATION: u16 = 1;
/// Errno of a batch that was made for another generation (`ERESTART`, which programs otherwise never see).
pub(crate) const STALE: i32 = 85;
/// How long the kernel may take for an answer. Other programs' batches come first, and some are large.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message without its netlink header: what comes in, and what goes out in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetfilterMessage {
    /// Subsystem (high octet) and message.
    pub kind: u16,
    /// Flags of the header; those of a request are added when it is sent.
    pub flags: u16,
    /// Who caused a notification: the port of its socket.
    pub port: u32,
    /// The nfgenmsg and the attributes.
    pub body: Vec<u8>,
}

/// A blocking nfnetlink socket in one network namespace.
#[derive(Debug)]
pub struct NetfilterSocket {
    inner: netlink_sys::Socket,
    sequence: u32,
    port: u32,
    received: Vec<u8>,
}

impl NetfilterSocket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Socket`] when the system gives none: a kernel without nfnetlink has no such protocol.
    pub fn open() -> Result<Self> {
        let failed = |what| move |source| Error::Socket { what, source };
        let mut inner = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(failed("open"))?;
        let address = inner.bind_auto().map_err(failed("bind"))?;
        inner.set_ext_ack(true).map_err(failed("NETLINK_EXT_ACK"))?;
        inner.set_cap_ack(true).map_err(failed("NETLINK_CAP_ACK"))?;
        set_socket_timeout(&inner, Timeout::Recv, Some(PATIENCE))
            .map_err(|errno| failed("SO_RCVTIMEO")(errno.into()))?;
        Ok(Self {
            inner,
            sequence: 0,
            port: address.port_number(),
            received: Vec::with_capacity(RECEIVE_BUFFER_BYTES),
        })
    }

    /// The port of this socket: notifications of what it caused carry it.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Asks to be told of what changes; the socket is then for [`drain`](Self::drain) alone, and does not block.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn subscribe(&mut self, group: u32) -> Result<()> {
        let failed = |what| move |source| Error::Socket { what, source };
        self.inner
            .add_membership(group)
            .map_err(failed("subscribe to notifications"))?;
        self.inner
            .set_non_blocking(true)
            .map_err(failed("set non-blocking"))
    }

    /// Hands every notification that waits to `take`; false when some were lost.
    ///
    /// # Errors
    /// [`Error::Socket`], [`Error::Unreadable`].
    pub fn drain(&mut self, mut take: impl FnMut(&NetfilterMessage)) -> Result<bool> {
        let what = || "notifications of nf_tables".to_owned();
        let mut whole = true;
        loop {
            match self.receive(&what) {
                Ok(length) => {
                    let datagram = self.received.get(..length).unwrap_or_default();
                    for frame in frames(datagram, &what) {
                        take(&frame?.message);
                    }
                }
                Err(error) if error.errno() == Some(rustix::io::Errno::AGAIN.raw_os_error()) => {
                    return Ok(whole);
                }
                Err(error) if error.errno() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    whole = false;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for one object.
    ///
    /// # Errors
    /// [`Error::Refused`], for instance when it does not exist.
    pub fn query(&mut self, kind: u16, body: &[u8], what: impl Fn() -> String) -> Result<NetfilterMessage> {
        let mut found = Vec::new();
        self.ask(kind, NLM_F_ACK, body, &what, &mut found)?;
        found.into_iter().next().ok_or_else(|| Error::Unreadable {
            what: what(),
            reason: "acknowledged without an object".into(),
        })
    }

    /// Asks for something to be done that is no part of a batch, and waits until it is.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's reason.
    pub fn request(&mut self, kind: u16, body: &[u8], what: impl Fn() -> String) -> Result<()> {
        self.ask(kind, NLM_F_ACK, body, &what, &mut Vec::new()).map(drop)
    }

    /// Asks for all objects of a kind, again when the kernel says that they changed while they were read.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when they changed every time; [`Error::Refused`].
    pub fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        what: impl Fn() -> String,
    ) -> Result<Vec<NetfilterMessage>> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            if self.ask(kind, NLM_F_DUMP, body, &what, &mut found)? {
                return Ok(found);
            }
        }
        Err(Error::Interrupted {
            what: what(),
            tries: DUMP_TRIES,
        })
    }

    /// One request and everything that answers it; false when the answer is marked as interrupted.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        what: &dyn Fn() -> String,
        found: &mut Vec<NetfilterMessage>,
    ) -> Result<bool> {
        let sequence = self.next();
        let mut bytes = Vec::new();
        frame(&mut bytes, (kind, flags | NLM_F_REQUEST, sequence), body);
        self.send(&bytes)?;
        let mut whole = true;
        loop {
            let length = self.receive(what)?;
            let datagram = self.received.get(..length).unwrap_or_default();
            for frame in frames(datagram, what) {
                let frame = frame?;
                if frame.sequence != sequence {
                    continue;
                }
                whole &= frame.message.flags & NLM_F_DUMP_INTR == 0;
                match frame.outcome(what)? {
                    Some(Err(error)) => return Err(error),
                    Some(Ok(())) => return Ok(whole),
                    None => found.push(frame.message),
                }
            }
        }
    }

    /// Sends the messages as one batch for `subsystem`, made for a generation, and waits for what became of it.
    /// `what` names each message, by its place, in errors.
    ///
    /// # Errors
    /// The first refusal; nothing is changed then. [`Error::is_stale`]: the generation is another one.
    pub fn batch(
        &mut self,
        subsystem: u16,
        generation: u32,
        messages: &[NetfilterMessage],
        what: impl Fn(usize) -> String,
    ) -> Result<()> {
        let [high, low] = subsystem.to_be_bytes();
        let head = [0, 0, high, low];
        let begin = self.next();
        let mut bytes = Vec::new();
        let mut body = head.to_vec();
        body.extend(8_u16.to_ne_bytes());
        body.extend(BATCH_GENERATION.to_ne_bytes());
        body.extend(generation.to_be_bytes());
        frame(&mut bytes, (BATCH_BEGIN, NLM_F_REQUEST, begin), &body);
        let mut last = begin;
        for message in messages {
            last = self.next();
            let flags = message.flags | NLM_F_REQUEST | NLM_F_ACK;
            frame(&mut bytes, (message.kind, flags, last), &message.body);
        }
        let end = self.next();
        frame(&mut bytes, (BATCH_END, NLM_F_REQUEST, end), &head);
        self.send(&bytes)?;
        self.decision(begin, last, &|sequence| {
            let place = sequence.wrapping_sub(begin).wrapping_sub(1);
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            if place < messages.len() {
                what(place)
            } else {
                "the batch".to_owned()
            }
        })
    }

    /// Reads the answers to a batch up to its last message's.
    fn decision(&mut self, begin: u32, last: u32, what: &dyn Fn(u32) -> String) -> Result<()> {
        let mut first_error = None;
        loop {
            let whole = || what(begin);
            let length = self.receive(&whole)?;
            let datagram = self.received.get(..length).unwrap_or_default();
            for frame in frames(datagram, &whole) {
                let frame = frame?;
                let from_begin = frame.sequence.wrapping_sub(begin);
                if from_begin > last.wrapping_sub(begin) {
                    continue;
                }
                if let Some(Err(error)) = frame.outcome(&|| what(frame.sequence))? {
                    if from_begin == 0 {
                        return Err(first_error.unwrap_or(error));
                    }
                    first_error.get_or_insert(error);
                }
                if frame.sequence == last {
                    return first_error.map_or(Ok(()), Err);
                }
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        socket::send(&self.inner, bytes)
    }

    fn receive(&mut self, what: &dyn Fn() -> String) -> Result<usize> {
        socket::receive(&self.inner, &mut self.received, what)
    }
}

impl AsFd for NetfilterSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// A message that came.
pub(crate) struct Frame {
    pub(crate) sequence: u32,
    message: NetfilterMessage,
}

impl Frame {
    /// What an end or an acknowledgement says; none: it is an object.
    pub(crate) fn outcome(
        &self,
        what: &dyn Fn() -> String,
    ) -> Result<Option<std::result::Result<(), Error>>> {
        let code = |body: &[u8]| match body.first_chunk::<4>() {
            Some(code) => i32::from_ne_bytes(*code),
            None => 0,
        };
        let body = &self.message.body;
        match self.message.kind {
            NLMSG_DONE if code(body) < 0 => {
                let text = text_of(body.get(4..).unwrap_or_default());
                Ok(Some(Err(refused(what, code(body), text))))
            }
            NLMSG_DONE => Ok(Some(Ok(()))),
            NLMSG_ERROR => {
                let unreadable = |error: netlink_packet_core::DecodeError| Error::Unreadable {
                    what: what(),
                    reason: error.to_string(),
                };
                let buffer = ErrorBuffer::new_checked(body).map_err(unreadable)?;
                let error = netlink_packet_core::ErrorMessage::parse(&buffer).map_err(unreadable)?;
                if error.code.is_none() {
                    return Ok(Some(Ok(())));
                }
                let text = (self.message.flags & NLM_F_ACK_TLVS != 0)
                    .then(|| text_of(error.header.get(NETLINK_HEADER_BYTES..).unwrap_or_default()))
                    .flatten();
                Ok(Some(Err(refused(what, error.raw_code(), text))))
            }
            _ => Ok(None),
        }
    }
}

/// The messages of a datagram.
pub(crate) fn frames<'a>(
    mut bytes: &'a [u8],
    what: &'a dyn Fn() -> String,
) -> impl Iterator<Item = Result<Frame>> + use<'a> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let buffer = match NetlinkBuffer::new_checked(&bytes) {
            Ok(buffer) => buffer,
            Err(error) => {
                bytes = &[];
                let reason = error.to_string();
                return Some(Err(Error::Unreadable { what: what(), reason }));
            }
        };
        let length = usize::try_from(buffer.length()).unwrap_or(usize::MAX);
        let frame = Frame {
            sequence: buffer.sequence_number(),
            message: NetfilterMessage {
                kind: buffer.message_type(),
                flags: buffer.flags(),
                port: buffer.port_number(),
                body: bytes
                    .get(NETLINK_HEADER_BYTES..length)
                    .unwrap_or_default()
                    .to_vec(),
            },
        };
        bytes = bytes.get(length.saturating_add(3) & !3..).unwrap_or_default();
        Some(Ok(frame))
    })
}

/// Appends a message with its header.
pub(crate) fn frame(out: &mut Vec<u8>, (kind, flags, sequence): (u16, u16, u32), body: &[u8]) {
    let length = NETLINK_HEADER_BYTES.saturating_add(body.len());
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out.extend(body);
    out.resize(out.len().next_multiple_of(4), 0);
}
