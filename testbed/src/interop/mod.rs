//! The interoperability matrix: every way in which an operator's router meets us, against BIRD, FRR, GoBGP, OpenBGPD and ExaBGP.
//!
//! A [`rows::Row`] is a promise, a [`peer::Kind`] a column, and a cell is one [`pair::Pair`]: the peer in one network
//! namespace, our agent in another, one link between them. A cell asserts its promise from the peer's own command
//! line, and where it makes sense from our control socket and our kernel too. [`matrix`] runs the cells and prints the
//! table; [`page`] holds it in `docs/interop.md`, and a difference between the two is a failure.

mod cells;
pub mod matrix;
mod ours;
pub mod page;
pub mod pair;
pub mod peer;
pub mod rows;
