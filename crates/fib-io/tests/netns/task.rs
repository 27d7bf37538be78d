//! The running thread: commands in, events out, repair without being asked.

use std::time::{Duration, Instant};

use flatroute_fib_io::fib::{DesiredRoute, NextHop, Report, RouteTarget, Settings};
use flatroute_fib_io::{Command, Event, spawn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::lab::{in_fresh_netns, ip, uplink};

const DEADLINE: Duration = Duration::from_secs(10);

async fn event(events: &mut mpsc::Receiver<Event>, what: &str, mut fits: impl FnMut(&Event) -> bool) {
    let wait = async {
        loop {
            let event = events.recv().await.expect("the thread runs");
            if fits(&event) {
                return;
            }
        }
    };
    timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[test]
fn the_thread_installs_repairs_and_ends() {
    in_fresh_netns("task", || {
        uplink(1);
        uplink(2);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(story());
    });
}

/// Waits until the kernel's word on a link does, or does not, hold `flag`.
async fn link(name: &str, flag: &str, held: bool) {
    let wait = async {
        while ip(&format!("link show {name}")).contains(flag) != held {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("{name} never: {flag} {held}"));
}

async fn story() {
    let (commands, receiver) = mpsc::channel(8);
    let (sender, mut events) = mpsc::channel(8);
    let handle = spawn(Settings::default(), receiver, sender).expect("netlink");
    let hop = |text: &str| NextHop {
        gateway: text.parse().expect("address"),
        interface: None,
    };
    let target = RouteTarget::Via(vec![hop("10.0.1.1"), hop("10.0.2.1")]);
    let route = DesiredRoute {
        target,
        pref_src: None,
    };
    let prefix = "10.244.7.0/24".parse().expect("prefix");
    let (written, is_written) = oneshot::channel();
    commands
        .send(Command::Routes {
            routes: vec![(prefix, Some(route))],
            written: Some(written),
        })
        .await
        .expect("the thread runs");
    timeout(DEADLINE, is_written)
        .await
        .expect("in time")
        .expect("an answer");
    let (reply, answer) = oneshot::channel();
    commands
        .send(Command::Status { reply })
        .await
        .expect("the thread runs");
    assert_eq!(answer.await.expect("an answer").installed_ipv4, 1);
    event(
        &mut events,
        "installed",
        |event| matches!(event, Event::Settled(counts) if counts.installed_ipv4 == 1),
    )
    .await;
    let (reply, answer) = oneshot::channel();
    commands
        .send(Command::Dump { reply })
        .await
        .expect("the thread runs");
    let dump = answer.await.expect("an answer");
    assert_eq!((dump.len(), dump[0].prefix, dump[0].legs.len()), (1, prefix, 2));

    ip("route del 10.244.7.0/24 proto 79");
    let start = Instant::now();
    event(&mut events, "drift", |event| {
        matches!(event, Event::Report(Report::Drift { .. }))
    })
    .await;
    event(
        &mut events,
        "repaired",
        |event| matches!(event, Event::Settled(counts) if counts.installed_ipv4 == 1),
    )
    .await;
    println!("repaired and reported {:?} after the deletion", start.elapsed());
    assert!(ip("route show 10.244.7.0/24").contains("10.0.2.1"));

    a_link_bounces(&mut events).await;

    drop(commands);
    timeout(DEADLINE, handle.join())
        .await
        .expect("ends")
        .expect("without an error");
    assert!(
        ip("route show 10.244.7.0/24").contains("10.0.2.1"),
        "routes outlive the thread"
    );
}

/// A link that comes back waits before it shares load, and then is admitted without being asked.
async fn a_link_bounces(events: &mut mpsc::Receiver<Event>) {
    ip("link set tor1 down");
    link("tor1", "LOWER_UP", false).await;
    ip("link set tor1 up");
    link("tor1", "LOWER_UP", true).await;
    let start = Instant::now();
    let legs = ip("route show 10.244.7.0/24");
    assert!(legs.contains("10.0.2.1") && !legs.contains("10.0.1.1"), "{legs}");
    event(events, "admission", |event| {
        matches!(event, Event::Settled(_)) && ip("route show 10.244.7.0/24").contains("10.0.1.1")
    })
    .await;
    println!(
        "a returned link shared load {:?} after its carrier",
        start.elapsed()
    );
    assert!(start.elapsed() > Duration::from_millis(500));
}
