//! The control socket: HTTP with JSON over a unix socket that only its owner may open (mode 0600).
//!
//! A connection is a task of its own. It reads a request, turns its path into a [`query::Query`], sends that to the
//! owner of all state over a bounded channel and writes what comes back. Connections are limited in number and in
//! the time that they may take to ask.

pub(crate) mod query;
pub(crate) mod route;
pub(crate) mod server;

use flatroute_api::control as json;
use tokio::sync::oneshot;

/// A question to the owner of the state.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) query: query::Query,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// What the owner answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Status(Box<json::Status>),
    Peers(json::Peers),
    Peer(Box<json::Peer>),
    Routes(json::Routes),
    Why(Box<json::Why>),
    Config(Box<json::Config>),
    Events(json::Events),
    /// Done; in words.
    Done(String),
    /// There is no such thing.
    NotFound(String),
    /// It cannot be done as things are.
    Conflict(String),
    /// It cannot be told now.
    Unavailable(String),
}
