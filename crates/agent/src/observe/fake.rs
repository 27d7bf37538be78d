//! A small API server for tests, over HTTP on loopback: objects with versions, lists in pages, watches from a version on,
//! forgetting (410), and faults on demand. It keeps what it was asked, so that tests can count.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::channel::mpsc::UnboundedSender;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::connection::Connection;

pub(crate) const PEERS: &str = "/apis/flatroute.io/v1alpha1/bgppeers";
pub(crate) const FILTERS: &str = "/apis/flatroute.io/v1alpha1/bgpfilters";
pub(crate) const CONFIGURATIONS: &str = "/apis/flatroute.io/v1alpha1/bgpconfigurations";
pub(crate) const NODES: &str = "/api/v1/nodes";
pub(crate) const SECRETS: &str = "/api/v1/namespaces/flatroute-system/secrets";
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// What a request is answered with instead of what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This status.
    Status(u16),
    /// Nothing, ever.
    Hang,
    /// A watch that is begun, and then silent.
    Silence,
}

/// The server.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

struct Shared {
    model: Mutex<Model>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct Model {
    version: u64,
    /// Watches from before this one are Gone.
    oldest: u64,
    objects: BTreeMap<(String, String), Value>,
    log: Vec<Change>,
    faults: BTreeMap<(&'static str, String), Fault>,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Change {
    version: u64,
    path: String,
    event: &'static str,
    object: Value,
}

type Body = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

impl Fake {
    pub(crate) async fn start() -> Self {
        let (version, _) = watch::channel(0);
        let mut new = Self {
            address: "127.0.0.1:0".parse().unwrap(),
            shared: Arc::new(Shared {
                model: Mutex::default(),
                version,
            }),
            server: None,
        };
        new.again().await;
        new
    }

    /// Serves again after a stop, at the same address.
    pub(crate) async fn again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let shared = Arc::clone(&self.shared);
        self.server = Some(tokio::spawn(async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
    }

    /// Ends all connections and takes no more.
    pub(crate) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }

    pub(crate) fn connection(&self) -> Connection {
        let uri = format!("http://{}", self.address).parse().unwrap();
        let mut config = kube::Config::new(uri);
        config.default_retry = false;
        Connection::of(config).unwrap()
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.shared.model.lock().unwrap()
    }

    /// Creates or changes an object.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut model = self.model();
        model.version += 1;
        let version = model.version;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let key = (path.to_owned(), name);
        let before = model.objects.get(&key);
        if object["metadata"]["uid"].is_null() {
            let uid = before.map_or_else(
                || format!("uid-{version}").into(),
                |b| b["metadata"]["uid"].clone(),
            );
            object["metadata"]["uid"] = uid;
        }
        let event = if before.is_some() { "MODIFIED" } else { "ADDED" };
        model.objects.insert(key, object.clone());
        self.log(model, path, event, object);
    }

    pub(crate) fn delete(&self, path: &str, name: &str) {
        let mut model = self.model();
        model.version += 1;
        let mut object = model.objects.remove(&(path.to_owned(), name.to_owned())).unwrap();
        object["metadata"]["resourceVersion"] = model.version.to_string().into();
        self.log(model, path, "DELETED", object);
    }

    fn log(&self, mut model: MutexGuard<'_, Model>, path: &str, event: &'static str, object: Value) {
        let version = model.version;
        model.log.push(Change {
            version,
            path: path.to_owned(),
            event,
            object,
        });
        drop(model);
        self.shared.version.send_replace(version);
    }

    /// Forgets all changes so far: who asks for them is told that they are gone.
    pub(crate) fn forget(&self) {
        let mut model = self.model();
        model.version += 1;
        model.oldest = model.version;
        model.log.clear();
    }

    /// From now on `verb` on `path` meets this fault, or none.
    pub(crate) fn fault(&self, verb: &'static str, path: &str, fault: Option<Fault>) {
        let mut model = self.model();
        let key = (verb, path.to_owned());
        match fault {
            Some(fault) => _ = model.faults.insert(key, fault),
            None => _ = model.faults.remove(&key),
        }
    }

    /// All that it was asked, as `verb path?query`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.model().asked.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let parameter = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.replace("%3D", "="))
    };
    let (folder, name) = path.rsplit_once('/').unwrap_or_default();
    let by_name = [CONFIG_MAPS, SLICES].contains(&folder);
    let verb = match (by_name, parameter("watch").as_deref()) {
        (true, _) => "get",
        (false, Some("true")) => "watch",
        (false, _) => "list",
    };
    let fault = {
        let mut model = shared.model.lock().unwrap();
        model.asked.push(format!("{verb} {path}?{query}"));
        model.faults.get(&(verb, path.clone())).copied()
    };
    match fault {
        Some(Fault::Status(code)) => return Ok(whole(code, &status(code))),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Silence) => return Ok(stream(futures::stream::pending())),
        None => {}
    }
    let only = parameter("fieldSelector").and_then(|f| f.strip_prefix("metadata.name=").map(str::to_owned));
    if verb == "watch" {
        let from = parameter("resourceVersion")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        return Ok(watch_from(&shared, path, only, from));
    }
    let model = shared.model.lock().unwrap();
    if verb == "get" {
        let found = model.objects.get(&(folder.to_owned(), name.to_owned()));
        return Ok(found.map_or_else(|| whole(404, &status(404)), |object| whole(200, object)));
    }
    let all: Vec<&Value> = model
        .objects
        .iter()
        .filter(|((p, n), _)| *p == path && only.as_ref().is_none_or(|only| n == only))
        .map(|(_, object)| object)
        .collect();
    let start: usize = parameter("continue").and_then(|c| c.parse().ok()).unwrap_or(0);
    let limit: usize = parameter("limit")
        .and_then(|l| l.parse().ok())
        .unwrap_or(usize::MAX);
    let end = start.saturating_add(limit).min(all.len());
    let next = if end < all.len() {
        end.to_string()
    } else {
        String::new()
    };
    let page = json!({
        "kind": "List",
        "metadata": {"resourceVersion": model.version.to_string(), "continue": next},
        "items": all.get(start..end).unwrap_or_default(),
    });
    Ok(whole(200, &page))
}

