//! `flatroute-agent check` as a script sees it.

use std::process::Command;

fn check(manifest: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("peers.yaml"), manifest).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_flatroute-agent"))
        .arg("check")
        .arg(dir.path())
        .output()
        .expect("the agent starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

const GOOD: &str = "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor-a}\nspec: {peerAddress: 10.0.1.1, peerASN: 65001}\n";

#[test]
fn exit_codes_serve_in_scripts() {
    let (code, text) = check(GOOD);
    assert_eq!((code, text.as_str()), (Some(0), "1 object, no problems\n"));
    let (code, text) = check(&GOOD.replace("peerASN", "peerAsn"));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("peers.yaml:1:") && text.contains("spec.peerAsn") && text.contains("peerASN"),
        "{text}"
    );
}
