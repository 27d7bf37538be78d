use std::process::Command;

use flatroute_lab::{in_fresh_netns, note_skip_of};
use flatroute_netlink::NetfilterSocket;
use flatroute_nft::{Error, Kernel, Masquerade, Memory, Operation, PodNetwork, TABLE, Watch};

use super::lab::{apply, nft, wanted};

const GET_RULE: u16 = 10 << 8 | 7;

/// The expressions of all rules, as the kernel tells them.
fn expressions() -> Vec<Vec<u8>> {
    let mut socket = NetfilterSocket::open().unwrap();
    let found = socket
        .dump(GET_RULE, &[1, 0, 0, 0], || "rules".to_owned())
        .unwrap();
    found
        .iter()
        .map(|message| attribute(&message.body[4..], 4).to_vec())
        .collect()
}

fn attribute(mut bytes: &[u8], wanted: u16) -> &[u8] {
    loop {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        if u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff == wanted {
            return &bytes[4..length];
        }
        bytes = &bytes[length.next_multiple_of(4)..];
    }
}

/// Our table in the language of the `nft` program, from which it makes its own messages.
const IN_WORDS: &str = "table inet flatroute {
  set pods-ipv4 { type ipv4_addr; flags interval; elements = { 10.244.1.0/24 } }
  set direct-ipv4 { type ipv4_addr; flags interval; elements = { 10.244.0.0/16, 192.0.2.7, 240.0.0.0/4 } }
  set pods-ipv6 { type ipv6_addr; flags interval; elements = { fd00:244:1::/64 } }
  set direct-ipv6 { type ipv6_addr; flags interval; elements = { fd00:244::/32, 2001:db8:7::/64 } }
  chain pods-in { type filter hook prerouting priority raw; policy accept;
    iifgroup != 79 accept
    meta nfproto ipv6 meta l4proto ipv6-icmp icmpv6 type nd-router-advert counter drop
    meta nfproto ipv4 udp sport 67 counter drop
    meta nfproto ipv6 udp sport 547 counter drop
    fib saddr . iif oif 0 counter drop
  }
  chain pods-out { type nat hook postrouting priority srcnat; policy accept;
    ip saddr @pods-ipv4 ip daddr != @direct-ipv4 counter snat ip to 203.0.113.9 fully-random
    ip6 saddr @pods-ipv6 ip6 daddr != @direct-ipv6 counter masquerade fully-random
  }
}";

fn network_in_words() -> PodNetwork {
    let mut network = wanted();
    let masquerade = network.masquerade.as_mut().unwrap();
    masquerade.source_ipv4 = Some("203.0.113.9".parse().unwrap());
    masquerade.direct.insert("240.0.0.0/4".parse().unwrap());
    network
}

