//! The HTTP port: probes for the kubelet, in plain text.
//!
//! `/healthz` says whether the owner of the state still goes round; `/readyz` whether the node can serve pods, and what is
//! waited for when it cannot. It stands before the objects are listed: an agent whose API server is away is alive
//! and not ready, and says so.
//!
//! Unlike the control socket the port can be reached over the network, so it tells little, changes nothing, and takes
//! connections of this very host (the kubelet's) apart from all others: a stranger who opens many can keep
//! other strangers out, not the kubelet.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::ready::Ready;

/// Where it listens with an API server unless told otherwise.
pub(crate) const DEFAULT_PORT: u16 = 9179;
/// How many connections of this host are served at once; further ones are closed.
const MAX_LOCAL: usize = 16;
/// How many connections of other hosts are served at once; further ones are closed.
const MAX_REMOTE: usize = 64;
/// How long a connection may last, answer included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the owner may take for a sign of life. It waits at most five seconds for those who act.
const PATIENCE: Duration = Duration::from_secs(8);

const INDEX: &str = "flatroute-agent\n\n/healthz  whether the agent goes round\n/readyz   whether this node can serve pods\n\n\
                     More is told on the control socket: curl --unix-socket /run/flatroute/agent.sock http://x/v1/status\n";

/// Somebody who wants a sign of life.
pub(crate) type Pulse = oneshot::Sender<()>;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Nowhere.
    Off,
    /// On this port of every address of both families.
    All(u16),
    /// Here.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    /// `10.0.0.1:9179`, `[fd00::1]:9179`, `:9179`, or `off`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let port = text.strip_prefix(':').and_then(|port| port.parse().ok());
        let address = || text.parse().ok().map(Self::At);
        port.map(Self::All)
            .or_else(address)
            .ok_or_else(|| format!("\"{text}\" is none of ADDRESS:PORT, :PORT and off"))
    }
}

/// Opens the port. On a host without IPv6, "every address" is every IPv4 address.
///
/// # Errors
/// When it is taken.
pub(crate) async fn bind(listen: Listen) -> anyhow::Result<Option<TcpListener>> {
    let opened = match listen {
        Listen::Off => return Ok(None),
        Listen::At(address) => TcpListener::bind(address).await,
        Listen::All(port) => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            other => other,
        },
    };
    opened.map(Some).with_context(|| {
        format!("--http-listen {listen:?}: the port cannot be had; stop who has it, or give another")
    })
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, ready: watch::Receiver<Ready>, owner: mpsc::Sender<Pulse>) {
    let local = Arc::new(Semaphore::new(MAX_LOCAL));
    let remote = Arc::new(Semaphore::new(MAX_REMOTE));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: others are about to be closed.
                tracing::warn!(%error, "HTTP: a connection was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let own = stream.local_addr().is_ok_and(|own| own.ip() == peer.ip());
        let slots = if own { &local } else { &remote };
        let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
            continue;
        };
        let (ready, owner) = (ready.clone(), owner.clone());
        tokio::spawn(async move {
            if let Ok(Err(error)) = timeout(CONNECTION_TIMEOUT, converse(stream, ready, owner)).await {
                tracing::debug!(%error, "HTTP: a connection ended");
            }
            drop(slot);
        });
    }
}

async fn converse(
    stream: TcpStream,
    ready: watch::Receiver<Ready>,
    owner: mpsc::Sender<Pulse>,
) -> hyper::Result<()> {
    let service = service_fn(move |request| respond(request, ready.clone(), owner.clone()));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn respond(
    request: hyper::Request<Incoming>,
    ready: watch::Receiver<Ready>,
    owner: mpsc::Sender<Pulse>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET".to_owned());
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    let now = ready.borrow().clone();
    Ok(match request.uri().path() {
        "/" => text(StatusCode::OK, INDEX.to_owned()),
        "/healthz" => match now {
            // Nobody can give a sign yet, and a restart would not bring the objects.
            Ready::Starting => text(StatusCode::OK, "ok: starting".to_owned()),
            Ready::Waiting(_) | Ready::Yes => health(owner, PATIENCE).await,
        },
        "/readyz" => match now.reason() {
            None => text(StatusCode::OK, "ready".to_owned()),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}")),
        },
        path => text(
            StatusCode::NOT_FOUND,
            format!("there is no {path}; there are /healthz and /readyz"),
        ),
    })
}

async fn health(owner: mpsc::Sender<Pulse>, patience: Duration) -> Response<Full<Bytes>> {
    let sign = async {
        let (reply, sign) = oneshot::channel();
        owner.send(reply).await.ok()?;
        sign.await.ok()
    };
    match timeout(patience, sign).await {
        Ok(Some(())) => text(StatusCode::OK, "ok".to_owned()),
        Ok(None) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the agent is stopping".to_owned(),
        ),
        Err(_) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "the agent's loop has given no sign of life for {} s",
                patience.as_secs()
            ),
        ),
    }
}

fn text(status: StatusCode, mut text: String) -> Response<Full<Bytes>> {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests;
