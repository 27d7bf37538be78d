//! Addresses from another plugin: delegation (CNI 1.1.0 §4).
//!
//! With `ipam.type` in the configuration the pod's addresses come from the plugin of that name instead of `podCIDRs`. It is
//! looked for in CNI_PATH and called with our own environment and all of our standard input; its standard error is ours.
//! Each verb is passed on: ADD before anything is made, CHECK, DEL, GC and STATUS after our own part. When ADD fails, its own
//! or ours later on, the plugin gets a DEL before the error goes out.
//!
//! What it says is used as far as a routed pod has a place for it ([`Given`]). Its errors go out as they came, code and all, with its
//! name before the text. It is never waited for without end ([`patience`]): one that hangs is killed with everything it started.
//!
//! **Killed.** An ADD that is killed may leave its delegate behind, at work. That one has inherited the lock of the attachment
//! (`AttachmentLock::pass_on`), so the DEL that follows waits for it and finds all that it did.
//!
//! **Records.** The other plugin keeps them. We have the link and its alias, which names the addresses.

mod child;
mod given;
#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::{CniError, Code, Result};
use crate::invocation::Verb;
use child::{Answer, Failure};
pub(crate) use given::Given;

/// The program that runs: a delegate must not be this one, which would call itself for ever.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What the configuration says about another plugin for addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delegate {
    /// `ipam.type`
    pub(crate) kind: String,
    /// All of standard input.
    input: Vec<u8>,
}

/// The same, found in CNI_PATH.
#[derive(Debug)]
pub(crate) struct Plugin<'a> {
    delegate: &'a Delegate,
    program: PathBuf,
}

/// How long the plugin may take. An ADD may have to ask a DHCP server over and over. A runtime waits for ADD and the DEL after
/// it for two minutes at least, and asks for STATUS every few seconds.
fn patience(verb: Verb) -> Duration {
    match verb {
        Verb::Add => Duration::from_secs(60),
        Verb::Del | Verb::Check | Verb::Gc | Verb::Version => Duration::from_secs(30),
        Verb::Status => Duration::from_secs(5),
    }
}

impl Delegate {
    /// Reads the object `ipam`: none when it is empty, or has an empty `type`.
    pub(crate) fn of(ipam: &Map<String, Value>, input: &[u8]) -> Option<Self> {
        let kind = match ipam.get("type")? {
            Value::Null => return None,
            Value::String(kind) => kind.clone(),
            // Not a name: [`Delegate::find`] says so, and only to those who need the plugin.
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        };
        let input = input.to_vec();
        (!kind.is_empty()).then_some(Self { kind, input })
    }

    /// Looks for the program in CNI_PATH, the first folder first.
    ///
    /// # Errors
    /// Code 7 when there is none, naming it and CNI_PATH.
    pub(crate) fn find(&self) -> Result<Plugin<'_>> {
        let path = std::env::var_os("CNI_PATH").unwrap_or_default();
        self.find_in(&path.to_string_lossy())
    }

    fn find_in(&self, path: &str) -> Result<Plugin<'_>> {
        let invalid = |problem: String| {
            CniError::new(
                Code::InvalidConfig,
                format!("network configuration: ipam.type: {problem}"),
            )
        };
        let kind = &self.kind;
        if kind.contains('/') || kind == "." || kind == ".." {
            return Err(invalid(format!("{kind:?} is no name of a plugin"))
                .because("it has to be the name of a program in one of the folders of CNI_PATH"));
        }
        let program = path
            .split(':')
            .filter(|folder| !folder.is_empty())
            .map(|folder| Path::new(folder).join(kind))
            .find(|program| is_program(program));
        let Some(program) = program else {
            let msg = format!("the plugin {kind} is not in CNI_PATH ({path:?})");
            return Err(invalid(msg)
                .because("install it in one of those folders, or remove ipam and name podCIDRs instead"));
        };
        if is_this_program(&program) {
            let msg = format!("{} is this plugin itself", program.display());
            return Err(invalid(msg).because("remove ipam and name podCIDRs: it gives addresses by itself"));
        }
        Ok(Plugin {
            delegate: self,
            program,
        })
    }

    /// DEL. Where the plugin is missing, and nothing of the attachment is `begun` either, it never gave an address.
    ///
    /// # Errors
    /// The plugin's own; code 7 when it is missing.
    pub(crate) fn del(&self, begun: bool) -> Result<()> {
        match self.find() {
            Err(error) if !begun => {
                eprintln!("flatroute-cni: {error}: no DEL for it, since nothing was begun here");
                Ok(())
            }
            found => found?.call(Verb::Del),
        }
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn is_this_program(path: &Path) -> bool {
    match (fs::metadata(path), fs::metadata(OWN_PROGRAM)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

impl Plugin<'_> {
    /// ADD. One that fails, or answers something useless, gets a DEL.
    ///
    /// # Errors
    /// The plugin's own, code 6 or 103 for an answer that cannot be used, 11 when it hangs. `clean` in [`Failed`] is false when
    /// the DEL failed as well.
    pub(crate) fn add(&self) -> std::result::Result<Given, Failed> {
        let given = self.ask(Verb::Add).and_then(|answer| {
            Given::read(&answer.stdout).map_err(|fault| self.error(fault.code, &fault.problem))
        });
        given.map_err(|error| Failed {
            clean: self.call(Verb::Del).is_ok(),
            error,
        })
    }

    /// Any verb that has no result.
    ///
    /// # Errors
    /// The plugin's own, 11 when it hangs.
    pub(crate) fn call(&self, verb: Verb) -> Result<()> {
        self.ask(verb).map(|_| ())
    }

    fn ask(&self, verb: Verb) -> Result<Answer> {
        let patience = patience(verb);
        let answer = child::run(&self.program, verb, &self.delegate.input, patience);
        let answer = answer.map_err(|failure| match failure {
            Failure::Io(step, problem) => self.error(Code::Io, &format!("{step}: {problem}")),
            Failure::Hangs => {
                let msg = format!("{} did not end within {} s", verb.as_str(), patience.as_secs());
                self.error(Code::TryAgainLater, &msg)
                    .because("it was killed; does it wait for a daemon or a server?")
            }
        })?;
        if answer.status.success() {
            return Ok(answer);
        }
        Err(self.relayed(verb, &answer))
    }

    /// Its error object, with its name.
    fn relayed(&self, verb: Verb, answer: &Answer) -> CniError {
        let said: Option<Value> = serde_json::from_slice(&answer.stdout).ok();
        let field = |key: &str| said.as_ref().and_then(|said| said.get(key));
        let text = |key: &str| field(key).and_then(Value::as_str).unwrap_or_default();
        let code = field("code")
            .and_then(Value::as_u64)
            .and_then(|code| u32::try_from(code).ok())
            .filter(|code| *code != 0);
        let Some(code) = code else {
            let msg = format!(
                "{} ended with {} and no error object on standard output",
                verb.as_str(),
                answer.status
            );
            return self
                .error(Code::Delegate, &msg)
                .because("what it wrote on standard error, if anything, stands in the runtime's log");
        };
        let mut error = self
            .error(Code::Delegate, &format!("{}: {}", verb.as_str(), text("msg")))
            .because(text("details"));
        error.relayed = Some(code);
        error
    }

    fn error(&self, code: Code, problem: &str) -> CniError {
        CniError::new(code, format!("IPAM plugin {}: {problem}", self.delegate.kind))
    }
}

/// An ADD of the plugin that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Why.
    pub(crate) error: CniError,
    /// Whether nothing of it is left.
    pub(crate) clean: bool,
}
