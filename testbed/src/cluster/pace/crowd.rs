//! A hundred pods on one node, created at once and deleted at once.
//!
//! Each is the smallest there is: one container that does nothing, no token, bound to the node by its specification, so that no
//! scheduler counts. A pod's time begins when the API server says that the pod is there (or is to go), seen by a watch; a
//! container's start and the sandbox are containerd's own words; Ready and gone are the API server's, seen by the watch,
//! and contain the kubelet's look at its pods once a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::figure::Figure;
use super::runtime::{Course, Moment, Plugins, courses};
use super::watch::{Change, Watch};
use crate::cluster::Cluster;
use crate::cluster::kubectl::unready;
use crate::cluster::model::ask;
use crate::cluster::node::{METRICS, Node, PAUSE_IMAGE};

/// How many; the kubelet takes 110 pods, and a few are there already.
pub(super) const PODS: usize = 100;
/// Until all of them run, or are gone, on two cores.
const BOUND: Duration = Duration::from_secs(300);
/// The label that they share.
const LABEL: &str = "app=pace";
/// What containerd calls the plugins' ADD and DEL.
const OPERATIONS: [&str; 2] = ["set_up_pod", "tear_down_pod"];

/// When a pod was what, as the watch saw it.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    there: Option<Moment>,
    ready: Option<Moment>,
    marked: Option<Moment>,
    gone: Option<Moment>,
}

/// Creates them on a node, deletes them, and says how long it took.
///
/// # Errors
/// Not all of them come, or go, in time.
pub(super) fn measure(cluster: &Cluster, node: &Node) -> Result<Vec<Figure>> {
    let watch = Watch::start(
        &cluster.kubectl,
        "/api/v1/namespaces/default/pods",
        "labelSelector=app%3Dpace",
    )?;
    let mut seen = BTreeMap::new();
    let before = plugins(cluster, node)?;
    let list: Vec<_> = (0..PODS).map(|number| pod(number, &node.name)).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": list});
    cluster
        .kubectl
        .feed(&["create", "--validate=false", "-f", "-"], &list.to_string())?;
    follow(&watch, &mut seen, "be ready", |pod| pod.ready)?;
    cluster
        .teller
        .say(&format!("{PODS} pods on {} are ready", node.name));
    let full = plugins(cluster, node)?;
    let delete = ["delete", "pods", "-l", LABEL, "--wait=false"];
    cluster.kubectl.run(&delete)?;
    follow(&watch, &mut seen, "be gone", |pod| pod.gone)?;
    cluster
        .teller
        .say(&format!("{PODS} pods on {} are gone", node.name));
    let after = plugins(cluster, node)?;
    let courses = courses(&node.containerd_log());
    let failures: u32 = seen
        .keys()
        .filter_map(|name| courses.get(name))
        .map(|c| c.failures)
        .sum();
    if failures > 0 {
        cluster.teller.say(&format!(
            "{failures} tries for a sandbox failed and were repeated"
        ));
    }
    figures(
        &seen,
        &courses,
        [full[0].mean_since(before[0]), after[1].mean_since(full[1])],
    )
}

fn pod(number: usize, node: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("pace-{number:03}"), "namespace": "default", "labels": {"app": "pace"}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "containers": [{"name": "pause", "image": PAUSE_IMAGE, "imagePullPolicy": "Never"}],
        },
    })
}

