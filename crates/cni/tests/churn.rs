//! Pods that come and go while everything that can end a process does: the pool never shrinks, and nothing is left. Numbers in
//! brackets: the black-box checklist.
//!
//! `cargo test` runs a small part. `make churn` runs all of it (10,000 ADDs and DELs); `FLATROUTE_CHURN` says how many,
//! `FLATROUTE_CHURN_SEED` another seed. A failure names its seed.

mod common;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Lab, Outcome, PLUGIN, Pod, finish, in_lab, ips};
use flatroute_netlink::{Socket, Veth, VethEnd, netns};
use serde_json::{Value, json};

/// ADDs of the small run.
const FEW: usize = 240;
const WORKERS: usize = 4;
/// Pods of a worker; all of them together need less than the pool has.
const SLOTS: usize = 3;
/// ADDs of all workers between two looks at what is there.
const EPOCH: usize = 60;
/// What a /28 without its first and its last address holds.
const POOL: usize = 14;

/// A sequence that its seed decides (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below.max(1)
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Kills a child after so long, unless it has ended by then; whether it did its work.
fn kill_after(mut child: Child, after: Duration) -> bool {
    let until = Instant::now() + after;
    while Instant::now() < until {
        if child.try_wait().expect("wait").is_some() {
            break;
        }
        std::hint::spin_loop();
    }
    // An error means that it has ended.
    let _ = child.kill();
    child.wait().expect("wait").success()
}

struct Churn<'a> {
    lab: &'a Lab,
    config: Value,
    kills: AtomicUsize,
    adds: AtomicUsize,
}

/// A pod that may have an attachment.
struct Slot {
    pod: Pod,
    id: Option<String>,
}

