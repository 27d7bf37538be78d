//! Elements in the kernel: written, found and taken away.
//!
//! Whether the static part stands is asked by one question, for the rules of the table: their comments say what they do, a rule
//! exists only in its chain, and the maps that it names cannot go before it. Only when one is missing is everything read,
//! compared and written. Elements are then written for no generation of the rules: no change of another program can make a key
//! mean something else, and on a node whose service proxy writes all the time nothing is tried twice.

use super::{Element, HostPort, MAPS, table};
use crate::description::{Map, Rule};
use crate::encode::{self, Attributes, attr, msg};
use crate::kernel::TRIES;
use crate::maps;
use crate::observed::Observed;
use crate::pods::TABLE;
use crate::{Error, Kernel, Result};

/// Generation of a batch that is good for all.
const ANY_GENERATION: u32 = 0;

/// An element, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// What it is.
    pub element: Element,
    /// Its comment.
    pub owner: String,
}

impl Kernel {
    /// Makes ports of the node lead to a pod; all of them or none. What is static is made before, where it is not there.
    ///
    /// # Errors
    /// [`Error::Taken`] when a port leads elsewhere already; what was refused otherwise. Nothing leads anywhere then.
    pub fn add_host_ports(&mut self, owner: &str, ports: &[HostPort]) -> Result<()> {
        self.add_elements(owner, &Element::of(ports))
    }

    /// The same for whatever an owner has.
    pub(super) fn add_elements(&mut self, owner: &str, elements: &[Element]) -> Result<()> {
        for _ in 0..TRIES {
            if !self.has_host_port_rules()? {
                self.apply(&table())?;
            }
            let error = match self.write_elements(elements, owner, maps::add_entries) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.is_exists() || error.is_busy() {
                if let Some(taken) = self.taken(elements)? {
                    return Err(taken);
                }
            } else if !error.is_missing() {
                return Err(Error::of_request(error));
            }
            // What was in the way, or what was missing, has changed since.
        }
        Err(Error::Contended(TRIES))
    }

    /// Whether the static part of the table stands as it shall.
    ///
    /// # Errors
    /// [`Error::NoNfTables`], [`Error::NotPermitted`] and what else can be refused.
    pub fn has_host_port_rules(&mut self) -> Result<bool> {
        let of_table = Attributes::default().text(attr::RULE_TABLE, TABLE);
        let what = || "list rules of nf_tables".to_owned();
        let found = self
            .socket
            .dump(encode::kind(msg::GET_RULE), &encode::body(of_table), what)
            .map_err(Error::of_first_question)?;
        let mut observed = Observed::default();
        for message in found {
            observed.take(TABLE, message.kind, &message.body);
        }
        Ok(table().chains.iter().all(|chain| {
            let there = observed.chains.get(chain.name).into_iter();
            let there = there
                .flat_map(|there| &there.rules)
                .map(|rule| rule.comment.clone());
            there
                .filter(|comment| comment.starts_with(Rule::MARK))
                .eq(chain.rules.iter().map(Rule::comment))
        }))
    }

    /// All elements that there are, of all owners. None where there is no nf_tables at all.
    ///
    /// # Errors
    /// What was refused.
    pub fn host_ports(&mut self) -> Result<Vec<Owned>> {
        let mut all = Vec::new();
        for map in &MAPS {
            let what = || format!("list what is in the map {} of nf_tables", map.name);
            let body = encode::body(maps::all_of(TABLE, map));
            let found = match self.socket.dump(encode::kind(msg::GET_ELEMENT), &body, what) {
                Ok(found) => found,
                Err(error) if error.is_missing() => continue,
                Err(error) => {
                    let error = Error::of_first_question(error);
                    if matches!(error, Error::NoNfTables(_)) {
                        return Ok(Vec::new());
                    }
                    return Err(error);
                }
            };
            for message in found {
                all.extend(read(map, &message.body));
            }
        }
        Ok(all)
    }

    /// Takes away what belongs to owners that are not wanted, and says what that was.
    ///
    /// # Errors
    /// What was refused.
    pub fn delete_host_ports(&mut self, is_unwanted: impl Fn(&str) -> bool) -> Result<Vec<Element>> {
        let mut gone = Vec::new();
        for _ in 0..TRIES {
            let all = self.host_ports()?.into_iter();
            let unwanted = all.filter(|owned| is_unwanted(&owned.owner));
            let unwanted: Vec<Element> = unwanted.map(|owned| owned.element).collect();
            if unwanted.is_empty() {
                return Ok(gone);
            }
            match self.write_elements(&unwanted, "", maps::delete_entries) {
                Ok(()) => {
                    gone.extend(unwanted);
                    return Ok(gone);
                }
                // Somebody else takes them away at the same time.
                Err(error) if error.is_missing() => gone.extend(unwanted),
                Err(error) => return Err(Error::of_request(error)),
            }
        }
        Err(Error::Contended(TRIES))
    }

    fn write_elements(
        &mut self,
        elements: &[Element],
        owner: &str,
        messages: fn(&str, &Map, &[maps::Entry]) -> Vec<flatroute_netlink::NetfilterMessage>,
    ) -> flatroute_netlink::Result<()> {
        let mut all = Vec::new();
        for map in &MAPS {
            let of_map = elements.iter().filter(|element| element.map() == *map);
            let entries: Vec<maps::Entry> = of_map.map(|element| element.entry(owner)).collect();
            all.extend(messages(TABLE, map, &entries));
        }
        let what = |_| format!("table inet {TABLE} of nf_tables: change host ports");
        self.socket.batch(encode::SUBSYSTEM, ANY_GENERATION, &all, what)
    }

    /// Who has a place that one of these wants.
    fn taken(&mut self, wanted: &[Element]) -> Result<Option<Error>> {
        let all = self.host_ports()?;
        let place = |element: &Element| (element.map().name, element.entry("").key);
        let taken = wanted.iter().find_map(|element| {
            let holder = all.iter().find(|owned| place(&owned.element) == place(element))?;
            let port = match element {
                Element::Port(port) => port.to_string(),
                Element::Hairpin(_) => element.to_string(),
            };
            Some(Error::Taken {
                port,
                owner: holder.owner.clone(),
                holder: holder.element,
            })
        });
        Ok(taken)
    }
}

/// The elements of a message of a dump, or of a notification.
pub(super) fn read(map: &Map, body: &[u8]) -> Vec<Owned> {
    let entries = maps::entries(map, body);
    let owned = entries.filter_map(|entry| {
        Some(Owned {
            element: Element::read(map, &entry)?,
            owner: entry.comment,
        })
    });
    owned.collect()
}

impl Owned {
    /// The elements of a message of a dump, in whichever of our maps they make sense.
    #[must_use]
    pub fn decode(body: &[u8]) -> Vec<Self> {
        MAPS.iter().flat_map(|map| read(map, body)).collect()
    }

    /// The message that would add it, as [`Owned::decode`] reads it; owners longer than [`super::MAX_OWNER`] are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let entry = self.element.entry(&self.owner);
        let messages = maps::add_entries(TABLE, &self.element.map(), &[entry]);
        messages
            .into_iter()
            .next()
            .map(|message| message.body)
            .unwrap_or_default()
    }
}
