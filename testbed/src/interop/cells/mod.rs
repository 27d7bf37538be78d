//! What the cells do. Each takes the kind of peer, builds a pair, and fails with what it saw.

pub(super) mod collision;
pub(super) mod endings;
pub(super) mod limits;
pub(super) mod long_lived;
pub(super) mod messages;
pub(super) mod paths;
pub(super) mod reflection;
pub(super) mod restarts;
pub(super) mod roles;
pub(super) mod routes;
pub(super) mod security;
pub(super) mod sessions;
pub(super) mod unnumbered;
