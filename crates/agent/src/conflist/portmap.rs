//! The portmap plugin: whether it is there, and which versions of CNI it speaks.
//!
//! It is asked as a runtime asks it (`CNI_COMMAND=VERSION`). In a container image without a C library that works only with a
//! plugin that brings its own, as the upstream archives do; a distribution's needs the host's loader and cannot be
//! started from here. Then its text is looked at instead: the Go linker lays string constants of one length side by
//! side in order, so a program that names the versions 0.4.0 and 1.0.0 holds `0.4.01.0.0`. Only 1.0.0 is concluded from that; without
//! it the plugin is left out, because one that does not speak the list's version would fail every pod.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of its answer is read, in octets.
const MAX_ANSWER: u64 = 64 << 10;
/// How large a program is looked at, in octets; portmap has about 4 million.
const MAX_PROGRAM: u64 = 64 << 20;
/// How the names of versions lie in a program that speaks 1.0.0.
const TRACE: &[u8] = b"0.4.01.0.0";

/// The plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Portmap {
    /// It is not installed.
    Absent,
    /// It speaks these versions.
    Speaks(Vec<String>),
    /// It is there and cannot be used, for this reason.
    Unusable(String),
}

impl Portmap {
    /// The versions of ours that it speaks; `None`: it is not to be chained.
    pub(super) fn speaks(&self) -> Option<&[String]> {
        match self {
            Self::Speaks(versions) => Some(versions),
            Self::Absent | Self::Unusable(_) => None,
        }
    }

    /// What an operator should hear.
    pub(super) fn trouble(&self, bin_dir: &Path) -> Option<String> {
        let path = bin_dir.join("portmap");
        let mut text = match self {
            Self::Speaks(_) => return None,
            Self::Absent => format!("hostPort is unavailable: there is no {}", path.display()),
            Self::Unusable(why) => format!("hostPort is unavailable: {}: {why}", path.display()),
        };
        let _ = write!(
            text,
            "; pods with hostPort run without it. Remedy: install the portmap plugin of containernetworking, 1.0 or newer"
        );
        Some(text)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    supported_versions: Vec<String>,
}

/// Finds out.
pub(super) fn ask(bin_dir: &Path) -> Portmap {
    let path = bin_dir.join("portmap");
    if !path.is_file() {
        return Portmap::Absent;
    }
    let speaks = match version(&path) {
        Ok(speaks) => speaks,
        // The file is there: what is not found is its loader.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match has_trace(&path) {
            Ok(true) => vec!["1.0.0".to_owned()],
            Ok(false) => {
                return Portmap::Unusable(
                    "it cannot be started from the agent's container, and its text names no version 1.0.0"
                        .to_owned(),
                );
            }
            Err(error) => return Portmap::Unusable(format!("it cannot be read: {error}")),
        },
        Err(error) => return Portmap::Unusable(format!("its versions are not known: {error}")),
    };
    let ours: Vec<String> = speaks
        .into_iter()
        .filter(|version| super::VERSIONS.contains(&version.as_str()))
        .collect();
    if ours.is_empty() {
        return Portmap::Unusable("it speaks no version from 1.0.0 on".to_owned());
    }
    Portmap::Speaks(ours)
}

/// Asks it for its versions.
fn version(path: &Path) -> io::Result<Vec<String>> {
    let since = Instant::now();
    let mut child = loop {
        let started = Command::new(path)
            .env_clear()
            .env("CNI_COMMAND", "VERSION")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match started {
            // Somebody is installing it this moment.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && since.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            other => break other?,
        }
    };
    let request = br#"{"cniVersion": "1.0.0"}"#;
    if let Some(mut input) = child.stdin.take() {
        // It may answer without reading.
        let _ = input.write_all(request);
    }
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if since.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            let text = format!("no answer to VERSION within {} s", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        // Its answer is a line, which fits into the pipe: it ends without a reader.
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(MAX_ANSWER).read_to_end(&mut answer)?;
    }
    if !status.success() {
        return Err(io::Error::other(format!("VERSION failed: {status}")));
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(io::Error::other)?;
    Ok(answer.supported_versions)
}

fn has_trace(path: &Path) -> io::Result<bool> {
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_PROGRAM)
        .read_to_end(&mut text)?;
    Ok(text.windows(TRACE.len()).any(|window| window == TRACE))
}
