//! From the RIB to the wire: UPDATEs, made when a socket has room for them.

use bytes::BytesMut;

use super::{EventKind, Speaker};
use crate::rib::Batch;
use crate::types::{ConnId, Instant, PathId, Prefix};
use crate::wire::{self, Destination, EncodeError, RefreshSubtype};

impl Speaker {
    /// Writes what waits for `conn` to `out` until nothing waits or `out` holds `limit` octets or a little more
    /// (one message). Call it when the socket has taken all that was written before, and so once more when it has taken
    /// all of this: each call is news of progress for the send hold timer (RFC 9687).
    pub fn poll_transmit(&mut self, conn: ConnId, out: &mut BytesMut, limit: usize, now: Instant) {
        let Some(name) = self.conns.get(&conn) else { return };
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        neighbour.peer.poll_transmit(conn, out, now);
        let control = out.len();
        let Some(session) = neighbour.session.as_mut().filter(|s| s.conn == conn) else {
            return;
        };
        let mut unsendable = Vec::new();
        while out.len() < limit {
            let (batch, sent) = match session.batch.take() {
                Some(batch) => batch,
                None => match self.rib.next_batch(session.index) {
                    Some(batch) => (batch, 0),
                    None => break,
                },
            };
            session.batch = match encode(&batch, sent, &session.negotiated.context, out) {
                Ok(sent) => sent.map(|sent| (batch, sent)),
                Err(Unsendable { what, error }) => {
                    // The peer may hold an earlier route to them.
                    let number = match &what {
                        Rest::Prefixes(prefixes) => {
                            self.rib.untell(session.index, prefixes);
                            prefixes.len()
                        }
                        Rest::Paths(paths) => {
                            self.rib.untell_paths(session.index, paths);
                            paths.len()
                        }
                    };
                    unsendable.push((number, error.to_string()));
                    what.withdrawn().map(|batch| (batch, 0))
                }
            };
        }
        if out.len() > control {
            neighbour.peer.updates_pulled(conn, now);
        }
        let name = name.clone();
        for (prefixes, what) in unsendable {
            self.event(Some(name.clone()), EventKind::Unsendable { prefixes, what }, now);
        }
    }
}

/// What of a batch cannot be announced to this peer.
struct Unsendable {
    what: Rest,
    error: EncodeError,
}

/// What is left of a batch.
enum Rest {
    Prefixes(Vec<Prefix>),
    Paths(Vec<(Prefix, PathId)>),
}

impl Rest {
    /// The withdrawal of it.
    fn withdrawn(self) -> Option<Batch> {
        match self {
            Self::Prefixes(prefixes) => {
                let family = prefixes.first()?.family();
                Some(Batch::Unreach { family, prefixes })
            }
            Self::Paths(paths) => {
                let (prefix, _) = paths.first()?;
                let family = prefix.family();
                Some(Batch::UnreachPaths { family, paths })
            }
        }
    }
}

/// Writes one message of `batch` from its prefix number `sent` on. Returns how many are sent now, or none when
/// the batch is done.
fn encode(
    batch: &Batch,
    sent: usize,
    context: &wire::Context,
    out: &mut BytesMut,
) -> Result<Option<usize>, Unsendable> {
    let (total, written) = match batch {
        Batch::EndOfRib(family) => {
            wire::encode_end_of_rib(*family, context, out);
            return Ok(None);
        }
        Batch::BeginRefresh(family) => {
            wire::encode_route_refresh(*family, RefreshSubtype::Beginning, out);
            return Ok(None);
        }
        Batch::EndRefresh(family) => {
            wire::encode_route_refresh(*family, RefreshSubtype::End, out);
            return Ok(None);
        }
        Batch::Unreach { prefixes, .. } => (prefixes.len(), unreach(prefixes, sent, context, out)),
        Batch::UnreachPaths { paths, .. } => (paths.len(), unreach(paths, sent, context, out)),
        Batch::Reach { attributes, prefixes } => {
            let rest = prefixes.get(sent..).unwrap_or_default();
            let written = wire::encode_reach(rest, attributes, context, out);
            let what = || Rest::Prefixes(rest.to_vec());
            (
                prefixes.len(),
                written.map_err(|error| Unsendable { what: what(), error })?,
            )
        }
        Batch::ReachPaths { attributes, paths } => {
            let rest = paths.get(sent..).unwrap_or_default();
            let written = wire::encode_reach(rest, attributes, context, out);
            let what = || Rest::Paths(rest.to_vec());
            (
                paths.len(),
                written.map_err(|error| Unsendable { what: what(), error })?,
            )
        }
    };
    let sent = sent.saturating_add(written);
    Ok((written > 0 && sent < total).then_some(sent))
}

/// Writes one message of withdrawals; how many there are in it.
fn unreach<D: Destination>(all: &[D], sent: usize, context: &wire::Context, out: &mut BytesMut) -> usize {
    match all.get(sent..).unwrap_or_default() {
        [] => 0,
        rest => wire::encode_unreach(rest, context, out),
    }
}
