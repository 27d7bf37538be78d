//! The observer of links and addresses.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use flatroute_fib_io::links::{Interface, observe};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lab::{in_fresh_netns, ip};

const DEADLINE: Duration = Duration::from_secs(10);

type Links = watch::Receiver<Vec<Interface>>;

fn named<'a>(all: &'a [Interface], name: &str) -> Option<&'a Interface> {
    all.iter().find(|interface| interface.name == name)
}

fn has(all: &[Interface], name: &str, address: &str) -> bool {
    let address = address.parse().expect("an address");
    named(all, name).is_some_and(|interface| interface.addresses.contains(&address))
}

/// Waits until the newest state fits.
async fn until(links: &mut Links, what: &str, fits: impl Fn(&[Interface]) -> bool) -> Vec<Interface> {
    match timeout(DEADLINE, links.wait_for(|all| fits(all))).await {
        Ok(Ok(all)) => return all.clone(),
        Ok(Err(_)) => panic!("{what}: the observer has ended"),
        Err(_) => {}
    }
    panic!("never: {what}; {:?}", links.borrow());
}

fn with_observer(name: &str, story: impl AsyncFnOnce(Links) + Send + 'static) {
    in_fresh_netns(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let links = observe().await.expect("netlink");
            story(links).await;
        });
    });
}

#[test]
fn links_and_addresses_are_followed() {
    with_observer("links", async |mut links| {
        let first = links.borrow().clone();
        assert_eq!(
            (first.len(), first[0].name.as_str(), first[0].up),
            (1, "lo", true)
        );
        assert!(has(&first, "lo", "127.0.0.1/8") && has(&first, "lo", "::1/128"));

        ip("link add up1 type veth peer name tor1");
        let all = until(&mut links, "a new link", |all| named(all, "up1").is_some()).await;
        let index = named(&all, "up1").expect("up1").index;
        assert!(!named(&all, "up1").expect("up1").up);

        ip("link set up1 up");
        ip("link set tor1 up");
        until(&mut links, "carrier", |all| {
            named(all, "up1").is_some_and(|found| found.up && found.carrier)
        })
        .await;

        ip("addr add 10.0.1.2/24 dev up1");
        ip("addr add 10.9.0.1 peer 10.9.0.2/32 dev up1");
        until(&mut links, "IPv4 addresses", |all| {
            has(all, "up1", "10.0.1.2/24") && has(all, "up1", "10.9.0.1/32")
        })
        .await;
        assert!(
            !has(&links.borrow(), "up1", "10.9.0.2/32"),
            "the other end is not ours"
        );

        // A lower one in the same prefix does not displace the first.
        ip("addr add 10.0.1.1/24 dev up1");
        let all = until(&mut links, "a secondary address", |all| {
            has(all, "up1", "10.0.1.1/24")
        })
        .await;
        assert_eq!(
            named(&all, "up1").expect("up1").addresses[0],
            "10.0.1.2/24".parse().expect("prefix")
        );

        ip("addr del 10.9.0.1 peer 10.9.0.2/32 dev up1");
        until(&mut links, "an address removed", |all| {
            !has(all, "up1", "10.9.0.1/32")
        })
        .await;

        ip("link set tor1 down");
        until(&mut links, "carrier lost", |all| {
            named(all, "up1").is_some_and(|found| found.up && !found.carrier)
        })
        .await;
        ip("link set up1 down");
        ip("link set up1 name uplink1");
        let all = until(&mut links, "renamed and down", |all| {
            named(all, "uplink1").is_some_and(|found| !found.up)
        })
        .await;
        assert_eq!(named(&all, "uplink1").expect("uplink1").index, index);
        assert!(named(&all, "up1").is_none());

        ip("link del uplink1");
        until(&mut links, "the link removed", |all| all.len() == 1).await;
    });
}

#[test]
fn an_address_is_told_when_nobody_else_has_it() {
    with_observer("dad", async |mut links| {
        ip("link add up1 type veth peer name tor1");
        ip("link set up1 up");
        ip("link set tor1 up");
        ip("-6 addr add fd00:1::2/64 dev up1");
        ip("-6 addr add fd00:1::3/64 dev up1 nodad");
        let early = until(&mut links, "the one without detection", |all| {
            has(all, "up1", "fd00:1::3/64")
        })
        .await;
        if has(&early, "up1", "fd00:1::2/64") {
            // Only when this thread was held up for the whole detection: then the kernel no longer calls it tentative.
            assert!(!ip("-6 addr show dev up1 tentative").contains("fd00:1::2/"));
        }
        until(&mut links, "the detected one", |all| {
            has(all, "up1", "fd00:1::2/64")
        })
        .await;

        // One that the other end has never comes.
        ip("-6 addr add fd00:1::9/64 dev tor1 nodad");
        ip("-6 addr add fd00:1::9/64 dev up1");
        let judged = async {
            while !ip("-6 addr show dev up1 dadfailed").contains("fd00:1::9/") {
                sleep(Duration::from_millis(50)).await;
                assert!(
                    !has(&links.borrow(), "up1", "fd00:1::9/64"),
                    "a duplicate was told"
                );
            }
        };
        timeout(DEADLINE, judged).await.expect("never judged a duplicate");
        // A later change is seen, so the judgement has been heard by now.
        ip("-6 addr add fd00:1::4/64 dev up1 nodad");
        let all = until(&mut links, "a later one", |all| has(all, "up1", "fd00:1::4/64")).await;
        assert!(!has(&all, "up1", "fd00:1::9/64"), "a duplicate was told");
    });
}

/// Notifications that were dropped by the kernel in our namespace.
fn dropped() -> u64 {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").expect("the sockets");
    let drops = sockets.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(8)?.parse::<u64>().ok()
    });
    drops.sum()
}

#[test]
fn lost_notifications_lose_no_state() {
    with_observer("overflow", async |mut links| {
        ip("link add up1 type veth peer name tor1");
        until(&mut links, "the link", |all| named(all, "up1").is_some()).await;
        // The runtime does not turn meanwhile: nobody hears.
        let mut batch = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the ip tool (iproute2)");
        let mut input = batch.stdin.take().expect("a pipe");
        for number in 0..4000_u32 {
            let (high, low) = (number / 250, number % 250 + 1);
            writeln!(input, "addr add 10.7.{high}.{low}/32 dev up1").expect("written");
        }
        drop(input);
        assert!(batch.wait().expect("ends").success());
        assert!(dropped() > 0, "nothing was lost, so nothing is proved");
        until(&mut links, "all of them", |all| {
            named(all, "up1").is_some_and(|found| found.addresses.len() == 4000)
        })
        .await;
        // And it still hears.
        ip("link del up1");
        until(&mut links, "the link removed", |all| all.len() == 1).await;
    });
}
