//! Thousands of processes on one network at once: a runtime that starts calls again and again while earlier ones still wait makes
//! such a crowd (5,000 processes waited for host-local's lock, plugins#561). Each call ends in time, with success or with the
//! word that it may be tried again, and nothing is lost.
//!
//! `cargo test` makes a small crowd; `FLATROUTE_CROWD` says how large another one is.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Lab, PLUGIN, Pod, in_lab};
use flatroute_netlink::netns;
use serde_json::{Value, json};

/// How many there are without another wish.
const FEW: usize = 60;
/// How long one call may take: the minute for which ADD waits for its turn, and as much again for a machine with other work.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the runtime tries again.
const ROUNDS: usize = 20;

struct Crowd<'a> {
    lab: &'a Lab,
    pod: &'a Pod,
    config: Value,
}

impl Crowd<'_> {
    /// A process that waits for its standard input. What it says goes to a file: three pipes a process would be too many.
    fn start(&self, verb: &str, number: usize) -> Child {
        let said = File::create(self.said(number)).unwrap();
        Command::new(PLUGIN)
            .env_clear()
            .envs([("CNI_COMMAND", verb), ("CNI_PATH", "/nowhere")])
            .env("CNI_CONTAINERID", format!("c{number}"))
            .env("CNI_IFNAME", format!("eth{number}"))
            .env("CNI_NETNS", self.pod.path())
            .stdin(Stdio::piped())
            .stdout(said)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn said(&self, number: usize) -> std::path::PathBuf {
        self.lab.state.path().join(format!("said-{number}"))
    }

    /// Lets all of them go at once; those that have to try again, and how long the longest took.
    fn round(&self, verb: &str, numbers: &[usize]) -> (Vec<usize>, Duration) {
        let start = || -> Vec<Child> { numbers.iter().map(|number| self.start(verb, *number)).collect() };
        let mut children = netns::within(self.lab.host.as_fd(), start).unwrap();
        println!("{verb}: {} wait, {} MiB are free", children.len(), free());
        let input = self.config.to_string();
        let begin = Instant::now();
        for child in &mut children {
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        }
        let mut again = Vec::new();
        let mut waiting: Vec<(usize, Child)> = numbers.iter().copied().zip(children).collect();
        while !waiting.is_empty() {
            waiting.retain_mut(|(number, child)| match child.try_wait().unwrap() {
                None => true,
                Some(status) => {
                    if !status.success() {
                        let said = std::fs::read_to_string(self.said(*number)).unwrap();
                        let said: Value = serde_json::from_str(&said).unwrap();
                        assert_eq!(said["code"], 11, "{verb} of c{number}: {said}");
                        again.push(*number);
                    }
                    false
                }
            });
            if begin.elapsed() > PATIENCE {
                let late = waiting.len();
                for (_, child) in &mut waiting {
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
                panic!("{verb}: {late} have not ended after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        (again, begin.elapsed())
    }

    fn all(&self, verb: &str, numbers: Vec<usize>) {
        let mut left = numbers;
        for round in 1..=ROUNDS {
            let count = left.len();
            let (again, took) = self.round(verb, &left);
            println!(
                "{verb}, round {round}: {count} at once, the last after {:.1} s; {} have to try again",
                took.as_secs_f64(),
                again.len()
            );
            left = again;
            if left.is_empty() {
                return;
            }
        }
        panic!("{verb}: {} failed {ROUNDS} times", left.len());
    }
}

/// What the machine has left.
fn free() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse::<u64>().ok()).unwrap() / 1024
}

#[test]
fn a_crowd_ends_in_time_and_loses_nothing() {
    in_lab("a_crowd_ends_in_time_and_loses_nothing", |lab| {
        let count = std::env::var("FLATROUTE_CROWD").map_or(FEW, |text| text.parse().unwrap());
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let raised = rustix::process::Rlimit {
            current: limit.maximum,
            ..limit
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
        // Interfaces of one namespace: what is asked is the store, and the kernel has enough to do.
        let pod = Pod::new();
        let crowd = Crowd {
            lab: &lab,
            pod: &pod,
            config: lab.config(&json!({"podCIDRs": ["10.64.0.0/16"]})),
        };
        crowd.all("ADD", (0..count).collect());
        let there = || (lab.host_links().len(), lab.used().len(), lab.attachments().len());
        assert_eq!(there(), (count, count, count));
        // Every other one goes with the crowd, the rest with one GC.
        crowd.all("DEL", (0..count).step_by(2).collect());
        let rest = count / 2;
        assert_eq!(there(), (rest, rest, rest));
        let mut config = crowd.config;
        config["cni.dev/valid-attachments"] = json!([]);
        let begin = Instant::now();
        lab.call("GC", "", "", &config).fine();
        println!("GC of {rest}: {:.1} s", begin.elapsed().as_secs_f64());
        lab.assert_clean();
    });
}
