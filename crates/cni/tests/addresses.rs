//! Which addresses pods get: several blocks, certain addresses, ranges, pools.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Lab, Outcome, Pod, in_lab, ips};
use serde_json::{Value, json};

/// An ADD of `id` in a new pod.
fn add(lab: &Lab, id: &str, more: &Value) -> Outcome {
    let pod = Pod::new();
    lab.call("ADD", id, &pod.path(), &lab.config(more))
}

fn addresses(outcome: &Outcome) -> Vec<String> {
    ips(&outcome.result()).iter().map(ToString::to_string).collect()
}

fn annotated(annotations: &Value) -> Value {
    json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations}})
}

/// ADD refuses with this code and these words, keeps nothing, and DEL does not stumble.
#[track_caller]
fn refused(lab: &Lab, more: &Value, code: u64, words: &str) {
    let before = lab.used();
    let outcome = add(lab, "refused", more);
    assert_eq!(outcome.code(), code, "{outcome:?}");
    let msg = outcome.json()["msg"].as_str().unwrap().to_owned();
    assert!(msg.contains(words), "{msg} does not say {words}");
    lab.call("DEL", "refused", "", &lab.config(more)).fine();
    assert_eq!(lab.used(), before);
}

#[test]
fn blocks_are_used_in_order_and_families_stand_as_they_first_appear() {
    // [43, 54, 107]
    in_lab(
        "blocks_are_used_in_order_and_families_stand_as_they_first_appear",
        |lab| {
            let blocks =
                json!({"podCIDRs": ["10.244.1.0/30", "fd00:244:1::/64", "10.244.7.0/30", "fd00:244:7::/64"]});
            for (id, first) in [
                ("a", "10.244.1.1"),
                ("b", "10.244.1.2"),
                ("c", "10.244.7.1"),
                ("d", "10.244.7.2"),
            ] {
                let given = addresses(&add(&lab, id, &blocks));
                assert_eq!(given[0], first);
                assert!(given[1].starts_with("fd00:244:1::"), "{given:?}");
            }
            lab.call("STATUS", "", "", &lab.config(&json!({}))).fine();
            assert_eq!(lab.call("STATUS", "", "", &lab.config(&blocks)).code(), 50);
            let full = add(&lab, "e", &blocks);
            assert_eq!(full.code(), 11);
            let said = "no free address in 10.244.1.0/30, 10.244.7.0/30 (podCIDRs): pods hold 4";
            assert!(full.stdout.contains(said), "{full:?}");
            // Freed first, given first, whatever block it is of.
            for id in ["d", "a"] {
                lab.call("DEL", id, "", &lab.config(&blocks)).fine();
            }
            assert_eq!(addresses(&add(&lab, "f", &blocks))[0], "10.244.7.2");
            assert_eq!(addresses(&add(&lab, "g", &blocks))[0], "10.244.1.1");
            for id in ["b", "c", "f", "g"] {
                lab.call("DEL", id, "", &lab.config(&blocks)).fine();
            }
            lab.assert_clean();
        },
    );
}

#[test]
fn a_certain_address_of_each_family_from_each_place() {
    in_lab("a_certain_address_of_each_family_from_each_place", |lab| {
        let places = [
            json!({"runtimeConfig": {"ips": ["fd00:244:1::77/128", "10.244.1.77/24"]}}),
            json!({"args": {"cni": {"ips": ["10.244.1.77", "fd00:244:1::77"], "mac": "02:00:00:00:00:09"}}}),
            annotated(&json!({"cni.flatroute.io/ips": "10.244.1.77, fd00:244:1::77", "other/key": "x"})),
        ];
        for more in &places {
            let outcome = add(&lab, "c", more);
            assert_eq!(addresses(&outcome), ["10.244.1.77", "fd00:244:1::77"], "{more}");
            if more.get("args").is_some() {
                assert_eq!(outcome.json()["interfaces"][1]["mac"], "02:00:00:00:00:09");
            }
            lab.call("DEL", "c", "", &lab.config(more)).fine();
        }
        // The first place counts alone; a family without a certain address gets any.
        let mut all = places[1].clone();
        all["runtimeConfig"] = places[2]["runtimeConfig"].clone();
        all["runtimeConfig"]["ips"] = json!(["10.244.1.78"]);
        all["runtimeConfig"]["mac"] = json!("02:00:00:00:00:08");
        let outcome = add(&lab, "holder", &all);
        assert_eq!(addresses(&outcome), ["10.244.1.78", "fd00:244:1::1"]);
        assert_eq!(outcome.json()["interfaces"][1]["mac"], "02:00:00:00:00:08");
        refused(
            &lab,
            &annotated(&json!({"cni.flatroute.io/ips": "10.244.1.78"})),
            11,
            "10.244.1.78 (the pod's annotation cni.flatroute.io/ips) is in use by container holder, interface eth0",
        );
        lab.del("holder");
        lab.assert_clean();
    });
}