/// The kernel tells the same of both: of what we write and of what the `nft` program writes.
#[test]
fn the_kernel_understands_us_like_the_nft_program() {
    in_fresh_netns("as nft", || {
        let file = std::env::temp_dir().join(format!("flatroute-nft-{}", std::process::id()));
        std::fs::write(&file, IN_WORDS).unwrap();
        let made = nft(&["-f", file.to_str().unwrap()]);
        std::fs::remove_file(&file).unwrap();
        if made.is_none() {
            note_skip_of(
                "the_kernel_understands_us_like_the_nft_program",
                "there is no nft program",
            );
            return;
        }
        let (theirs, theirs_in_words) = (expressions(), nft(&["list", "ruleset"]).unwrap());
        nft(&["delete", "table", "inet", TABLE]);
        apply(&network_in_words()).unwrap();
        assert_eq!(expressions(), theirs);
        let plain = |text: &str| {
            let lines = text
                .lines()
                .map(|line| line.split(" comment ").next().unwrap().trim_end());
            let mut lines: Vec<String> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(
            plain(&nft(&["list", "ruleset"]).unwrap()),
            plain(&theirs_in_words)
        );
    });
}

/// Who comes again finds all in order and writes nothing: counters go on, as nothing was made anew.
#[test]
fn a_table_that_is_right_is_not_touched() {
    in_fresh_netns("again", || {
        let first = apply(&wanted()).unwrap();
        assert_eq!(first.first(), Some(&Operation::AddTable));
        let handles = |kernel: &mut Kernel| {
            let observed = kernel.observe(TABLE).unwrap();
            let rules = observed.chains.values().flat_map(|chain| chain.rules.clone());
            rules.map(|rule| rule.handle).collect::<Vec<_>>()
        };
        let mut next = Kernel::open().unwrap();
        let before = handles(&mut next);
        assert_eq!(before.len(), 7);
        assert_eq!(next.apply(&wanted().table()).unwrap(), []);
        assert_eq!(handles(&mut next), before);
    });
}

/// Only what differs is written.
#[test]
fn what_changes_changes_alone() {
    in_fresh_netns("differences", || {
        let mut network = wanted();
        apply(&network).unwrap();
        let direct = |network: &mut PodNetwork, prefix: &str, stays: bool| {
            let all = &mut network.masquerade.as_mut().unwrap().direct;
            let prefix = prefix.parse().unwrap();
            if stays {
                all.insert(prefix)
            } else {
                all.remove(&prefix)
            };
        };
        // Beside, within, to the end of all addresses, and away again.
        for (prefix, stays, steps) in [
            ("10.245.0.0/16", true, 2),
            ("10.245.7.0/24", true, 0),
            ("255.255.255.255/32", true, 1),
            ("ff00::/8", true, 1),
            ("10.245.0.0/16", false, 2),
            ("ff00::/8", false, 1),
            ("255.255.255.255/32", false, 1),
        ] {
            direct(&mut network, prefix, stays);
            let done = apply(&network).unwrap();
            assert_eq!(done.len(), steps, "{prefix}: {done:?}");
            assert_eq!(apply(&network).unwrap(), [], "{prefix}");
        }
        network.masquerade.as_mut().unwrap().source_ipv4 = Some("203.0.113.9".parse().unwrap());
        apply(&network).unwrap();
        assert_eq!(apply(&network).unwrap(), []);
        let mut kernel = Kernel::open().unwrap();
        assert_eq!(kernel.observe(TABLE).unwrap().chains["pods-out"].rules.len(), 2);
        // No masquerade at all, and again.
        network.masquerade = None;
        apply(&network).unwrap();
        let observed = kernel.observe(TABLE).unwrap();
        assert_eq!(observed.sets.len(), 0);
        assert_eq!(observed.chains.keys().collect::<Vec<_>>(), ["pods-in"]);
        apply(&wanted()).unwrap();
        assert_eq!(apply(&wanted()).unwrap(), []);
    });
}

/// As many intervals as there may be go in at once, and out.
#[test]
fn a_large_set_is_written_at_once() {
    in_fresh_netns("large", || {
        let net = |n: usize| {
            let (a, b) = (n / 128, n % 128 * 2);
            [format!("100.{a}.{b}.0/24"), format!("2001:db8:{a:x}:{b:x}::/64")]
                .map(|text| text.parse().unwrap())
        };
        let mut network = wanted();
        network.masquerade = Some(Masquerade {
            direct: (0..flatroute_nft::MAX_RANGES).flat_map(net).collect(),
            ..Masquerade::default()
        });
        apply(&network).unwrap();
        assert_eq!(apply(&network).unwrap(), []);
        let sets = Kernel::open().unwrap().observe(TABLE).unwrap().sets;
        let ranges = sets["direct-ipv6"].ranges.as_ref().unwrap();
        assert_eq!(ranges.all().len(), flatroute_nft::MAX_RANGES);
        apply(&wanted()).unwrap();
        assert_eq!(apply(&wanted()).unwrap(), []);
    });
}

/// Other tables, and what others have in ours, stay.
#[test]
fn what_is_not_ours_is_not_touched() {
    in_fresh_netns("others", || {
        let others = [
            "add table ip flatroute",
            "add table inet others",
            "add chain inet others out { type nat hook postrouting priority 100 ; }",
            "add rule inet others out oifname \"x\" masquerade",
            "add table inet flatroute",
            "add chain inet flatroute hostports",
            "add map inet flatroute ports { type inet_service : ipv4_addr ; }",
            "add element inet flatroute ports { 80 : 10.0.0.1 }",
        ];
        for command in others {
            if nft(&[command]).is_none() {
                note_skip_of("what_is_not_ours_is_not_touched", "there is no nft program");
                return;
            }
        }
        let before = nft(&["list", "ruleset"]).unwrap();
        apply(&wanted()).unwrap();
        nft(&["add rule inet flatroute pods-out tcp dport 1 accept"]);
        assert_eq!(apply(&wanted()).unwrap(), []);
        let after = nft(&["list", "ruleset"]).unwrap();
        for line in before.lines() {
            assert!(after.contains(line), "{line}\n{after}");
        }
        let network = PodNetwork {
            masquerade: None,
            ..wanted()
        };
        apply(&network).unwrap();
        let after = nft(&["list", "ruleset"]).unwrap();
        for line in before.lines() {
            assert!(after.contains(line), "{line}\n{after}");
        }
        assert!(!after.contains("pods-out"), "{after}");
    });
}

/// Whatever others do to what is ours is seen, and undone.
#[test]
fn drift_is_seen_and_repaired() {
    in_fresh_netns("drift", || {
        let mut kernel = Kernel::open().unwrap();
        let mut watch = Watch::open(TABLE).unwrap();
        let mut memory = Memory::default();
        kernel.apply(&wanted().table()).unwrap();
        assert!(
            !watch.is_changed(kernel.port(), &mut memory).unwrap(),
            "that was ourselves"
        );
        let whole = kernel.observe(TABLE).unwrap();
        let damage = [
            "add table inet others",
            "delete table inet flatroute",
            "flush chain inet flatroute pods-in",
            "flush set inet flatroute direct-ipv4",
            "add element inet flatroute direct-ipv4 { 9.0.0.0/8 }",
            "delete element inet flatroute direct-ipv6 { 2001:db8:7::/64 }",
            "add chain inet flatroute pods-out { policy drop ; }",
            "add table inet flatroute { flags dormant ; }",
            "flush ruleset",
        ];
        for command in damage {
            if nft(&[command]).is_none() {
                note_skip_of("drift_is_seen_and_repaired", "there is no nft program");
                return;
            }
            let is_ours = !command.contains("others");
            assert_eq!(
                watch.is_changed(kernel.port(), &mut memory).unwrap(),
                is_ours,
                "{command}"
            );
            let done = kernel.apply(&wanted().table()).unwrap();
            assert_eq!(!done.is_empty(), is_ours, "{command}: {done:?}");
            let mut now = kernel.observe(TABLE).unwrap();
            let handles = whole.chains.values().flat_map(|chain| &chain.rules);
            let rules = now.chains.values_mut().flat_map(|chain| &mut chain.rules);
            for (rule, before) in rules.zip(handles) {
                rule.handle = before.handle;
            }
            assert_eq!(now, whole, "{command}");
            assert!(
                !watch.is_changed(kernel.port(), &mut memory).unwrap(),
                "{command}"
            );
        }
    });
}

/// Chains and sets of our names that somebody made otherwise are made anew.
#[test]
fn what_has_our_name_and_is_something_else_is_made_anew() {
    in_fresh_netns("otherwise", || {
        for command in [
            "add table inet flatroute",
            "add chain inet flatroute pods-in { type filter hook input priority 0 ; }",
            "add rule inet flatroute pods-in accept",
            "add chain inet flatroute pods-out",
            "add set inet flatroute direct-ipv4 { type inet_service ; }",
            "add rule inet flatroute pods-out tcp dport @direct-ipv4 accept",
        ] {
            if nft(&[command]).is_none() {
                note_skip_of(
                    "what_has_our_name_and_is_something_else_is_made_anew",
                    "there is no nft program",
                );
                return;
            }
        }
        apply(&wanted()).unwrap();
        assert_eq!(apply(&wanted()).unwrap(), []);
        let observed = Kernel::open().unwrap().observe(TABLE).unwrap();
        assert_eq!(observed.chains["pods-in"].place, Some((0, -300)));
        assert_eq!(observed.chains["pods-in"].rules.len(), 5);
    });
}

/// Two who come at once, while a third changes rules all the time: both succeed, and there is one table.
#[test]
fn many_writers_do_not_disturb_each_other() {
    in_fresh_netns("writers", || {
        std::thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || {
                    let mut kernel = Kernel::open().unwrap();
                    for turn in 0..20 {
                        let mut network = wanted();
                        if (number + turn) % 2 == 0 {
                            network.masquerade = None;
                        }
                        kernel.apply(&network.table()).unwrap();
                    }
                });
            }
        });
        apply(&wanted()).unwrap();
        let observed = Kernel::open().unwrap().observe(TABLE).unwrap();
        assert_eq!(observed.chains["pods-in"].rules.len(), 5);
        assert_eq!(observed.chains["pods-out"].rules.len(), 2);
    });
}

