//! Observe: where the objects come from. At present a directory of manifests ([`standalone`]); the watches of an
//! API server will stand beside it and give the same.

pub(crate) mod files;
pub(crate) mod standalone;
