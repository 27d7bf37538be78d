//! The socket: one request, one answer.
//!
//! Every request carries a fresh sequence number and NLM_F_ACK (or NLM_F_DUMP), and answers with another number are
//! dropped: they belong to a request that was given up. The receive buffer is larger than any message that the
//! kernel builds for a dump (32 KiB), and a message that still does not fit is an error, never a silent cut. It is not filled
//! with zeros before: an acknowledgement uses one of its sixteen pages.

use std::io;
use std::os::fd::BorrowedFd;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::batch::Batch;
use crate::{Error, Result, netns};

pub(crate) const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// `MSG_TRUNC`: the kernel returns the real length of a message, also when it was cut.
const MSG_TRUNC: i32 = 0x20;
/// How often an interrupted dump is asked again.
pub(crate) const DUMP_TRIES: u32 = 16;
/// Extended acknowledgement: the attribute that holds the kernel's text (`NLMSGERR_ATTR_MSG`).
const EXT_ACK_MESSAGE: u16 = 1;
/// Bytes of the header of the refused request, which an acknowledgement repeats (NETLINK_CAP_ACK cuts the rest).
pub(crate) const NETLINK_HEADER_BYTES: usize = 16;

/// A blocking rtnetlink socket in one network namespace.
#[derive(Debug)]
pub struct Socket {
    pub(crate) inner: netlink_sys::Socket,
    pub(crate) sequence: u32,
    pub(crate) received: Vec<u8>,
    /// Where changes are collected instead of sent, while they are.
    pub(crate) batch: Option<Batch>,
}

