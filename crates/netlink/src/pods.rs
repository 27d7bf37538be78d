//! What the host's ends of pods' links have in common, so that who did not make them knows them: a group, an alias that says whose
//! each is, and the protocol of the routes that lead there. The plugin makes them so; rules for packets, and who puts back what
//! another program took away, go by it.

use std::net::IpAddr;

/// Link group of the host's ends of all pods' links. The plugin puts them there; rules for all pods speak of it.
pub const POD_LINK_GROUP: u32 = 79;

/// Link group of the devices that the traffic of pods with a limited bandwidth goes through. Not that of the pods'
/// links: nothing comes from such a device, and rules for pods must not speak of it.
pub const SHAPER_LINK_GROUP: u32 = 80;

/// Protocol number of the host's routes to pods; not the agent's (79), which sweeps what it does not want.
pub const HOST_ROUTE_PROTOCOL: u8 = 80;

/// First word of every alias of ours.
pub const POD_ALIAS_MARK: &str = "flatroute";

/// What the alias of a pod's link says: `flatroute NETWORK CONTAINER INTERFACE ADDRESS…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAlias<'a> {
    /// The network's name.
    pub network: &'a str,
    /// The container's id.
    pub container_id: &'a str,
    /// The interface in the pod.
    pub interface: &'a str,
    /// The pod's addresses on it; none when they did not fit, or are not known yet.
    pub addresses: Vec<IpAddr>,
}

impl<'a> PodAlias<'a> {
    /// Reads an alias; none for those that are not ours.
    #[must_use]
    pub fn parse(alias: &'a str) -> Option<Self> {
        let mut words = alias.split(' ');
        if words.next()? != POD_ALIAS_MARK {
            return None;
        }
        Some(Self {
            network: words.next()?,
            container_id: words.next()?,
            interface: words.next()?,
            addresses: words.map(str::parse).collect::<Result<_, _>>().ok()?,
        })
    }
}
