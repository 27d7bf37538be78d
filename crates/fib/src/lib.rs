//! Kernel routes as values.
//!
//! The speaker says which prefixes it wants through which next hops; the kernel says what it holds. This crate
//! keeps both beside each other and answers one question: which writes make the second equal to the first? It
//! knows no socket, no clock and no thread. Facts go in ([`Fib::desire`], [`Fib::notice`], [`Fib::observe`]),
//! plain values come out ([`Op`]), and the answers to those go in again ([`Fib::outcome`]).
//!
//! What shapes everything here is that the kernel is not a faithful store:
//!
//! * when a link loses its carrier it deletes nexthop objects, their legs in groups, and the routes that are left
//!   without a leg, and says nothing about it but that the link changed;
//! * deleting a nexthop object deletes every route that names it, again in silence;
//! * other programs delete and replace routes, sometimes ours;
//! * the queue of its notifications overflows.
//!
//! So the mirror of the kernel in [`Fib`] follows those rules by itself where they are certain (repair starts in
//! the same turn), and asks for a read-back ([`Fib::stale`]) where they are not.
//!
//! Multipath routes name a *group* object whose identity is the set of next hops that was asked for, not the set
//! that happens to be alive. A path that dies leaves the group, a path that returns joins it: one message each,
//! however many routes stand on it. Next hops have two objects each: one for groups and one for routes with a
//! single path, so that taking a dead leg out of all groups can never flush a single-path route.
#![forbid(unsafe_code)]

mod batch;
mod desired;
mod driver;
mod ids;
mod links;
mod machine;
pub mod memory;
mod mirror;
mod objects;
mod report;
mod shared;
mod types;

pub use driver::{Answers, Kernel, turn};
pub use machine::Fib;
pub use report::{Counts, Report, Stale};
pub use types::{
    DesiredRoute, InstalledRoute, Interface, KernelNexthop, KernelRoute, Leg, NextHop, NexthopContent,
    NexthopId, NexthopObjects, Notice, Op, PrefSrc, Refusal, RefusalKind, Return, RouteTarget, Settings,
    Snapshot, Target,
};

/// Most operations that one batch may hold: 256 are about half a millisecond of kernel time, so that what must
/// overtake (a dead path) never waits longer than that.
pub const MAX_BATCH: usize = 256;
