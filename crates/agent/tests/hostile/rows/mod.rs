//! The tables, a file a noun.

mod as4;
mod attribute;
mod framing;
mod header;
mod internal;
mod multiprotocol;
mod notification;
mod open;
mod published;
mod refresh;
mod state;
mod unknown;
mod update;

use super::row::Row;

/// All of them.
pub(crate) fn all() -> Vec<Row> {
    [
        as4::rows(),
        attribute::rows(),
        framing::rows(),
        header::rows(),
        internal::rows(),
        multiprotocol::rows(),
        notification::rows(),
        open::rows(),
        published::rows(),
        refresh::rows(),
        state::rows(),
        unknown::rows(),
        update::rows(),
    ]
    .concat()
}
