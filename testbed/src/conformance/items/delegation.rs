//! Items about the plugin of `ipam.type` (65 to 67, 82, 100, 102, 109). A program under its name, which is found first in
//! CNI_PATH, notes each call and then becomes the real one, or fails.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::attachment::Attachment;
use super::super::pool;
use super::super::verdict::{Verdict, not_applicable, not_provoked};
use super::super::world::World;
use super::protocol::since;

/// What the program says on standard error.
const MURMUR: &str = "the delegate was here";
/// Its error's text, where it refuses.
const REFUSAL: &str = "the delegate refuses";

/// The folder with the program, and where it notes its calls.
struct Delegate {
    folder: PathBuf,
}

/// A call that it noted: the variables and the request.
struct Noted {
    verb: String,
    env: String,
    request: Value,
}

impl Delegate {
    fn install(world: &World<'_>, kind: &str, refuses: Option<&str>) -> Result<Self> {
        let folder = world.folder()?;
        let real = world.suite.plugin_dir.join(kind);
        let notes = folder.display();
        let ending = if let Some(verb) = refuses {
            format!(
                "if [ \"$CNI_COMMAND\" = {verb} ]; then\n\
                 printf '{{\"cniVersion\":\"1.0.0\",\"code\":123,\"msg\":\"{REFUSAL}\"}}'\nexit 1\nfi\nexec {} <\"$stdin\"",
                real.display()
            )
        } else {
            format!("exec {} <\"$stdin\"", real.display())
        };
        let script = format!(
            "#!/bin/sh\nstdin={notes}/$$.$CNI_COMMAND.stdin\ncat >\"$stdin\"\nenv >{notes}/$$.$CNI_COMMAND.env\n\
             echo '{MURMUR}' >&2\n{ending}\n"
        );
        let program = folder.join(kind);
        fs::write(&program, script).context("a delegate")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("a delegate")?;
        Ok(Self { folder })
    }

    fn noted(&self) -> Result<Vec<Noted>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).context("notes")? {
            let path = entry.context("notes")?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let Some((_, rest)) = name.split_once('.') else {
                continue;
            };
            let Some((verb, "stdin")) = rest.split_once('.') else {
                continue;
            };
            found.push(Noted {
                verb: verb.to_owned(),
                env: fs::read_to_string(path.with_extension("env")).unwrap_or_default(),
                request: serde_json::from_slice(&fs::read(&path).context("notes")?)
                    .context("the delegate's request")?,
            });
        }
        Ok(found)
    }

    fn expect(&self, verb: &str) -> Result<Noted> {
        let found = self.noted()?.into_iter().find(|noted| noted.verb == verb);
        found.with_context(|| format!("the IPAM plugin got no {verb}"))
    }
}

