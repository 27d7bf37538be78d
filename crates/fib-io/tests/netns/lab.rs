//! A network namespace of the test's own, entered by the calling thread only.
//!
//! As root the thread unshares its network namespace. An ordinary user gets there by `unshare -rn cargo test …`; a
//! thread cannot enter a user namespace by itself, so that without it the test is skipped, loudly. Nothing needs to
//! be taken down: the namespace goes with its last thread and socket, also after a failure.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;
use std::thread;

/// Runs `test` on a thread with a network namespace of its own. Skips, saying why, where that is forbidden.
pub(crate) fn in_fresh_netns(name: &str, test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = enter() {
            return Some(error);
        }
        test();
        None
    });
    match thread.expect("a thread").join() {
        Ok(None) => {}
        Ok(Some(error)) => {
            let reason =
                format!("no network namespace of its own ({error}): run as root, or under `unshare -rn`");
            println!("SKIPPED: {reason}");
            note_skip(&reason);
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Appends this test to the list of skips that a run over all test programs keeps (the file `FLATROUTE_SKIPPED`): the
/// runner shows nothing that a passing test prints.
fn note_skip(reason: &str) {
    let Some(path) = std::env::var_os("FLATROUTE_SKIPPED") else {
        return;
    };
    let current = thread::current();
    let test = current.name().unwrap_or("a test of fib-io");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("the list of skips");
    writeln!(file, "{test}: {reason}").expect("the list of skips");
}

#[expect(
    unsafe_code,
    reason = "unshare has no safe form; a network namespace of one thread endangers no memory"
)]
fn enter() -> std::io::Result<()> {
    // SAFETY: only the network namespace of this thread changes; no file descriptor table is shared or split.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)? };
    ip("link set lo up");
    Ok(())
}

/// Runs the `ip` tool in the namespace of this thread and returns what it prints.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("the ip tool (iproute2)");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A veth pair `up0`/`tor0`-like with addresses of both families on our end.
pub(crate) fn uplink(number: u8) {
    ip(&format!("link add up{number} type veth peer name tor{number}"));
    ip(&format!("addr add 10.0.{number}.2/24 dev up{number}"));
    ip(&format!("-6 addr add fd00:{number}::2/64 dev up{number} nodad"));
    ip(&format!("link set tor{number} up"));
    ip(&format!("link set up{number} up"));
}
