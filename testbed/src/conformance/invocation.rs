//! One call of a plugin: environment and standard input in; exit code, standard output and standard error out (CNI 1.1.0 §2).

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Map, Value};

use crate::namespace::Namespace;

/// A plugin that runs longer hangs. Much, because a machine may be busy, and longer than the minute after which some give up
/// by themselves with a reason.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a pipe may stay open after the plugin ended (something that it started still holds it).
const PIPES: Duration = Duration::from_secs(5);

/// A call that is to be made.
#[derive(Debug, Clone)]
pub struct Call {
    /// The plugin.
    pub program: PathBuf,
    /// CNI_* and whatever else; `PATH` is added.
    pub env: BTreeMap<String, String>,
    /// The request.
    pub stdin: Vec<u8>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

/// The error object of CNI 1.1.0 §5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `code`
    pub code: u64,
    /// `msg` and `details` in one text, to search for names in.
    pub words: String,
    /// Whether there are `details`.
    pub detailed: bool,
    /// Whether there is `cniVersion`: the specification demands it, many plugins leave it out (item 27 asks).
    pub versioned: bool,
}

impl Call {
    /// The same with a variable set.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same without a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// The same with other bytes on standard input.
    #[must_use]
    pub fn reading(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// The same with the request changed.
    ///
    /// # Errors
    /// The request is no JSON object.
    pub fn edited(mut self, edit: impl FnOnce(&mut Map<String, Value>)) -> Result<Self> {
        let mut request: Map<String, Value> = serde_json::from_slice(&self.stdin).context("a request")?;
        edit(&mut request);
        self.stdin = serde_json::to_vec(&request).context("a request")?;
        Ok(self)
    }

    /// Makes the call in the namespace `host`, as a runtime does.
    ///
    /// # Errors
    /// The plugin cannot be started, or hangs.
    pub fn run(&self, host: &Namespace) -> Result<Answer> {
        self.run_until(host, None)
    }

    /// The same, with SIGKILL after `kill` where that is given.
    ///
    /// # Errors
    /// As [`Call::run`].
    pub fn run_until(&self, host: &Namespace, kill: Option<Duration>) -> Result<Answer> {
        host.run(|| self.run_here(kill))
    }

    fn run_here(&self, kill: Option<Duration>) -> Result<Answer> {
        let begun = Instant::now();
        let mut child = Command::new(&self.program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("standard input")?;
        let request = self.stdin.clone();
        // A plugin that fails early does not read its input: a broken pipe is fine.
        std::thread::spawn(move || drop(stdin.write_all(&request)));
        let stdout = collect(child.stdout.take().context("standard output")?);
        let stderr = collect(child.stderr.take().context("standard error")?);
        let limit = kill.unwrap_or(PATIENCE);
        let mut hangs = false;
        let status = loop {
            if let Some(status) = child.try_wait().context("wait for the plugin")? {
                break status;
            }
            if begun.elapsed() >= limit {
                hangs = kill.is_none();
                child.kill().context("kill the plugin")?;
                break child.wait().context("wait for the plugin")?;
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        let took = begun.elapsed();
        ensure!(!hangs, "it did not end within {} s", PATIENCE.as_secs());
        let stdout = stdout.recv_timeout(PIPES).unwrap_or_default();
        let stderr = stderr.recv_timeout(PIPES).unwrap_or_default();
        Ok(Answer {
            code: status.code(),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            took,
        })
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        drop(give.send(bytes));
    });
    take
}

/// The beginning of a text, for a line of the table.
pub(super) fn shortened(text: &str) -> String {
    const MAX: usize = 160;
    let line = text.trim().replace(['\n', '|'], " ");
    match line.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

impl Answer {
    /// Standard output as text.
    #[must_use]
    pub fn said(&self) -> String {
        shortened(&String::from_utf8_lossy(&self.stdout))
    }

    fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.stdout).map_err(|error| {
            anyhow!(
                "standard output is not one JSON value ({error}): {:?}",
                self.said()
            )
        })
    }

    /// A success that says nothing.
    ///
    /// # Errors
    /// It failed, or spoke.
    pub fn silent(&self) -> Result<()> {
        self.succeeded()?;
        ensure!(
            self.stdout.is_empty(),
            "standard output should be empty: {:?}",
            self.said()
        );
        Ok(())
    }

    /// A success, whatever it says.
    ///
    /// # Errors
    /// It failed.
    pub fn succeeded(&self) -> Result<()> {
        match self.code {
            Some(0) => Ok(()),
            Some(code) => match self.refusal() {
                Ok(refusal) => bail!("error {}: {}", refusal.code, shortened(&refusal.words)),
                Err(_) => bail!(
                    "exit code {code}: {:?} {:?}",
                    self.said(),
                    shortened(&self.stderr)
                ),
            },
            None => bail!("it was ended by a signal: {:?}", shortened(&self.stderr)),
        }
    }

    /// A success with one JSON object on standard output.
    ///
    /// # Errors
    /// It failed, or said something else.
    pub fn result(&self) -> Result<Value> {
        self.succeeded()?;
        let value = self.json()?;
        ensure!(
            value.is_object(),
            "standard output is no JSON object: {:?}",
            self.said()
        );
        Ok(value)
    }

    /// A failure with an error object on standard output and nothing beside it.
    ///
    /// # Errors
    /// It succeeded, or the object is not as it has to be.
    pub fn refusal(&self) -> Result<Refusal> {
        let code = self.code.context("it was ended by a signal")?;
        ensure!(code != 0, "it succeeded (exit code 0): {:?}", self.said());
        let value = self.json()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = value.get("code").and_then(Value::as_u64);
        let msg = text("msg").with_context(|| format!("an error without msg: {:?}", self.said()))?;
        let details = text("details").unwrap_or_default();
        Ok(Refusal {
            versioned: text("cniVersion").is_some(),
            code: number.with_context(|| format!("an error without a code: {:?}", self.said()))?,
            detailed: !details.is_empty(),
            words: format!("{msg} {details}"),
        })
    }

    /// A failure with this code.
    ///
    /// # Errors
    /// It succeeded, or has another code.
    pub fn refused(&self, codes: &[u64]) -> Result<Refusal> {
        let refusal = self.refusal()?;
        if codes.contains(&refusal.code) {
            return Ok(refusal);
        }
        let wanted: Vec<String> = codes.iter().map(u64::to_string).collect();
        bail!(
            "code {} instead of {}: {}",
            refusal.code,
            wanted.join(" or "),
            shortened(&refusal.words)
        )
    }
}
