//! Brings an API server on this host's loopback to the same port of a namespace's loopback. Without a link, so nothing but
//! TCP to this one port goes between the namespaces. Each has a source address of its own: the server's audit log
//! tells by it who asked.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::thread::{self, JoinHandle};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::lab::Namespace;

/// It ends when this is dropped, and all connections with it.
pub(crate) struct Relay {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The source address of a number.
pub(crate) fn source(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, number)
}

impl Relay {
    pub(crate) fn start(namespace: &Namespace, port: u16, number: u8) -> Self {
        let listener = namespace.inside(move || TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        let listener = listener.expect("the port is free in a namespace of its own");
        listener.set_nonblocking(true).expect("a socket");
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                tokio::spawn(async move {
                    while let Ok((client, _)) = listener.accept().await {
                        tokio::spawn(pass(client, port, number));
                    }
                });
                // Also when the other end is dropped.
                let _ = stopped.await;
            });
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

async fn pass(mut client: TcpStream, port: u16, number: u8) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddrV4::new(source(number), 0).into())
        .expect("all of 127.0.0.0/8 is ours");
    // A server that is not there: the client sees its connection end.
    if let Ok(mut server) = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
