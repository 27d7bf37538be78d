use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::control::query::Query;

async fn ask(path: &Path, request: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    timeout(Duration::from_secs(10), stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn curl_would_be_answered() {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("run/agent.sock");
            let (listener, socket) = bind(&path).unwrap();
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            let (tx, mut owner) = mpsc::channel::<Request>(1);
            let server = tokio::spawn(serve(listener, tx));
            tokio::spawn(async move {
                while let Some(Request { query, reply }) = owner.recv().await {
                    let _ = reply.send(match query {
                        Query::Peers => Answer::Peers(json::Peers::default()),
                        Query::Peer(name) => Answer::NotFound(format!("no {name}")),
                        Query::Shutdown => Answer::Done("x".to_owned()),
                        other @ (Query::Status
                        | Query::Routes(_)
                        | Query::Why(_)
                        | Query::Config
                        | Query::Events
                        | Query::Refresh(_)) => Answer::Unavailable(format!("{other:?}")),
                    });
                    if server.is_finished() {
                        return;
                    }
                }
            });
            assert_eq!(
                ask(&path, "GET /v1/peers").await,
                (200, "{\"peers\":[]}\n".to_owned())
            );
            assert_eq!(
                ask(&path, "GET /v1/peers/a").await,
                (404, "{\"error\":\"no a\"}\n".to_owned())
            );
            assert_eq!(
                ask(&path, "POST /v1/peers").await,
                (405, "{\"error\":\"use GET\"}\n".to_owned())
            );
            assert_eq!(ask(&path, "GET /nowhere").await.0, 404);
            assert_eq!(ask(&path, "GET /v1/routes?view=x").await.0, 400);
            assert_eq!(ask(&path, "GET /v1/status").await.0, 503);
            assert_eq!(ask(&path, "POST /v1/node:shutdown").await.0, 200);
            // A second agent is told, a socket that nobody answers on is replaced, and our own goes with us.
            assert!(format!("{:#}", bind(&path).unwrap_err()).contains("another agent"));
            drop(socket);
            assert!(!path.exists());
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let (_listener, _socket) = bind(&path).unwrap();
        });
}

/// The owner ends with the very question that it answers last. The client reads late; an idle connection and one that
/// never asks hold up nothing for long.
#[test]
fn the_last_answer_is_read_although_the_owner_has_ended() {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("agent.sock");
            let (listener, _socket) = bind(&path).unwrap();
            let (tx, mut owner) = mpsc::channel::<Request>(1);
            let server = tokio::spawn(serve(listener, tx));
            let _idle = UnixStream::connect(&path).await.unwrap();
            let mut client = UnixStream::connect(&path).await.unwrap();
            client
                .write_all(b"POST /v1/node:shutdown HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            let Request { query, reply } = owner.recv().await.unwrap();
            assert_eq!(query, Query::Shutdown);
            // Nothing runs between the answer and the end of the owner.
            reply.send(Answer::Done("bye".to_owned())).unwrap();
            drop(owner);
            timeout(Duration::from_secs(10), server).await.unwrap().unwrap();
            let mut text = String::new();
            timeout(Duration::from_secs(10), client.read_to_string(&mut text))
                .await
                .unwrap()
                .unwrap();
            assert!(
                text.starts_with("HTTP/1.1 200") && text.ends_with("{\"done\":\"bye\"}\n"),
                "{text}"
            );
        });
}
