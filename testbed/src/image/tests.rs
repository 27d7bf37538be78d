use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;

/// All files of a tar, by name.
fn files(tar: &[u8]) -> BTreeMap<String, (tar::Header, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let (name, mut content) = (entry.path().expect("a name").display().to_string(), Vec::new());
        entry.read_to_end(&mut content).expect("content");
        (name, (entry.header().clone(), content))
    });
    entries.collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Writes an image, checks its frame, and returns its configuration and its layer.
fn written(image: &Image, path: &Path) -> (Value, Vec<u8>) {
    let id = image.write(path).expect("written");
    let archive = files(&fs::read(path).expect("an archive"));
    let manifest: Value = serde_json::from_slice(&archive["manifest.json"].1).expect("JSON");
    let [only] = manifest.as_array().expect("an array").as_slice() else {
        panic!("one image: {manifest}");
    };
    assert_eq!(only["RepoTags"], json!(image.tags()));
    let config = &archive[only["Config"].as_str().expect("a name")].1;
    assert_eq!(id, format!("sha256:{}", sha256(config)));
    let layer = &archive[only["Layers"][0].as_str().expect("a name")].1;
    let config: Value = serde_json::from_slice(config).expect("JSON");
    assert_eq!(
        config["rootfs"]["diff_ids"],
        json!([format!("sha256:{}", sha256(layer))])
    );
    (config, layer.clone())
}

#[test]
fn an_archive_holds_what_was_put_into_the_image() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    fs::write(&source, "#!/bin/program").expect("written");
    let long = format!("/deep/{}/file", "x".repeat(120));
    let image = Image::new(["a.example/one:1", "b.example/two:2"])
        .file("/opt/bin/program", &source, 0o755)
        .text("/etc/passwd", "root:x:0:0::/:\n", 0o644)
        .text(&long, "", 0o600)
        .directory("/tmp", 0o1777)
        .symlink("/bin", "opt/bin")
        .entrypoint(["/opt/bin/program"])
        .command(["run"])
        .env("A", "b")
        .label("l", "m")
        .user("65535:65535");
    let (config, layer) = written(&image, &dir.path().join("new/image.tar"));
    assert_eq!(
        config["config"],
        json!({"User": "65535:65535", "Env": ["A=b"], "Entrypoint": ["/opt/bin/program"], "Cmd": ["run"], "WorkingDir": "/",
            "Labels": {"l": "m"}})
    );
    assert_eq!(config["os"], "linux");
    let files = files(&layer);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let deep = long.trim_start_matches('/');
    assert_eq!(
        names,
        [
            "bin",
            "deep",
            deep.trim_end_matches("/file"),
            deep,
            "etc",
            "etc/passwd",
            "opt",
            "opt/bin",
            "opt/bin/program",
            "tmp"
        ]
    );
    let (program, content) = &files["opt/bin/program"];
    assert_eq!(content, b"#!/bin/program");
    assert_eq!(program.mode().expect("a mode"), 0o755);
    assert_eq!(files["tmp"].0.mode().expect("a mode"), 0o1777);
    let link = files["bin"].0.link_name().expect("a link").expect("a target");
    assert_eq!(*link, *Path::new("opt/bin"));
    assert!(files.values().all(|(header, _)| {
        (header.uid().ok(), header.gid().ok(), header.mtime().ok()) == (Some(0), Some(0), Some(0))
    }));
    let left: Vec<_> = fs::read_dir(dir.path().join("new")).expect("listed").collect();
    assert_eq!(left.len(), 1, "nothing beside the archive: {left:?}");
}

#[test]
fn the_same_image_is_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let archive = |content: &str, order: [&str; 2]| {
        let source = dir.path().join("source");
        fs::write(&source, content).expect("written");
        let image = order.into_iter().fold(Image::new(["x:1"]), |image, name| {
            image.file(name, &source, 0o755)
        });
        let path = dir.path().join("image.tar");
        let id = image.write(&path).expect("written");
        (id, fs::read(&path).expect("read"))
    };
    let first = archive("a", ["/p", "/q"]);
    assert_eq!(archive("a", ["/q", "/p"]), first);
    assert_ne!(archive("b", ["/p", "/q"]).0, first.0);
}

#[test]
fn what_cannot_be_an_image_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = || Image::new(["x:1"]);
    let none: [&str; 0] = [];
    for (image, words) in [
        (Image::new(none), "needs a tag"),
        (image().text("relative", "", 0o644), "is not absolute"),
        (image().text("/a/../../b", "", 0o644), "names no place"),
        (image().directory("/", 0o755), "names no place"),
        (
            image().symlink("/bin", "usr/bin").text("/bin/a", "", 0o755),
            "where it leads",
        ),
        (image().file("/a", "/nonexistent/a", 0o644), "/nonexistent/a"),
        (image().file("/a", dir.path(), 0o644), "is not a file"),
    ] {
        let error = image.write(&dir.path().join("image.tar")).expect_err(words);
        assert!(format!("{error:#}").contains(words), "{error:#}");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 0, "{words}");
    }
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\n").expect("written");
    let error = image().program("/script", &script).expect_err("no program");
    assert!(error.to_string().contains("not a 64-bit ELF"), "{error:#}");
}

#[test]
fn a_dynamic_program_brings_what_it_needs() {
    let dir = tempfile::tempdir().expect("a directory");
    let own = std::env::current_exe().expect("this program");
    assert!(!is_static(&own).expect("ELF"), "tests are dynamic programs");
    let image = Image::new(["x:1"])
        .program("/bin/tests", &own)
        .expect("libraries");
    let (_, layer) = written(&image, &dir.path().join("image.tar"));
    let root = dir.path().join("root");
    tar::Archive::new(layer.as_slice())
        .unpack(&root)
        .expect("unpacked");
    // Its own loader starts it with nothing but the libraries of the image.
    let found = program::libraries(&own).expect("libraries");
    let inside = |path: &PathBuf| root.join(path.strip_prefix("/").expect("absolute"));
    let is_loader = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("ld-"))
    };
    let loader = inside(found.iter().find(is_loader).expect("a loader"));
    let folders: Vec<_> = found
        .iter()
        .map(|path| inside(path).parent().expect("a folder").display().to_string())
        .collect();
    let output = Command::new(loader)
        .args(["--inhibit-cache", "--library-path", &folders.join(":")])
        .arg(root.join("bin/tests"))
        .arg("--list")
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("a_dynamic_program_brings_what_it_needs"),
        "{output:?}"
    );
}

#[test]
fn the_lines_of_ldd() {
    let paths = program::parse(
        "\tlinux-vdso.so.1 (0x00007ffd4c1f2000)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1d8a000000)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f1d8a3d9000)\n",
    );
    let paths: Vec<_> = paths.expect("paths").into_iter().collect();
    let want = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
    assert_eq!(paths, want);
    let error = program::parse("\tlibmissing.so.1 => not found\n").expect_err("missing");
    assert!(error.to_string().contains("libmissing.so.1"), "{error}");
    assert!(program::parse("").expect("nothing").is_empty());
}

#[test]
fn our_own_image_takes_only_static_programs() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = Image::flatroute(dir.path()).expect_err("nothing there");
    assert!(format!("{error:#}").contains("flatroute-agent"), "{error:#}");
    let own = std::env::current_exe().expect("this program");
    for name in ["flatroute-agent", "flatroute-cni"] {
        fs::copy(&own, dir.path().join(name)).expect("copied");
    }
    let error = Image::flatroute(dir.path()).expect_err("dynamic");
    assert!(error.to_string().contains("make image"), "{error:#}");
}
