use super::*;

fn peer(name: &str, asn: u32) -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec: {{peerAddress: 10.0.1.1, peerASN: {asn}}}\n"
    )
}

fn names(merged: &Merged) -> Vec<&str> {
    merged.state.peers.keys().map(String::as_str).collect()
}

/// Reads until what is there is as wanted; a bounded wait, and nothing is polled.
async fn until(standalone: &mut Standalone, what: &str, wanted: impl Fn(&Merged) -> bool) -> Merged {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let merged = timeout_at(deadline, standalone.next())
            .await
            .unwrap_or_else(|_| panic!("{what}: never seen"));
        let merged = merged.unwrap();
        if wanted(&merged) {
            return merged;
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

#[test]
fn each_way_to_change_a_manifest_is_seen() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a.yaml"), peer("a", 65001)).unwrap();
        let (mut standalone, merged) = Standalone::open(dir.path()).await.unwrap();
        assert_eq!(names(&merged), ["a"]);

        std::fs::write(at("b.yaml"), peer("b", 65002)).unwrap();
        until(&mut standalone, "a new file", |m| names(m) == ["a", "b"]).await;

        std::fs::write(at("a.yaml"), peer("a2", 65001)).unwrap();
        until(&mut standalone, "written in place", |m| names(m) == ["a2", "b"]).await;

        std::fs::write(at(".a.yaml.swp"), peer("draft", 65001)).unwrap();
        std::fs::write(at("a.tmp"), peer("a3", 65001)).unwrap();
        std::fs::rename(at("a.tmp"), at("a.yaml")).unwrap();
        until(&mut standalone, "renamed over", |m| names(m) == ["a3", "b"]).await;

        std::fs::rename(at("b.yaml"), at("b.yaml~")).unwrap();
        std::fs::write(at("b.yaml"), peer("b2", 65002)).unwrap();
        until(&mut standalone, "moved away and written anew", |m| {
            names(m) == ["a3", "b2"]
        })
        .await;

        std::fs::remove_file(at("b.yaml")).unwrap();
        until(&mut standalone, "removed", |m| names(m) == ["a3"]).await;
    });
}

#[test]
fn links_swapped_as_a_mounted_config_map_does_are_seen() {
    use std::os::unix::fs::symlink;
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, name) in [("..1", "old"), ("..2", "new")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("a.yaml"), peer(name, 65001)).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let (mut standalone, merged) = Standalone::open(dir.path()).await.unwrap();
        assert_eq!(names(&merged), ["old"]);
        symlink("..2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        until(&mut standalone, "the swap", |m| names(m) == ["new"]).await;
    });
}

#[test]
fn a_mistake_leaves_in_force_what_was() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, peer("a", 65001) + &peer("b", 65002)).unwrap();
        let (mut standalone, merged) = Standalone::open(dir.path()).await.unwrap();
        assert_eq!(names(&merged), ["a", "b"]);

        // A fault in one object: it stays as it was, the other changes.
        std::fs::write(&file, peer("a", 65009) + &peer("b", 0)).unwrap();
        let merged = until(&mut standalone, "a fault", |m| !m.problems.is_empty()).await;
        assert_eq!(names(&merged), ["a", "b"]);
        assert_eq!(
            merged.state.peers["a"].spec.peer_asn,
            Some(flatroute_api::values::PeerAsn::Number(65009))
        );
        assert_eq!(
            merged.state.peers["b"].spec.peer_asn,
            Some(flatroute_api::values::PeerAsn::Number(65002))
        );
        assert!(
            merged.problems[0]
                .message
                .contains("what was in force before stays"),
            "{}",
            merged.problems[0]
        );

        // Half a file: nothing goes.
        std::fs::write(&file, "---\napiVersion: flatroute.io/v1alpha1\nkind: [").unwrap();
        let merged = until(&mut standalone, "half a file", |m| {
            m.problems
                .iter()
                .any(|p| p.reason == flatroute_api::ProblemReason::NotYAML)
        })
        .await;
        assert_eq!(names(&merged), ["a", "b"]);

        // Taken out of a readable file: gone, and the problem with it.
        std::fs::write(&file, peer("b", 65002)).unwrap();
        let merged = until(&mut standalone, "taken out", |m| m.problems.is_empty()).await;
        assert_eq!(names(&merged), ["b"]);
    });
}

/// Follows `dir` while `write` runs on a thread of its own, until its last content is seen; gives everything that was
/// seen.
async fn seen_during(
    dir: &Path,
    write: impl FnOnce() + Send + 'static,
    last: impl Fn(&Merged) -> bool,
) -> Vec<Merged> {
    let (mut standalone, first) = Standalone::open(dir).await.unwrap();
    let writer = std::thread::spawn(write);
    let mut seen = vec![first];
    let deadline = Instant::now() + Duration::from_secs(30);
    while !seen.last().is_some_and(&last) {
        let merged = timeout_at(deadline, standalone.next())
            .await
            .expect("the last content is never seen");
        seen.push(merged.unwrap());
    }
    writer.join().unwrap();
    seen
}

