//! What containerd says of its own work: its log has the beginning and the end of each call, in nanoseconds, and its metrics
//! the time that plugins took.
//!
//! The API server's timestamps are whole seconds, and the kubelet looks at its pods once a second; so the moment in which a
//! container started, and what a sandbox cost, are taken from here. Both clocks are the machine's.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use k8s_openapi::jiff::Timestamp;

/// A point of the machine's clock, since 1970.
pub(super) type Moment = Duration;

/// Now.
pub(super) fn now() -> Moment {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What became of one pod, as its runtime saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Course {
    /// Its sandbox, of the try that succeeded: asked for, and there.
    pub(super) run: Option<(Moment, Moment)>,
    /// Its container runs.
    pub(super) started: Option<Moment>,
    /// Its sandbox, asked to go for the first time, and gone.
    pub(super) stop: Option<(Moment, Moment)>,
    /// How many tries for a sandbox failed.
    pub(super) failures: u32,
}

/// The courses of pods by name, from the log of containerd. A pod has one container here.
pub(super) fn courses(log: &str) -> BTreeMap<String, Course> {
    let mut found = Courses::default();
    for line in log.lines() {
        if let Some((at, words)) = read(line) {
            found.take(at, &words);
        }
    }
    found.pods
}

#[derive(Default)]
struct Courses {
    pods: BTreeMap<String, Course>,
    asked: BTreeMap<String, Moment>,
    /// Whose sandbox it is.
    sandboxes: BTreeMap<String, String>,
    /// Whose container it is.
    containers: BTreeMap<String, String>,
    stopping: BTreeMap<String, Moment>,
}

impl Courses {
    fn take(&mut self, at: Moment, words: &str) {
        if let Some(rest) = words.strip_prefix("RunPodSandbox for &PodSandboxMetadata{Name:") {
            let Some((pod, rest)) = rest.split_once(',') else {
                return;
            };
            self.run(at, pod, rest);
        } else if let Some(rest) = words.strip_prefix("CreateContainer within sandbox \"") {
            let sandbox = rest.split('"').next().unwrap_or_default();
            if let (Some(pod), Some(id)) = (
                self.sandboxes.get(sandbox),
                behind(rest, "returns container id \""),
            ) {
                self.containers.insert(id.to_owned(), pod.clone());
            }
        } else if let Some(id) = whole(words, "StartContainer for \"", "\" returns successfully") {
            if let Some(pod) = self.containers.get(id) {
                self.pods.entry(pod.clone()).or_default().started = Some(at);
            }
        } else if let Some(id) = whole(words, "StopPodSandbox for \"", "\" returns successfully") {
            let (Some(pod), Some(from)) = (self.sandboxes.get(id), self.stopping.get(id)) else {
                return;
            };
            // The kubelet asks again to be sure; those answers come at once.
            self.pods
                .entry(pod.clone())
                .or_default()
                .stop
                .get_or_insert((*from, at));
        } else if let Some(id) = whole(words, "StopPodSandbox for \"", "\"") {
            self.stopping.entry(id.to_owned()).or_insert(at);
        }
    }

    fn run(&mut self, at: Moment, pod: &str, rest: &str) {
        let course = self.pods.entry(pod.to_owned()).or_default();
        if let Some(id) = behind(rest, "returns sandbox id \"") {
            course.run = self.asked.get(pod).map(|from| (*from, at));
            self.sandboxes.insert(id.to_owned(), pod.to_owned());
        } else if rest.contains("failed") {
            course.failures += 1;
        } else {
            self.asked.insert(pod.to_owned(), at);
        }
    }
}

/// What stands behind `start` until the next quote.
fn behind<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split('"').next()
}

/// What stands between, when that is all.
fn whole<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.strip_suffix(end)
}

/// The time of a line of the log, and its message.
fn read(line: &str) -> Option<(Moment, String)> {
    let time = behind(line, "time=\"")?;
    let (_, rest) = line.split_once(" msg=\"")?;
    let mut words = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => words.push(letters.next()?),
            letter => words.push(letter),
        }
    }
    let at = time.parse::<Timestamp>().ok()?.as_nanosecond();
    Some((Duration::from_nanos(u64::try_from(at).ok()?), words))
}

/// How often plugins were called for an operation since containerd began, and how long they took together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Plugins {
    count: f64,
    seconds: f64,
}

