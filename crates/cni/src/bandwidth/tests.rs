use serde_json::{Value, json};

use super::*;
use crate::invocation::Attachment;

fn read(value: &Value) -> Result<Limits> {
    Limits::read(value.as_object().expect("an object"))
}

fn plan(value: &Value, mtu: u32) -> Result<Option<Shaping>> {
    let identity = Identity {
        network: "net".into(),
        attachment: Attachment {
            container_id: "c".into(),
            interface: "eth0".into(),
        },
    };
    read(value)?.plan(&identity, "frabc", mtu)
}

#[test]
fn what_runtimes_send_is_a_rate_and_a_burst_of_our_own() {
    // containerd with one annotation of two: 10M to the pod.
    let sent =
        json!({"ingressRate": 10_000_000, "ingressBurst": u32::MAX, "egressRate": 0, "egressBurst": 0});
    let shaping = plan(&sent, 1500).unwrap().expect("a limit");
    let bucket = shaping.ingress.expect("to the pod");
    assert_eq!(shaping.egress, None);
    assert_eq!((bucket.rate, bucket.burst), (1_250_000, 62_500));
    assert_eq!(bucket.limit, 31_250 + 62_500);
    assert_eq!(plan(&json!({}), 1500).unwrap(), None);
    let none = json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": null});
    assert_eq!(plan(&none, 1500).unwrap(), None);
}

#[test]
fn bursts_hold_packets_and_queues_hold_large_ones() {
    // Slow: ten packets; fast: the largest; given: as it is.
    let burst = |rate: u64, burst: u64, mtu| {
        let wish = json!({"egressRate": rate, "egressBurst": burst});
        let bucket = plan(&wish, mtu).unwrap().unwrap().egress.unwrap();
        (bucket.burst, bucket.limit)
    };
    assert_eq!(burst(64_000, 0, 1500), (15_180, 15_380));
    assert_eq!(burst(64_000, 0, 9000), (90_180, 90_380));
    let fast = burst(1_000_000_000_000, 0, 1500);
    assert_eq!(fast.0, i32::MAX as u32 / 8);
    assert_eq!(fast.1, 3_125_000_000 + 131_072);
    assert_eq!(burst(8_000_000, 800_000, 1500), (100_000, 25_000 + 100_000));
    assert_eq!(burst(8_000_000, 80_000_000, 1500), (10_000_000, 25_000 + 131_072));
}

#[test]
fn senseless_values_are_refused_by_name() {
    let rows = [
        (json!({"ingressRate": -1}), "ingressRate: -1 is no whole number"),
        (
            json!({"egressRate": "10M"}),
            "egressRate: \"10M\" is no whole number",
        ),
        (json!({"egressRate": 1.5}), "egressRate: 1.5"),
        (
            json!({"ingressRate": 999}),
            "ingressRate: 999 bit/s is not between 1000 and",
        ),
        (
            json!({"ingressRate": 2_000_000_000_000_000_u64}),
            "is not between",
        ),
        (
            json!({"ingressBurst": 100}),
            "ingressBurst: 100 without ingressRate",
        ),
        (
            json!({"egressRate": 1_000_000, "egressBurst": 12_000}),
            "egressBurst: 12000 bits hold no packet of MTU 1500: give at least 12144, or no burst",
        ),
    ];
    for (value, words) in rows {
        let error = plan(&value, 1500).unwrap_err();
        assert_eq!(error.code, Code::InvalidConfig);
        let text = format!("network configuration: runtimeConfig.bandwidth.{words}");
        let said = error.msg.contains(words);
        assert!(said, "{} does not say {text}", error.msg);
    }
}

#[test]
fn what_the_kernel_lacks_is_named() {
    let refused = |errno: i32| flatroute_netlink::Error::Refused {
        what: "add the queueing discipline tbf".into(),
        source: std::io::Error::from_raw_os_error(errno),
        text: Some("Specified qdisc kind is unknown".into()),
    };
    let (enoent, eopnotsupp, eperm) = (2, 95, 1);
    for errno in [enoent, eopnotsupp] {
        let error = needs("sch_tbf", "CONFIG_NET_SCH_TBF")(refused(errno));
        assert!(error.msg.contains("tbf"), "{error}");
        assert!(
            error
                .details
                .contains("sch_tbf of the kernel (CONFIG_NET_SCH_TBF)"),
            "{}",
            error.details
        );
    }
    let other = needs("sch_tbf", "CONFIG_NET_SCH_TBF")(refused(eperm));
    assert_eq!(other.details, "");
}
