use std::collections::BTreeSet;
use std::time::Duration;

use flatroute_api::{ClusterState, manifest};
use flatroute_plan::{Listing, ObjectSource};

use super::*;

/// Objects in which the neighbour has this ASN.
fn to_keep(asn: u32) -> ToKeep {
    let text = format!(
        "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: a}}\nspec: {{peerAddress: 10.0.1.1, peerASN: {asn}}}\n"
    );
    let merged = manifest::merge([manifest::parse("m.yaml", &text)]);
    let mut listing = Listing::of(ClusterState::default(), ["all"]);
    listing.listed("all", |state| *state = merged.state);
    ToKeep {
        observed: Arc::new(Observed {
            state: listing.synced().ok(),
            awaited: Vec::new(),
            problems: Vec::new(),
            api_server: BTreeSet::new(),
            kubeadm_pod_subnets: Vec::new(),
            source: ObjectSource::ApiServer,
            stale: None,
        }),
        in_use: InUse::default(),
        confirmed: true,
    }
}

/// Objects that change twice within a second are written once at first; the second time waits, but not beyond the end.
#[test]
fn what_waits_for_its_time_is_written_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::new(dir.path(), "n1");
    let places = Places {
        kept: Some(kept.clone()),
        secrets: None,
    };
    let text = || std::fs::read_to_string(kept.path()).unwrap_or_default();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(async {
        let (keep, wanted) = watch::channel(None);
        let (tell, _told) = mpsc::channel(1);
        let keeper = tokio::spawn(run(places, wanted, tell));
        keep.send_replace(Some(to_keep(65001)));
        let begun = Instant::now();
        while !text().contains("65001") {
            assert!(begun.elapsed() < WRITE_EVERY, "never written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        keep.send_replace(Some(to_keep(65002)));
        keep.send_replace(Some(to_keep(65003)));
        drop(keep);
        keeper.await.unwrap();
        assert!(begun.elapsed() < WRITE_EVERY, "it was due anyhow");
    });
    assert!(text().contains("65003"), "{}", text());
}
