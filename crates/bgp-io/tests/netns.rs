//! Kernel tests: keys on several links and on link-local neighbours, in network namespaces that each test makes for
//! itself.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod netns {
    pub(crate) mod lab;
    mod link_local;
    mod md5;
}
mod world;