#[test]
fn the_environment_asks_for_an_address_and_a_mac_as_podman_does() {
    in_lab(
        "the_environment_asks_for_an_address_and_a_mac_as_podman_does",
        |lab| {
            let ask = |id: &str, arguments: &str, more: &Value| {
                lab.add_with_arguments(id, &Pod::new(), arguments, &lab.config(more))
            };
            let both = "IgnoreUnknown=1;K8S_POD_NAME=p;MAC=02:00:00:00:00:09;IP=10.244.1.77";
            let outcome = ask("c", both, &json!({}));
            assert_eq!(addresses(&outcome), ["10.244.1.77", "fd00:244:1::1"]);
            assert_eq!(outcome.json()["interfaces"][1]["mac"], "02:00:00:00:00:09");
            let taken = ask("d", both, &json!({}));
            assert_eq!(taken.code(), 11);
            let said = "10.244.1.77 (CNI_ARGS IP) is in use by container c, interface eth0";
            assert!(taken.stdout.contains(said), "{taken:?}");
            // What the configuration asks for goes before.
            let more = json!({"runtimeConfig": {"ips": ["10.244.1.78"]}, "args": {"cni": {"mac": "02:00:00:00:00:08"}}});
            let outcome = ask("d", both, &more);
            assert_eq!(addresses(&outcome)[0], "10.244.1.78");
            assert_eq!(outcome.json()["interfaces"][1]["mac"], "02:00:00:00:00:08");
            lab.del("d");
            let outcome = ask("d", "MAC=;IP=10.244.1.79/24,fd00:244:1::79/64", &json!({}));
            assert_eq!(addresses(&outcome), ["10.244.1.79", "fd00:244:1::79"]);
            lab.del("d");
            assert_eq!(addresses(&ask("d", "IP=", &json!({}))).len(), 2);
            for (arguments, words) in [
                ("IP=10.244.9.1", "CNI_ARGS IP: 10.244.9.1 is in none of"),
                ("IP=somewhere", "CNI_ARGS IP"),
                ("MAC=01:00:00:00:00:09", "CNI_ARGS MAC"),
            ] {
                let refused = ask("e", arguments, &json!({}));
                assert_eq!(refused.code(), 7, "{refused:?}");
                assert!(refused.stdout.contains(words), "{refused:?}");
            }
            for id in ["c", "d", "e"] {
                lab.del(id);
            }
            lab.assert_clean();
        },
    );
}

