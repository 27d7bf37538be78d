//! The CustomResourceDefinitions and the check of manifests, before a real API server.
#![allow(clippy::unwrap_used, reason = "a test")]

mod definitions;
mod judges;
mod largest;

use std::path::Path;

use flatroute_lab::apiserver::ApiServer;

/// The definitions, as they are applied, and seen to be in use.
pub(crate) fn install(server: &ApiServer) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let dir = dir.display().to_string();
    let said = server
        .kubectl(&["apply", "--server-side", "-k", &dir])
        .expect("the API server takes the definitions");
    let established = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
        "--all",
    ];
    server.kubectl(&established).expect("they are in use");
    said
}
