//! Routes that outlive their session (RFC 4724 §4.2): how long, and what ends them.

use std::time::Duration;

/// How long a peer that is back may take to say all its routes again: End-of-RIB, a family. Then what it has not said
/// again is removed (RFC 4724 §4.2, Selection_Deferral_Timer's counterpart).
pub const STALE_TIME: Duration = Duration::from_secs(360);
