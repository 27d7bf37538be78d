//! From the RIB to the wire: UPDATEs, made when a socket has room for them.

use bytes::BytesMut;

use super::{EventKind, Speaker};
use crate::rib::Batch;
use crate::types::{ConnId, Instant};
use crate::wire::{self, RefreshSubtype};

impl Speaker {
    /// Writes what waits for `conn` to `out` until nothing waits or `out` holds `limit` octets or a little more
    /// (one message). Call it when the socket has room and `out` has been sent.
    pub fn poll_transmit(&mut self, conn: ConnId, out: &mut BytesMut, limit: usize, now: Instant) {
        let Some(name) = self.conns.get(&conn) else { return };
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        neighbour.peer.poll_transmit(conn, out);
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
            let sent = encode(&batch, sent, &session.negotiated.context, out, &mut unsendable);
            session.batch = sent.map(|sent| (batch, sent));
        }
        let name = name.clone();
        for (prefixes, what) in unsendable {
            self.event(Some(name.clone()), EventKind::Unsendable { prefixes, what }, now);
        }
    }

    /// Whether [`Speaker::poll_transmit`] has routes to say on `conn`. Control messages are not counted.
    #[must_use]
    pub fn has_updates(&self, conn: ConnId) -> bool {
        self.conns
            .get(&conn)
            .and_then(|name| self.neighbours.get(name))
            .and_then(|n| n.session.as_ref())
            .is_some_and(|s| s.conn == conn && (s.batch.is_some() || self.rib.has_pending(s.index)))
    }
}

/// Writes one message of `batch` from its prefix number `sent` on. Returns how many are sent now, or none when
/// the batch is done.
fn encode(
    batch: &Batch,
    sent: usize,
    context: &wire::Context,
    out: &mut BytesMut,
    unsendable: &mut Vec<(usize, String)>,
) -> Option<usize> {
    let (total, written) = match batch {
        Batch::EndOfRib(family) => {
            wire::encode_end_of_rib(*family, context, out);
            return None;
        }
        Batch::BeginRefresh(family) => {
            wire::encode_route_refresh(*family, RefreshSubtype::Beginning, out);
            return None;
        }
        Batch::EndRefresh(family) => {
            wire::encode_route_refresh(*family, RefreshSubtype::End, out);
            return None;
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
                    unsendable.push((rest.len(), error.to_string()));
                    return None;
                }
            }
        }
    };
    let sent = sent.saturating_add(written);
    (written > 0 && sent < total).then_some(sent)
}
