//! The well-behaved neighbour beside the hostile ones. It has routes of its own, which must stay, and it is told every
//! route that the agent learns from the others: what the agent passes on must read without an error.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flatroute_bgp::types::FamilySet;
use flatroute_bgp::wire::{Context, Message, decode, split};

use super::agent::Agent;
use super::neighbour::{Heard, Neighbour};
use super::octets::{capabilities, keepalive, message, open, to_hex, update};

/// Its AS, so that routes of 65001 reach it.
const ASN: u16 = 65100;
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 1));
/// The routes that must stay.
const ROUTES: [&str; 3] = ["172.16.0.0/16", "172.17.0.0/16", "2001:db8:cc::/48"];

/// The session, held by a thread.
pub(crate) struct Bystander {
    stop: Arc<AtomicBool>,
    updates: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// What a user writes for it.
pub(crate) fn manifest() -> String {
    format!(
        "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: bystander}}\n\
         spec: {{peerAddress: {ADDRESS}, peerASN: {ASN}, connectMode: Passive, advertise: [PodCIDRs, LearnedRoutes]}}\n"
    )
}

impl Bystander {
    pub(crate) fn new(agent: &Agent) -> Self {
        // The agent answers before it has read who its neighbours are, and before it listens.
        super::scene::patiently("the bystander is configured", || agent.peer("bystander"));
        let mut neighbour = super::scene::patiently("the agent listens", || {
            Neighbour::try_connect(&agent.namespace, ADDRESS).map_err(|error| error.to_string())
        });
        neighbour.expect(1);
        let families = "010400010001 010400020001 0200 0600 4104 0000fe4c";
        neighbour.send(&open(ASN, 9, 0x0a08_0001, &capabilities(families)));
        neighbour.expect(4);
        let path = "40010100 4002060201 0000fe4c";
        neighbour.send(&keepalive());
        neighbour.send(&update("", &format!("{path} 400304c0000203"), "10ac10 10ac11"));
        let reach = "800e1c 000201 10 20010db8000000000000000000000003 00 3020010db800cc";
        neighbour.send(&update("", &format!("{reach} {path}"), ""));
        let (stop, updates) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (stop, updates) = (stop.clone(), updates.clone());
            thread::spawn(move || listen(&mut neighbour, &stop, &updates))
        };
        let new = Self {
            stop,
            updates,
            thread: Some(thread),
        };
        super::scene::patiently("the bystander's routes", || new.look(agent));
        new
    }

    /// It has not flapped, and its routes are there.
    pub(crate) fn is_well(&self, agent: &Agent) {
        if let Err(why) = self.look(agent) {
            panic!("the bystander: {why}");
        }
    }

    fn look(&self, agent: &Agent) -> Result<(), String> {
        let thread = self.thread.as_ref().expect("it runs");
        if thread.is_finished() {
            return Err("its thread has ended".to_owned());
        }
        let peer = agent.peer("bystander")?;
        if (peer.state.as_str(), peer.flaps) != ("Established", 0) {
            return Err(format!("{peer:?}"));
        }
        let routes = agent.routes("view=accepted&peer=bystander")?;
        let found: Vec<String> = routes.into_iter().map(|route| route.prefix).collect();
        if found == ROUTES {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    }

    /// Ends it; the number of UPDATEs that it has read.
    pub(crate) fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("all that it heard was well-formed");
        }
        self.updates.load(Ordering::Relaxed)
    }
}

/// Reads strictly, and keeps the session alive.
fn listen(neighbour: &mut Neighbour, stop: &AtomicBool, updates: &AtomicU64) {
    let context = Context {
        four_octet_as: true,
        extended_message: true,
        families: FamilySet::BOTH,
        ..Context::before_open()
    };
    let mut spoken = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if spoken.elapsed() > Duration::from_secs(2) {
            neighbour.send(&keepalive());
            spoken = Instant::now();
        }
        match neighbour.hear(Duration::from_millis(200)) {
            Heard::Message(2, body) => {
                let octets = message(2, &body);
                let frame = split(&octets, context.max_len()).unwrap().unwrap();
                match decode(&frame, &context) {
                    Ok(Message::Update(update)) => assert_eq!(update.errors, [], "{}", to_hex(&octets)),
                    other => panic!("{other:?}: {}", to_hex(&octets)),
                }
                updates.fetch_add(1, Ordering::Relaxed);
            }
            Heard::Message(4, _) | Heard::Silence => {}
            other @ (Heard::Message(..) | Heard::End | Heard::Broken(_)) => {
                panic!("the bystander heard {other:?}")
            }
        }
    }
}
