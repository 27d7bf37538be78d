//! The routing information base.

mod values;

pub use values::{
    Batch, Counts, FibPath, LimitOutcome, LocalAddresses, Multipath, PeerIndex, PeerSettings, RouteChange,
    RouteInfo, RouteView,
};
