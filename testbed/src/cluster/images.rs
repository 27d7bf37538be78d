//! The images of the cluster: there is no registry, so they are made of programs and given to every containerd.
//!
//! The upstream tests expect `curl`, `dig`, `nc`, `ping` and `ip` and a shell in their images, so the image of agnhost
//! carries the machine's own, and stands in under the names of busybox and jessie-dnsutils as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};

use super::parts::Parts;
use crate::image::Image;
use crate::process::locate;

/// The upstream test server with tools; also what our own pods run.
pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.56";
/// The name server.
pub const COREDNS: &str = "registry.k8s.io/coredns/coredns:flatroute";
/// The archive that `make image` writes.
pub const OURS: &str = "image/flatroute.tar";

/// Programs of the machine that the upstream tests call in their images; not all machines have all.
const TOOLS: [&str; 43] = [
    "awk", "base64", "bash", "cat", "chmod", "cp", "curl", "cut", "date", "dig", "env", "expr", "find",
    "getent", "grep", "head", "host", "hostname", "id", "ip", "ls", "mkdir", "mktemp", "nc", "nslookup",
    "ping", "printf", "rm", "sed", "seq", "sh", "sleep", "sort", "stat", "tail", "tee", "timeout", "touch",
    "tr", "uname", "wc", "wget", "xargs",
];

/// The archives, written where they were not or are older than what they are made of.
///
/// # Errors
/// A part is not built, or a file cannot be written.
pub fn write(dir: &Path, parts: &Parts) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let pause = Image::new(["registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10"])
        .file("/pause", parts.find("pause")?, 0o755)
        .entrypoint(["/pause"]);
    let coredns = Image::new([COREDNS])
        .file("/coredns", parts.find("coredns")?, 0o755)
        .entrypoint(["/coredns"]);
    let mut written = Vec::new();
    for (name, image, program) in [
        ("pause.tar", pause, "pause"),
        ("coredns.tar", coredns, "coredns"),
        ("agnhost.tar", agnhost(dir, parts)?, "agnhost"),
    ] {
        let path = dir.join(name);
        if !is_newer(
            &path,
            &[
                &parts.find(program)?,
                &std::env::current_exe().context("this program")?,
            ],
        ) {
            image.write(&path)?;
        }
        written.push(path);
    }
    Ok(written)
}

fn agnhost(dir: &Path, parts: &Parts) -> Result<Image> {
    let mut image = Image::new([
        AGNHOST,
        "registry.k8s.io/e2e-test-images/busybox:1.36.1-1",
        "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
        "registry.k8s.io/e2e-test-images/jessie-dnsutils:1.7",
    ])
    .file("/agnhost", parts.find("agnhost")?, 0o755)
    .text(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        0o644,
    )
    .text("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)
    .text(
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
        0o644,
    )
    .file("/localhost.crt", localhost(dir, "crt")?, 0o644)
    .file("/localhost.key", localhost(dir, "key")?, 0o644)
    .directory("/tmp", 0o1777)
    .directory("/root", 0o700)
    .directory("/run", 0o755)
    .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    .entrypoint(["/agnhost"])
    .command(["pause"]);
    for tool in TOOLS {
        if let Some(path) = locate(tool) {
            let path = fs::canonicalize(&path).with_context(|| format!("resolve {}", path.display()))?;
            image = image.program(format!("/bin/{tool}"), path)?;
        }
    }
    // glibc loads these by name when it looks up names.
    for library in ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"] {
        for dir in [
            "/lib/x86_64-linux-gnu",
            "/lib/aarch64-linux-gnu",
            "/lib64",
            "/usr/lib",
        ] {
            let path = Path::new(dir).join(library);
            if path.is_file() {
                image = image.file(&path, &path, 0o644);
            }
        }
    }
    Ok(image)
}

/// The certificate or the key by which agnhost serves TLS, made once. Upstream's image carries one for `localhost`.
fn localhost(dir: &Path, which: &str) -> Result<PathBuf> {
    let path = |which: &str| dir.join(format!("localhost.{which}"));
    if !path("crt").is_file() {
        let openssl = locate("openssl").context("openssl is not installed: sudo make test-deps")?;
        let output = Command::new(openssl)
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "3650",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"])
            .arg(path("key"))
            .arg("-out")
            .arg(path("crt"))
            .output()
            .context("run openssl")?;
        ensure!(
            output.status.success(),
            "openssl req: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(path(which))
}

fn is_newer(path: &Path, than: &[&Path]) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let oldest = |sources: &[&Path]| {
        sources
            .iter()
            .filter_map(|p| time(p))
            .max()
            .unwrap_or_else(SystemTime::now)
    };
    time(path).is_some_and(|written| written > oldest(than))
}
