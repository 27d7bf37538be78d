//! Ports that lead to pods, remembered by somebody who hears of every change, so that they can be put back.
//!
//! A program that empties nf_tables (`nft flush ruleset`; the service `nftables` does that when it is started again) takes the
//! ports of running pods with it, and no record of them is left in the kernel. Who heard of them all has one. The end of a pod
//! looks different: its elements are taken away one by one, and the kernel names each; where a map or the table goes as a whole,
//! it names that alone. So what went with its map is *lost*, and what was named was meant.
//!
//! Lost is not enough: its pod may have ended since. A pod that lives has a link whose alias begins with the owner's name, and
//! DEL takes ports away after the link. So what is put back is looked at once more afterwards: either we see that the
//! link has gone, or DEL comes after us and sees what we wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use flatroute_netlink::{POD_LINK_GROUP, Socket};

use super::elements::read;
use super::{Element, HostPort, MAPS, Owned, table};
use crate::description::Map;
use crate::encode::{attr, msg};
use crate::observed::{find, of_message, text};
use crate::{Error, Kernel, Result};

/// What leads to pods, and what is lost of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    standing: BTreeMap<Element, String>,
    lost: BTreeMap<Element, String>,
    /// Something was not heard, so there may be more than is remembered.
    doubted: bool,
}

