//! Two-octet peers (RFC 6793 §4.2): AS4_PATH and AS4_AGGREGATOR joined with what the peer understood.

use flatroute_bgp::wire::Message;

use super::bytes::{hex, read, two_octet, update};

/// The path and the aggregator after the merge, in words.
fn merged(as_path: &str, others: &str) -> (String, String) {
    let as_path = hex(as_path);
    let list = format!(
        "400101004002{:02x}{}400304c0000202{others}",
        as_path.len(),
        as_path.iter().map(|o| format!("{o:02x}")).collect::<String>()
    );
    match read(&update("", &list, "08cb"), &two_octet()) {
        Ok(Message::Update(update)) if update.announced.len() == 1 => {
            let aggregator = update.attributes.aggregator;
            let aggregator = aggregator.map_or(String::new(), |a| format!("{} {}", a.asn, a.id));
            (update.attributes.as_path.to_string(), aggregator)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn as4_path_replaces_the_tail() {
    let path = |as_path: &str, as4: &str| merged(as_path, as4).0;
    assert_eq!(path("0201fde9", ""), "65001");
    // 65001 23456 23456, behind it 65536 65537.
    assert_eq!(
        path("0203fde95ba05ba0", "c0110a 0202 0001000000010001"),
        "65001 65536 65537"
    );
    assert_eq!(
        path("02025ba05ba0", "c0110a 0202 0001000000010001"),
        "65536 65537"
    );
    // Longer than AS_PATH: stale.
    assert_eq!(path("02015ba0", "c0110a 0202 0001000000010001"), "23456");
    // Malformed, empty: dropped. A confederation segment in it is left out.
    assert_eq!(path("02015ba0", "c01103 020200"), "23456");
    assert_eq!(path("02015ba0", "c01100"), "23456");
    assert_eq!(
        path("0202fde95ba0", "c0110c 030100000001 020100010000"),
        "65001 65536"
    );
}

#[test]
fn as4_path_may_stand_before_as_path() {
    let message = hex("M0038020000001d40010100c0110602010001000140020602025ba05ba0400304c000020218cb0071");
    let Ok(Message::Update(update)) = read(&message, &two_octet()) else {
        panic!("refused");
    };
    assert_eq!(update.attributes.as_path.to_string(), "23456 65537");
}

#[test]
fn as4_aggregator_counts_only_beside_as_trans() {
    let as4 = "c01208 00010000 0a000001";
    let path4 = "c01106 0201 00010000";
    assert_eq!(
        merged("02015ba0", &format!("c00706 5ba0 0a000002 {as4}")).1,
        "65536 10.0.0.1"
    );
    assert_eq!(merged("02015ba0", "c00706 5ba0 0a000002").1, "23456 10.0.0.2");
    // Aggregated since by somebody of two octets: both are stale.
    let (path, aggregator) = merged("02015ba0", &format!("c00706 fde9 0a000002 {path4} {as4}"));
    assert_eq!((path.as_str(), aggregator.as_str()), ("23456", "65001 10.0.0.2"));
    assert_eq!(merged("02015ba0", as4).1, "");
    assert_eq!(
        merged("02015ba0", "c00706 5ba0 0a000002 c01207 0001000a000001").1,
        "23456 10.0.0.2"
    );
}
