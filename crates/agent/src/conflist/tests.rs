use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn cidrs(texts: &[&str]) -> Vec<IpNetwork> {
    usable(texts.iter().copied())
}

fn pods(texts: &[&str]) -> Pods {
    Pods {
        cidrs: cidrs(texts),
        mtu: 0,
    }
}

#[test]
fn the_order_of_the_node_stays_and_families_may_have_several() {
    let texts = [
        "fd00:244:1::/64",
        "10.244.1.0/24",
        "rubbish",
        "10.244.9.0/24",
        "10.244.1.0/24",
    ];
    let found: Vec<String> = cidrs(&texts).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["fd00:244:1::/64", "10.244.1.0/24", "10.244.9.0/24"]);
}

#[test]
fn the_list_has_what_the_plugin_can() {
    let text = render(&pods(&["10.244.1.0/24", "fd00:244:1::/64"]));
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["cniVersion"], "1.0.0");
    assert_eq!(list["cniVersions"], json!(["1.0.0", "1.1.0"]));
    let [plugin] = list["plugins"].as_array().unwrap().as_slice() else {
        panic!("one plugin: {list}");
    };
    assert_eq!(plugin["type"], "flatroute-cni");
    assert_eq!(plugin["podCIDRs"], json!(["10.244.1.0/24", "fd00:244:1::/64"]));
    assert_eq!(plugin["mtu"], 0);
    for capability in CAPABILITIES {
        assert_eq!(plugin["capabilities"][capability], true, "{capability}");
    }
}

#[tokio::test]
async fn the_file_follows_the_node_and_others_files_stay() {
    let conf = tempfile::tempdir().unwrap();
    let others = conf.path().join("05-other.conflist");
    std::fs::write(&others, "theirs").unwrap();
    let path = conf.path().join(NAME);
    let (tell, wanted) = watch::channel(Pods::default());
    let (teller, mut told) = mpsc::channel(4);
    let task = tokio::spawn(keep(conf.path().to_owned(), wanted, teller));

    let mut next = async || {
        let happening = timeout(Duration::from_secs(20), told.recv()).await;
        happening.unwrap().unwrap()
    };
    tell.send_replace(pods(&["10.244.1.0/24"]));
    assert_eq!(next().await.kind, "CNIConfigured");
    assert!(std::fs::read_to_string(&path).unwrap().contains("10.244.1.0/24"));
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );

    tell.send_replace(Pods {
        mtu: 8900,
        ..pods(&["10.244.7.0/24"])
    });
    assert!(next().await.text.contains("10.244.7.0/24"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("10.244.7.0/24") && text.contains("\"mtu\": 8900"),
        "{text}"
    );

    drop(tell);
    timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
    let mut files: Vec<_> = std::fs::read_dir(conf.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["05-other.conflist", NAME]);
    assert_eq!(std::fs::read_to_string(others).unwrap(), "theirs");
}

#[test]
fn a_directory_that_is_not_there_is_told_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = write(&dir.path().join("net.d").join(NAME), &pods(&["10.244.1.0/24"]));
    let text = outcome.trouble.unwrap();
    assert_eq!(outcome.written, None);
    assert!(text.contains("net.d/10-flatroute.conflist: "), "{text}");
}

#[test]
fn the_same_trouble_is_told_once() {
    let (teller, mut told) = mpsc::channel(8);
    let mut last = None;
    for text in ["one", "one", "two", "one"] {
        tell(Outcome::failed(text.to_owned()), &mut last, &teller);
    }
    tell(Outcome::default(), &mut last, &teller);
    tell(Outcome::failed("one".to_owned()), &mut last, &teller);
    drop(teller);
    let texts = std::iter::from_fn(|| told.blocking_recv()).map(|happening| happening.text);
    assert_eq!(texts.collect::<Vec<_>>(), ["one", "two", "one", "one"]);
}
