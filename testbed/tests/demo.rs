//! The demo as a newcomer runs it: whole, with our agent and our plugin everywhere, then with BIRD as the fabric.
//!
//! The program is started as a user would start it; what counts is what it prints and that nothing is left behind.

use std::process::Command;

/// Runs the demo; `None`, with the reason noted, where the machine cannot. An agent or a plugin that is not built is no
/// such reason: the demo fails then, and says how to build it.
fn demo(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_flatroute-testbed"))
        .arg("demo")
        .args(arguments)
        .output();
    let output = output.expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let cannot = ["this system refuses", "is not installed"];
    if let Some(reason) = errors
        .lines()
        .find(|line| cannot.iter().any(|words| line.contains(words)))
    {
        println!("SKIPPED {name}: {reason}");
        flatroute_testbed::trial::note_skip(name, reason);
        return None;
    }
    assert!(
        output.status.success(),
        "the demo failed ({}):\n{text}\n{errors}",
        output.status
    );
    Some(text)
}

fn expect_the_promises(text: &str) {
    for promise in [
        "reached: 56 of 56 pairs (IPv4 and IPv6)",
        "none is IP in IP (protocols 4, 41), GRE (47), IPsec, VXLAN or Geneve; TTL fell by one a router",
        "the second path is back in every kernel",
        "Everything worked",
    ] {
        assert!(
            text.contains(promise),
            "the demo does not say {promise:?}:\n{text}"
        );
    }
    assert!(!text.contains('\u{1b}'), "colours although this is no terminal");
}

#[test]
fn the_demo_keeps_its_promises() {
    if let Some(text) = demo("the_demo_keeps_its_promises", &[]) {
        expect_the_promises(&text);
    }
}

#[test]
fn the_demo_works_with_bird_as_the_fabric() {
    if let Some(text) = demo("the_demo_works_with_bird_as_the_fabric", &["--tor", "bird"]) {
        expect_the_promises(&text);
    }
}

/// What the demo of links without addresses says beyond the others.
fn expect_no_numbers(text: &str) {
    expect_the_promises(text);
    for promise in [
        "16 links, none of them numbered",
        "no address on any of 32 ends of links but the kernel's own fe80::",
    ] {
        assert!(
            text.contains(promise),
            "the demo does not say {promise:?}:\n{text}"
        );
    }
    let mut routes = text.lines().filter(|line| line.starts_with("  10.244.3.0/24"));
    assert!(
        routes.clone().count() == 3 && routes.all(|route| route.contains(" via fe80::")),
        "before, during and after the cut, a route of IPv4 by IPv6:\n{text}"
    );
}

#[test]
fn the_demo_works_on_links_without_addresses() {
    if let Some(text) = demo("the_demo_works_on_links_without_addresses", &["--unnumbered"]) {
        expect_no_numbers(&text);
    }
}

#[test]
fn the_demo_works_on_links_without_addresses_with_frr_as_the_fabric() {
    let name = "the_demo_works_on_links_without_addresses_with_frr_as_the_fabric";
    if let Some(text) = demo(name, &["--unnumbered", "--tor", "frr"]) {
        expect_no_numbers(&text);
    }
}

#[test]
fn a_tor_that_finds_nobody_is_explained() {
    let output = Command::new(env!("CARGO_BIN_EXE_flatroute-testbed"))
        .args(["demo", "--unnumbered", "--tor", "bird"])
        .output();
    let output = output.expect("the program starts");
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let cannot = ["TOR=flatroute or TOR=frr", "is not installed"];
    assert!(cannot.iter().any(|cannot| words.contains(cannot)), "{words}");
}

#[test]
fn an_unknown_tor_is_explained() {
    let output = Command::new(env!("CARGO_BIN_EXE_flatroute-testbed"))
        .args(["demo", "--tor", "nexus"])
        .output();
    let output = output.expect("the program starts");
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        words.contains("TOR=nexus") && words.contains("bird or frr"),
        "{words}"
    );
}
