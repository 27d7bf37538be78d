//! Who else changes the table.
//!
//! nf_tables tells of every change of every table. Other programs change theirs often (a service proxy for each
//! endpoint), so most of what comes is skipped by its table's name, and what we caused ourselves by its port.

use std::os::fd::{AsFd, BorrowedFd};

use flatroute_netlink::NetfilterSocket;

use crate::encode::{self, SUBSYSTEM, attr, msg};
use crate::host_ports::Memory;
use crate::observed::{of_message, text};
use crate::{Error, Result};

/// NFNLGRP_NFTABLES.
const GROUP: u32 = 7;

/// Hears of changes; its descriptor is readable when there are some.
#[derive(Debug)]
pub struct Watch {
    socket: NetfilterSocket,
    table: &'static str,
}

impl Watch {
    /// Listens in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system gives no socket.
    pub fn open(table: &'static str) -> Result<Self> {
        let mut socket = NetfilterSocket::open().map_err(Error::of_first_question)?;
        socket.subscribe(GROUP).map_err(Error::of_first_question)?;
        Ok(Self { socket, table })
    }

    /// Whether anybody but the socket with the port `own` changed the table since it was asked last, or may have. What was heard of
    /// host ports is in `memory` then.
    ///
    /// # Errors
    /// The socket failed.
    pub fn is_changed(&mut self, own: u32, memory: &mut Memory) -> Result<bool> {
        let table = self.table;
        let mut changed = false;
        let whole = self
            .socket
            .drain(|message| {
                // All of these say the name of the table first.
                let is_ours = message.kind >> 8 == SUBSYSTEM
                    && message.kind != encode::kind(msg::NEW_GENERATION)
                    && of_message(&message.body)
                        .any(|(kind, value)| kind == attr::TABLE_NAME && text(Some(value)) == table);
                changed |= is_ours && message.port != own;
                if is_ours {
                    let [_, kind] = message.kind.to_be_bytes();
                    memory.hear(kind, &message.body);
                }
            })
            .map_err(Error::Netlink)?;
        if !whole {
            memory.doubt();
        }
        Ok(changed || !whole)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
