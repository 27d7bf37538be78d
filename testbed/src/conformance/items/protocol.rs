//! Items 1 to 37: the call itself. They are put to the first plugin of the network.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::ground;
use super::super::invocation::Call;
use super::super::verdict::{Item, Verdict, item, not_applicable, not_provoked};
use super::super::world::World;

const MEBIBYTE: usize = 1 << 20;

pub(super) const ITEMS: &[Item] = &[
    item(
        1,
        "without CNI_COMMAND: exit code 0, its name and versions on standard error, nothing on standard output",
        about,
    ),
    item(2, "an unknown CNI_COMMAND: code 4", |world| {
        refused(world, &world.call("FOO")?, 4, &[])
    }),
    item(3, "CNI_COMMAND in lower case: code 4", |world| {
        refused(world, &world.call("add")?, 4, &[])
    }),
    item(4, "ADD without CNI_CONTAINERID: code 4 that names it", |world| {
        lacking(world, "ADD", &["CNI_CONTAINERID"])
    }),
    item(5, "ADD without CNI_NETNS: code 4 that names it", |world| {
        lacking(world, "ADD", &["CNI_NETNS"])
    }),
    item(6, "ADD without CNI_IFNAME: code 4 that names it", |world| {
        lacking(world, "ADD", &["CNI_IFNAME"])
    }),
    item(
        7,
        "ADD without several variables: one message names all",
        |world| lacking(world, "ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
    ),
    item(8, "DEL without CNI_NETNS succeeds", |world| {
        silent(world, &world.call("DEL")?.without("CNI_NETNS"))
    }),
    item(9, "DEL with an empty CNI_NETNS succeeds", |world| {
        silent(world, &world.call("DEL")?.with("CNI_NETNS", ""))
    }),
    item(10, "CHECK without CNI_NETNS: code 4 that names it", |world| {
        since(world, "0.4.0", |world| lacking(world, "CHECK", &["CNI_NETNS"]))
    }),
    item(11, "GC without CNI_PATH: code 4 that names it", |world| {
        since(world, "1.1.0", |world| lacking(world, "GC", &["CNI_PATH"]))
    }),
    item(
        12,
        "STATUS needs neither CNI_CONTAINERID, CNI_NETNS nor CNI_IFNAME",
        |world| since(world, "1.1.0", |world| silent(world, &world.call("STATUS")?)),
    ),
    item(
        13,
        "VERSION with nothing to read and senseless variables: the supported versions, and cniVersion",
        version,
    ),
    item(
        14,
        "a CNI_CONTAINERID with '/', a space, a leading '-', or an empty one: code 4",
        |world| wrong_values(world, "CNI_CONTAINERID", &["a/b", "a b", "-a", ""]),
    ),
    item(15, "a CNI_IFNAME of 16 bytes: code 4", |world| {
        wrong_values(world, "CNI_IFNAME", &["abcdefghijklmnop"])
    }),
    item(
        16,
        "CNI_IFNAME \"..\", \"a/b\", \"a:b\" or \"a b\": code 4",
        |world| wrong_values(world, "CNI_IFNAME", &["..", "a/b", "a:b", "a b"]),
    ),
    item(17, "standard input is no JSON: code 6", |world| {
        refused(world, &world.call("ADD")?.reading("{\"name\": "), 6, &[])
    }),
    item(18, "standard input is empty: code 6", |world| {
        refused(world, &world.call("ADD")?.reading(""), 6, &[])
    }),
    item(19, "standard input is a JSON array: code 6", |world| {
        refused(world, &world.call("ADD")?.reading("[1, 2]"), 6, &[])
    }),
    item(20, "a configuration without name: code 7", |world| {
        refused(
            world,
            &world.call("ADD")?.edited(|conf| drop(conf.remove("name")))?,
            7,
            &[],
        )
    }),
    item(
        21,
        "a configuration with the name \"bad name!\": code 7",
        |world| {
            refused(
                world,
                &world
                    .call("ADD")?
                    .edited(|conf| drop(conf.insert("name".into(), "bad name!".into())))?,
                7,
                &[],
            )
        },
    ),
    item(22, "cniVersion \"9.9.9\": code 1, with details", unknown_version),
    item(23, "no cniVersion means 0.1.0: it works, or code 1", no_version),
    item(24, "CHECK with cniVersion 0.3.1: code 1", |world| {
        too_old(world, "CHECK", "0.3.1")
    }),
    item(25, "GC with cniVersion 1.0.0: code 1", |world| {
        too_old(world, "GC", "1.0.0")
    }),
    item(26, "STATUS with cniVersion 1.0.0: code 1", |world| {
        too_old(world, "STATUS", "1.0.0")
    }),
    item(
        27,
        "every error: one JSON object on standard output with cniVersion, code and msg, and an exit code other than 0",
        errors,
    ),
    item(
        28,
        "CHECK, GC, STATUS and DEL that succeed say nothing on standard output",
        silence,
    ),
    item(
        29,
        "logs go to standard error: the output of ADD is one JSON object and nothing else",
        logs,
    ),
    item(30, "unknown keys of the configuration are ignored", |world| {
        with_keys(
            world,
            &[("x-unknown", json!({"a": [1, 2]})), ("unknown", Value::Null)],
        )
    }),
    item(31, "the keys args and cni.dev/foo are ignored", |world| {
        with_keys(
            world,
            &[
                ("args", json!({"cni": {"labels": []}})),
                ("cni.dev/foo", json!("bar")),
            ],
        )
    }),
    item(
        32,
        "unknown CNI_ARGS with IgnoreUnknown=1 are accepted",
        |world| {
            works(world, |call| {
                call.with("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web-0;FOO=bar")
            })
        },
    ),
    item(
        33,
        "malformed CNI_ARGS: code 4, or they are not read at all; no crash",
        malformed_arguments,
    ),
    item(34, "TRACEPARENT in the environment changes nothing", |world| {
        works(world, |call| {
            call.with(
                "TRACEPARENT",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            )
        })
    }),
    item(35, "a configuration of 1 MiB is read to its end", |world| {
        with_keys(world, &[("x-padding", Value::from("x".repeat(MEBIBYTE)))])
    }),
    item(
        36,
        "under another name, by a symbolic link, it behaves the same",
        other_name,
    ),
    item(
        37,
        "ADD, CHECK and DEL work on a read-only root file system",
        read_only,
    ),
];

/// Whatever is asked holds for versions from `first` on.
pub(super) fn since(
    world: &World<'_>,
    first: &str,
    run: impl FnOnce(&World<'_>) -> Result<Verdict>,
) -> Result<Verdict> {
    if world.network.version.as_str() < first {
        return not_applicable(format!("the plugins list no CNI version from {first} on"));
    }
    run(world)
}

fn refused(world: &World<'_>, call: &Call, code: u64, names: &[&str]) -> Result<Verdict> {
    let refusal = world.run(call)?.refused(&[code])?;
    for name in names {
        ensure!(
            refusal.words.contains(name),
            "the message does not name {name}: {}",
            refusal.words
        );
    }
    Ok(Verdict::Pass)
}

fn silent(world: &World<'_>, call: &Call) -> Result<Verdict> {
    world.run(call)?.silent()?;
    Ok(Verdict::Pass)
}

fn lacking(world: &World<'_>, verb: &str, names: &[&str]) -> Result<Verdict> {
    let call = names
        .iter()
        .fold(world.call(verb)?, |call, name| call.without(name));
    refused(world, &call, 4, names)
}

fn wrong_values(world: &World<'_>, name: &str, values: &[&str]) -> Result<Verdict> {
    for value in values {
        let answer = world.run(&world.call("ADD")?.with(name, value))?;
        answer
            .refused(&[4])
            .with_context(|| format!("{name}={value:?}"))?;
    }
    Ok(Verdict::Pass)
}

fn about(world: &World<'_>) -> Result<Verdict> {
    let mut call = world.call("ADD")?;
    call.env.clear();
    let answer = world.run(&call.reading(""))?;
    answer.silent()?;
    let version = &world.network.version;
    ensure!(
        answer.stderr.contains(version),
        "standard error does not say {version}: {:?}",
        answer.stderr
    );
    Ok(Verdict::Pass)
}

fn version(world: &World<'_>) -> Result<Verdict> {
    let call = world.call("VERSION")?.reading("");
    let garbage = [
        ("CNI_NETNS", "dummy"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_CONTAINERID", "/"),
        ("CNI_PATH", "dummy"),
    ];
    let odd = garbage
        .iter()
        .fold(call.clone(), |call, (name, value)| call.with(name, value));
    for call in [call, odd] {
        let said = world.run(&call)?.result()?;
        let listed = said
            .get("supportedVersions")
            .and_then(Value::as_array)
            .context("no supportedVersions")?;
        ensure!(
            !listed.is_empty() && listed.iter().all(Value::is_string),
            "supportedVersions: {listed:?}"
        );
        ensure!(
            said.get("cniVersion").is_some_and(Value::is_string),
            "no cniVersion"
        );
    }
    Ok(Verdict::Pass)
}

fn unknown_version(world: &World<'_>) -> Result<Verdict> {
    let call = world
        .call("ADD")?
        .edited(|conf| drop(conf.insert("cniVersion".into(), "9.9.9".into())))?;
    let refusal = world.run(&call)?.refused(&[1])?;
    ensure!(refusal.detailed, "an error without details: {}", refusal.words);
    Ok(Verdict::Pass)
}

fn no_version(world: &World<'_>) -> Result<Verdict> {
    let call = world
        .call("ADD")?
        .edited(|conf| drop(conf.remove("cniVersion")))?;
    let answer = world.run(&call)?;
    if answer.code == Some(0) {
        answer.result()?;
    } else {
        answer.refused(&[1])?;
    }
    Ok(Verdict::Pass)
}

fn too_old(world: &World<'_>, verb: &str, version: &str) -> Result<Verdict> {
    if !world.suite.speaks(version) {
        return not_applicable(format!("the plugins do not list {version}"));
    }
    let call = world.call_of(&world.network.at(version), 0, verb, &world.pod()?, None);
    let call = call.edited(|conf| drop(conf.insert("prevResult".into(), json!({"cniVersion": version}))))?;
    refused(world, &call, 1, &[])
}

fn errors(world: &World<'_>) -> Result<Verdict> {
    let calls = [
        ("an unknown verb", world.call("FOO")?),
        ("no CNI_IFNAME", world.call("ADD")?.without("CNI_IFNAME")),
        ("no JSON", world.call("DEL")?.reading("}")),
        (
            "bytes that are no text",
            world.call("ADD")?.reading(vec![0xff; 64]),
        ),
        ("a deep nesting", world.call("ADD")?.reading("[".repeat(100_000))),
        (
            "no name",
            world.call("ADD")?.edited(|conf| drop(conf.remove("name")))?,
        ),
        (
            "a version of another type",
            world
                .call("ADD")?
                .edited(|conf| drop(conf.insert("cniVersion".into(), json!(7))))?,
        ),
        (
            "no such namespace",
            world.call("ADD")?.with("CNI_NETNS", "/run/netns/there-is-none"),
        ),
    ];
    for (what, call) in calls {
        let answer = world.run(&call)?;
        let refusal = answer.refusal().with_context(|| what.to_owned())?;
        ensure!(
            refusal.versioned,
            "{what}: an error without cniVersion: {:?}",
            answer.said()
        );
    }
    Ok(Verdict::Pass)
}

fn silence(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    if world.network.version.as_str() >= "0.4.0" {
        attachment.check()?;
    }
    if world.network.version.as_str() >= "1.1.0" {
        world.run(&world.call("STATUS")?)?.silent().context("STATUS")?;
        let valid = json!([{"containerID": attachment.pod.id, "ifname": "eth0"}]);
        let call = world
            .call("GC")?
            .edited(|conf| drop(conf.insert("cni.dev/valid-attachments".into(), valid)))?;
        world.run(&call)?.silent().context("GC")?;
    }
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn logs(world: &World<'_>) -> Result<Verdict> {
    // A strict reader of standard output does it all.
    world.attach()?.delete()?;
    Ok(Verdict::Pass)
}

/// ADD and DEL with a change to every call.
fn works(world: &World<'_>, change: impl Fn(Call) -> Call) -> Result<Verdict> {
    let mut attachment = world.planned(&world.network, &world.pod()?);
    attachment.result = world
        .run(&change(attachment.call(0, "ADD")))?
        .result()
        .context("ADD")?;
    world
        .run(&change(attachment.call(0, "DEL")))?
        .silent()
        .context("DEL")?;
    Ok(Verdict::Pass)
}

fn with_keys(world: &World<'_>, keys: &[(&str, Value)]) -> Result<Verdict> {
    let network = world.network.edited(|conf| {
        conf.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    });
    let mut attachment = world.planned(&network, &world.pod()?);
    attachment.result = world.run(&attachment.call(0, "ADD"))?.result().context("ADD")?;
    world.run(&attachment.call(0, "DEL"))?.silent().context("DEL")?;
    Ok(Verdict::Pass)
}

fn malformed_arguments(world: &World<'_>) -> Result<Verdict> {
    for arguments in ["a", "a=b=c;", "=b"] {
        let answer = world.run(&world.call("ADD")?.with("CNI_ARGS", arguments))?;
        let judged = if answer.code == Some(0) {
            answer.result().map(drop)
        } else {
            answer.refused(&[4]).map(drop)
        };
        judged.with_context(|| format!("CNI_ARGS={arguments:?}"))?;
    }
    Ok(Verdict::Pass)
}

fn other_name(world: &World<'_>) -> Result<Verdict> {
    let link = world.folder()?.join("another-name");
    let call = world.call("VERSION")?;
    std::os::unix::fs::symlink(&call.program, &link).context("make a symbolic link")?;
    let renamed = |mut call: Call| {
        call.program.clone_from(&link);
        call
    };
    let plain = world.run(&call)?.result()?;
    ensure!(world.run(&renamed(call))?.result()? == plain, "VERSION differs");
    works(world, renamed)
}

fn read_only(world: &World<'_>) -> Result<Verdict> {
    let Some(_seal) = ground::seal() else {
        return not_provoked("the kernel does not let the root be mounted read-only here");
    };
    let attachment = world.attach()?;
    if world.network.version.as_str() >= "0.4.0" {
        attachment.check()?;
    }
    attachment.delete()?;
    Ok(Verdict::Pass)
}