fn with_delegate(
    world: &World<'_>,
    refuses: Option<&str>,
    run: impl FnOnce(&World<'_>, &Delegate) -> Result<Verdict>,
) -> Result<Verdict> {
    let Some(kind) = world.network.delegate() else {
        return not_applicable("the configuration has no ipam.type");
    };
    let delegate = Delegate::install(world, kind, refuses)?;
    run(world, &delegate)
}

fn planned<'a>(world: &'a World<'_>, folder: &Path) -> Result<Attachment<'a>> {
    Ok(Attachment::planned(
        world,
        &world.network,
        &world.pod()?,
        "eth0",
        folder,
    ))
}

pub(super) fn called(world: &World<'_>) -> Result<Verdict> {
    with_delegate(world, None, |world, delegate| {
        let network = world
            .network
            .edited(|conf| drop(conf.insert("x-mark".into(), json!("kept"))));
        let mut attachment = Attachment::planned(world, &network, &world.pod()?, "eth0", &delegate.folder);
        let answer = world.run(&attachment.call(0, "ADD").with("CNI_ARGS", "IgnoreUnknown=1;A=b"))?;
        attachment.result = answer.result()?;
        let noted = delegate.expect("ADD")?;
        for name in [
            "CNI_CONTAINERID",
            "CNI_NETNS",
            "CNI_IFNAME",
            "CNI_PATH",
            "CNI_ARGS",
        ] {
            let value = match name {
                "CNI_ARGS" => "IgnoreUnknown=1;A=b".to_owned(),
                name => attachment
                    .call(0, "ADD")
                    .env
                    .get(name)
                    .cloned()
                    .unwrap_or_default(),
            };
            let line = format!("{name}={value}");
            ensure!(
                noted.env.lines().any(|is| is == line),
                "the IPAM plugin's environment lacks {line}"
            );
        }
        for key in ["name", "cniVersion", "type", "ipam", "x-mark"] {
            ensure!(
                noted.request.get(key).is_some(),
                "the IPAM plugin's request lacks {key}"
            );
        }
        ensure!(
            answer.stderr.contains(MURMUR),
            "the IPAM plugin's standard error is not relayed"
        );
        attachment.delete()?;
        Ok(Verdict::Pass)
    })
}

pub(super) fn failing(world: &World<'_>) -> Result<Verdict> {
    with_delegate(world, Some("ADD"), |world, delegate| {
        let answer = world.run(&planned(world, &delegate.folder)?.call(0, "ADD"))?;
        let refusal = answer.refusal()?;
        ensure!(
            refusal.words.contains(REFUSAL),
            "its error is not relayed: {}",
            refusal.words
        );
        delegate.expect("DEL")?;
        Ok(Verdict::Pass)
    })
}

pub(super) fn missing(world: &World<'_>) -> Result<Verdict> {
    if world.network.delegate().is_none() {
        return not_applicable("the configuration has no ipam.type");
    }
    let network = world.network.edited(|conf| {
        if let Some(kind) = conf.get_mut("ipam").and_then(|ipam| ipam.get_mut("type")) {
            *kind = "there-is-no-such-plugin".into();
        }
    });
    let refusal = world
        .run(&world.call_of(&network, 0, "ADD", &world.pod()?, None))?
        .refusal()?;
    ensure!(
        refusal.words.contains("there-is-no-such-plugin"),
        "it is not named: {}",
        refusal.words
    );
    Ok(Verdict::Pass)
}

/// Item 82.
pub(super) fn after_the_namespace(world: &World<'_>) -> Result<Verdict> {
    with_delegate(world, None, |world, delegate| {
        let attachment = world.add_with(&delegate.folder, &world.network, &world.pod()?)?;
        world.remove(&attachment.pod)?;
        attachment.delete()?;
        delegate.expect("DEL")?;
        pool::whole(world, &world.network, 0)
    })
}

/// Item 100: the IPAM plugin's part is the one that fails.
pub(super) fn failing_collection(world: &World<'_>) -> Result<Verdict> {
    if world.network.delegate().is_none() {
        return not_provoked(
            "a removal that fails cannot be arranged from outside, unless an IPAM plugin is asked for it",
        );
    }
    with_delegate(world, Some("GC"), |world, delegate| {
        let stale = world.add_with(&delegate.folder, &world.network, &world.pod()?)?;
        let call = stale.call(0, "GC").edited(|conf| {
            conf.remove("prevResult");
            conf.insert("cni.dev/valid-attachments".into(), json!([]));
        })?;
        let refusal = world.run(&call)?.refusal()?;
        ensure!(
            refusal.words.contains(REFUSAL),
            "the IPAM plugin's error is not said: {}",
            refusal.words
        );
        delegate.expect("GC")?;
        ensure!(
            stale.pod.link("eth0").is_err(),
            "the stale attachment was not removed"
        );
        Ok(Verdict::Pass)
    })
}

/// Items 102 and 109.
pub(super) fn forwarded(world: &World<'_>, verb: &str) -> Result<Verdict> {
    since(world, "1.1.0", |world| {
        with_delegate(world, None, |world, delegate| {
            let call = planned(world, &delegate.folder)?.call(0, verb);
            let call =
                call.edited(|conf| drop(conf.insert("cni.dev/valid-attachments".into(), json!([]))))?;
            world.run(&call)?.silent()?;
            delegate.expect(verb)?;
            Ok(Verdict::Pass)
        })
    })
}
