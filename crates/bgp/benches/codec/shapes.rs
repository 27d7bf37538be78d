//! What the codec's benches encode and decode: UPDATEs of a few shapes.

use bytes::BytesMut;
use flatroute_bgp::types::{AsPath, Asn, Community, FamilySet, NextHop, PathAttributes, PathIds, Prefix};
use flatroute_bgp::wire::{Context, encode_reach};

/// A session with all that makes messages large.
pub(crate) const CONTEXT: Context = Context {
    four_octet_as: true,
    extended_message: true,
    families: FamilySet::BOTH,
    extended_next_hop: false,
    path_ids: PathIds::NONE,
    internal: false,
};

/// What stands in one UPDATE.
pub(crate) struct Shape {
    /// For the report.
    pub(crate) name: &'static str,
    /// All of it.
    pub(crate) prefixes: Vec<Prefix>,
    /// With the next hop.
    pub(crate) attributes: PathAttributes,
}

impl Shape {
    /// The message.
    pub(crate) fn message(&self) -> BytesMut {
        let mut out = BytesMut::new();
        let count = encode_reach(&self.prefixes, &self.attributes, &CONTEXT, &mut out).expect("good input");
        assert_eq!(count, self.prefixes.len());
        out
    }
}

/// One prefix, what is usual in a full table, and full messages of both families.
pub(crate) fn shapes() -> Vec<Shape> {
    let v4 = |count: u32| -> Vec<Prefix> {
        let one = |i: u32| Prefix::v4(0x1400_0000 | i << 8, 24).expect("good input");
        (0..count).map(one).collect()
    };
    let v6 = (0..1000_u128)
        .map(|i| Prefix::v6(0x2001_0db8 << 96 | i << 64, 64).expect("good input"))
        .collect();
    let hop4 = NextHop::V4([192, 0, 2, 2].into());
    let hop6 = NextHop::V6 {
        global: "2001:db8::2".parse().expect("good input"),
        link_local: None,
    };
    let shape = |name, prefixes, next_hop| Shape {
        name,
        prefixes,
        attributes: PathAttributes {
            as_path: AsPath::sequence([65001, 65002, 65003, 65004].map(Asn)),
            next_hop: Some(next_hop),
            communities: vec![Community(1), Community(2)],
            ..PathAttributes::local()
        },
    };
    vec![
        shape("1 IPv4 prefix", v4(1), hop4),
        shape("6 IPv4 prefixes", v4(6), hop4),
        shape("1000 IPv4 prefixes", v4(1000), hop4),
        shape("1000 IPv6 prefixes", v6, hop6),
    ]
}
