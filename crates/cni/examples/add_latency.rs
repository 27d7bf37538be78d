//! Time of ADD and DEL, one at a time, beside that of starting `/bin/true`.
//!
//! `cargo run --release --example add_latency -- target/release/flatroute-cni` (needs root). Everything happens in
//! namespaces that this program makes and in a temporary directory.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flatroute_netlink::netns;

const ROUNDS: usize = 300;

fn main() {
    let plugin = std::env::args()
        .nth(1)
        .expect("usage: add_latency PATH-OF-THE-PLUGIN");
    let state = tempfile::tempdir().expect("a directory");
    let host = netns::fresh().expect("a namespace");
    let config = format!(
        r#"{{"cniVersion":"1.1.0","name":"net","cooldown":"0s","podCIDRs":["10.244.0.0/16","fd00::/64"],"stateDir":"{}"}}"#,
        state.path().display()
    );
    let times = netns::within(host.as_fd(), || {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            let pod = netns::fresh().expect("a namespace");
            let path = format!("/proc/{}/fd/{}", std::process::id(), pod.as_raw_fd());
            let begun = Instant::now();
            assert!(Command::new("/bin/true").status().expect("run").success());
            times[0].push(begun.elapsed());
            for (verb, times) in ["ADD", "DEL"].iter().zip(&mut times[1..]) {
                let begun = Instant::now();
                call(&plugin, verb, round, &path, &config);
                times.push(begun.elapsed());
            }
        }
        times
    })
    .expect("enter");
    for (name, mut times) in ["exec /bin/true", "ADD dual-stack", "DEL"].into_iter().zip(times) {
        times.sort();
        let at =
            |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
        println!(
            "{name:16} p50 {:.2} ms  p99 {:.2} ms  min {:.2} ms",
            at(50),
            at(99),
            at(0)
        );
    }
}

fn call(plugin: &str, verb: &str, round: usize, path: &str, config: &str) -> Duration {
    let begun = Instant::now();
    let mut child = Command::new(plugin)
        .env_clear()
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", format!("c{round}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_NETNS", path)
        .env("CNI_PATH", "/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(config.as_bytes())
        .expect("write");
    assert!(child.wait().expect("wait").success());
    begun.elapsed()
}
