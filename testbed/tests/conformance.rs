//! The conformance suite on our plugin, which has to pass, on broken ones, which have to fail where they are broken, and on the
//! reference plugins, which are what the page says they are.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use flatroute_testbed::conformance::page::{self, Column};
use flatroute_testbed::conformance::{Report, Suite, Verdict};
use flatroute_testbed::sandbox;
use flatroute_testbed::speaker::own_program;
use flatroute_testbed::trial::{self, Need, Trial, reference_plugins};
use serde_json::{Value, json};

/// Fewer items than that must not pass: a suite that finds everything not applicable proves nothing.
const PASSED_MIN: usize = 97;

fn main() -> ExitCode {
    let with = |name, needs, limit, body| Trial {
        name,
        needs,
        limit: Duration::from_secs(limit),
        body,
    };
    let trial = |name, limit, body| with(name, &[Need::Plugin], limit, body);
    let others: &[Need] = &[Need::Plugin, Need::ReferencePlugins];
    trial::main(&[
        trial("our_plugin_passes_what_it_promises", 600, our_plugin),
        trial("our_plugin_passes_with_an_ipam_plugin", 600, with_ipam_plugin),
        with("our_plugin_passes_with_host_local", others, 600, with_host_local),
        with("ptp_is_as_the_page_says", others, 600, || {
            reference("ptp", Column::Ptp)
        }),
        with("bridge_is_as_the_page_says", others, 600, || {
            reference("bridge", Column::Bridge)
        }),
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

/// Judges all items; none may fail.
fn judge(suite: &Suite) -> Result<Report> {
    let mut failures = Vec::new();
    let report = suite.run(&BTreeSet::new(), |item, verdict| match verdict {
        Verdict::Fail(seen) => failures.push(format!("{}. {}: {seen}", item.number, item.words)),
        Verdict::Pass | Verdict::NotProvoked(_) | Verdict::NotApplicable(_) => {}
    })?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(report)
}

fn expect(report: &Report, numbers: &[u8]) -> Result<()> {
    for number in numbers {
        let verdict = report.verdict(*number);
        ensure!(verdict == Some(&Verdict::Pass), "item {number}: {verdict:?}");
    }
    Ok(())
}

/// Copies the plugins of item 115; without them its cell of the page is left out, loudly.
fn chained_plugins(folder: &Path) -> Result<&'static [u8]> {
    let Ok(reference) = reference_plugins() else {
        trial::note_skip("conformance item 115", "the reference plugins are not installed");
        return Ok(&[115]);
    };
    for name in ["tuning", "sbr", "host-local"] {
        std::fs::copy(reference.join(name), folder.join(name)).context("a reference plugin")?;
    }
    Ok(&[])
}

fn our_plugin() -> Result<()> {
    let folder = plugins(None)?;
    let left_out = chained_plugins(&folder)?;
    // The second network is the smaller one: item 53 wants it so.
    let cidrs = json!(["10.99.0.0/26", "fd00:99::/123"]);
    let suite = Suite::open(&folder, &configuration(&folder, "flatroute-cni", &cidrs)?)?;
    let report = judge(&suite)?;
    ensure!(report.counts().passed >= PASSED_MIN, "only {}", report.summary());
    // By number: the protocol, the kernel, and the pool were really asked.
    let asked = [
        1, 7, 13, 22, 38, 45, 47, 52, 53, 54, 56, 62, 71, 74, 80, 83, 89, 94, 97, 104, 110,
    ];
    expect(&report, &asked)?;
    compare(&report, Column::Flatroute, left_out)
}

/// A configuration of our plugin with this `ipam`.
fn delegating(folder: &Path, ipam: &Value) -> Result<PathBuf> {
    let file = folder.join("pods.conflist");
    let list = json!({
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": "pods",
        "plugins": [{"type": "flatroute-cni", "ipam": ipam, "mtu": 0, "capabilities": {"portMappings": true, "bandwidth": true, "mac": true, "dns": true}}],
    });
    std::fs::write(&file, list.to_string()).context("a configuration")?;
    Ok(file)
}

/// With an IPAM plugin that knows all of CNI 1.1.0, a script; those of others do not.
fn with_ipam_plugin() -> Result<()> {
    let folder = plugins(None)?;
    let left_out = chained_plugins(&folder)?;
    let file = folder.join("addresses");
    std::fs::write(&file, include_str!("conformance/addresses")).context("an IPAM plugin")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).context("an IPAM plugin")?;
    let ipam = json!({"type": "addresses", "networks": ["10.99.0.0/27", "fd00:99::/64"]});
    let suite = Suite::open(&folder, &delegating(&folder, &ipam)?)?;
    let report = judge(&suite)?;
    let asked = [
        38, 47, 48, 52, 54, 56, 65, 66, 67, 71, 74, 82, 83, 88, 94, 96, 100, 102, 107, 109,
    ];
    expect(&report, &asked)?;
    compare(&report, Column::Delegating, left_out)
}

/// A real one. host-local says that it has no address left with code 999, and that is relayed.
fn with_host_local() -> Result<()> {
    const ASKED: [u8; 17] = [
        38, 47, 48, 52, 53, 56, 65, 66, 67, 71, 74, 75, 82, 83, 88, 92, 115,
    ];
    let folder = plugins(None)?;
    chained_plugins(&folder)?;
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/26"}], [{"subnet": "fd00:99::/123"}]],
                      "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
    let suite = Suite::open(&folder, &delegating(&folder, &ipam)?)?;
    let only = ASKED.into_iter().chain([54]).collect();
    let report = suite.run(&only, |_, _| ())?;
    expect(&report, &ASKED)?;
    match report.verdict(54) {
        Some(Verdict::Fail(seen)) if seen.contains("code 999") => Ok(()),
        other => bail!("item 54: {other:?}"),
    }
}

/// A reference plugin behaves as the page says. Only what comes out the same every time is asked for; with `WRITE=1`, all.
fn reference(kind: &str, column: Column) -> Result<()> {
    const STEADY: [u8; 19] = [
        1, 4, 13, 17, 22, 27, 38, 47, 50, 54, 59, 65, 66, 67, 71, 80, 82, 83, 90,
    ];
    let text = std::fs::read_to_string(page::path()).context("docs/conformance.md")?;
    let file = plugins(None)?.join("pods.conflist");
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{"type": kind, "isGateway": true, "mtu": 1500, "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "10.99.0.0/27"}]], "routes": [{"dst": "0.0.0.0/0"}]}}],
    });
    std::fs::write(&file, list.to_string()).context("a configuration")?;
    let suite = Suite::open(&reference_plugins()?, &file)?;
    if std::env::var_os("WRITE").is_some() {
        return compare(&suite.run(&BTreeSet::new(), |_, _| ())?, column, &[]);
    }
    for (number, verdict) in &suite.run(&BTreeSet::from(STEADY), |_, _| ())?.verdicts {
        let cell = page::cell(&text, column, *number)?;
        ensure!(
            page::says(&cell, column, verdict),
            "item {number}: {verdict:?}, but the page says {cell}"
        );
    }
    Ok(())
}

/// The page has to say what the run found; `WRITE=1` repairs it.
fn compare(report: &Report, column: Column, left_out: &[u8]) -> Result<()> {
    let path = page::path();
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let wanted = page::with_column(&text, column, report, left_out)?;
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