#[test]
fn what_cannot_be_had_is_refused_with_the_place() {
    in_lab("what_cannot_be_had_is_refused_with_the_place", |lab| {
        let ips = |list: Value| json!({"runtimeConfig": {"ips": list}});
        let rows = [
            (
                ips(json!(["10.244.9.1"])),
                "runtimeConfig.ips: 10.244.9.1 is in none of 10.244.1.0/24 (podCIDRs), fd00:244:1::/64 (podCIDRs), or reserved; choose one of these",
            ),
            (ips(json!(["10.244.1.0"])), "10.244.1.0 is in none of"),
            (
                ips(json!(["10.244.1.5", "10.244.1.6"])),
                "one address of a family",
            ),
            (ips(json!("10.244.1.5")), "runtimeConfig.ips: invalid type"),
            (
                json!({"runtimeConfig": {"mac": 7}}),
                "runtimeConfig.mac: invalid type",
            ),
            (
                ips(json!(["somewhere"])),
                "runtimeConfig.ips: \"somewhere\" is no network",
            ),
            (json!({"args": {"cni": {"ips": "10.244.1.5"}}}), "args.cni.ips"),
            (
                annotated(&json!({"cni.flatroute.io/ips": "10.244.9.1"})),
                "annotation cni.flatroute.io/ips: 10.244.9.1",
            ),
            (
                annotated(&json!({"cni.flatroute.io/ips": ""})),
                "annotation cni.flatroute.io/ips",
            ),
            (
                annotated(&json!({"cni.flatroute.io/ip": "10.244.1.5"})),
                "annotation cni.flatroute.io/ip: unknown; there are cni.flatroute.io/ips and cni.flatroute.io/pool",
            ),
            (
                annotated(&json!({"cni.flatroute.io/pool": "gold"})),
                "annotation cni.flatroute.io/pool: there is no pool \"gold\"; the network configuration has no pools: leave the annotation out",
            ),
            (annotated(&json!([1])), "pod-annotations"),
            (
                json!({"runtimeConfig": {"mac": "ee:ee:ee:ee:ee:ee"}}),
                "host's end",
            ),
            (
                json!({"runtimeConfig": {"mac": "00:00:00:00:00:00"}}),
                "no unicast",
            ),
            (
                json!({"pools": {"bad name": {"podCIDRs": ["10.1.0.0/24"]}}}),
                "pools: \"bad name\"",
            ),
            (
                json!({"pools": {"gold": {"podCIDRs": []}}}),
                "pools.gold.podCIDRs: empty",
            ),
            (json!({"pools": {"gold": {"cidrs": []}}}), "pools: unknown field"),
        ];
        for (more, words) in rows {
            refused(&lab, &more, 7, words);
        }
        lab.assert_clean();
    });
}

#[test]
fn ranges_are_parts_of_pod_cidrs() {
    in_lab("ranges_are_parts_of_pod_cidrs", |lab| {
        let with = |sets: Value| json!({"runtimeConfig": {"ipRanges": sets}});
        let sets = with(json!([
            [{"subnet": "fd00:244:1::/120", "rangeStart": "fd00:244:1::50", "rangeEnd": "fd00:244:1::5f"}],
            [
                {"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.20", "rangeEnd": "10.244.1.21", "gateway": "10.244.1.20"},
                {"subnet": "10.244.1.64/30"},
            ],
        ]));
        assert_eq!(
            addresses(&add(&lab, "a", &sets)),
            ["fd00:244:1::50", "10.244.1.21"]
        );
        assert_eq!(
            addresses(&add(&lab, "b", &sets)),
            ["fd00:244:1::51", "10.244.1.65"]
        );
        assert_eq!(
            addresses(&add(&lab, "c", &sets)),
            ["fd00:244:1::52", "10.244.1.66"]
        );
        refused(
            &lab,
            &sets,
            11,
            "no free address in 10.244.1.20-10.244.1.21, 10.244.1.64/30 (runtimeConfig.ipRanges)",
        );
        // A subnet may be wider than the pod CIDR, as long as what is left of it is not.
        let wide = with(
            json!([[{"subnet": "10.244.0.0/16", "rangeStart": "10.244.1.9", "rangeEnd": "10.244.1.9"}]]),
        );
        assert_eq!(addresses(&add(&lab, "d", &wide)), ["10.244.1.9"]);
        for id in ["a", "b", "c", "d"] {
            lab.del(id);
        }
        lab.assert_clean();
    });
}

