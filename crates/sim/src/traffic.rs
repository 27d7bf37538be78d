//! What went over the links, counted by kind of message: the planner's question.

/// The octets before a message's kind, and the length of its header (RFC 4271 §4.1).
const KIND_AT: usize = 18;
/// The place of the length.
const LENGTH_AT: usize = 16;

/// Messages and octets, as they were given to sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages of the kinds 1 to 5: OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH.
    pub messages: [u64; 5],
    /// Octets of all of them.
    pub octets: u64,
}

impl Traffic {
    /// Counts whole messages.
    pub fn count(&mut self, mut octets: &[u8]) {
        self.octets += octets.len() as u64;
        while let Some(header) = octets.get(..=KIND_AT) {
            let kind = usize::from(header[KIND_AT]);
            if let Some(count) = kind.checked_sub(1).and_then(|kind| self.messages.get_mut(kind)) {
                *count += 1;
            }
            let length = usize::from(u16::from_be_bytes([header[LENGTH_AT], header[LENGTH_AT + 1]]));
            octets = octets.get(length.max(KIND_AT + 1)..).unwrap_or_default();
        }
    }

    /// All messages.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.messages.iter().sum()
    }

    /// UPDATEs alone.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.messages[1]
    }
}
