//! Addresses of pods: which are free, who has which.
//!
//! The state is a directory a network, `stateDir/NETWORK`:
//!
//! ```text
//! 10.244.1.7                      in use; the file says boot id, container id, interface
//! fd00:244:1::7
//! released                        a line for each address that was given back: 123456 10.244.1.9 (ms after boot)
//! locks/frabcdefghijklm           an attachment that exists, or is being made or removed; not empty: it may have hostPorts
//! turns/0 …                       held by the few ADDs that are at work in the kernel at the moment
//! turns/queue                     held by the next one
//! sighted/00000000000123456-10.244.1.7 seen 123456 ms after boot without a pod behind it
//! lock                            serialises all changes here; says the boot id
//! ```
//!
//! **Killed at any point.** Every change is one atomic step: an address file is written without a name (O_TMPFILE) and
//! then linked, so it is there whole or not at all; giving an address back is noted first, and done by removing the file. What a
//! killed ADD leaves is therefore always an address file with the container's id in it, which DEL and GC find.
//!
//! **Boots.** Namespaces die with the kernel, so addresses of another boot are forgotten: the first change after a boot
//! finds another boot id in `lock`, clears the directory, and writes the id last, so that a kill in between only means
//! clearing again. Lock files go too, but for those that somebody holds. At that moment the host interfaces that exist (there are some when only the directory was lost)
//! put their addresses back in: [`Record`]s read from link aliases.
//!
//! **Reuse.** An address that was never used comes first, then the one that has been free for longest, and none before
//! its cool-down is over: packets and connection-tracking entries of its former owner have time to die.

mod attachment;
mod files;
mod pool;
mod released;
mod sightings;
mod store;
mod wish;

pub(crate) use attachment::{AttachmentLock, Claim};
pub(crate) use pool::Pool;
pub(crate) use sightings::{Sighting, Sightings};
pub(crate) use store::{Locked, Record, Rest, Store};
pub(crate) use wish::{Fixed, Wish};