#[test]
fn ranges_that_do_not_fit_are_refused() {
    in_lab("ranges_that_do_not_fit_are_refused", |lab| {
        let with = |sets: Value| json!({"runtimeConfig": {"ipRanges": sets}});
        let mut fixed = with(json!([[{"subnet": "10.244.1.0/28"}]]));
        fixed["runtimeConfig"]["ips"] = json!(["10.244.1.99"]);
        for (more, words) in [
            (
                with(json!([[{"subnet": "10.244.9.0/24"}]])),
                "runtimeConfig.ipRanges: 10.244.9.0/24 is not inside of 10.244.1.0/24 (podCIDRs) or fd00:244:1::/64 (podCIDRs)",
            ),
            (with(json!([[{"subnet": "10.244.0.0/16"}]])), "is not inside of"),
            (
                with(json!([[{"subnet": "10.244.1.0/24", "rangeStart": "10.244.2.1"}]])),
                "rangeStart 10.244.2.1 is not in subnet 10.244.1.0/24",
            ),
            (
                with(
                    json!([[{"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.9", "rangeEnd": "10.244.1.8"}]]),
                ),
                "rangeEnd is before rangeStart",
            ),
            (with(json!([[]])), "an empty set"),
            (
                with(json!([[{"subnet": "10.244.1.0/28"}], [{"subnet": "10.244.1.16/28"}]])),
                "a second set of its family",
            ),
            (
                with(json!([[{"subnet": "10.244.1.0/28"}, {"subnet": "fd00:244:1::/120"}]])),
                "ranges of both families",
            ),
            (with(json!([[{"rangeStart": "10.244.1.9"}]])), "missing field"),
            (
                with(json!([[{"subnet": "10.244.1.0/24", "rangeStart": "x"}]])),
                "runtimeConfig.ipRanges",
            ),
            (fixed, "10.244.1.99 is in none of"),
        ] {
            refused(&lab, &more, 7, words);
        }
        lab.assert_clean();
    });
}

#[test]
fn pools_are_for_those_who_name_them() {
    in_lab("pools_are_for_those_who_name_them", |lab| {
        let with = |annotations: &Value| {
            let mut more = annotated(annotations);
            more["pools"] = json!({
                "gold": {"podCIDRs": ["10.244.1.0/30", "10.244.1.128/30"]},
                "far": {"podCIDRs": ["fd00:244:9::/64", "10.99.0.0/24"]},
            });
            more
        };
        let none = with(&json!({}));
        let gold = with(&json!({"cni.flatroute.io/pool": "gold"}));
        assert_eq!(
            addresses(&add(&lab, "none", &none)),
            ["10.244.1.4", "fd00:244:1::1"]
        );
        for (id, first) in [("a", "10.244.1.1"), ("b", "10.244.1.2"), ("c", "10.244.1.129")] {
            let given = addresses(&add(&lab, id, &gold));
            assert_eq!(given[0], first);
            assert!(
                given[1].starts_with("fd00:244:1::"),
                "the other family as ever: {given:?}"
            );
        }
        // The order of families is that of podCIDRs.
        let far = with(&json!({"cni.flatroute.io/pool": "far"}));
        assert_eq!(addresses(&add(&lab, "far", &far)), ["10.99.0.1", "fd00:244:9::1"]);
        let both = with(&json!({"cni.flatroute.io/pool": "gold", "cni.flatroute.io/ips": "10.244.1.130"}));
        assert_eq!(addresses(&add(&lab, "both", &both))[0], "10.244.1.130");
        refused(
            &lab,
            &gold,
            11,
            "no free address in 10.244.1.0/30, 10.244.1.128/30 (pools.gold): pods hold 4",
        );
        refused(
            &lab,
            &with(&json!({"cni.flatroute.io/ips": "10.244.1.1"})),
            7,
            "10.244.1.1 is in none of 10.244.1.0/24 (podCIDRs without pools)",
        );
        refused(
            &lab,
            &with(&json!({"cni.flatroute.io/pool": "silver"})),
            7,
            "there is no pool \"silver\"; pools has far, gold",
        );
        for id in ["none", "a", "b", "c", "far", "both"] {
            lab.del(id);
        }
        lab.assert_clean();
    });
}
