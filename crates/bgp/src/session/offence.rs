use std::cmp::Reverse;
use std::fmt::Write as _;

use super::MAX_MESSAGE_SHOWN;
use crate::types::Prefix;
use crate::wire::{AttributeError, Disposition, Update};

/// How many errors of one UPDATE are put into words.
pub const MAX_ERRORS_SHOWN: usize = 4;

/// How many of the prefixes that an UPDATE with errors concerns are kept.
pub const MAX_PREFIXES_SHOWN: usize = 16;

/// An UPDATE with errors that the session survived (RFC 7606), as it is kept for people. Every part of it is
/// bounded, whatever the peer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// What was wrong and what was done about it: [`MAX_ERRORS_SHOWN`] errors, the strongest first.
    pub what: String,
    /// The strongest thing that was done.
    pub disposition: Disposition,
    /// The type code of the attribute that asked for it; `None` when the error is not of one attribute.
    pub attribute: Option<u8>,
    /// The prefixes concerned, at most [`MAX_PREFIXES_SHOWN`].
    pub prefixes: Vec<Prefix>,
    /// How many there were.
    pub prefixes_total: usize,
    /// The message, header included, its first [`MAX_MESSAGE_SHOWN`] octets.
    pub message: Vec<u8>,
}

impl Offence {
    /// What is to be said of an UPDATE; `None` when nothing was wrong with it.
    pub(super) fn of(update: &Update, message: &[u8]) -> Option<Self> {
        // Strongest first, so that the one that mattered is among those shown; alike ones in their order.
        let mut errors: Vec<&AttributeError> = update.errors.iter().collect();
        errors.sort_by_key(|e| Reverse(e.disposition));
        let worst = errors.first()?;
        let mut what = String::new();
        for (i, error) in errors.iter().take(MAX_ERRORS_SHOWN).enumerate() {
            let comma = if i == 0 { "" } else { "; " };
            // Writing to a string cannot fail.
            _ = write!(what, "{comma}{} ({})", error.what, error.disposition);
        }
        let more = update.errors.len().saturating_sub(MAX_ERRORS_SHOWN);
        if more > 0 {
            _ = write!(what, "; and {more} more errors");
        }
        let announced = update.announced.iter().flat_map(|a| &a.prefixes);
        let prefixes: Vec<&Prefix> = match worst.disposition {
            Disposition::DiscardAttribute => announced.collect(),
            // Those treated as withdrawn stand among the withdrawn.
            Disposition::TreatAsWithdraw | Disposition::ResetSession => {
                update.withdrawn.iter().chain(announced).collect()
            }
        };
        Some(Self {
            what,
            disposition: worst.disposition,
            attribute: worst.code,
            prefixes_total: prefixes.len(),
            prefixes: prefixes.into_iter().take(MAX_PREFIXES_SHOWN).copied().collect(),
            message: message.get(..MAX_MESSAGE_SHOWN).unwrap_or(message).to_vec(),
        })
    }
}
