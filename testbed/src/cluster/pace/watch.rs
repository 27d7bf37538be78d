//! The API server's objects as they change, each change with the moment in which it came here.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::runtime::{Moment, now};
use crate::cluster::kubectl::Kubectl;

/// Changes that wait to be read; more than a hundred pods make while nobody reads.
const CAPACITY: usize = 8192;
/// The watch ends by itself after so long, seconds: longer than anything that is measured by one.
const LIFE: u32 = 900;

/// One change of an object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// When it came.
    pub(super) at: Moment,
    /// Whether the object is gone.
    pub(super) gone: bool,
    /// As it is now, or was at last.
    pub(super) object: Value,
}

impl Change {
    /// The object's name.
    pub(super) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// A running watch; dropped, it ends.
#[derive(Debug)]
pub(super) struct Watch {
    child: Child,
    changes: Receiver<Change>,
}

impl Watch {
    /// Begins to watch the objects of a path of the API, such as `/api/v1/nodes`, that a selector chooses (a query, such as
    /// `labelSelector=app%3Dhello`). Those that are there already come first.
    pub(super) fn start(kubectl: &Kubectl, path: &str, selector: &str) -> Result<Self> {
        let url = format!("{path}?watch=1&timeoutSeconds={LIFE}&{selector}");
        let mut child = kubectl
            .command(&["get", "--raw", &url])
            .stdout(Stdio::piped())
            .spawn()
            .context("run kubectl")?;
        let output = child.stdout.take().context("the output of kubectl")?;
        let (tell, changes) = sync_channel(CAPACITY);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let at = now();
                let Some(change) = read(at, &line) else { return };
                if tell.send(change).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, changes })
    }

    /// The next change, or `None` when there is none within `bound`.
    ///
    /// # Errors
    /// The watch has ended.
    pub(super) fn next(&self, bound: Duration) -> Result<Option<Change>> {
        match self.changes.recv_timeout(bound) {
            Ok(change) => Ok(Some(change)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the API server ended a watch"),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read(at: Moment, line: &str) -> Option<Change> {
    let mut event: Value = serde_json::from_str(line).ok()?;
    let gone = match event["type"].as_str()? {
        "ADDED" | "MODIFIED" => false,
        "DELETED" => true,
        _ => return None,
    };
    Some(Change {
        at,
        gone,
        object: event["object"].take(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::read;

    #[test]
    fn only_changes_of_objects_are_changes() {
        let change =
            |line: &str| read(Duration::from_secs(7), line).map(|c| (c.gone, c.name().to_owned(), c.at));
        let at = Duration::from_secs(7);
        let line = |kind: &str| format!(r#"{{"type":"{kind}","object":{{"metadata":{{"name":"node4"}}}}}}"#);
        assert_eq!(change(&line("ADDED")), Some((false, "node4".to_owned(), at)));
        assert_eq!(change(&line("MODIFIED")), Some((false, "node4".to_owned(), at)));
        assert_eq!(change(&line("DELETED")), Some((true, "node4".to_owned(), at)));
        assert_eq!(change(&line("ERROR")), None);
        assert_eq!(change("half a li"), None);
    }
}
