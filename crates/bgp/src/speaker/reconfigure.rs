//! From the configuration in force to a new one, touching only what differs.
//!
//! | what differs | what happens |
//! |---|---|
//! | the peer's address, interface, port, our source address, the TTL or the key | the session is closed (Cease/6) and dialled anew |
//! | what the session was negotiated with ([`Settings`](crate::session::Settings)) | Cease/6, and it starts again |
//! | filters, limits, draining, next hop and those that are taken, allowed own ASNs, who is a client and of which cluster | evaluated again over the routes that are there; no reset |
//! | what comes of graceful restart with what the peer offers | Cease/6, and it starts again; only other times hold from the next session on |
//! | the administrative state | Cease/2 with the text, or a start; a neighbour that is held hears no text |
//! | originated prefixes, multipath, what goes into the kernel | the routes concerned change; no reset |
//! | a range of neighbours that come by themselves | the same, for each of them that is there; those that no longer fit are removed |
//! | nothing | nothing |

use std::sync::Arc;

use super::allowance::Allowance;
use super::drain::Draining;
use super::{CONNS_PER_PEER, Neighbour, Output, Speaker, retention, rib_settings};
use crate::peer::{self, Peer};
use crate::session::Offer;
use crate::speaker::{AdminState, Config, GracefulRestartMode, PeerConfig};
use crate::types::{Instant, PeerName};
use crate::wire::CeaseSubcode;

impl Speaker {
    pub(super) fn reconfigure(&mut self, new: Config, now: Instant) {
        let new = self.with_dynamic(new);
        if self.stopped || new == self.config {
            return;
        }
        let old = std::mem::replace(&mut self.config, new);

        for gone in old.originate.difference(&self.config.originate) {
            self.rib.unoriginate(gone.prefix);
        }
        for added in self.config.originate.difference(&old.originate) {
            self.rib.originate(added.prefix, added.source);
        }
        if old.multipath != self.config.multipath {
            self.rib.set_multipath(self.config.multipath);
        }
        if old.install != self.config.install {
            self.rib.set_install(Arc::new(self.config.install.clone()));
        }

        for name in old
            .peers
            .keys()
            .filter(|n| !self.config.peers.contains_key(n))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.remove(&name, CeaseSubcode::PeerDeconfigured, now);
        }
        for (name, config) in self.config.peers.clone() {
            match old.peers.get(&name) {
                None => self.add(&name, config, now),
                Some(before) if *before == config => {}
                Some(before) if endpoint_differs(before, &config) => {
                    self.remove(&name, CeaseSubcode::OtherConfigurationChange, now);
                    self.add(&name, config, now);
                }
                Some(before) => self.change(&name, before, config, now),
            }
        }
        self.keep_dynamic();
    }

    pub(super) fn add(&mut self, name: &PeerName, config: PeerConfig, now: Instant) {
        let number = self.peers_made;
        self.peers_made = self.peers_made.saturating_add(1);
        let seed = self.seed ^ (number.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let conn_base = number.wrapping_mul(CONNS_PER_PEER);
        let peer = Peer::new(config.session.clone(), seed, conn_base, now);
        let up = config.admin_state == AdminState::Up;
        let draining = Draining::begin(config.drained, now);
        self.neighbours.insert(
            name.clone(),
            Neighbour {
                config,
                peer,
                offences: Allowance::default(),
                notifications: Allowance::default(),
                happenings: Allowance::default(),
                conns: std::collections::BTreeMap::new(),
                session: None,
                retained: None,
                draining,
                met: false,
                refused: None,
            },
        );
        self.renew_offer(name);
        if up {
            self.feed_peer(name, peer::Input::Start, now);
        }
    }

    pub(super) fn remove(&mut self, name: &PeerName, subcode: CeaseSubcode, now: Instant) {
        self.feed_peer(
            name,
            peer::Input::Stop {
                subcode,
                text: String::new(),
            },
            now,
        );
        self.drop_retained(name, now);
        let Some(neighbour) = self.neighbours.remove(name) else {
            return;
        };
        if let Some(session) = neighbour.session {
            self.rib.peer_down(session.index);
        }
        for conn in neighbour.conns.into_keys() {
            self.conns.remove(&conn);
            self.outputs.push_back(Output::Close {
                conn,
                last: Vec::new(),
            });
        }
    }

    fn change(&mut self, name: &PeerName, before: &PeerConfig, config: PeerConfig, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(name) else {
            return;
        };
        let chooses_later = self.deferral.is_some();
        let before_offer = retention::offer(neighbour, self.restart, chooses_later);
        neighbour.config = config.clone();
        if before.drained != config.drained {
            neighbour.draining = Draining::begin(config.drained, now);
        }
        let offer = retention::offer(neighbour, self.restart, chooses_later);
        neighbour.peer.set_offer(offer.clone());
        if before.session != config.session {
            neighbour.peer.set_settings(config.session.clone(), now);
        } else if let Some(session) = &neighbour.session {
            let theirs = &session.negotiated.capabilities;
            let terms = |offer: Option<Offer>| offer.and_then(|o| o.terms(theirs));
            if terms(before_offer) != terms(offer) {
                neighbour.peer.renegotiate(now);
            }
        }
        self.drain_peer(name, now);
        if config.graceful_restart.mode == GracefulRestartMode::Disabled {
            self.drop_retained(name, now);
        }
        self.judge_retained_again(name);
        if let Some(neighbour) = self.neighbours.get(name)
            && let Some(session) = &neighbour.session
        {
            let local = neighbour.conns.get(&session.conn).copied().unwrap_or_default();
            let settings = rib_settings(name, neighbour, &session.negotiated, local);
            self.rib.set_peer(session.index, settings);
        }
        if before.admin_state != config.admin_state {
            let stop = |text| peer::Input::Stop {
                subcode: CeaseSubcode::AdministrativeShutdown,
                text,
            };
            let (input, up) = match config.admin_state {
                AdminState::Up => (peer::Input::Start, true),
                AdminState::Down(text) => (stop(text), false),
                AdminState::Held(_) => (stop(String::new()), false),
            };
            self.feed_peer(name, input, now);
            if !up {
                self.drop_retained(name, now);
            }
        }
    }
}

/// Whether the TCP connection itself has to be another one.
fn endpoint_differs(a: &PeerConfig, b: &PeerConfig) -> bool {
    let endpoint = |c: &PeerConfig| (c.address, c.interface, c.port, c.source_address, c.ttl);
    endpoint(a) != endpoint(b) || a.auth != b.auth
}
