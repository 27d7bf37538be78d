//! The error object of the specification (CNI 1.1.0 §5, "Error").
//!
//! A plugin that fails prints one JSON object on standard output and exits with a status other than zero. The code
//! tells the runtime what to do (11: try again later); the message is for the person who reads the pod's events, so
//! it names the field or the object and, in `details`, the remedy.

use serde::Serialize;

/// Error codes. 0–99 are the specification's, from 100 on they are this plugin's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The configuration's `cniVersion` is not supported, or has no such verb.
    IncompatibleVersion = 1,
    /// A field of the configuration is not supported.
    UnsupportedField = 2,
    /// An environment variable is missing or invalid.
    InvalidEnvironment = 4,
    /// A system call failed.
    Io = 5,
    /// Standard input is no JSON object.
    Decode = 6,
    /// The network configuration is invalid.
    InvalidConfig = 7,
    /// CNI_NETNS is the plugin's own network namespace.
    InvalidNetns = 8,
    /// Something transient: the runtime should try again.
    TryAgainLater = 11,
    /// STATUS: the plugin cannot serve an ADD.
    NotAvailable = 50,
    /// ADD: the attachment or its interface exists already.
    Exists = 100,
    /// CHECK: something that ADD made is missing or changed.
    Drifted = 101,
    /// GC: some removals failed; the others were done.
    Partial = 102,
    /// The IPAM plugin failed without saying how, or answered what cannot be used.
    Delegate = 103,
}

/// An error as the runtime will see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg}")]
pub(crate) struct CniError {
    /// The kind.
    pub(crate) code: Code,
    /// What failed, with names.
    pub(crate) msg: String,
    /// Why, and what to do about it.
    pub(crate) details: String,
    /// The number that another plugin gave: it goes out instead of that of `code`.
    pub(crate) relayed: Option<u32>,
}

/// What most functions here return.
pub(crate) type Result<T> = std::result::Result<T, CniError>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

impl CniError {
    /// An error without details.
    pub(crate) fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
            relayed: None,
        }
    }

    /// The same error with details.
    #[must_use]
    pub(crate) fn because(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The JSON object of the specification.
    pub(crate) fn to_json(&self, cni_version: &str) -> String {
        let wire = Wire {
            cni_version,
            code: self.relayed.unwrap_or(self.code as u32),
            msg: &self.msg,
            details: &self.details,
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }
}

impl From<flatroute_netlink::Error> for CniError {
    fn from(error: flatroute_netlink::Error) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}

/// Turns an I/O error into one of ours that says what was tried.
pub(crate) fn io_error<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> CniError {
    move |error| CniError::new(Code::Io, format!("{what}: {error}"))
}