impl Churn<'_> {
    fn start(&self, verb: &str, id: &str, path: &str) -> Child {
        self.lab.start(verb, id, "eth0", path, &self.config)
    }

    /// DEL as a runtime does it: again until it succeeds; some die on the way.
    fn detach(&self, dice: &mut Dice, id: &str, pod: &Pod) {
        for _ in 0..8 {
            let path = if dice.next(2) == 0 {
                pod.path()
            } else {
                String::new()
            };
            let child = self.start("DEL", id, &path);
            if dice.next(3) > 0 {
                return finish(child).fine();
            }
            self.kills.fetch_add(1, Ordering::Relaxed);
            if kill_after(child, Duration::from_micros(dice.next(40_000))) {
                return;
            }
        }
        finish(self.start("DEL", id, "")).fine();
    }

    fn attach(&self, dice: &mut Dice, id: &str, slot: &mut Slot) {
        self.adds.fetch_add(1, Ordering::Relaxed);
        let child = self.start("ADD", id, &slot.pod.path());
        if dice.next(3) > 0 {
            finish(child).result();
            slot.id = Some(id.to_owned());
            return;
        }
        self.kills.fetch_add(1, Ordering::Relaxed);
        kill_after(child, Duration::from_micros(dice.next(20_000)));
        self.detach(dice, id, &slot.pod);
    }

    fn work(&self, dice: &mut Dice, name: &str, slots: &mut [Slot], adds: usize) {
        let mut made = 0;
        while made < adds {
            let index = usize::try_from(dice.next(SLOTS as u64)).expect("small");
            let slot = &mut slots[index];
            match slot.id.take() {
                Some(id) => self.detach(dice, &id, &slot.pod),
                None => {
                    self.attach(dice, &format!("{name}-{made}"), slot);
                    made += 1;
                }
            }
        }
    }

    /// Exactly what the runtime knows is there.
    fn look(&self, slots: &[Vec<Slot>]) {
        let held = slots.iter().flatten().filter(|slot| slot.id.is_some()).count();
        let lab = self.lab;
        let there = (lab.attachments().len(), lab.host_links().len(), lab.used().len());
        assert_eq!(
            there,
            (held, held, 2 * held),
            "lock files, links, addresses: {:?} {:?}",
            lab.host_links(),
            lab.used()
        );
        for ipv6 in [false, true] {
            let routes = lab.socket().routes(ipv6).expect("routes");
            let ours = routes.iter().filter(|route| route.protocol == 80).count();
            assert_eq!(ours, held, "{routes:?}");
        }
    }

    /// All namespaces of pods are gone, and the records are of another boot, or lost with it. The runtime then removes what
    /// it remembers, or does not (GC).
    fn reboot(&self, dice: &mut Dice, slots: &mut [Vec<Slot>]) {
        let mut known = Vec::new();
        for slot in slots.iter_mut().flatten() {
            known.extend(slot.id.take());
            slot.pod = Pod::new();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.lab.host_links().is_empty() {
            assert!(
                Instant::now() < deadline,
                "the kernel removes links with their namespaces"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        let dir = self.lab.network_dir();
        if dice.next(2) == 0 {
            std::fs::remove_dir_all(&dir).expect("forget");
        } else {
            std::fs::write(dir.join("lock"), "another-boot").expect("the boot id");
            for name in self.lab.used() {
                let text = std::fs::read_to_string(dir.join(&name)).expect("a record");
                let (_, owner) = text.split_once('\n').expect("lines");
                std::fs::write(dir.join(&name), format!("another-boot\n{owner}")).expect("a record");
            }
        }
        for id in known {
            if dice.next(2) == 0 {
                finish(self.start("DEL", &id, "")).fine();
            }
        }
        // An ADD is the first to see that the machine was started again.
        let pod = Pod::new();
        finish(self.start("ADD", "first", &pod.path())).result();
        let mut config = self.config.clone();
        config["cni.dev/valid-attachments"] = json!([{"containerID": "first", "ifname": "eth0"}]);
        self.lab.call("GC", "", "", &config).fine();
        finish(self.start("DEL", "first", "")).fine();
    }
}

#[test]
fn the_pool_never_shrinks() {
    // [52, 71–79, 114]; complaints 1, 7
    in_lab("the_pool_never_shrinks", |lab| {
        let total = usize::try_from(number("FLATROUTE_CHURN", FEW as u64)).expect("small");
        let seed = number("FLATROUTE_CHURN_SEED", 20_261_126).max(1);
        println!("seed {seed}");
        let churn = Churn {
            lab: &lab,
            config: lab.config(&json!({"podCIDRs": ["10.244.1.0/28", "fd00:244:1::/124"]})),
            kills: AtomicUsize::new(0),
            adds: AtomicUsize::new(0),
        };
        let mut dice = Dice(seed);
        let slot = || Slot {
            pod: Pod::new(),
            id: None,
        };
        let mut slots: Vec<Vec<Slot>> = (0..WORKERS)
            .map(|_| (0..SLOTS).map(|_| slot()).collect())
            .collect();
        let (begin, mut reboots) = (Instant::now(), 0);
        let epochs = total.div_ceil(EPOCH);
        for epoch in 0..epochs {
            std::thread::scope(|scope| {
                for (worker, slots) in slots.iter_mut().enumerate() {
                    let mut dice = Dice(dice.next(u64::MAX).max(1));
                    let churn = &churn;
                    scope.spawn(move || {
                        churn.work(&mut dice, &format!("e{epoch}w{worker}"), slots, EPOCH / WORKERS);
                    });
                }
            });
            churn.look(&slots);
            if dice.next(4) == 0 || epoch + 1 == epochs {
                churn.reboot(&mut dice, &mut slots);
                reboots += 1;
                churn.look(&slots);
            }
        }
        lab.assert_clean();
        // All of the pool is there, and no more.
        let pods: Vec<_> = (0..=POOL).map(|_| Pod::new()).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (number, pod) in pods.iter().take(POOL).enumerate() {
            let result = lab
                .call("ADD", &format!("full{number}"), &pod.path(), &churn.config)
                .result();
            seen.extend(ips(&result));
        }
        assert_eq!(seen.len(), 2 * POOL);
        let more = lab.call("ADD", "more", &pods[POOL].path(), &churn.config);
        assert_eq!(more.code(), 11);
        for number in 0..POOL {
            lab.call("DEL", &format!("full{number}"), "", &churn.config)
                .fine();
        }
        lab.assert_clean();
        println!(
            "{} ADDs, {} kills, {reboots} reboots in {:.1} s",
            churn.adds.load(Ordering::Relaxed),
            churn.kills.load(Ordering::Relaxed),
            begin.elapsed().as_secs_f64()
        );
        assert!(churn.kills.load(Ordering::Relaxed) > total / 8 && reboots > 0);
    });
}

/// The plugin under strace, which kills it when it makes a system call for the nth time, or writes what it does to a file.
fn traced(lab: &Lab, verb: &str, id: &str, pod: &Pod, options: &[String]) -> Outcome {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq"])
        .args(options)
        .args(["--", PLUGIN])
        .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", id)])
        .envs([("CNI_IFNAME", "eth0"), ("CNI_PATH", "/nowhere")])
        .env("CNI_NETNS", pod.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = netns::within(lab.host.as_fd(), || command.spawn())
        .expect("host")
        .expect("strace");
    let text = lab.config(&json!({})).to_string();
    let stdin = child.stdin.take().expect("stdin");
    // A plugin that is killed early does not read its input: a broken pipe is fine.
    let _ = std::io::Write::write_all(&mut &stdin, text.as_bytes());
    drop(stdin);
    finish(child)
}

/// Every system call that a verb makes after it has read its input: its name, and how often it was made before.
fn calls(lab: &Lab, verb: &str, id: &str, pod: &Pod) -> Vec<(String, usize)> {
    let file = lab.state.path().join("trace");
    let options = ["-o".to_owned(), file.display().to_string()];
    let outcome = traced(lab, verb, id, pod, &options);
    assert!(outcome.ok, "{outcome:?}");
    let text = std::fs::read_to_string(&file).expect("a trace");
    std::fs::remove_file(&file).expect("a trace");
    let mut seen = BTreeMap::<String, usize>::new();
    let mut found = Vec::new();
    let mut reads = false;
    for line in text.lines() {
        // "1234 openat(AT_FDCWD, …": continued lines and ends of threads have no such word.
        let Some((_, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            continue;
        }
        let count = seen.entry(name.to_owned()).or_default();
        *count += 1;
        reads |= name == "read" && arguments.starts_with("0,");
        if reads && name != "exit_group" {
            found.push((name.to_owned(), *count));
        }
    }
    found
}

/// Kills a verb at every system call that it makes; `before` makes what it works on. Afterwards DEL has to leave nothing.
fn killed_at_each_call(test: &str, verb: &str) {
    in_lab(test, |lab| {
        if Command::new("strace").arg("-V").output().is_err() {
            common::note_skip(test, "needs strace");
            eprintln!("SKIPPED {test}: needs strace");
            return;
        }
        let pod = Pod::new();
        let prepare = |id: &str| {
            if verb == "DEL" {
                lab.add(id, &pod);
            }
        };
        // What the first one of a network does once (directories) is no part of it.
        lab.add("first", &pod);
        lab.del("first");
        prepare("whole");
        let all = calls(&lab, verb, "whole", &pod);
        if verb == "ADD" {
            lab.del("whole");
        }
        lab.assert_clean();
        assert!(all.len() > 30, "{all:?}");
        let mut killed = 0;
        for (step, (name, count)) in all.iter().enumerate() {
            let id = format!("c{step}");
            prepare(&id);
            let inject = format!("inject={name}:signal=KILL:when={count}");
            let outcome = traced(&lab, verb, &id, &pod, &["-e".to_owned(), inject]);
            killed += usize::from(!outcome.ok);
            lab.del(&id);
            lab.assert_clean();
            assert_eq!(
                pod.socket().link_by_name("eth0").expect("a look"),
                None,
                "after {name} {count}"
            );
        }
        println!("{verb} killed at {killed} of {} system calls", all.len());
        assert!(killed * 10 >= all.len() * 9, "{killed} of {}", all.len());
        let result = lab.add("after", &pod);
        lab.check("after", &pod, &result).fine();
        lab.del("after");
        lab.assert_clean();
    });
}

#[test]
fn add_killed_at_each_system_call() {
    // [52]
    killed_at_each_call("add_killed_at_each_system_call", "ADD");
}

#[test]
fn del_killed_at_each_system_call() {
    // [72]
    killed_at_each_call("del_killed_at_each_system_call", "DEL");
}

#[test]
fn two_hundred_at_once() {
    // [56, 79]; complaints 21, 22
    in_lab("two_hundred_at_once", |lab| {
        const MANY: usize = 200;
        let config = lab.config(&json!({}));
        let pods: Vec<_> = (0..MANY).map(|_| Pod::new()).collect();
        for verb in ["ADD", "DEL"] {
            let begin = Instant::now();
            let each = pods.iter().enumerate();
            let started: Vec<_> = each
                .map(|(number, pod)| lab.start(verb, &format!("c{number}"), "eth0", &pod.path(), &config))
                .collect();
            let done: Vec<_> = started.into_iter().map(finish).collect();
            assert!(done.iter().all(|outcome| outcome.ok), "{verb}: {done:?}");
            println!(
                "{MANY} times {verb} at once: {:.2} s",
                begin.elapsed().as_secs_f64()
            );
            let left = if verb == "ADD" { MANY } else { 0 };
            assert_eq!((lab.host_links().len(), lab.used().len()), (left, 2 * left));
        }
        lab.assert_clean();
    });
}

fn pair<'a>(near: &'a str, peer: &'a str) -> Veth<'a> {
    let end = |name| VethEnd {
        name,
        ..VethEnd::default()
    };
    Veth {
        near: end(near),
        peer: end(peer),
    }
}

/// Makes and deletes links on the host until it is told to stop; how often.
fn disturb(lab: &Lab, stop: &AtomicBool) -> usize {
    let mut socket = lab.socket();
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        socket.add_veth(&pair("churn0", "churn1")).expect("a link");
        let index = socket
            .link_by_name("churn0")
            .expect("look")
            .expect("a link")
            .index;
        socket.set_up(index).expect("up");
        socket.delete_link(index).expect("delete");
        rounds += 1;
    }
    rounds
}

#[test]
fn links_that_come_and_go_disturb_nothing() {
    // Complaint 5: a list that changes while it is read (NLM_F_DUMP_INTR) failed ADDs of others.
    in_lab("links_that_come_and_go_disturb_nothing", |lab| {
        let (stop, standing) = (AtomicBool::new(false), 60);
        // Enough links for a list of several messages.
        let mut socket: Socket = lab.socket();
        for number in 0..standing / 2 {
            let (near, peer) = (format!("near{number}"), format!("far{number}"));
            socket.add_veth(&pair(&near, &peer)).expect("links");
        }
        let (pod, config) = (Pod::new(), lab.config(&json!({})));
        let rounds = std::thread::scope(|scope| {
            let disturber = scope.spawn(|| disturb(&lab, &stop));
            for round in 0..60 {
                let id = format!("c{round}");
                // As after a boot, the first ADD lists all links.
                if round % 3 == 0 {
                    let _ = std::fs::remove_dir_all(lab.network_dir());
                }
                let result = lab.call("ADD", &id, &pod.path(), &config).result();
                lab.check(&id, &pod, &result).fine();
                let mut gc = config.clone();
                gc["cni.dev/valid-attachments"] = json!([{"containerID": id, "ifname": "eth0"}]);
                lab.call("GC", "", "", &gc).fine();
                lab.call("DEL", &id, "", &config).fine();
            }
            stop.store(true, Ordering::Relaxed);
            disturber.join().expect("the disturber")
        });
        assert!(rounds > 20, "only {rounds} links came and went");
        assert_eq!(lab.host_links().len(), standing);
        assert!(lab.used().is_empty() && lab.attachments().is_empty());
    });
}
