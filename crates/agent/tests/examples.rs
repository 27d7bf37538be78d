//! The manifests that deploy/ shows are good ones, and `check` says so.

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_manifests_have_no_problems() {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/standalone/manifests");
    let output = Command::new(env!("CARGO_BIN_EXE_flatroute-agent"))
        .arg("check")
        .arg(&manifests)
        .output()
        .expect("the agent starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.trim(), "4 objects, no problems");
}