/// What one datagram contributed to the answer of a request.
enum Progress {
    More,
    Done { interrupted: bool },
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Socket`] when the system gives none.
    pub fn open() -> Result<Self> {
        let failed = |what| move |source| Error::Socket { what, source };
        let mut inner = netlink_sys::Socket::new(NETLINK_ROUTE).map_err(failed("open"))?;
        inner.bind(&SocketAddr::new(0, 0)).map_err(failed("bind"))?;
        inner.set_ext_ack(true).map_err(failed("NETLINK_EXT_ACK"))?;
        inner.set_cap_ack(true).map_err(failed("NETLINK_CAP_ACK"))?;
        inner
            .set_netlink_get_strict_chk(true)
            .map_err(failed("NETLINK_GET_STRICT_CHK"))?;
        Ok(Self {
            inner,
            sequence: 0,
            received: Vec::with_capacity(RECEIVE_BUFFER_BYTES),
            batch: None,
        })
    }

    /// Opens a socket in the network namespace that `netns` refers to. The calling thread stays where it is.
    ///
    /// # Errors
    /// [`Error::Socket`] when the namespace cannot be entered or the system gives no socket.
    pub fn open_in(netns: BorrowedFd<'_>) -> Result<Self> {
        netns::within(netns, Self::open).map_err(|source| Error::Socket {
            what: "enter the network namespace",
            source,
        })?
    }

    /// Sends a request that changes something and waits for its acknowledgement. `flags` are added to
    /// NLM_F_REQUEST and NLM_F_ACK; `what` names the request in errors. In a [`batch`](Self::batch) it is only collected.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's reason.
    pub fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: impl Fn() -> String,
    ) -> Result<()> {
        if let Some(batch) = &mut self.batch {
            self.sequence = self.sequence.wrapping_add(1);
            encode(message, flags, self.sequence, &mut batch.bytes);
            batch.asked.push((self.sequence, what()));
            return Ok(());
        }
        self.exchange(message, flags | NLM_F_ACK, &what, &mut |_| ())
            .map(|_| ())
    }

    /// Sends a request for one object and returns it.
    ///
    /// # Errors
    /// [`Error::Refused`], for instance when it does not exist.
    pub fn query(
        &mut self,
        message: RouteNetlinkMessage,
        what: impl Fn() -> String,
    ) -> Result<RouteNetlinkMessage> {
        self.find(message, 0, &what)?.ok_or_else(|| Error::Unreadable {
            what: what(),
            reason: "acknowledged without an object".into(),
        })
    }

    /// The same for requests that the kernel may acknowledge without naming an object, and for messages of any kind.
    pub(crate) fn find<M: NetlinkSerializable + NetlinkDeserializable>(
        &mut self,
        message: M,
        flags: u16,
        what: &dyn Fn() -> String,
    ) -> Result<Option<M>> {
        let mut found = None;
        self.exchange(message, flags | NLM_F_ACK, what, &mut |answer| {
            found = Some(answer);
        })?;
        Ok(found)
    }

    /// Asks for all objects of a kind, again when the kernel says that the list changed while it was read.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when it changed every time; [`Error::Refused`].
    pub fn dump(
        &mut self,
        message: &RouteNetlinkMessage,
        what: impl Fn() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.dump_of(message, what)
    }

    /// The same for messages of any kind.
    pub(crate) fn dump_of<M: NetlinkSerializable + NetlinkDeserializable + Clone>(
        &mut self,
        message: &M,
        what: impl Fn() -> String,
    ) -> Result<Vec<M>> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            let interrupted = self.exchange(message.clone(), NLM_F_DUMP, &what, &mut |answer| {
                found.push(answer);
            })?;
            if !interrupted {
                return Ok(found);
            }
        }
        Err(Error::Interrupted {
            what: what(),
            tries: DUMP_TRIES,
        })
    }

    /// One request and everything that answers it; true when the kernel marked the answer as interrupted.
    fn exchange<M: NetlinkSerializable + NetlinkDeserializable>(
        &mut self,
        message: M,
        flags: u16,
        what: &dyn Fn() -> String,
        keep: &mut dyn FnMut(M),
    ) -> Result<bool> {
        self.send(message, flags)?;
        let mut interrupted = false;
        loop {
            let length = self.receive(what)?;
            let datagram = self.received.get(..length).unwrap_or_default();
            match read_datagram(datagram, self.sequence, what, &mut interrupted, keep)? {
                Progress::More => {}
                Progress::Done { interrupted } => return Ok(interrupted),
            }
        }
    }

    fn send<M: NetlinkSerializable>(&mut self, message: M, flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        encode(message, flags, self.sequence, &mut bytes);
        send(&self.inner, &bytes)
    }

    fn receive(&mut self, what: &dyn Fn() -> String) -> Result<usize> {
        receive(&self.inner, &mut self.received, what)
    }
}

/// Appends a request with its header.
fn encode<M: NetlinkSerializable>(message: M, flags: u16, sequence: u32, out: &mut Vec<u8>) {
    let mut header = NetlinkHeader::default();
    header.flags = flags | NLM_F_REQUEST;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let begin = out.len();
    let end = begin.saturating_add(message.buffer_len());
    out.resize(end.next_multiple_of(4), 0);
    if let Some(place) = out.get_mut(begin..end) {
        message.serialize(place);
    }
}

/// Sends one datagram, whole.
pub(crate) fn send(socket: &netlink_sys::Socket, bytes: &[u8]) -> Result<()> {
    let sent = retry(|| socket.send(bytes, 0)).map_err(|source| Error::Socket { what: "send", source })?;
    if sent == bytes.len() {
        return Ok(());
    }
    Err(Error::Socket {
        what: "send",
        source: io::Error::from(io::ErrorKind::WriteZero),
    })
}

/// Receives one datagram, whole; its length.
pub(crate) fn receive(
    socket: &netlink_sys::Socket,
    into: &mut Vec<u8>,
    what: &dyn Fn() -> String,
) -> Result<usize> {
    into.clear();
    let room = into.capacity();
    let length = retry(|| socket.recv(into, MSG_TRUNC)).map_err(|source| Error::Socket {
        what: "receive",
        source,
    })?;
    if length > room {
        let reason = format!("a message of {length} bytes does not fit {room} bytes");
        return Err(Error::Unreadable { what: what(), reason });
    }
    Ok(length)
}

/// Reads all messages of one datagram.
fn read_datagram<M: NetlinkDeserializable>(
    mut bytes: &[u8],
    sequence: u32,
    what: &dyn Fn() -> String,
    interrupted: &mut bool,
    keep: &mut dyn FnMut(M),
) -> Result<Progress> {
    while !bytes.is_empty() {
        let unreadable = |reason: String| Error::Unreadable { what: what(), reason };
        let frame = NetlinkBuffer::new_checked(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let length = usize::try_from(frame.length()).unwrap_or(usize::MAX);
        let aligned = length.saturating_add(3) & !3;
        if frame.sequence_number() == sequence {
            let message =
                NetlinkMessage::<M>::deserialize(bytes).map_err(|error| unreadable(error.to_string()))?;
            *interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => keep(answer),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(refused(what, done.code, text_of(&done.extended_ack)));
                }
                NetlinkPayload::Done(_) => {
                    return Ok(Progress::Done {
                        interrupted: *interrupted,
                    });
                }
                NetlinkPayload::Error(error) if error.code.is_none() => {
                    return Ok(Progress::Done {
                        interrupted: *interrupted,
                    });
                }
                NetlinkPayload::Error(error) => {
                    let text = ext_ack_of(&error, message.header.flags);
                    return Err(refused(what, error.raw_code(), text));
                }
                // NOOP, OVERRUN and what later versions of the crate may add carry nothing for a request.
                _ => {}
            }
        }
        bytes = bytes.get(aligned..).unwrap_or_default();
    }
    Ok(Progress::More)
}

pub(crate) fn refused(what: &dyn Fn() -> String, code: i32, text: Option<String>) -> Error {
    Error::Refused {
        what: what(),
        source: io::Error::from_raw_os_error(code.saturating_abs()),
        text,
    }
}

/// The kernel's text behind the repeated header of the refused request.
fn ext_ack_of(error: &ErrorMessage, flags: u16) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    text_of(error.header.get(NETLINK_HEADER_BYTES..)?)
}

pub(crate) fn text_of(attributes: &[u8]) -> Option<String> {
    NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == EXT_ACK_MESSAGE)
        .map(|attribute| {
            let text = String::from_utf8_lossy(attribute.value());
            text.trim_end_matches('\0').to_owned()
        })
}

/// Repeats a system call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
