//! Kernel tests: the real netlink, in a network namespace that each test makes for itself.

mod netns {
    mod gateways;
    pub(crate) mod lab;
    mod links;
    mod lookup;
    mod routes;
    mod task;
}
