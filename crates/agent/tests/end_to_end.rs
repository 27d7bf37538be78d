//! The real agent, end to end: real processes, real kernels (network namespaces that each test makes), manifests as a
//! user writes them, and the control socket as a user asks it.

mod end_to_end {
    mod agent;
    mod api_server;
    mod check;
    mod discovery;
    mod keys;
    mod lab;
    mod leadership;
    mod lost;
    mod pods;
    mod readiness;
    mod reflection;
    mod relay;
    mod respawn;
    mod settings;
    mod several_paths;
    mod stories;
    mod unnumbered;
}