impl Plugins {
    /// The mean of the calls since an earlier look.
    pub(super) fn mean_since(self, earlier: Self) -> Option<Duration> {
        let calls = self.count - earlier.count;
        let mean = (self.seconds - earlier.seconds) / calls;
        Duration::try_from_secs_f64(mean).ok()
    }

    /// From containerd's metrics. An operation that never was is in none of them.
    pub(super) fn read(metrics: &str, operation: &str) -> Result<Self> {
        let value = |which: &str| -> Result<f64> {
            let start = format!(
                "containerd_cri_network_plugin_operations_duration_seconds_{which}{{operation_type=\"{operation}\"}} "
            );
            let found = metrics.lines().find_map(|line| line.strip_prefix(&start));
            found.map_or(Ok(0.0), |text| {
                text.parse().with_context(|| format!("{start}{text}"))
            })
        };
        Ok(Self {
            count: value("seconds_count")?,
            seconds: value("seconds_sum")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Course, Plugins, courses};

    const LOG: &str = r#"
time="2026-11-26T00:50:00.100000000Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:pace-1,Uid:u,Namespace:default,Attempt:0,}"
time="2026-11-26T00:50:00.150000000Z" level=error msg="RunPodSandbox for &PodSandboxMetadata{Name:pace-1,Uid:u,Namespace:default,Attempt:0,} failed, error" error="no network"
time="2026-11-26T00:50:01.000000001Z" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:pace-1,Uid:u,Namespace:default,Attempt:1,}"
time="2026-11-26T01:50:01.250000001+01:00" level=info msg="RunPodSandbox for &PodSandboxMetadata{Name:pace-1,Uid:u,Namespace:default,Attempt:1,} returns sandbox id \"5a\""
time="2026-11-26T00:50:01.300000000Z" level=info msg="CreateContainer within sandbox \"5a\" for container &ContainerMetadata{Name:pause,Attempt:0,}"
time="2026-11-26T00:50:01.310000000Z" level=info msg="CreateContainer within sandbox \"5a\" for &ContainerMetadata{Name:pause,Attempt:0,} returns container id \"c0\""
time="2026-11-26T00:50:01.320000000Z" level=info msg="StartContainer for \"c0\""
time="2026-11-26T00:50:01.400000000Z" level=info msg="StartContainer for \"c0\" returns successfully"
time="2026-11-26T00:50:05.000000000Z" level=info msg="StopPodSandbox for \"5a\""
time="2026-11-26T00:50:05.100000000Z" level=info msg="TearDown network for sandbox \"5a\" successfully"
time="2026-11-26T00:50:05.200000000Z" level=info msg="StopPodSandbox for \"5a\" returns successfully"
time="2026-11-26T00:50:06.000000000Z" level=info msg="StopPodSandbox for \"5a\""
time="2026-11-26T00:50:06.000100000Z" level=info msg="StopPodSandbox for \"5a\" returns successfully"
not a line of the log
"#;

    #[test]
    fn a_course_is_read_from_the_log() {
        let found = courses(LOG);
        let course = found["pace-1"];
        let at = |ms: u64| Duration::from_nanos(1_795_654_200_000_000_000) + Duration::from_millis(ms);
        let one = Duration::from_nanos(1);
        assert_eq!(
            course,
            Course {
                run: Some((at(1000) + one, at(1250) + one)),
                started: Some(at(1400)),
                stop: Some((at(5000), at(5200))),
                failures: 1,
            }
        );
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn the_mean_of_plugins_is_of_the_calls_between_two_looks() {
        let text = |count: u32, sum: f64| {
            format!(
                "# HELP …\ncontainerd_cri_network_plugin_operations_duration_seconds_seconds_sum{{operation_type=\"set_up_pod\"}} {sum}\n\
                 containerd_cri_network_plugin_operations_duration_seconds_seconds_count{{operation_type=\"set_up_pod\"}} {count}\n"
            )
        };
        let read = |text: &str| Plugins::read(text, "set_up_pod").expect("metrics");
        let (before, after) = (read(&text(2, 10.0)), read(&text(6, 11.0)));
        assert_eq!(after.mean_since(before), Some(Duration::from_millis(250)));
        assert_eq!(after.mean_since(after), None);
        assert_eq!(read(""), Plugins::default());
        assert!(Plugins::read(&text(1, f64::NAN).replace("NaN", "soon"), "set_up_pod").is_err());
    }
}