/// What the kernel refuses is told with its name and what to do; nothing is changed then.
#[test]
fn a_refusal_names_what_was_refused() {
    in_fresh_netns("refused", || {
        let mut table = wanted().table();
        table.chains[0].kind = "nothing";
        let error = Kernel::open().unwrap().apply(&table).unwrap_err();
        assert!(matches!(error, Error::LacksPart(_)), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("table inet flatroute of nf_tables: make the chain pods-in"),
            "{text}"
        );
        assert!(text.contains("nft_chain_nat"), "{text}");
        assert!(!Kernel::open().unwrap().observe(TABLE).unwrap().exists);
    });
}

/// Without the right to, that is said.
#[test]
fn without_net_admin_that_is_said() {
    in_fresh_netns("no right", || {
        let mut command = Command::new("setpriv");
        let exe = std::env::current_exe().unwrap();
        let test = "kernel::table::without_net_admin_that_is_said_inner";
        command
            .args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"])
            .arg(exe);
        command.args([test, "--exact", "--ignored", "--nocapture"]);
        match command.output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(
                    output.status.success() && text.contains("1 passed"),
                    "{text}{errors}"
                );
            }
            Err(_) => note_skip_of("without_net_admin_that_is_said", "there is no setpriv program"),
        }
    });
}

#[test]
#[ignore = "the other half of the test above, which runs it"]
fn without_net_admin_that_is_said_inner() {
    let error = apply(&wanted()).unwrap_err();
    assert!(matches!(error, Error::NotPermitted(_)), "{error:?}");
    assert!(error.to_string().contains("NET_ADMIN"), "{error}");
}
