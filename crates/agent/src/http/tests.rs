use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(Duration::from_secs(20), stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn where_to_listen_is_read() {
    let rows = [
        ("off", Some(Listen::Off)),
        (":9179", Some(Listen::All(9179))),
        ("127.0.0.1:1", Some(Listen::At("127.0.0.1:1".parse().unwrap()))),
        ("[::1]:1", Some(Listen::At("[::1]:1".parse().unwrap()))),
        ("9179", None),
        ("localhost:1", None),
        (":99999", None),
        ("", None),
    ];
    for (text, want) in rows {
        assert_eq!(text.parse::<Listen>().ok(), want, "{text}");
    }
}

#[tokio::test]
async fn probes_are_answered_from_what_the_owner_says() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    assert!(bind(Listen::At(address)).await.is_err());
    let (tell, ready) = watch::channel(Ready::Starting);
    let (pulse, mut owner) = mpsc::channel::<Pulse>(4);
    let server = tokio::spawn(serve(listener, ready, pulse));

    // Nobody answers yet, and the agent is alive all the same.
    assert_eq!(
        ask(address, "GET /healthz").await,
        (200, "ok: starting\n".to_owned())
    );
    let (status, body) = ask(address, "GET /readyz").await;
    assert_eq!(
        (status, body.starts_with("not ready: NotListed: ")),
        (503, true),
        "{body}"
    );

    tell.send_replace(Ready::Waiting("NoRoutes: IPv4: a is not Established".to_owned()));
    assert_eq!(
        ask(address, "GET /readyz").await,
        (
            503,
            "not ready: NoRoutes: IPv4: a is not Established\n".to_owned()
        )
    );
    let (asked, ()) = tokio::join!(ask(address, "GET /healthz"), async {
        owner.recv().await.unwrap().send(()).unwrap();
    });
    assert_eq!(asked, (200, "ok\n".to_owned()));

    tell.send_replace(Ready::Yes);
    assert_eq!(ask(address, "GET /readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(ask(address, "GET /").await, (200, INDEX.to_owned()));
    assert_eq!(ask(address, "GET /metrics").await.0, 404);
    assert_eq!(ask(address, "POST /readyz").await.0, 405);

    // The owner has gone.
    drop(owner);
    assert_eq!(
        ask(address, "GET /healthz").await,
        (503, "the agent is stopping\n".to_owned())
    );
    server.abort();
}

#[tokio::test]
async fn an_owner_that_hangs_is_told_within_the_bound() {
    let (pulse, _owner) = mpsc::channel::<Pulse>(1);
    let response = health(pulse, Duration::from_millis(20)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}
