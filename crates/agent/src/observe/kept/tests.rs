use std::os::unix::fs::PermissionsExt as _;

use flatroute_plan::{Listing, ObjectSource};

use super::*;

const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, uid: u, labels: {rack: r1}, annotations: {flatroute.io/asn: '65010'}}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 10.0.1.11}]}
---
apiVersion: flatroute.io/v1alpha1
kind: BGPPeer
metadata: {name: a}
spec: {peerAddress: 10.0.1.1, peerASN: 65001, importFilters: [f], auth: {md5: {secretRef: {name: tor}}}}
---
apiVersion: flatroute.io/v1alpha1
kind: BGPFilter
metadata: {name: f}
spec: {rules: [{action: Accept}]}
---
apiVersion: flatroute.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {localASN: 64513}
---
apiVersion: v1
kind: Secret
metadata: {name: tor}
stringData: {password: hunter2}
";

fn observed() -> Observed {
    let merged = manifest::merge([manifest::parse("m.yaml", OBJECTS)]);
    assert_eq!(merged.problems, []);
    let mut listing = Listing::of(ClusterState::default(), ["all"]);
    listing.listed("all", |state| *state = merged.state);
    Observed {
        state: listing.synced().ok(),
        awaited: Vec::new(),
        problems: Vec::new(),
        api_server: ["10.0.9.9".parse().unwrap()].into(),
        kubeadm_pod_subnets: vec!["10.244.0.0/16".parse().unwrap()],
        source: ObjectSource::ApiServer,
        stale: None,
    }
}

#[test]
fn all_but_the_secrets_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::new(&dir.path().join("state"), "n1");
    assert_eq!(kept.read(), Ok(None));
    let observed = observed();
    kept.write(&observed).unwrap();
    let copy = kept.read().unwrap().unwrap();
    let mut want: ClusterState = (**observed.state.as_ref().unwrap()).clone();
    want.secrets.clear();
    assert_eq!((copy.state, copy.problems), (want, vec![]));
    assert_eq!(
        copy.api_server,
        observed.api_server.into_iter().collect::<Vec<_>>()
    );
    assert_eq!(copy.kubeadm_pod_subnets, observed.kubeadm_pod_subnets);
    let text = fs::read_to_string(kept.path()).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("aHVudGVy"), "{text}");
    let mode = fs::metadata(kept.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nothing else is left in the directory, whatever was there from a write that was cut off.
    fs::write(dir.path().join("state/last-known-good.json.new"), "half").unwrap();
    kept.write(&self::observed()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("state")).unwrap().count(), 1);
}

#[test]
fn its_age_is_that_of_the_last_word_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::new(dir.path(), "n1");
    kept.write(&observed()).unwrap();
    let old = SystemTime::now() - Duration::from_secs(3600);
    File::options()
        .write(true)
        .open(kept.path())
        .unwrap()
        .set_modified(old)
        .unwrap();
    let age = kept.read().unwrap().unwrap().stale.age();
    assert!((3600..3700).contains(&age.as_secs()), "{age:?}");
    kept.touch().unwrap();
    let age = kept.read().unwrap().unwrap().stale.age();
    assert!(age.as_secs() < 60, "{age:?}");
}

#[test]
fn what_is_not_ours_or_not_whole_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::new(dir.path(), "n1");
    kept.write(&observed()).unwrap();
    let good = fs::read_to_string(kept.path()).unwrap();
    let other = Kept::new(dir.path(), "n2");
    assert_eq!(other.read(), Err("it is of the node n1".to_owned()));
    let half: String = good.chars().take(good.len() / 2).collect();
    for (text, why) in [
        (String::new(), "only its beginning"),
        ("not ours\n".to_owned(), "not a copy of ours"),
        (half, "damaged"),
        (good.replace("10.244.1.0/24", "10.244.2.0/24"), "checksum"),
        (good.replace("\"format\":1", "\"format\":2"), "has the format 2"),
        (good.replace("\"format\":1", "\"fmt\":1"), "has the format 0"),
    ] {
        fs::write(kept.path(), &text).unwrap();
        let said = kept.read().unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    }
    // Bytes that are no text.
    fs::write(kept.path(), [0xff, 0xfe]).unwrap();
    assert!(kept.read().is_err());
}

#[test]
fn an_object_that_this_version_cannot_read_costs_only_itself() {
    let kept = Kept::new(Path::new("/nowhere"), "n1");
    let body = Body {
        objects: vec![
            serde_json::json!({"apiVersion": "flatroute.io/v1alpha1", "kind": "BGPPeer", "metadata": {"name": "a"}, "spec": {"peerAddress": "10.0.1.1", "peerASN": 1}}),
            serde_json::json!({"apiVersion": "flatroute.io/v1alpha1", "kind": "BGPPeer", "metadata": {"name": "b"}, "spec": {"later": 1}}),
        ],
        api_server: Vec::new(),
        kubeadm_pod_subnets: Vec::new(),
    };
    let body = serde_json::to_string(&body).unwrap();
    let text = format!(
        "{{\"format\":1,\"node\":\"n1\",\"checksum\":\"{}\"}}\n{body}\n",
        checksum(&body)
    );
    let copy = kept.parse(&text, SystemTime::now()).unwrap();
    assert_eq!(copy.state.peers.keys().collect::<Vec<_>>(), ["a"]);
    assert!(copy.problems.iter().all(|p| p.name == "b") && !copy.problems.is_empty());
}
