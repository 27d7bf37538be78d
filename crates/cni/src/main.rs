//! `flatroute-cni`, the CNI plugin of flatroute (CNI 0.3.0 to 1.1.0).
//!
//! A runtime starts this program for every container that comes or goes: parameters in CNI_* variables, the network
//! configuration on standard input, a result or an error object on standard output. One process does one thing and
//! ends. It asks no daemon and no API server: the addresses are files ([`ipam`]), the links are the kernel's ([`pod`]),
//! and either can be rebuilt from the other. So pods come and go while the agent is down, and nothing can hang.
//!
//! Also here: `flatroute-cni install`, which puts the plugin on a node ([`install`]), and the `loopback` plugin, which
//! is this program under that name ([`loopback`]). Without CNI_COMMAND the program says what it is.
//!
//! The program starts in [`sys`], which calls [`run`].

#![cfg_attr(not(test), no_main)]

mod bandwidth;
mod config;
mod delegate;
mod dns;
mod error;
mod host_ports;
mod identity;
mod install;
mod invocation;
mod ipam;
mod loopback;
mod mtu;
mod pod;
mod port_mappings;
mod reclaim;
mod removal;
mod result;
#[cfg(not(test))]
mod sys;
mod sysctl;
mod verbs;
mod version;

use std::io::{Read, Write};

use serde_json::{Value, json};

use config::Config;
use error::{CniError, Code, Result};
use invocation::{Invocation, Verb};
use version::SpecVersion;

/// A configuration is some kilobytes; more than this is a mistake.
const INPUT_MAX_BYTES: u64 = 16 * 1024 * 1024;

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const USAGE: u8 = 2;

/// The program, given its name and arguments; its exit status.
#[cfg_attr(test, expect(dead_code, reason = "tests have a start of their own"))]
fn run(mut arguments: impl Iterator<Item = String>) -> u8 {
    let program = arguments.next().unwrap_or_default();
    match arguments.next().as_deref() {
        Some("install") => return run_install(arguments),
        Some("--version" | "-V") => {
            println!("flatroute-cni {}", env!("CARGO_PKG_VERSION"));
            return SUCCESS;
        }
        Some(_) | None => {}
    }
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    if variable("CNI_COMMAND").is_none() {
        let versions = SpecVersion::ALL.map(SpecVersion::as_str).join(", ");
        eprintln!(
            "flatroute-cni {}: CNI plugin for routed pods, CNI {versions}",
            env!("CARGO_PKG_VERSION")
        );
        eprintln!("A container runtime starts it. {}", install::USAGE);
        return SUCCESS;
    }
    let mut input = Vec::new();
    let read = std::io::stdin()
        .lock()
        .take(INPUT_MAX_BYTES)
        .read_to_end(&mut input);
    let is_loopback = program.rsplit('/').next() == Some("loopback");
    let outcome = match read {
        Ok(_) => Invocation::read(variable).and_then(|call| dispatch(&call, &input, is_loopback)),
        Err(error) => Err(CniError::new(Code::Io, format!("read standard input: {error}"))),
    };
    answer(outcome, &input)
}

fn run_install(arguments: impl Iterator<Item = String>) -> u8 {
    match install::Options::parse(arguments) {
        Err(problem) => {
            eprintln!("flatroute-cni: {problem}\n{}", install::USAGE);
            USAGE
        }
        Ok(options) => match options.run() {
            Ok(done) => {
                for line in done {
                    println!("{line}");
                }
                SUCCESS
            }
            Err(problem) => {
                eprintln!("flatroute-cni install: {problem}");
                FAILURE
            }
        },
    }
}

/// Prints what the runtime is to read.
fn answer(outcome: Result<Option<Value>>, input: &[u8]) -> u8 {
    let (text, code) = match outcome {
        Ok(None) => return SUCCESS,
        Ok(Some(value)) => (value.to_string(), SUCCESS),
        Err(error) => {
            eprintln!(
                "flatroute-cni: {error}{}{}",
                if error.details.is_empty() { "" } else { ": " },
                error.details
            );
            let version = declared_version(input).filter(|version| SpecVersion::parse(version).is_ok());
            (
                error.to_json(version.as_deref().unwrap_or(SpecVersion::NEWEST.as_str())),
                FAILURE,
            )
        }
    };
    // A runtime that closed the pipe learns from the exit status.
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => code,
        Err(_) => FAILURE,
    }
}

fn declared_version(input: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(input).ok()?;
    value.get("cniVersion")?.as_str().map(str::to_owned)
}

fn dispatch(call: &Invocation, input: &[u8], is_loopback: bool) -> Result<Option<Value>> {
    if call.verb == Verb::Version {
        let declared = declared_version(input).unwrap_or_else(|| SpecVersion::NEWEST.as_str().into());
        let supported = SpecVersion::ALL.map(SpecVersion::as_str);
        return Ok(Some(
            json!({"cniVersion": declared, "supportedVersions": supported}),
        ));
    }
    let config = Config::read(call.verb, input)?.with(&call.wishes);
    check_verb(call.verb, config.version)?;
    if is_loopback {
        return match call.verb {
            Verb::Add => loopback::add(call, &config).map(Some),
            Verb::Check => loopback::check(call).map(|()| None),
            Verb::Del | Verb::Gc | Verb::Status | Verb::Version => Ok(None),
        };
    }
    match call.verb {
        Verb::Add => verbs::add::run(call, &config).map(Some),
        Verb::Del => verbs::del::run(call, &config).map(|()| None),
        Verb::Check => verbs::check::run(call, &config).map(|()| None),
        Verb::Gc => verbs::gc::run(&config).map(|()| None),
        Verb::Status => verbs::status::run(&config).map(|()| None),
        Verb::Version => Ok(None),
    }
}

/// Refuses a verb that the configuration's version does not have yet.
fn check_verb(verb: Verb, version: SpecVersion) -> Result<()> {
    let (name, since) = match verb {
        Verb::Check => ("CHECK", SpecVersion::V0_4_0),
        Verb::Gc => ("GC", SpecVersion::V1_1_0),
        Verb::Status => ("STATUS", SpecVersion::V1_1_0),
        Verb::Add | Verb::Del | Verb::Version => return Ok(()),
    };
    if version >= since {
        return Ok(());
    }
    let msg = format!(
        "{name} needs cniVersion {} or newer, the configuration has {}",
        since.as_str(),
        version.as_str()
    );
    Err(CniError::new(Code::IncompatibleVersion, msg))
}
