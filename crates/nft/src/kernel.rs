//! Read, compare, write.

use flatroute_netlink::{NetfilterMessage, NetfilterSocket};

use crate::description::Table;
use crate::difference::{Operation, difference};
use crate::encode::{self, Attributes, attr, msg};
use crate::observed::{self, Observed};
use crate::{Error, Result};

/// How often it is read again when others write between.
pub(crate) const TRIES: u32 = 32;

/// nf_tables of one network namespace.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) socket: NetfilterSocket,
}

impl Kernel {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system gives none.
    pub fn open() -> Result<Self> {
        let socket = NetfilterSocket::open().map_err(Error::of_first_question)?;
        Ok(Self { socket })
    }

    /// The port of its socket: notifications of what it wrote carry it.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Makes the table what it shall be, and says what had to be done for that: nothing, mostly.
    ///
    /// # Errors
    /// What was refused, and what to do about it; nothing was changed then.
    pub fn apply(&mut self, table: &Table) -> Result<Vec<Operation>> {
        for _ in 0..TRIES {
            let generation = self.generation()?;
            let observed = self.observe(table.name);
            let observed = match observed {
                // It went while it was read.
                Err(Error::LacksPart(_)) => continue,
                observed => observed?,
            };
            let operations = difference(table, &observed);
            if operations.is_empty() {
                return Ok(operations);
            }
            match self.write(table.name, generation, &operations) {
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(Error::of_request(error)),
                Ok(()) => return Ok(operations),
            }
        }
        Err(Error::Contended(TRIES))
    }

    /// Reads a table.
    ///
    /// # Errors
    /// What was refused.
    pub fn observe(&mut self, table: &str) -> Result<Observed> {
        let mut observed = Observed::default();
        let of_table = || Attributes::default().text(attr::TABLE_NAME, table);
        for (question, attributes, what) in [
            (msg::GET_TABLE, Attributes::default(), "tables"),
            (msg::GET_CHAIN, Attributes::default(), "chains"),
            // Of these two the kernel lists those of one table; its name is their first attribute too.
            (msg::GET_RULE, of_table(), "rules"),
            (msg::GET_SET, of_table(), "sets"),
        ] {
            for found in self.dump(question, attributes, what)? {
                observed.take(table, found.kind, &found.body);
            }
            if !observed.exists {
                return Ok(observed);
            }
        }
        // What is in others is nobody's business here: the plugin's maps have an entry a port.
        let intervals = observed.sets.iter().filter(|(_, set)| set.width.is_some());
        let sets: Vec<String> = intervals.map(|(name, _)| name.clone()).collect();
        for set in sets {
            let of_set = Attributes::default()
                .text(attr::ELEMENTS_TABLE, table)
                .text(attr::ELEMENTS_SET, &set);
            let found = self.dump(msg::GET_ELEMENT, of_set, &format!("what is in the set {set}"))?;
            observed.elements(&set, found.iter().map(|message| message.body.as_slice()));
        }
        Ok(observed)
    }

    fn generation(&mut self) -> Result<u32> {
        let what = || "ask for the generation of nf_tables' rules".to_owned();
        let body = encode::body(Attributes::default());
        let answer = self
            .socket
            .query(encode::kind(msg::GET_GENERATION), &body, what)
            .map_err(Error::of_first_question)?;
        observed::generation(&answer.body).ok_or_else(|| {
            Error::Netlink(flatroute_netlink::Error::Unreadable {
                what: what(),
                reason: "it has no number".to_owned(),
            })
        })
    }

    pub(crate) fn dump(
        &mut self,
        message: u8,
        attributes: Attributes,
        what: &str,
    ) -> Result<Vec<NetfilterMessage>> {
        let what = || format!("list {what} of nf_tables");
        self.socket
            .dump(encode::kind(message), &encode::body(attributes), what)
            .map_err(Error::of_request)
    }

    fn write(
        &mut self,
        table: &str,
        generation: u32,
        operations: &[Operation],
    ) -> flatroute_netlink::Result<()> {
        let mut messages = Vec::new();
        let mut whose = Vec::new();
        for (operation, id) in operations.iter().zip(1_u32..) {
            for message in operation.messages(table, id) {
                messages.push(message);
                whose.push(operation);
            }
        }
        let what = |place: usize| {
            let what = whose.get(place).map(ToString::to_string).unwrap_or_default();
            format!("table inet {table} of nf_tables: {what}")
        };
        self.socket.batch(encode::SUBSYSTEM, generation, &messages, what)
    }
}