/// Changes after a version, and those that come.
fn watch_from(shared: &Arc<Shared>, path: String, only: Option<String>, from: u64) -> Response<Body> {
    let (send, receive) = futures::channel::mpsc::unbounded();
    if from < shared.model.lock().unwrap().oldest {
        let gone = json!({"type": "ERROR", "object": status(410)});
        let _ = send.unbounded_send(gone);
    } else {
        tokio::spawn(tell_changes(Arc::clone(shared), path, only, from, send));
    }
    stream(receive)
}

async fn tell_changes(
    shared: Arc<Shared>,
    path: String,
    only: Option<String>,
    mut from: u64,
    send: UnboundedSender<Value>,
) {
    let mut version = shared.version.subscribe();
    loop {
        let news: Vec<Change> = {
            let model = shared.model.lock().unwrap();
            let new = model.log.iter().filter(|change| change.version > from);
            new.cloned().collect()
        };
        for change in news {
            from = from.max(change.version);
            let wanted = only
                .as_ref()
                .is_none_or(|only| change.object["metadata"]["name"] == **only);
            let event = json!({"type": change.event, "object": change.object});
            if change.path == path && wanted && send.unbounded_send(event).is_err() {
                return;
            }
        }
        if send.is_closed() || version.changed().await.is_err() {
            return;
        }
    }
}

fn status(code: u16) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        410 => "Expired",
        _ => "Unknown",
    };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "as the test wants it"})
}

fn whole(code: u16, body: &Value) -> Response<Body> {
    let bytes = Bytes::from(body.to_string());
    let once: futures::stream::BoxStream<'static, _> =
        Box::pin(futures::stream::iter([Ok(Frame::data(bytes))]));
    let mut response = Response::new(StreamBody::new(once));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn stream(events: impl futures::Stream<Item = Value> + Send + 'static) -> Response<Body> {
    use futures::StreamExt as _;
    let lines = events.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
    Response::new(StreamBody::new(Box::pin(lines)))
}
