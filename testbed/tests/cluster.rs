//! The smallest real cluster: two nodes in two racks, flatroute as deploy/ installs it, one BGPPeer.
//!
//! What is asserted is in `Cluster::rise`: nodes become ready through our DaemonSet, every kernel holds the other's pods over
//! both ToRs and by no other route, and pods of different racks talk in both families, with the sender's own address seen.
//! Then the API server's audit log is asked whether the agents kept to what they are granted.
//! Afterwards nothing is left. The image holds the programs of this build with their libraries, instead of static ones, so
//! that nothing has to be compiled twice; `make cluster` uses the image that is shipped.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use flatroute_testbed::cluster::node::Proxy;
use flatroute_testbed::cluster::site::Families;
use flatroute_testbed::cluster::standing::State;
use flatroute_testbed::cluster::{self, Carrier, Wishes, privileges};
use flatroute_testbed::image::{FLATROUTE, Image};
use flatroute_testbed::sandbox::{self, Ending};
use flatroute_testbed::speaker::own_program;
use flatroute_testbed::trial::note_skip;

const NAME: &str = "two_racks_of_a_real_kubernetes_talk";
/// From nothing to nothing, on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(420);

fn main() -> ExitCode {
    sandbox::answer_call();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if !filters.is_empty() && !filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        return verdict(0, 0, 0, Instant::now());
    }
    let start = Instant::now();
    if !sandbox::is_inside() {
        println!("\nrunning 1 test, in namespaces of its own");
        if let Err(reason) = cluster::check_machine() {
            let reason = format!("{reason:#}");
            let first = reason.lines().next().unwrap_or_default();
            println!("test {NAME} ... SKIPPED: {first}");
            note_skip(NAME, first);
            return verdict(0, 0, 1, start);
        }
    }
    match run() {
        Ok(()) => {
            println!("test {NAME} ... ok ({:.1} s)", start.elapsed().as_secs_f64());
            verdict(1, 0, 0, start)
        }
        Err(error) => {
            println!(
                "{error:#}\ntest {NAME} ... FAILED ({:.1} s)",
                start.elapsed().as_secs_f64()
            );
            verdict(0, 1, 0, start)
        }
    }
}

/// The last line that the usual runner prints, so that counts add up.
fn verdict(passed: u8, failed: u8, skipped: u8, start: Instant) -> ExitCode {
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        start.elapsed().as_secs_f64()
    );
    ExitCode::from(failed)
}

fn run() -> Result<()> {
    let state = State::in_target("cluster-smoke")?;
    let image = state.dir().with_extension("tar");
    if !sandbox::is_inside() {
        write_image(&image)?;
    }
    let wishes = Wishes {
        families: Families::Dual,
        nodes: 2,
        proxy: Proxy::Iptables,
        carrier: Carrier::Flatroute,
        image: image.clone(),
        state: state.clone(),
    };
    match cluster::with(&wishes, LIMIT, |cluster| {
        privileges::nothing_amiss(&cluster).map(|()| 0)
    })? {
        Ending::Done(0) => {}
        Ending::TimedOut => bail!("it took longer than {} s", LIMIT.as_secs()),
        Ending::Done(_) | Ending::Refused | Ending::Kept(_) | Ending::Interrupted => {
            bail!("it failed, see above")
        }
    }
    std::fs::remove_file(&image)?;
    state.forget_logs()?;
    ensure!(!state.dir().exists(), "{} was left", state.dir().display());
    let left = std::fs::read_dir("/sys/fs/cgroup")?
        .flatten()
        .map(|entry| entry.path().join(state.cgroup()));
    let left: Vec<PathBuf> = left.filter(|group| group.exists()).collect();
    ensure!(left.is_empty(), "control groups were left: {left:?}");
    Ok(())
}

fn write_image(path: &std::path::Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    Image::new([format!("{FLATROUTE}:v{version}")])
        .program("/flatroute-agent", own_program("flatroute-agent")?)?
        .program("/flatroute-cni", own_program("flatroute-cni")?)?
        .entrypoint(["/flatroute-agent"])
        .write(path)?;
    Ok(())
}
