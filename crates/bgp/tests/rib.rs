//! The RIB against a naive model, and its promises one by one.

#[path = "rib/model.rs"]
mod model;
#[path = "rib/promises.rs"]
mod promises;
#[path = "rib/support.rs"]
mod support;
