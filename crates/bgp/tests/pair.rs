//! Two peers in virtual time: the machines of `bgp::peer`, joined by pipes that behave like TCP and by nothing
//! else. `harness` is the world; the other modules are the stories. A failure names its seed, and the same seed
//! tells the same story again.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

#[path = "pair/harness.rs"]
mod harness;

#[path = "pair/collision.rs"]
mod collision;
#[path = "pair/faults.rs"]
mod faults;
#[path = "pair/negotiation.rs"]
mod negotiation;
#[path = "pair/operation.rs"]
mod operation;
#[path = "pair/orders.rs"]
mod orders;
