//! UPDATE (RFC 4271 §4.3): withdrawn prefixes, attributes, announced prefixes.

mod decode;
mod encode;

pub(super) use decode::decode;
pub use encode::{encode_end_of_rib, encode_reach, encode_unreach};
