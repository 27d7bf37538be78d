//! Many speakers of flatroute in one process, deterministically.
//!
//! The speakers are the real ones, and so are the plans that configure them and the machine that keeps their kernels' routes;
//! what lies between them is a model: TCP that cuts, stalls, loses and ends ([`tcp`]), links, machines that lose power, a clock
//! that jumps to whatever happens next ([`world`]). One seed decides everything. A reference model ([`model`]) that knows nothing
//! of messages predicts who must reach whom by which ways, and the world is held to it whenever it is at rest ([`verify`]);
//! some things must hold after each step (`world::watch`). Situations that the runs are there for are counted ([`marks`]): a
//! set of runs that misses one has failed. That a defect would be found is shown by speakers that have one ([`world::Mutant`]).
//!
//! ```text
//!   scenario ──► topology (hosts, links, objects) ──► world ──► speakers, plans, kernels
//!       │  └───► faults (a swarm, from the seed) ───────┘ │
//!       └──────► model ──► verify ◄───────────────────────┘      trace: a digest of all that happened
//! ```
//!
//! The crate is pure: no clock, no socket, no thread, no order that is not defined. Its program reads arguments and prints.
#![forbid(unsafe_code)]

pub mod dice;
pub mod faults;
pub mod kernel;
pub mod marks;
pub mod model;
pub mod queue;
pub mod rogue;
pub mod scenario;
pub mod tcp;
pub mod topology;
pub mod trace;
pub mod traffic;
pub mod verify;
pub mod world;
