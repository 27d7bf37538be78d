//! The server of the control socket.
//!
//! The program ends when the owner of the state does, and somebody may just have asked for the last thing that it did.
//! Who asked must still read the answer, so [`serve`] does not end with the owner: it
//! takes no further connection, lets each one that is open finish the answer that is under way, and returns when
//! all are closed, or after [`FAREWELL`], because a client that does not read may hold up nothing.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use flatroute_api::control as json;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::query::{self, Refused};
use super::{Answer, Request};

/// How many connections are served at once; further ones wait.
const MAX_CONNECTIONS: u32 = 16;
/// How long a client may take to ask.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the last answers may take once the owner is gone.
const FAREWELL: Duration = Duration::from_secs(2);

/// The socket in the file system; it goes when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    inode: u64,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the socket, with mode 0600 from the moment that it can be found by its name.
///
/// # Errors
/// When another agent answers on it, or it cannot be made.
pub(crate) fn bind(path: &Path) -> anyhow::Result<(UnixListener, Socket)> {
    let context = || format!("the control socket {}", path.display());
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!(
            "{}: another agent answers on it; stop that one, or give another --control-socket",
            context()
        );
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(context)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let place = || -> io::Result<(UnixListener, u64)> {
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&draft)?;
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
        let inode = std::fs::symlink_metadata(&draft)?.ino();
        std::fs::rename(&draft, path)?;
        Ok((listener, inode))
    };
    let (listener, inode) = place().with_context(context)?;
    Ok((
        listener,
        Socket {
            path: path.to_owned(),
            inode,
        },
    ))
}

/// Serves until the owner of the state is gone and the last answers are written.
pub(crate) async fn serve(listener: UnixListener, owner: mpsc::Sender<Request>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = owner.closed() => break,
        };
        let Ok(slot) = slot else { break };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors: others are about to be closed.
                    tracing::warn!(%error, "control socket: a connection was not taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = owner.closed() => break,
        };
        let owner = owner.clone();
        tokio::spawn(async move {
            if let Ok(Err(error)) = timeout(CONNECTION_TIMEOUT, converse(stream, owner)).await {
                tracing::debug!(%error, "control socket: a connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    // Every slot comes back when its connection is closed.
    if timeout(FAREWELL, slots.acquire_many(MAX_CONNECTIONS))
        .await
        .is_err()
    {
        tracing::warn!("control socket: a client did not read its answer in time");
    }
}

/// One connection, until the client has enough; when the owner goes, until the answer under way is written.
async fn converse(stream: UnixStream, owner: mpsc::Sender<Request>) -> hyper::Result<()> {
    let asked = owner.clone();
    let service = service_fn(move |request| respond(request, asked.clone()));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = owner.closed() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn respond(
    request: hyper::Request<Incoming>,
    owner: mpsc::Sender<Request>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri();
    let query = match query::parse(request.method().as_str(), uri.path(), uri.query()) {
        Ok(query) => query,
        Err(refused) => return Ok(refusal(refused)),
    };
    let (reply, answer) = oneshot::channel();
    let gone = || {
        failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "the agent is stopping".to_owned(),
        )
    };
    if owner.send(Request { query, reply }).await.is_err() {
        return Ok(gone());
    }
    Ok(answer.await.map_or_else(|_| gone(), response))
}

fn refusal(refused: Refused) -> Response<Full<Bytes>> {
    match refused {
        Refused::Bad(why) => failure(StatusCode::BAD_REQUEST, why),
        Refused::NotFound(why) => failure(StatusCode::NOT_FOUND, why),
        Refused::Method(allowed) => {
            let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}"));
            response
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static(allowed));
            response
        }
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    match answer {
        Answer::Status(body) => body_of(StatusCode::OK, &body),
        Answer::Peers(body) => body_of(StatusCode::OK, &body),
        Answer::Peer(body) => body_of(StatusCode::OK, &body),
        Answer::Routes(body) => body_of(StatusCode::OK, &body),
        Answer::Why(body) => body_of(StatusCode::OK, &body),
        Answer::Config(body) => body_of(StatusCode::OK, &body),
        Answer::Events(body) => body_of(StatusCode::OK, &body),
        Answer::Done(text) => body_of(StatusCode::OK, &serde_json::json!({ "done": text })),
        Answer::NotFound(why) => failure(StatusCode::NOT_FOUND, why),
        Answer::Conflict(why) => failure(StatusCode::CONFLICT, why),
        Answer::Unavailable(why) => failure(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

fn failure(status: StatusCode, error: String) -> Response<Full<Bytes>> {
    body_of(status, &json::Error { error })
}

fn body_of<T: serde::Serialize>(status: StatusCode, value: &T) -> Response<Full<Bytes>> {
    let mut text = serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec());
    text.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests;
