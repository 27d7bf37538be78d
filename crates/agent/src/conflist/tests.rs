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

fn speaks(versions: &[&str]) -> Portmap {
    Portmap::Speaks(versions.iter().map(ToString::to_string).collect())
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
fn the_list_has_what_the_plugins_speak() {
    let rows = [
        (Portmap::Absent, vec!["1.0.0", "1.1.0"], false),
        (Portmap::Unusable("x".to_owned()), vec!["1.0.0", "1.1.0"], false),
        (speaks(&["1.0.0"]), vec!["1.0.0"], true),
        (speaks(&["1.0.0", "1.1.0"]), vec!["1.0.0", "1.1.0"], true),
    ];
    for (portmap, versions, chained) in rows {
        let text = render(&pods(&["10.244.1.0/24", "fd00:244:1::/64"]), &portmap);
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["cniVersion"], "1.0.0");
        assert_eq!(list["cniVersions"], json!(versions), "{portmap:?}");
        assert_eq!(
            list["plugins"][0]["podCIDRs"],
            json!(["10.244.1.0/24", "fd00:244:1::/64"])
        );
        assert_eq!(list["plugins"][0]["mtu"], 0);
        let capabilities = list["plugins"][0]["capabilities"].as_object().unwrap();
        assert!(
            CAPABILITIES
                .iter()
                .all(|name| capabilities.get(*name) == Some(&true.into())),
            "{capabilities:?}"
        );
        let last = list["plugins"].get(1);
        assert_eq!(
            last.cloned(),
            chained.then(|| json!({"type": "portmap", "capabilities": {"portMappings": true}}))
        );
    }
}

/// A plugin directory with a `portmap` of this text.
fn plugins(text: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    if let Some(text) = text {
        let path = dir.path().join("portmap");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

#[test]
fn portmap_is_asked_for_its_versions() {
    let answer = |versions: &str| {
        format!(
            "#!/bin/sh\n[ \"$CNI_COMMAND\" = VERSION ] && echo '{{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[{versions}]}}'\n"
        )
    };
    let rows = [
        (None, Portmap::Absent),
        (Some(answer("\"0.4.0\",\"1.0.0\"")), speaks(&["1.0.0"])),
        (
            Some(answer("\"0.4.0\",\"1.0.0\",\"1.1.0\"")),
            speaks(&["1.0.0", "1.1.0"]),
        ),
        (
            Some(answer("\"0.4.0\"")),
            Portmap::Unusable("it speaks no version from 1.0.0 on".to_owned()),
        ),
        // As one whose loader is not there.
        (
            Some("#!/no/such/loader\n0.3.10.4.01.0.0156".to_owned()),
            speaks(&["1.0.0"]),
        ),
    ];
    for (text, want) in rows {
        let dir = plugins(text.as_deref());
        assert_eq!(portmap::ask(dir.path()), want, "{text:?}");
    }
    for (text, why) in [
        ("#!/no/such/loader\n0.3.10.4.0", "names no version 1.0.0"),
        ("#!/bin/sh\nexit 3\n", "VERSION failed"),
        ("#!/bin/sh\necho hello\n", "its versions are not known"),
    ] {
        let dir = plugins(Some(text));
        let found = portmap::ask(dir.path());
        let trouble = found.trouble(dir.path()).unwrap();
        assert!(
            matches!(found, Portmap::Unusable(_)) && trouble.contains(why),
            "{trouble}"
        );
    }
}

#[tokio::test]
async fn the_file_follows_the_node_and_others_files_stay() {
    let (conf, bin) = (tempfile::tempdir().unwrap(), plugins(None));
    let others = conf.path().join("05-other.conflist");
    std::fs::write(&others, "theirs").unwrap();
    let path = conf.path().join(NAME);
    let places = Places {
        conf_dir: conf.path().to_owned(),
        bin_dir: bin.path().to_owned(),
    };
    let (tell, wanted) = watch::channel(Pods::default());
    let (teller, mut told) = mpsc::channel(4);
    let task = tokio::spawn(keep(places, wanted, teller));

    let mut next = async || {
        let happening = timeout(Duration::from_secs(20), told.recv()).await;
        happening.unwrap().unwrap()
    };
    tell.send_replace(pods(&["10.244.1.0/24"]));
    assert_eq!(next().await.kind, "CNIConfigured");
    let trouble = next().await;
    assert_eq!(trouble.kind, "HostPortUnavailable");
    assert!(
        trouble.text.starts_with("hostPort is unavailable"),
        "{}",
        trouble.text
    );
    assert!(std::fs::read_to_string(&path).unwrap().contains("10.244.1.0/24"));
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );

    // The same trouble is not told again.
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
    let places = Places {
        conf_dir: dir.path().join("net.d"),
        bin_dir: dir.path().to_owned(),
    };
    let outcome = write(&places, &pods(&["10.244.1.0/24"]));
    let (kind, text) = outcome.trouble.unwrap();
    assert_eq!((outcome.written, kind), (None, "CNITrouble"));
    assert!(text.contains("net.d/10-flatroute.conflist: "), "{text}");
}
