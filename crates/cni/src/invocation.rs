//! The environment of one call (CNI 1.1.0 §2, "Parameters").
//!
//! Everything that the runtime says outside standard input arrives in CNI_* variables. They are checked here, before
//! anything is touched: all missing names are reported at once, and every value has to have the form that the
//! reference library demands, because runtimes and their tests rely on it.

use std::path::PathBuf;

use crate::error::{CniError, Code, Result};

/// The longest interface name of Linux in bytes (IFNAMSIZ without the final zero).
const INTERFACE_NAME_MAX: usize = 15;

/// What the runtime wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Attach a container.
    Add,
    /// Detach it.
    Del,
    /// Verify an attachment.
    Check,
    /// Remove what is not in a list of valid attachments.
    Gc,
    /// Say whether an ADD would work.
    Status,
    /// Say the supported versions.
    Version,
}

/// A container's interface, as the runtime names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Attachment {
    /// CNI_CONTAINERID
    pub(crate) container_id: String,
    /// CNI_IFNAME
    pub(crate) interface: String,
}

/// A checked call. Variables that the verb does not need are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// CNI_COMMAND
    pub(crate) verb: Verb,
    /// CNI_CONTAINERID and CNI_IFNAME
    pub(crate) attachment: Attachment,
    /// CNI_NETNS, byte for byte; empty when there is none.
    pub(crate) netns: String,
    /// CNI_ARGS, as far as it means anything here.
    pub(crate) wishes: Wishes,
}

/// What a runtime asks for by the older way; podman and nerdctl do it, and Multus, with commas between several addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// `IP`
    pub(crate) ip: Option<String>,
    /// `MAC`
    pub(crate) mac: Option<String>,
}

impl Verb {
    /// Its name in CNI_COMMAND.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        match name {
            "ADD" => Ok(Self::Add),
            "DEL" => Ok(Self::Del),
            "CHECK" => Ok(Self::Check),
            "GC" => Ok(Self::Gc),
            "STATUS" => Ok(Self::Status),
            "VERSION" => Ok(Self::Version),
            other => Err(invalid(format!(
                "CNI_COMMAND {other:?} is none of ADD, DEL, CHECK, GC, STATUS, VERSION"
            ))),
        }
    }

    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Self::Gc | Self::Status => &["CNI_PATH"],
            Self::Version => &[],
        }
    }
}

impl Invocation {
    /// Reads and checks the variables that `variable` returns by name.
    ///
    /// # Errors
    /// Code 4, naming the variables.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let verb = Verb::parse(&value("CNI_COMMAND").unwrap_or_default())?;
        let missing: Vec<_> = verb
            .needs()
            .iter()
            .copied()
            .filter(|name| value(name).is_none())
            .collect();
        if !missing.is_empty() {
            return Err(invalid(format!(
                "required environment variables are missing: {}",
                missing.join(", ")
            )));
        }
        let mut call = Self {
            verb,
            attachment: Attachment::default(),
            netns: String::new(),
            wishes: Wishes::default(),
        };
        match verb {
            Verb::Add | Verb::Check | Verb::Del => {
                call.attachment = Attachment {
                    container_id: value("CNI_CONTAINERID").unwrap_or_default(),
                    interface: value("CNI_IFNAME").unwrap_or_default(),
                };
                call.netns = value("CNI_NETNS").unwrap_or_default();
                check_container_id(&call.attachment.container_id)?;
                check_interface_name(&call.attachment.interface)?;
                call.wishes = Wishes::read(&value("CNI_ARGS").unwrap_or_default())?;
            }
            Verb::Gc | Verb::Status | Verb::Version => {}
        }
        Ok(call)
    }

    /// CNI_NETNS as a path.
    pub(crate) fn netns_path(&self) -> PathBuf {
        PathBuf::from(&self.netns)
    }
}

fn invalid(msg: String) -> CniError {
    CniError::new(Code::InvalidEnvironment, msg)
}

/// Whether `name` is what the specification allows for network names and container ids: alphanumeric first, then
/// also `_`, `.` and `-`. Such a name is also a safe name of a file.
pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn check_container_id(id: &str) -> Result<()> {
    if is_name(id) {
        return Ok(());
    }
    Err(invalid(format!(
        "CNI_CONTAINERID {id:?} is invalid: a letter or digit, then letters, digits, '_', '.', '-'"
    )))
}

fn check_interface_name(name: &str) -> Result<()> {
    let fault = if name.len() > INTERFACE_NAME_MAX {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "it is reserved"
    } else if name
        .chars()
        .any(|each| each == '/' || each == ':' || each.is_whitespace() || each.is_control())
    {
        "it contains '/', ':', white space or a control character"
    } else {
        return Ok(());
    };
    Err(invalid(format!("CNI_IFNAME {name:?} is invalid: {fault}")))
}

impl Wishes {
    /// CNI_ARGS is a list `KEY=VALUE;KEY=VALUE`. Its form is checked, and keys that are none of these are ignored. Of a key that
    /// is there twice the last one counts.
    fn read(arguments: &str) -> Result<Self> {
        let mut wishes = Self::default();
        for pair in arguments.split(';').filter(|pair| !pair.is_empty()) {
            let value = |(key, value): (&str, &str)| {
                (!key.is_empty() && !value.contains('=')).then(|| (key.to_owned(), value.to_owned()))
            };
            let Some((key, value)) = pair.split_once('=').and_then(value) else {
                return Err(invalid(format!("CNI_ARGS has {pair:?}, which is not KEY=VALUE")));
            };
            match key.as_str() {
                "IP" => wishes.ip = Some(value),
                "MAC" => wishes.mac = Some(value),
                _ => {}
            }
        }
        Ok(wishes)
    }
}
