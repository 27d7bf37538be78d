//! The BGP speaker of flatroute, as a pure machine.
//!
//! Nothing in this crate opens a socket, reads a clock, starts a thread or keeps a global. Facts and the
//! present moment go in through [`speaker::Speaker::handle`]; bytes, orders to the driver and the next
//! deadline come out through its `poll_*` methods. `flatroute-bgp-io` is the driver that owns the sockets
//! and the clock; the tests of this crate are another driver, with virtual time.
//!
//! Inside, the dependencies run one way:
//!
//! ```text
//! types ◄ wire ◄ session ◄ peer ◄ speaker
//! types ◄ policy ◄ rib ◄ speaker
//! ```
#![forbid(unsafe_code)]

pub mod peer;
pub mod policy;
pub mod rib;
pub mod session;
pub mod speaker;
pub mod types;
pub mod wire;
