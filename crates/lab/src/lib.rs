//! Network namespaces, and a real API server, for the tests of other crates; no program links this.
//!
//! A namespace is entered by one thread, never by the whole process, so tests run side by side. It goes with its last
//! thread, process and socket, also after a failure: nothing needs to be taken down, and the machine's own network is
//! never touched. It takes root, or `unshare -rn cargo test …`, because a thread cannot enter a user namespace by
//! itself; where that is forbidden the test is skipped, loudly.

pub mod apiserver;
mod audit;
mod namespace;
mod skip;
mod sys;

pub use namespace::{Namespace, in_fresh_netns, ip};
pub use skip::{note_skip, note_skip_of};
