//! The RIB against a naive model, and its promises one by one.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in what it shares"
)]

#[path = "rib/boundaries.rs"]
mod boundaries;
#[path = "rib/drained.rs"]
mod drained;
#[path = "rib/lingering.rs"]
mod lingering;
#[path = "rib/model.rs"]
mod model;
#[path = "rib/promises.rs"]
mod promises;
#[path = "rib/reflection.rs"]
mod reflection;
#[path = "rib/roles.rs"]
mod roles;
#[path = "rib/several.rs"]
mod several;
#[path = "rib/support.rs"]
mod support;
