//! The audit log of the API server: one user, at the level Metadata, without the stage in which a request has only arrived.

use std::io;
use std::path::{Path, PathBuf};

/// How large it may become, in MiB, before it is begun anew.
const MAX_MIB: u32 = 64;

fn policy(dir: &Path) -> PathBuf {
    dir.join("audit-policy.yaml")
}

pub(crate) fn log(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

pub(crate) fn write_policy(dir: &Path, user: &str) -> io::Result<()> {
    let text = format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {{level: Metadata, users: [\"{user}\"]}}\n- {{level: None}}\n"
    );
    std::fs::write(policy(dir), text)
}

/// The options of the API server.
pub(crate) fn options(dir: &Path) -> [String; 4] {
    [
        format!("--audit-policy-file={}", policy(dir).display()),
        format!("--audit-log-path={}", log(dir).display()),
        format!("--audit-log-maxsize={MAX_MIB}"),
        "--audit-log-maxbackup=1".to_owned(),
    ]
}
