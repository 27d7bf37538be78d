//! Why the API server did not give what it was asked for, and what to do about it.

use std::error::Error;
use std::fmt;

use flatroute_api::{Problem, ProblemReason};
use kube::core::Status;

use super::source::Source;

/// The kind of problems that are not about an object but about the server that has them.
pub(crate) const API_SERVER: &str = "APIServer";
/// How much of the server's own words is repeated, in bytes.
const MAX_WORDS: usize = 300;

/// A verb of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why there is no answer to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody answers, or not in time, or not to be understood, or it is busy: it will pass.
    Away(String),
    /// We may not (403).
    Forbidden(Verb),
    /// It does not know us (401).
    Unauthorized,
    /// It does not know the resource (404).
    NotInstalled,
    /// What we ask to continue from is too old (410): list again.
    Gone,
    /// It has no Node at all, not even the one that this agent runs on.
    NoNodes,
    /// It refuses, with these words.
    Refused(String),
}

impl Failure {
    pub(crate) fn of(error: &kube::Error, verb: Verb) -> Self {
        if let kube::Error::Api(status) = error {
            Self::of_status(status, verb)
        } else {
            Self::Away(words(error))
        }
    }

    pub(crate) fn of_status(status: &Status, verb: Verb) -> Self {
        let text = || format!("{} {}: {}", status.code, status.reason, status.message);
        match status.code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(verb),
            404 => Self::NotInstalled,
            410 => Self::Gone,
            429 | 500.. => Self::Away(bounded(text())),
            _ => Self::Refused(bounded(text())),
        }
    }

    /// The problem, for who looks at the node. `server` is the server's address.
    pub(crate) fn problem(&self, source: &Source, server: &str) -> Problem {
        let rule = source.rule();
        let resource = &rule.full_name();
        match self {
            Self::Away(text) => Problem::new(
                API_SERVER,
                server,
                "",
                format!("does not answer ({text}); the objects stay as they are"),
                "see that it runs and that this node reaches it; it is tried again all the time",
            )
            .because(ProblemReason::APIServerUnreachable),
            Self::Forbidden(verb) => Problem::new(
                API_SERVER,
                resource,
                "",
                format!("we may not {verb} {source}: {}", rule.without),
                rule.remedy(*verb),
            )
            .because(ProblemReason::Forbidden),
            Self::Unauthorized => Problem::new(
                API_SERVER,
                server,
                "",
                "does not know who we are (401)",
                "see that the token of the service account, or the user of the kubeconfig, is of this cluster and has not run out",
            )
            .because(ProblemReason::Unauthorized),
            Self::NotInstalled => Problem::new(
                API_SERVER,
                resource,
                "",
                format!("the server does not know {source} (404); what was known of them stays in force"),
                "install the CustomResourceDefinitions: kubectl apply -f deploy/crds",
            )
            .because(ProblemReason::NotInstalled),
            Self::Gone => Problem::new(
                API_SERVER,
                resource,
                "",
                "the server forgets faster than we read",
                "nothing: it is listed again",
            )
            .because(ProblemReason::Gone),
            Self::NoNodes => Problem::new(
                API_SERVER,
                server,
                "",
                "lists no Node at all, which no cluster does that this agent runs in; the Nodes stay as they were",
                "see that it is the API server of this cluster and has its data",
            )
            .because(ProblemReason::Refused),
            Self::Refused(text) => Problem::new(
                API_SERVER,
                resource,
                "",
                format!("the server refuses to tell of {source} ({text})"),
                "see its log",
            )
            .because(ProblemReason::Refused),
        }
    }
}

/// An error with its causes, in one line.
fn words(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    bounded(text)
}

fn bounded(mut text: String) -> String {
    if text.len() > MAX_WORDS {
        let end = (0..=MAX_WORDS).rev().find(|i| text.is_char_boundary(*i));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}
