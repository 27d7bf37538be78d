use super::*;
use serde_json::json;

#[test]
fn durations_read_as_kubernetes_writes_them() {
    for (text, ms) in [
        ("90s", 90_000),
        ("1m30s", 90_000),
        ("300ms", 300),
        ("0", 0),
        ("0s", 0),
        ("2h", 7_200_000),
    ] {
        let d: Duration = text.parse().unwrap();
        assert_eq!(d.0.as_millis(), ms, "{text}");
        assert_eq!(d.to_string().parse::<Duration>().unwrap(), d);
    }
    for text in [
        "",
        "90",
        "s",
        "-1s",
        "1.5s",
        "90 s",
        "9us",
        "99999999999999999999s",
        "18446744073709551615h",
        "é9s",
    ] {
        assert!(text.parse::<Duration>().is_err(), "{text}");
    }
}

#[test]
fn prefixes_need_a_length_and_no_host_bits() {
    assert_eq!(
        "10.244.0.0/16".parse::<Cidr>().unwrap().to_string(),
        "10.244.0.0/16"
    );
    assert_eq!("::/0".parse::<Cidr>().unwrap().to_string(), "::/0");
    assert!(
        "10.244.0.0"
            .parse::<Cidr>()
            .unwrap_err()
            .contains("no prefix length")
    );
    assert!(
        "10.244.1.1/24"
            .parse::<Cidr>()
            .unwrap_err()
            .contains("it would be 10.244.1.0/24")
    );
    for text in ["", "/", "10.0.0.0/33", "x/24", "fd00::/129"] {
        assert!(text.parse::<Cidr>().is_err(), "{text}");
    }
}

#[test]
fn communities_have_two_halves_or_a_name() {
    assert_eq!("65000:100".parse(), Ok(Community(65_000 << 16 | 100)));
    assert_eq!("no-export".parse(), Ok(Community(0xffff_ff01)));
    assert_eq!(Community(0xffff_0000).to_string(), "graceful-shutdown");
    for text in ["", "65536:1", "1:65536", "1", "1:2:3", "a:b", "NO_EXPORT"] {
        assert!(text.parse::<Community>().is_err(), "{text}");
    }
}

#[test]
fn large_communities_have_three_numbers_in_one_spelling() {
    let read = "4200000001:0:100".parse();
    assert_eq!(read, Ok(LargeCommunity([4_200_000_001, 0, 100])));
    assert_eq!(LargeCommunity([1, 2, u32::MAX]).to_string(), "1:2:4294967295");
    for text in [
        "",
        "1:2",
        "1:2:3:4",
        "1:2:4294967296",
        "1:2:-3",
        "+1:2:3",
        "01:2:3",
        "1: 2:3",
        "a:b:c",
        "::",
    ] {
        assert!(text.parse::<LargeCommunity>().is_err(), "{text}");
    }
}

#[test]
fn the_asn_of_a_peer_is_a_number_or_one_of_two_words() {
    for (value, want) in [
        (json!(65001), Some(PeerAsn::Number(65_001))),
        (json!(4_294_967_295_u32), Some(PeerAsn::Number(u32::MAX))),
        (json!("External"), Some(PeerAsn::External)),
        (json!("Internal"), Some(PeerAsn::Internal)),
        (json!(0), None),
        (json!(-1), None),
        (json!(4_294_967_296_u64), None),
        (json!(1.5), None),
        (json!("65001"), None),
        (json!("external"), None),
        (json!(null), None),
        (json!([]), None),
    ] {
        assert_eq!(serde_json::from_value(value.clone()).ok(), want, "{value}");
    }
}
