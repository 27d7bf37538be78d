//! Octets beside those that the `nft` program (1.0.6) sends for the same, as `nft --debug=mnl` shows them on a
//! little-endian machine. What the kernel makes of them stands in `tests/kernel/table.rs`.

use super::*;
use crate::pods::PodNetwork;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rule(name: &str) -> Rule {
    let table = PodNetwork::default().table();
    let rules = table.chains.into_iter().flat_map(|chain| chain.rules);
    rules.into_iter().find(|rule| rule.name == name).unwrap()
}

#[test]
#[cfg(target_endian = "little")]
fn a_chain_is_what_nft_sends() {
    let chain = PodNetwork::default().table().chains.remove(0);
    let message = add_chain("flatroute", &chain);
    assert_eq!((message.kind, message.flags), (2563, NLM_F_CREATE));
    assert_eq!(
        hex(&message.body),
        concat!(
            "01000000",
            "0e000100666c6174726f757465000000",
            "0c000300706f64732d696e00",
            "0b00070066696c7465720000",
            "0800050000000001",
            "14000480",
            "0800010000000000",
            "08000200fffffed4",
        )
    );
}

#[test]
#[cfg(target_endian = "little")]
fn the_check_of_sources_is_what_nft_sends() {
    assert_eq!(
        hex(&expressions(&rule("source of another").expressions)),
        concat!(
            "28000180",
            "0800010066696200",
            "1c000280080003000000000908000200000000010800010000000001",
            "2c000180",
            "08000100636d7000",
            "20000280080001000000000108000200000000000c0003800800010000000000",
            "14000180",
            "0c000100636f756e74657200",
            "04000280",
            "30000180",
            "0e000100696d6d656469617465000000",
            "1c0002800800010000000000100002800c0002800800010000000000",
        )
    );
}

#[test]
#[cfg(target_endian = "little")]
fn the_rule_for_router_advertisements_is_what_nft_sends() {
    assert_eq!(
        hex(&expressions(&rule("router advertisement").expressions)),
        concat!(
            "24000180090001006d6574610000000014000280080002000000000f0800010000000001",
            "2c00018008000100636d700020000280080001000000000108000200000000000c000380050001000a000000",
            "24000180090001006d657461000000001400028008000200000000100800010000000001",
            "2c00018008000100636d700020000280080001000000000108000200000000000c000380050001003a000000",
            "340001800c0001007061796c6f61640024000280",
            "0800010000000001080002000000000208000300000000000800040000000001",
            "2c00018008000100636d700020000280080001000000000108000200000000000c0003800500010086000000",
            "140001800c000100636f756e7465720004000280",
            "300001800e000100696d6d6564696174650000001c000280",
            "0800010000000000100002800c0002800800010000000000",
        )
    );
}

#[test]
#[cfg(target_endian = "little")]
fn an_interval_is_what_nft_sends() {
    let range = Range {
        first: 0xfd00_0001 << 96,
        last: (0xfd00_0001 << 96) | u128::from(u64::MAX),
    };
    let messages = add_elements("flatroute", "pods-ipv6", Width::Ipv6, &[range]);
    assert_eq!(messages.len(), 1);
    assert_eq!(
        hex(&messages[0].body),
        concat!(
            "01000000",
            "0e000100666c6174726f757465000000",
            "0e000200706f64732d69707636000000",
            "44000380",
            "1c0001801800018014000100fd000001000000000000000000000000",
            "240001801800018014000100fd000001000000010000000000000000",
            "0800030000000001",
        ) // It numbers the elements of its list, which has no meaning, and says the flags first.
    );
}

#[test]
fn many_intervals_are_several_messages_that_the_kernel_can_read() {
    let ranges: Vec<Range> = (0..1024)
        .map(|n| Range {
            first: n * 4,
            last: n * 4 + 1,
        })
        .collect();
    let messages = add_elements("flatroute", "pods-ipv6", Width::Ipv6, &ranges);
    assert_eq!(messages.len(), 4);
    assert!(messages.iter().all(|message| message.body.len() < 0xffff));
}

#[test]
fn a_comment_names_the_rule_and_what_it_does() {
    let one = rule("source of another");
    assert!(
        one.comment().starts_with("flatroute: source of another ["),
        "{}",
        one.comment()
    );
    let mut other = one.clone();
    other.expressions.pop();
    assert_ne!(one.comment(), other.comment());
}
