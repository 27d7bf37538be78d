//! Who an attachment is, and the names that follow from it.
//!
//! An attachment is (network, container id, interface name). The pod's name does not occur: when a sandbox is made
//! anew, the old and the new one of the same pod exist beside each other, and nothing of one may meet the other.
//! The host interface's name, the MACs and the indexes are all computed from a hash of the identity, so that DEL finds
//! what ADD made without any record, and no look-up is needed while a pod is wired.
//!
//! The link's alias says the identity and the addresses in plain text. It makes a node's links readable, and the
//! state directory can be rebuilt from it. The same words without the addresses are the owner of a hostPort in nf_tables.
//!
//! Both have little room: the kernel cuts an alias after 255 octets without a word, and an element's comment has 250. Nothing
//! bounds the names of networks and containers, and those that are cut alike are no longer different. So a name that is too
//! long is replaced, before anything is made of it, by its beginning and a digest ([`brief`]), and the address files, aliases
//! and owners all have the same word for it.

use std::net::IpAddr;

use flatroute_netlink::{Mac, POD_ALIAS_MARK, PodAlias};

use crate::invocation::Attachment;

/// Link group of all host interfaces of pods; one nf_tables rule can speak of them all.
pub(crate) const LINK_GROUP: u32 = flatroute_netlink::POD_LINK_GROUP;
/// The longest alias of Linux in bytes (IFALIASZ without the final zero).
const ALIAS_MAX: usize = 255;
/// The longest name of a network or a container that is written as it is, in octets. Runtimes have 64 at most. Two of
/// these, an interface and an address of each family fit into an alias, and without the addresses into a comment.
const NAME_MAX: usize = 80;
/// How much of a longer one is kept for those who read it.
const BEGINNING: usize = 40;
const _: () = {
    let names = POD_ALIAS_MARK.len() + 2 * NAME_MAX + INTERFACE_NAME_MAX + 3;
    assert!(names <= flatroute_nft::host_ports::MAX_OWNER);
    assert!(names + " 255.255.255.255".len() + 1 + 39 <= ALIAS_MAX);
    // A digest is 32 characters, and a mark before it.
    assert!(BEGINNING + 33 <= NAME_MAX);
};
const INTERFACE_NAME_MAX: usize = 15;
/// First characters of the names of devices that packets from pods go through.
const SHAPER_PREFIX: &str = "ifb";
/// The host's side of every pod link: locally administered, the same everywhere.
pub(crate) const HOST_MAC: Mac = [0xee, 0xee, 0xee, 0xee, 0xee, 0xee];

/// An attachment of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The network's name, [`brief`].
    pub(crate) network: String,
    /// Container, [`brief`] too, and interface.
    pub(crate) attachment: Attachment,
}

/// What an alias says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    /// Whose link it is.
    pub(crate) identity: Identity,
    /// The container's addresses; empty when they did not fit.
    pub(crate) addresses: Vec<IpAddr>,
}

/// A name of a network or a container as it is written everywhere: itself, or its beginning and a digest where it is too long.
/// The sign between them is in no name that CNI allows.
pub(crate) fn brief(name: &str) -> String {
    if name.len() <= NAME_MAX {
        return name.to_owned();
    }
    let digest = |purpose: u8| {
        let mut hash = Fnv::default();
        hash.write(&[purpose]);
        hash.write(name.as_bytes());
        hash.finish()
    };
    let beginning = name
        .get(..name.floor_char_boundary(BEGINNING))
        .unwrap_or_default();
    format!("{beginning}~{:016x}{:016x}", digest(0), digest(1))
}

impl Identity {
    /// Of an attachment, as the runtime names it, or as we have written it.
    pub(crate) fn new(network: &str, attachment: &Attachment) -> Self {
        Self {
            network: brief(network),
            attachment: Attachment {
                container_id: brief(&attachment.container_id),
                interface: attachment.interface.clone(),
            },
        }
    }

    fn hash(&self, purpose: u8) -> u64 {
        let mut hash = Fnv::default();
        hash.write(&[purpose]);
        for part in [
            &self.network,
            &self.attachment.container_id,
            &self.attachment.interface,
        ] {
            hash.write(part.as_bytes());
            hash.write(&[0]);
        }
        hash.finish()
    }

    /// Name of the host interface: the prefix and as many characters of the hash as fit.
    pub(crate) fn host_interface(&self, prefix: &str) -> String {
        interface_name(prefix, self.hash(0))
    }

    /// The container's MAC: unicast, locally administered.
    pub(crate) fn pod_mac(&self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.hash(1).to_be_bytes();
        [(a & 0xfc) | 0x02, b, c, d, e, f]
    }

    /// Indexes for the host's and the container's end, never equal. A taken one gives EBUSY; `attempt` then gives others.
    pub(crate) fn indexes(&self, attempt: u8) -> (u32, u32) {
        // Far above what the kernel counts up to by itself, below 2^30, host even and container odd.
        let index = |purpose: u8| {
            let hash = self.hash(purpose.wrapping_add(attempt.wrapping_mul(2)));
            let low = u32::try_from(hash & 0x1fff_fffe).unwrap_or(0);
            low | 0x2000_0000
        };
        (index(2), index(3) | 1)
    }

    /// The alias of the host interface.
    pub(crate) fn alias(&self, addresses: &[IpAddr]) -> String {
        let Attachment {
            container_id,
            interface,
        } = &self.attachment;
        let short = format!("{POD_ALIAS_MARK} {} {container_id} {interface}", self.network);
        let long = addresses
            .iter()
            .fold(short.clone(), |text, address| format!("{text} {address}"));
        // A plugin for addresses may have given more of them than fit.
        if long.len() > ALIAS_MAX { short } else { long }
    }

    /// Whether a link with this alias may be taken for this attachment's. A link without alias was left by an ADD that
    /// was killed early; its name alone says whose it is.
    pub(crate) fn owns(&self, alias: Option<&str>) -> bool {
        let Some(alias) = alias.filter(|alias| !alias.is_empty()) else {
            return true;
        };
        let short = self.alias(&[]);
        alias == short || alias.starts_with(&format!("{short} "))
    }
}

/// A prefix and as many characters of a hash as fit.
fn interface_name(prefix: &str, mut hash: u64) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut name = prefix.to_owned();
    // 13 characters of five bits hold all of the hash.
    while name.len() < INTERFACE_NAME_MAX.min(prefix.len().saturating_add(13)) {
        let digit = usize::try_from(hash & 31).unwrap_or(0);
        name.push(ALPHABET.get(digit).copied().map_or('a', char::from));
        hash >>= 5;
    }
    name
}

/// Name of the device that packets from a pod with a limited bandwidth go through. It follows from the name of the host
/// interface alone, which is also that of the lock file: so GC finds one that was left without alias.
pub(crate) fn shaper_interface(host_interface: &str) -> String {
    let mut hash = Fnv::default();
    hash.write(host_interface.as_bytes());
    interface_name(SHAPER_PREFIX, hash.finish())
}

impl Alias {
    /// Reads an alias; `None` for those that are not ours.
    pub(crate) fn parse(alias: &str) -> Option<Self> {
        let alias = PodAlias::parse(alias)?;
        let attachment = Attachment {
            container_id: alias.container_id.to_owned(),
            interface: alias.interface.to_owned(),
        };
        Some(Self {
            identity: Identity {
                network: alias.network.to_owned(),
                attachment,
            },
            addresses: alias.addresses,
        })
    }
}

/// FNV-1a, 64 bits, with a final mix: the same on every machine and in every release, which std's hashers do not promise.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}