/// A map, and a key in it.
type Place = (&'static str, Vec<u8>);

fn place(element: &Element) -> Place {
    (element.map().name, element.entry("").key)
}

impl Memory {
    /// Takes what the kernel shows. What was there before, and is not any more, is lost.
    pub fn see(&mut self, all: Vec<Owned>) {
        self.lose(|_| true);
        for owned in all {
            self.add(owned);
        }
    }

    /// Something may have been missed: all that is not there any more is lost.
    pub(crate) fn doubt(&mut self) {
        self.doubted = true;
        self.lose(|_| true);
    }

    /// Takes a notification about our table.
    pub(crate) fn hear(&mut self, message: u8, body: &[u8]) {
        let name = text(find(of_message(body), attr::ELEMENTS_SET));
        let map = MAPS.iter().find(|map| map.name == name);
        match (message, map) {
            (msg::DEL_TABLE, _) => self.lose(|_| true),
            (msg::DEL_SET, Some(map)) => self.lose(|of| of == map),
            (msg::NEW_ELEMENT, Some(map)) => read(map, body).into_iter().for_each(|owned| self.add(owned)),
            (msg::DEL_ELEMENT, Some(map)) => {
                for owned in read(map, body) {
                    self.forget(&owned.element);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, owned: Owned) {
        self.forget(&owned.element);
        self.standing.insert(owned.element, owned.owner);
    }

    /// Forgets what is at the place of an element.
    fn forget(&mut self, element: &Element) {
        let gone = place(element);
        for all in [&mut self.standing, &mut self.lost] {
            if all.remove(element).is_none() {
                all.retain(|other, _| place(other) != gone);
            }
        }
    }

    fn lose(&mut self, is_gone: impl Fn(&Map) -> bool) {
        let gone = self.standing.extract_if(.., |element, _| is_gone(&element.map()));
        self.lost.extend(gone);
    }

    /// Whether there is anything to put back, or anything that needs the rules.
    fn is_empty(&self) -> bool {
        self.standing.is_empty() && self.lost.is_empty()
    }

    /// Moves what is there after all back, and drops what somebody else has now, or whose owner has no link.
    fn reconcile(&mut self, all: Vec<Owned>, links: &Links) {
        all.into_iter().for_each(|owned| self.add(owned));
        self.lost.retain(|_, owner| links.has(owner));
        // The way of a pod to itself is for its ports, and somebody else may have them all.
        let ports = self.lost.keys().chain(self.standing.keys());
        let ports = ports.filter(|element| matches!(element, Element::Port(_)));
        let pods: BTreeSet<IpAddr> = ports.map(Element::pod).collect();
        self.lost.retain(|element, _| pods.contains(&element.pod()));
    }
}

/// The beginnings of the aliases of pods' links.
struct Links(Vec<String>);

impl Links {
    fn list(host: &mut Socket) -> Result<Self> {
        let links = host.links().map_err(Error::Netlink)?.into_iter();
        // Other links of a pod, such as that of its bandwidth, go after its ports, and have its name too.
        let links = links.filter(|link| link.group == POD_LINK_GROUP);
        Ok(Self(links.filter_map(|link| link.alias).collect()))
    }

    /// Whether there is a link of this owner: its alias says addresses behind the name.
    fn has(&self, owner: &str) -> bool {
        !owner.is_empty()
            && self.0.iter().any(|alias| {
                let rest = alias.strip_prefix(owner);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
    }
}

impl Kernel {
    /// Puts back what is lost of pods that live, and the rules for it; says what that was. Pods that have ended are forgotten. `host`
    /// shows the links.
    ///
    /// # Errors
    /// What was refused; what is still lost stays in memory.
    pub fn restore_host_ports(&mut self, memory: &mut Memory, host: &mut Socket) -> Result<Vec<Owned>> {
        if memory.doubted {
            self.host_ports()?.into_iter().for_each(|owned| memory.add(owned));
            memory.doubted = false;
        }
        if memory.is_empty() {
            return Ok(Vec::new());
        }
        if !self.has_host_port_rules()? {
            self.apply(&table())?;
        }
        if memory.lost.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.host_ports()?;
        memory.reconcile(all, &Links::list(host)?);
        let mut owners: BTreeMap<String, Vec<Element>> = BTreeMap::new();
        for (element, owner) in &memory.lost {
            owners.entry(owner.clone()).or_default().push(*element);
        }
        let mut restored = Vec::new();
        let mut failed = None;
        for (owner, elements) in owners {
            match self.add_elements(&owner, &elements) {
                Ok(()) => {}
                // Another pod was quicker.
                Err(Error::Taken { .. }) => continue,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            memory.lost.retain(|_, whose| *whose != owner);
            let owned = |element| Owned {
                element,
                owner: owner.clone(),
            };
            restored.extend(elements.into_iter().map(owned));
        }
        if failed.is_none() {
            memory.lost.clear();
        }
        let links = Links::list(host)?;
        if restored.iter().any(|owned| !links.has(&owned.owner)) {
            let ended = |owner: &str| !links.has(owner) && restored.iter().any(|owned| owned.owner == owner);
            self.delete_host_ports(ended)?;
            restored.retain(|owned| links.has(&owned.owner));
        }
        let ports: Vec<HostPort> = restored.iter().filter_map(Owned::port).collect();
        self.forget_arrivals(&ports, host)?;
        failed.map_or(Ok(restored), Err)
    }
}

impl Owned {
    /// The port, if it is one.
    #[must_use]
    pub fn port(&self) -> Option<HostPort> {
        match self.element {
            Element::Port(port) => Some(port),
            Element::Hairpin(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::{Attributes, body};
    use crate::host_ports::{IPV4, Protocol};
    use crate::pods::TABLE;

    fn owned(number: u16, to: &str, owner: &str) -> Owned {
        let port = HostPort::new(Protocol::Tcp, None, number, to.parse().unwrap()).unwrap();
        Owned {
            element: Element::Port(port),
            owner: owner.to_owned(),
        }
    }

    fn of_map(name: &str) -> Vec<u8> {
        let attributes = Attributes::default().text(attr::SET_TABLE, TABLE);
        body(attributes.text(attr::SET_NAME, name))
    }

    #[test]
    fn what_is_named_was_meant_and_what_goes_as_a_whole_is_lost() {
        let one = owned(80, "10.0.0.1:80", "one");
        let two = owned(81, "[fd00::2]:80", "two");
        let mut memory = Memory::default();
        memory.see(vec![one.clone()]);
        memory.hear(msg::NEW_ELEMENT, &two.encode());
        assert_eq!((memory.standing.len(), memory.lost.len()), (2, 0));
        // Of one map alone.
        memory.hear(msg::DEL_SET, &of_map(IPV4.ports.name));
        assert!(memory.lost.contains_key(&one.element) && memory.standing.contains_key(&two.element));
        memory.hear(msg::DEL_SET, &of_map("pods-ipv6"));
        assert_eq!((memory.standing.len(), memory.lost.len()), (1, 1));
        // It is back by somebody's hand, and then taken away by name.
        memory.hear(msg::NEW_ELEMENT, &one.encode());
        assert_eq!((memory.standing.len(), memory.lost.len()), (2, 0));
        memory.hear(msg::DEL_ELEMENT, &one.encode());
        memory.hear(msg::DEL_TABLE, &of_map(""));
        assert_eq!(memory.lost.keys().collect::<Vec<_>>(), [&two.element]);
        // Another pod has the place of what was lost.
        memory.hear(msg::NEW_ELEMENT, &owned(81, "[fd00::3]:80", "three").encode());
        assert_eq!((memory.standing.len(), memory.lost.len()), (1, 0));
        // What was there the last time, and nobody said that it went.
        memory.see(vec![one]);
        assert_eq!(memory.lost.values().collect::<Vec<_>>(), ["three"]);
    }

    proptest! {
        #[test]
        fn hears_any_octets(message in 0_u8..20, octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut memory = Memory::default();
            memory.see(vec![owned(80, "10.0.0.1:80", "one")]);
            memory.hear(message, &octets);
            memory.hear(msg::NEW_ELEMENT, &octets);
            prop_assert_eq!(memory.standing.len() + memory.lost.len(), 1);
        }
    }

    #[test]
    fn an_alias_begins_with_the_whole_name() {
        let links = Links(vec!["flatroute net c1 eth0 10.0.0.1".to_owned(), String::new()]);
        for (owner, want) in [
            ("flatroute net c1 eth0", true),
            ("flatroute net c1 eth", false),
            ("flatroute net c", false),
            ("", false),
        ] {
            assert_eq!(links.has(owner), want, "{owner}");
        }
    }
}
