//! The tables, a file a noun.

mod as4;
mod attribute;
mod community;
mod framing;
mod header;
mod internal;
mod limit;
mod multiprotocol;
mod notification;
mod open;
mod published;
mod reflection;
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
        community::rows(),
        framing::rows(),
        header::rows(),
        internal::rows(),
        limit::rows(),
        multiprotocol::rows(),
        notification::rows(),
        open::rows(),
        published::rows(),
        reflection::rows(),
        refresh::rows(),
        state::rows(),
        unknown::rows(),
        update::rows(),
    ]
    .concat()
}
