//! The server of the control socket.

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
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::query::{self, Refused};
use super::{Answer, Request};

/// How many connections are served at once; further ones wait.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to ask.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);

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

/// Serves until the owner of the state is gone.
pub(crate) async fn serve(listener: UnixListener, owner: mpsc::Sender<Request>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
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
            () = owner.closed() => return,
        };
        let owner = owner.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(request, owner.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = timeout(CONNECTION_TIMEOUT, connection).await {
                tracing::debug!(%error, "control socket: a connection ended");
            }
            drop(slot);
        });
    }
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
