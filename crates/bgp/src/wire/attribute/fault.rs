use crate::wire::{Disposition, UpdateError};

/// What is wrong with an attribute. What is done about it is the row's to say, unless the fault is of a kind that
/// its RFC treats otherwise.
#[derive(Debug)]
pub(in crate::wire) struct Fault {
    /// The subcode, should it come to a NOTIFICATION.
    pub(in crate::wire) error: UpdateError,
    /// What was wrong, for people; the attribute's name goes before it.
    pub(in crate::wire) what: String,
    /// What is done about it, where that is not what the row says.
    pub(in crate::wire) disposition: Option<Disposition>,
}

impl Fault {
    pub(in crate::wire) fn new(error: UpdateError, what: impl Into<String>) -> Self {
        Self {
            error,
            what: what.into(),
            disposition: None,
        }
    }

    /// A length that is not the attribute's.
    pub(in crate::wire) fn length(len: usize, expected: &str) -> Self {
        Self::new(
            UpdateError::AttributeLength,
            format!("{len} octets, expected {expected}"),
        )
    }

    /// More of something than a route may have (docs/limits.md): not malformed, but not taken.
    pub(in crate::wire) fn too_many(count: usize, of: &str, max: usize) -> Self {
        Self::new(
            UpdateError::OptionalAttribute,
            format!("{count} {of}, at most {max} are taken"),
        )
        .with(Disposition::TreatAsWithdraw)
    }

    pub(in crate::wire) fn with(self, disposition: Disposition) -> Self {
        Self {
            disposition: Some(disposition),
            ..self
        }
    }
}
