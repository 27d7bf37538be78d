//! What happened, as a digest and, for whoever asks, as lines.
//!
//! Two runs of one seed must be the same run, down to each octet. Keeping both to compare them would cost gigabytes, so every
//! fact is folded into a digest of 64 bits as it happens; words are only made when somebody reads them.

use flatroute_bgp::types::Instant;

const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Who reads the lines of a trace.
pub type Sink = Box<dyn FnMut(&str)>;

/// The record of a run.
pub struct Trace {
    digest: u64,
    facts: u64,
    sink: Option<Sink>,
}

impl Trace {
    /// A trace that nobody reads: a digest.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            digest: 0xcbf2_9ce4_8422_2325,
            facts: 0,
            sink: None,
        }
    }

    /// A trace whose lines go to `sink`.
    #[must_use]
    pub fn to(sink: Sink) -> Self {
        Self {
            sink: Some(sink),
            ..Self::silent()
        }
    }

    fn fold(&mut self, number: u64) {
        self.digest = (self.digest.rotate_left(5) ^ number).wrapping_mul(PRIME);
    }

    /// A fact: what kind, its numbers, and words for people.
    pub fn fact(&mut self, at: Instant, kind: &'static str, numbers: &[u64], words: impl FnOnce() -> String) {
        self.facts += 1;
        self.fold(at.as_micros());
        self.octets(kind.as_bytes());
        for number in numbers {
            self.fold(*number);
        }
        if let Some(sink) = &mut self.sink {
            let (seconds, micros) = (at.as_micros() / 1_000_000, at.as_micros() % 1_000_000);
            sink(&format!("{seconds:>5}.{micros:06} {kind:<10} {}", words()));
        }
    }

    /// Octets that went somewhere.
    pub fn octets(&mut self, octets: &[u8]) {
        let (words, rest) = octets.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        let rest = rest.iter().fold(1, |word, octet| (word << 8) | u64::from(*octet));
        self.fold(rest);
    }

    /// All that happened, in one number.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many facts there were.
    #[must_use]
    pub fn facts(&self) -> u64 {
        self.facts
    }
}
