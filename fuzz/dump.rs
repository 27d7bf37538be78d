//! The fuzz target of what the kernel tells of nf_tables and of tracked flows, as a plain function of octets: cargo-fuzz calls it with
//! new inputs, and a test of the nft crate replays the committed corpus through it on stable Rust. It fails by panicking.

use flatroute_nft::host_ports::{self, Owned};
use flatroute_nft::{Flow, Observed, PodNetwork, TABLE, difference};

/// NFNL_SUBSYS_NFTABLES.
const NFTABLES: u16 = 10;

/// A message of a dump: the number of its kind within nf_tables, and its body. Whatever it is, it is also read as elements
/// and as a flow.
pub(crate) fn dump(input: &[u8]) {
    let Some((&kind, body)) = input.split_first() else {
        return;
    };
    let mut observed = Observed::default();
    observed.take(TABLE, NFTABLES << 8 | u16::from(kind), body);
    let sets: Vec<String> = observed.sets.keys().cloned().collect();
    for set in sets {
        observed.elements(&set, [body].into_iter());
    }
    for table in [PodNetwork::default().table(), host_ports::table()] {
        for operation in difference(&table, &observed) {
            let _ = operation.to_string();
        }
    }
    for owned in Owned::decode(body) {
        // A comment that is too long for ours is cut when it is written.
        if owned.owner.len() <= host_ports::MAX_OWNER && !owned.owner.contains('\u{fffd}') {
            assert!(Owned::decode(&owned.encode()).contains(&owned), "{owned:?}");
        }
    }
    if let Some(flow) = Flow::decode(body) {
        assert_eq!(Flow::decode(body), Some(flow));
    }
}
