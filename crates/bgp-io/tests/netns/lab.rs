//! Drivers that run inside of namespaces, and the links between these.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use flatroute_bgp::speaker::Config;
pub(crate) use flatroute_lab::Namespace;
use tokio::sync::oneshot;

use crate::world::Node;

/// A driver inside of a namespace; it ends with this value, and its sockets are closed then.
pub(crate) struct Inside {
    pub(crate) node: Node,
    running: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // It has said why if it failed.
            _ = thread.join();
        }
    }
}

/// What a namespace can do here beside what every one can.
pub(crate) trait Drivers {
    /// Starts a driver inside, on a runtime of its own.
    fn driver(&self, listen: SocketAddr, config: Config) -> Inside;
}

impl Drivers for Namespace {
    fn driver(&self, listen: SocketAddr, config: Config) -> Inside {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let node = Node::listening(listen, config).await;
                tell.send(node).expect("somebody waits");
                // Whoever dropped it wants the end.
                _ = stopped.await;
            });
        };
        let thread = self.inside(move || thread::spawn(run));
        Inside {
            node: told.recv().expect("the driver starts"),
            running: Some((stop, thread)),
        }
    }
}

/// Joins two namespaces by a link `upNUMBER` – `torNUMBER`. The first has `10.0.NUMBER.1`, `fd00:NUMBER::1` and `fe80::1`,
/// the second `.2` and `::2`.
pub(crate) fn join(number: u8, one: &Namespace, other: &Namespace) {
    one.ip(&format!(
        "link add up{number} type veth peer name tor{number} netns {}",
        other.thread()
    ));
    for (end, name, namespace) in [(1, "up", one), (2, "tor", other)] {
        // The kernel's own link-local address, once it is no longer tentative, would be the source of what is dialled.
        namespace.ip(&format!("link set {name}{number} addrgenmode none"));
        namespace.ip(&format!("addr add 10.0.{number}.{end}/24 dev {name}{number}"));
        namespace.ip(&format!(
            "-6 addr add fd00:{number}::{end}/64 dev {name}{number} nodad"
        ));
        namespace.ip(&format!("-6 addr add fe80::{end}/64 dev {name}{number} nodad"));
        namespace.ip(&format!("link set {name}{number} up"));
    }
}