/// A file that changes by renaming every 150 ms: seldom enough that the directory is quiet in between, and so is read
/// each time.
fn restless(dir: &Path, rounds: u32) -> std::thread::JoinHandle<()> {
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        for round in 0..rounds {
            std::fs::write(dir.join("z.tmp"), peer("z", 70000 + round)).unwrap();
            std::fs::rename(dir.join("z.tmp"), dir.join("z.yaml")).unwrap();
            std::thread::sleep(Duration::from_millis(150));
        }
    })
}

fn asn(merged: &Merged, name: &str) -> Option<flatroute_api::values::PeerAsn> {
    merged.state.peers.get(name).and_then(|p| p.spec.peer_asn)
}

#[test]
fn a_slow_writer_is_never_seen_half_way() {
    use std::io::Write as _;
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, peer("a", 65000) + &peer("b", 65000)).unwrap();
        let restless = restless(dir.path(), 24);
        let writing = move || {
            for round in 1..=4 {
                let mut open = std::fs::File::create(&file).unwrap();
                std::thread::sleep(Duration::from_millis(350));
                open.write_all(peer("a", 65000 + round).as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(350));
                open.write_all(peer("b", 65000 + round).as_bytes()).unwrap();
                drop(open);
                std::thread::sleep(Duration::from_millis(u64::from(round) * 40));
            }
        };
        let end = Some(flatroute_api::values::PeerAsn::Number(65004));
        let seen = seen_during(dir.path(), writing, |m| asn(m, "b") == end).await;
        assert!(
            seen.len() > 15,
            "the directory was read only {} times",
            seen.len()
        );
        for merged in &seen {
            assert!(asn(merged, "a").is_some(), "without a: {:?}", names(merged));
            assert_eq!(asn(merged, "a"), asn(merged, "b"), "half of a file");
            assert_eq!(merged.problems, []);
        }
        restless.join().unwrap();
    });
}

#[test]
fn emptied_and_written_anew_is_no_withdrawal() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, peer("a", 65000)).unwrap();
        let writing = move || {
            for round in 1..=4 {
                // Closed while it is empty, then gone altogether: each time for less than it takes to count.
                std::fs::write(&file, "").unwrap();
                std::thread::sleep(Duration::from_millis(150));
                std::fs::remove_file(&file).unwrap();
                std::thread::sleep(Duration::from_millis(150));
                std::fs::write(&file, peer("a", 65000 + round)).unwrap();
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        let end = Some(flatroute_api::values::PeerAsn::Number(65004));
        let seen = seen_during(dir.path(), writing, |m| asn(m, "a") == end).await;
        for merged in &seen {
            assert_eq!(names(merged), ["a"]);
        }
    });
}

#[test]
fn what_stays_empty_takes_its_objects_away() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, peer("a", 65001)).unwrap();
        let (mut standalone, _) = Standalone::open(dir.path()).await.unwrap();
        let emptied = Instant::now();
        std::fs::write(&file, "").unwrap();
        until(&mut standalone, "emptied", |m| names(m).is_empty()).await;
        // The kernel's change times are those of its last tick.
        let waited = emptied.elapsed() + Duration::from_millis(20);
        assert!(waited >= LOSS, "{waited:?}");
    });
}

#[test]
fn an_object_that_moves_to_another_file_is_never_there_twice_nor_gone() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("a.yaml"), dir.path().join("b.yaml"));
        std::fs::write(&old, peer("a", 65001)).unwrap();
        let target = new.clone();
        let renaming = move || std::fs::rename(old, target).unwrap();
        let place = new.display().to_string();
        let seen = seen_during(dir.path(), renaming, |m| {
            m.places.values().any(|p| p.file == place)
        })
        .await;
        for merged in &seen {
            assert_eq!((names(merged), merged.problems.len()), (vec!["a"], 0));
        }
    });
}

#[test]
fn a_directory_that_is_made_again_is_found_again() {
    run(async {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("manifests");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("a.yaml"), peer("a", 65001)).unwrap();
        let (mut standalone, _) = Standalone::open(&dir).await.unwrap();
        let fresh = parent.path().join("fresh");
        std::fs::create_dir(&fresh).unwrap();
        std::fs::write(fresh.join("b.yaml"), peer("b", 65001)).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::rename(&fresh, &dir).unwrap();
        until(&mut standalone, "the new directory", |m| names(m) == ["b"]).await;
        // And followed again.
        std::fs::write(dir.join("c.yaml"), peer("c", 65001)).unwrap();
        until(&mut standalone, "a file in it", |m| names(m) == ["b", "c"]).await;
    });
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_names_it() {
    run(async {
        let error = match Standalone::open(Path::new("/nonexistent/manifests")).await {
            Ok(_) => panic!("opened"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains("/nonexistent/manifests"), "{error}");
    });
}
