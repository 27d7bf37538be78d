//! The conformance suite on our plugin, which has to pass, and on broken ones, which have to fail where they are broken.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use flatroute_testbed::conformance::{Report, Suite, Verdict, page};
use flatroute_testbed::sandbox;
use flatroute_testbed::speaker::own_program;
use flatroute_testbed::trial::{self, Need, Trial};
use serde_json::{Value, json};

/// Fewer items than that must not pass: a suite that finds everything not applicable proves nothing.
const PASSED_MIN: usize = 94;

fn main() -> ExitCode {
    let trial = |name, limit, body| Trial {
        name,
        needs: &[Need::Plugin],
        limit: Duration::from_secs(limit),
        body,
    };
    trial::main(&[
        trial("our_plugin_passes_what_it_promises", 600, our_plugin),
        trial("a_plugin_that_logs_on_standard_output_fails", 120, talkative),
        trial("a_plugin_whose_del_does_nothing_fails", 240, forgetful),
        trial("a_plugin_that_agrees_to_everything_fails", 120, agreeable),
    ])
}

/// A folder with our plugin and, in front of it, a script of this name when there is one.
fn plugins(wrapper: Option<&str>) -> Result<PathBuf> {
    let folder = sandbox::room().join("lab").join("plugins");
    std::fs::create_dir_all(&folder).context("a folder of plugins")?;
    std::fs::copy(own_program("flatroute-cni")?, folder.join("flatroute-cni")).context("our plugin")?;
    if let Some(script) = wrapper {
        let real = folder.join("flatroute-cni");
        let script = format!("#!/bin/sh\nreal={}\n{script}\n", real.display());
        let file = folder.join("broken");
        std::fs::write(&file, script).context("a broken plugin")?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).context("a broken plugin")?;
    }
    Ok(folder)
}

fn configuration(folder: &Path, kind: &str, cidrs: &Value) -> Result<PathBuf> {
    let file = folder.join("pods.conflist");
    let list = json!({
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": "pods",
        "plugins": [{
            "type": kind,
            "podCIDRs": cidrs,
            "cooldown": "0s",
            "mtu": 0,
            "capabilities": {"portMappings": true, "bandwidth": true, "ips": true, "mac": true, "dns": true},
        }],
    });
    std::fs::write(&file, list.to_string()).context("a configuration")?;
    Ok(file)
}

fn our_plugin() -> Result<()> {
    let folder = plugins(None)?;
    let cidrs = json!(["10.99.0.0/27", "fd00:99::/64"]);
    let suite = Suite::open(&folder, &configuration(&folder, "flatroute-cni", &cidrs)?)?;
    let mut failures = Vec::new();
    let report = suite.run(&BTreeSet::new(), |item, verdict| {
        if let Verdict::Fail(seen) = verdict {
            failures.push(format!("{}. {}: {seen}", item.number, item.words));
        }
    })?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(report.counts().passed >= PASSED_MIN, "only {}", report.summary());
    // By number: the protocol, the kernel, and the pool were really asked.
    for number in [
        1, 7, 13, 22, 38, 45, 47, 52, 54, 56, 62, 71, 74, 80, 83, 89, 94, 97, 104, 110,
    ] {
        ensure!(
            report.verdict(number) == Some(&Verdict::Pass),
            "item {number}: {:?}",
            report.verdict(number)
        );
    }
    compare(&report)
}

/// The page has to say what the run found; `WRITE=1` repairs it.
fn compare(report: &Report) -> Result<()> {
    let path = page::path();
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let wanted = page::with_table(&text, report)?;
    if wanted == text {
        return Ok(());
    }
    if std::env::var_os("WRITE").is_some() {
        return std::fs::write(&path, wanted).with_context(|| path.display().to_string());
    }
    let old: BTreeSet<&str> = text.lines().collect();
    let news: Vec<&str> = wanted.lines().filter(|line| !old.contains(line)).collect();
    bail!(
        "docs/conformance.md differs; to repair it: {}\n{}",
        page::REPAIR,
        news.join("\n")
    );
}

/// Runs items on a broken plugin; all of `fails` and none of `holds` must fail.
fn broken(script: &str, cidrs: &Value, fails: &[u8], holds: &[u8]) -> Result<()> {
    let folder = plugins(Some(script))?;
    let suite = Suite::open(&folder, &configuration(&folder, "broken", cidrs)?)?;
    let only = fails.iter().chain(holds).copied().collect();
    let report = suite.run(&only, |_, _| ())?;
    for number in fails {
        let verdict = report.verdict(*number);
        ensure!(
            matches!(verdict, Some(Verdict::Fail(_))),
            "item {number} should fail: {verdict:?}"
        );
    }
    for number in holds {
        let verdict = report.verdict(*number);
        ensure!(
            verdict == Some(&Verdict::Pass),
            "item {number} should hold: {verdict:?}"
        );
    }
    Ok(())
}

fn talkative() -> Result<()> {
    let script = "[ \"$CNI_COMMAND\" = VERSION ] || echo 'level=info msg=\"called\"'\nexec \"$real\"";
    let fails = [4, 12, 17, 22, 27, 28, 29, 38, 47, 72, 83, 104];
    broken(script, &json!(["10.99.0.0/29"]), &fails, &[13])
}

/// It also leaves the pod's link where it is.
fn forgetful() -> Result<()> {
    let script = "if [ \"$CNI_COMMAND\" = DEL ]; then cat >/dev/null; exit 0; fi\nexec \"$real\"";
    broken(script, &json!(["10.99.0.0/29"]), &[71, 75], &[13, 47, 72, 83])
}

fn agreeable() -> Result<()> {
    let script = "if [ \"$CNI_COMMAND\" = CHECK ]; then cat >/dev/null; exit 0; fi\n\
                  if [ \"$CNI_COMMAND\" = GC ]; then cat >/dev/null; exit 0; fi\nexec \"$real\"";
    let fails = [10, 24, 84, 85, 86, 87, 88, 89, 90, 91, 94, 96, 98, 99];
    broken(script, &json!(["10.99.0.0/29"]), &fails, &[83, 92, 95])
}