/// Takes in changes until every pod has what is awaited.
fn follow(
    watch: &Watch,
    seen: &mut BTreeMap<String, Seen>,
    what: &str,
    has: impl Fn(&Seen) -> Option<Moment>,
) -> Result<()> {
    let deadline = Instant::now() + BOUND;
    loop {
        let done = seen.values().filter(|pod| has(pod).is_some()).count();
        if done == PODS {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(change) = watch.next(left)? else {
            bail!(
                "waited {} s for {PODS} pods to {what}, in vain: {done} are",
                BOUND.as_secs()
            );
        };
        take(seen.entry(change.name().to_owned()).or_default(), &change);
    }
}

fn take(pod: &mut Seen, change: &Change) {
    pod.there.get_or_insert(change.at);
    if unready(&change.object).is_none() {
        pod.ready.get_or_insert(change.at);
    }
    if !change.object["metadata"]["deletionTimestamp"].is_null() {
        pod.marked.get_or_insert(change.at);
    }
    if change.gone {
        pod.gone.get_or_insert(change.at);
    }
}

/// What plugins did on a node until now: ADD, DEL.
fn plugins(cluster: &Cluster, node: &Node) -> Result<[Plugins; 2]> {
    let namespace = cluster.ground.fabric.namespace(&node.name)?;
    let text = ask::http(namespace, METRICS, "/v1/metrics")?;
    let [add, delete] = OPERATIONS.map(|operation| Plugins::read(&text, operation));
    Ok([add?, delete?])
}

/// From moments to times. `plugins` are the means of ADD and DEL.
fn figures(
    seen: &BTreeMap<String, Seen>,
    courses: &BTreeMap<String, Course>,
    plugins: [Option<Duration>; 2],
) -> Result<Vec<Figure>> {
    let mut times: [Vec<Duration>; 5] = Default::default();
    let (mut there, mut started, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    let (mut marked, mut gone) = (Vec::new(), Vec::new());
    for (name, pod) in seen {
        let course = courses.get(name).copied().unwrap_or_default();
        let whole = || {
            Some((
                (pod.there?, pod.ready?, pod.marked?, pod.gone?),
                (course.run?, course.started?, course.stop?),
            ))
        };
        let (api, runtime) =
            whole().with_context(|| format!("{name}: a moment is missing: {pod:?} {course:?}"))?;
        let ((from, up), (asked, made)) = (runtime.0, runtime.2);
        for (all, (from, to)) in times.iter_mut().zip([
            (api.0, runtime.1),
            (api.0, api.1),
            (from, up),
            (api.2, api.3),
            (asked, made),
        ]) {
            all.push(to.saturating_sub(from));
        }
        there.push(api.0);
        started.push(runtime.1);
        ready.push(api.1);
        marked.push(api.2);
        gone.push(api.3);
    }
    ensure!(there.len() == PODS, "{} pods were seen, not {PODS}", there.len());
    let between = |from: &[Moment], to: &[Moment]| {
        let first = from.iter().min().copied().unwrap_or_default();
        to.iter().max().copied().unwrap_or_default().saturating_sub(first)
    };
    let mean = |name: &str, took: Option<Duration>| took.map(|took| Figure::new(name, took));
    let mut found = Vec::new();
    found.extend(Figure::percentiles(
        "start: pod created → container runs",
        &times[0],
    ));
    found.extend(Figure::percentiles("start: pod created → Ready", &times[1]));
    found.push(Figure::new(
        "start: first created → all containers run",
        between(&there, &started),
    ));
    found.push(Figure::new(
        "start: first created → all Ready",
        between(&there, &ready),
    ));
    found.extend(Figure::percentiles("start: RunPodSandbox", &times[2]));
    found.extend(mean("start: plugins' ADD, mean", plugins[0]));
    found.extend(Figure::percentiles("end: pod marked → gone", &times[3]));
    found.push(Figure::new(
        "end: first marked → all gone",
        between(&marked, &gone),
    ));
    found.extend(Figure::percentiles("end: StopPodSandbox", &times[4]));
    found.extend(mean("end: plugins' DEL, mean", plugins[1]));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{Course, PODS, Seen, figures};
    use crate::cluster::pace::figure::seconds;

    /// Pods that come one every 10 ms, and take 100 ms to a sandbox, 200 ms to run, 300 ms to be Ready.
    fn crowd() -> (BTreeMap<String, Seen>, BTreeMap<String, Course>) {
        let at = |number: usize, ms: u64| Duration::from_millis(10 * number as u64 + ms);
        let seen = |n| Seen {
            there: Some(at(n, 0)),
            ready: Some(at(n, 300)),
            marked: Some(at(n, 5000)),
            gone: Some(at(n, 5700)),
        };
        let course = |n| Course {
            run: Some((at(n, 20), at(n, 120))),
            started: Some(at(n, 200)),
            stop: Some((at(n, 5100), at(n, 5150))),
            failures: 0,
        };
        let name = |n: usize| format!("pace-{n:03}");
        (
            (0..PODS).map(|n| (name(n), seen(n))).collect(),
            (0..PODS).map(|n| (name(n), course(n))).collect(),
        )
    }

    #[test]
    fn times_are_from_each_pods_own_beginning_and_of_all_from_the_first() {
        let (seen, courses) = crowd();
        let mean = Some(Duration::from_millis(40));
        let found = figures(&seen, &courses, [mean, None]).expect("figures");
        let found: Vec<_> = found
            .iter()
            .map(|f| format!("{} {}", f.name, seconds(f.took)))
            .collect();
        assert_eq!(
            found,
            [
                "start: pod created → container runs, p50 0.200",
                "start: pod created → container runs, p99 0.200",
                "start: pod created → Ready, p50 0.300",
                "start: pod created → Ready, p99 0.300",
                "start: first created → all containers run 1.190",
                "start: first created → all Ready 1.290",
                "start: RunPodSandbox, p50 0.100",
                "start: RunPodSandbox, p99 0.100",
                "start: plugins' ADD, mean 0.040",
                "end: pod marked → gone, p50 0.700",
                "end: pod marked → gone, p99 0.700",
                "end: first marked → all gone 1.690",
                "end: StopPodSandbox, p50 0.050",
                "end: StopPodSandbox, p99 0.050",
            ]
        );
    }

    #[test]
    fn a_moment_that_is_missing_is_named_and_not_left_out() {
        let (seen, mut courses) = crowd();
        courses.remove("pace-007");
        let error = figures(&seen, &courses, [None, None]).expect_err("a pod without a course");
        assert!(error.to_string().contains("pace-007"), "{error:#}");
        let (mut seen, courses) = crowd();
        seen.remove("pace-008");
        let error = figures(&seen, &courses, [None, None]).expect_err("99 pods");
        assert!(error.to_string().contains("99 pods"), "{error:#}");
    }
}
