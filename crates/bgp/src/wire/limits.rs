//! How much one UPDATE may hold. docs/limits.md says what happens beyond each, and why it is where it is.
//!
//! A message bounds everything already, but a long one (RFC 8654) at 65,535 octets; and what is taken here is kept, passed
//! on in messages that may be short, and shown. So a route's parts are bounded one by one. A route beyond a limit is
//! treated as withdrawn, with a reason: to cut an attribute would change what it says. The encoder knows no limits but
//! the message's.

/// The most attributes in one UPDATE. There are no more type codes, so beyond are only repetitions.
pub const MAX_ATTRIBUTES: usize = 256;
/// The most AS numbers in AS_PATH or AS4_PATH. With four octets each they leave a quarter of a message of 4,096 octets for
/// the rest of a route, so that what is taken can be passed on.
pub const MAX_AS_PATH: usize = 750;
/// The most communities of one kind on a route: as many of the small ones as a message of 4,096 octets could hold.
pub const MAX_COMMUNITIES: usize = 1024;
/// The most clusters in CLUSTER_LIST: a route is reflected as often as an IP packet may be forwarded, and no more.
pub const MAX_CLUSTER_LIST: usize = 255;
/// The most octets in the values of unknown attributes of one route: as many as a message of 4,096 octets could hold.
pub const MAX_UNKNOWN_OCTETS: usize = 4096;
