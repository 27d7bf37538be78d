//! From the RIB to the wire: UPDATEs, made when a socket has room for them.

use bytes::BytesMut;

use super::{EventKind, Speaker};
use crate::rib::Batch;
use crate::types::{ConnId, Instant, Prefix};
use crate::wire::{self, EncodeError, RefreshSubtype};

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
                Err(Unsendable { prefixes, error }) => {
                    // The peer may hold an earlier route to them.
                    unsendable.push((prefixes.len(), error.to_string()));
                    self.rib.untell(session.index, &prefixes);
                    let family = prefixes.first().map(|p| p.family());
                    family.map(|family| (Batch::Unreach { family, prefixes }, 0))
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

/// Prefixes of a batch that cannot be announced to this peer.
struct Unsendable {
    prefixes: Vec<Prefix>,
    error: EncodeError,
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
        Batch::Unreach { prefixes, .. } => {
            let rest = prefixes.get(sent..).unwrap_or_default();
            (
                prefixes.len(),
                if rest.is_empty() {
                    0
                } else {
                    wire::encode_unreach(rest, context, out)
                },
            )
        }
        Batch::Reach { attributes, prefixes } => {
            let rest = prefixes.get(sent..).unwrap_or_default();
            match wire::encode_reach(rest, attributes, context, out) {
                Ok(written) => (prefixes.len(), written),
                Err(error) => {
                    let prefixes = rest.to_vec();
                    return Err(Unsendable { prefixes, error });
                }
            }
        }
    };
    let sent = sent.saturating_add(written);
    Ok((written > 0 && sent < total).then_some(sent))
}
