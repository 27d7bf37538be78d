//! ADD: a lock file, addresses, a link, a result; on failure the same backwards.
//!
//! The lock file of the attachment comes first and goes last. As long as it exists there may be something to clean up,
//! so a second ADD of the same attachment fails at once and DEL knows that it has work, whenever the first one died.
//! Ports of the host come last, when what they lead to is there ([`crate::host_ports`]).

use std::fs::File;
use std::net::IpAddr;

use flatroute_netlink::{Mac, Socket, netns};
use serde_json::{Map, Value};

use super::{identity, store, survivors};
use crate::bandwidth::{Limits, Shaping};
use crate::config::{AddressPlan, Config, IPV6_MINIMUM_MTU, invalid};
use crate::delegate::{Given, Plugin};
use crate::error::{CniError, Code, Result, io_error};
use crate::host_ports;
use crate::identity::Identity;
use crate::invocation::{Invocation, Verb};
use crate::ipam::{AttachmentLock, Rest, Store, Wish};
use crate::pod::{self, PodLink};
use crate::port_mappings::{self, PortMapping};
use crate::removal::delete_link;
use crate::{bandwidth, mtu, reclaim, result};

/// What a call asks for, wherever its addresses come from.
struct Order<'a> {
    call: &'a Invocation,
    config: &'a Config,
    identity: Identity,
    store: Store,
    own_netns: File,
    pod_netns: File,
    mac: Option<Mac>,
    mtu: Option<u32>,
    limits: Limits,
    mappings: Vec<PortMapping>,
}

/// Why wiring failed, and what the addresses have to do then.
struct Broken {
    error: CniError,
    rest: Rest,
}

/// Attaches the container.
///
/// # Errors
/// Whatever failed first; nothing of this ADD is left then.
pub(crate) fn run(call: &Invocation, config: &Config) -> Result<Value> {
    config.check_ipam()?;
    let plan = match &config.delegate {
        None => Ok(config.address_plan()?),
        Some(delegate) => Err(delegate.find()?),
    };
    let (mac, mtu, limits) = (config.mac()?, config.mtu()?, config.bandwidth()?);
    let mappings = port_mappings::read(config.port_mappings())?;
    let (own_netns, pod_netns) = open_netns(call)?;
    let order = Order {
        call,
        config,
        identity: identity(config, &call.attachment),
        store: store(config),
        mac,
        mtu,
        limits,
        mappings,
        own_netns,
        pod_netns,
    };
    match plan {
        Ok(plan) => order.with_pools(&plan),
        Err(plugin) => order.with_plugin(&plugin),
    }
}

impl Order<'_> {
    fn with_pools(&self, plan: &AddressPlan) -> Result<Value> {
        let _turn = self.store.turn()?;
        let mut host = Socket::open()?;
        let families: Vec<bool> = plan.wishes.iter().map(Wish::is_ipv4).collect();
        let shape = self.shape(&mut host, &families)?;
        let lock = self.store.begin(&self.host_interface())?;
        let addresses = match self.allocate(&mut host, plan) {
            Ok(addresses) => addresses,
            Err(error) => {
                lock.end()?;
                return Err(error);
            }
        };
        let link = self.link(addresses, shape);
        self.wire(&link, &mut host, &lock, None).map_err(|broken| {
            // The first error is the one to tell; what cannot be undone now DEL will find by the lock file.
            let undone = self
                .undo(&mut host, &lock, &broken.error)
                .and_then(|()| release(&self.store, &link, broken.rest));
            if undone.is_ok() {
                drop(lock.end());
            }
            broken.error
        })
    }

    /// Addresses of the pools. Before it says that there are none it looks for those that nobody has any more.
    fn allocate(&self, host: &mut Socket, plan: &AddressPlan) -> Result<Vec<IpAddr>> {
        let found = match allocate(&self.store, host, &self.identity, plan) {
            Err(error) if error.code == Code::TryAgainLater => reclaim::look(self.config, &self.store, host),
            result => return result,
        };
        allocate(&self.store, host, &self.identity, plan).map_err(|error| reclaim::explain(error, found))
    }

    /// The plugin is asked before a turn is taken: it may be slow, and nobody else has to wait for it.
    fn with_plugin(&self, plugin: &Plugin<'_>) -> Result<Value> {
        let lock = self.store.begin(&self.host_interface())?;
        let mut host = Socket::open()?;
        if let Some(error) = self.in_the_way(&mut host)? {
            lock.end()?;
            return Err(error);
        }
        lock.pass_on()?;
        let given = match plugin.add() {
            Ok(given) => given,
            Err(failed) => {
                if failed.clean {
                    lock.end()?;
                }
                return Err(failed.error);
            }
        };
        let made = self.with_given(&given, &mut host, &lock);
        made.map_err(|Broken { error, .. }| {
            let undone = self
                .undo(&mut host, &lock, &error)
                .and_then(|()| plugin.call(Verb::Del));
            if undone.is_ok() {
                drop(lock.end());
            }
            error
        })
    }

    fn with_given(
        &self,
        given: &Given,
        host: &mut Socket,
        lock: &AttachmentLock,
    ) -> std::result::Result<Value, Broken> {
        let _turn = self.store.turn()?;
        let families: Vec<bool> = given.addresses.iter().map(IpAddr::is_ipv4).collect();
        let shape = self.shape(host, &families)?;
        let link = PodLink {
            destinations: given.destinations.clone(),
            ..self.link(given.addresses.clone(), shape)
        };
        self.wire(&link, host, lock, Some(&given.dns))
    }

    fn host_interface(&self) -> String {
        self.identity.host_interface(&self.config.prefix)
    }

    /// MTU and bandwidth of a link with addresses of these families, each of which is IPv4 or not.
    fn shape(&self, host: &mut Socket, is_ipv4: &[bool]) -> Result<(u32, Option<Shaping>)> {
        pod::check_families(is_ipv4)?;
        let mtu = match self.mtu {
            Some(mtu) if mtu < IPV6_MINIMUM_MTU && is_ipv4.contains(&false) => {
                let problem = format!("{mtu} is below {IPV6_MINIMUM_MTU}, the minimum of IPv6");
                return Err(invalid("mtu", problem));
            }
            Some(mtu) => mtu,
            None => mtu::of_uplinks(host, is_ipv4)?.unwrap_or(mtu::DEFAULT),
        };
        let shaping = self.limits.plan(&self.identity, &self.host_interface(), mtu)?;
        Ok((mtu, shaping))
    }

    fn link(&self, addresses: Vec<IpAddr>, (mtu, shaping): (u32, Option<Shaping>)) -> PodLink {
        PodLink {
            shaping,
            ..PodLink::plan(&self.identity, &self.config.prefix, addresses, self.mac, mtu)
        }
    }

    fn wire(
        &self,
        link: &PodLink,
        host: &mut Socket,
        lock: &AttachmentLock,
        dns: Option<&Map<String, Value>>,
    ) -> std::result::Result<Value, Broken> {
        // After a conflict over a route the address must not be the next one given out.
        let wired = link
            .apply(host, &self.own_netns, &self.pod_netns)
            .map_err(|error| Broken {
                rest: if error.code == Code::TryAgainLater {
                    Rest::Cooldown
                } else {
                    Rest::None
                },
                error,
            })?;
        if !self.mappings.is_empty() {
            let ports = port_mappings::ports(&self.mappings, &link.addresses)?;
            lock.note_host_ports()?;
            host_ports::publish(&ports, &self.identity, &link.host_interface, host)?;
        }
        let dns = crate::dns::of(self.config, dns);
        Ok(result::of_add(self.config, link, &wired, &self.call.netns, &dns))
    }

    /// Takes down what was wired.
    fn undo(&self, host: &mut Socket, lock: &AttachmentLock, error: &CniError) -> Result<()> {
        let name = self.host_interface();
        if let Some(found) = host.link_by_name(&name)?
            && error.code != Code::Exists
            && self.identity.owns(found.alias.as_deref())
        {
            delete_link(host, found.index)?;
        }
        if lock.has_host_ports() {
            host_ports::withdraw(&self.identity)?;
        }
        bandwidth::remove(host, &name, |alias| self.identity.owns(alias))
    }

    /// With its lock file lost, an attachment is known by its link; asking the plugin, and then telling it DEL, would take the
    /// address away from a pod that lives.
    fn in_the_way(&self, host: &mut Socket) -> Result<Option<CniError>> {
        let found = host.link_by_name(&self.host_interface())?;
        Ok(found.map(|link| {
            CniError::new(
                Code::Exists,
                format!("the host interface {} exists already", link.name),
            )
            .because(format!(
                "its alias: {}; DEL that attachment or remove the link",
                link.alias.unwrap_or_else(|| "none".into())
            ))
        }))
    }
}

/// Opens our own network namespace and CNI_NETNS, and makes sure that this is one too and another one.
pub(crate) fn open_netns(call: &Invocation) -> Result<(File, File)> {
    let path = call.netns_path();
    let file = netns::open(&path).map_err(|error| {
        CniError::new(Code::Io, format!("open CNI_NETNS {}: {error}", path.display()))
            .because("it has to be the path of an existing network namespace")
    })?;
    let own = netns::current().map_err(io_error("open the plugin's own network namespace"))?;
    if netns::same(&file, &own).map_err(io_error("compare network namespaces"))? {
        let msg = format!(
            "CNI_NETNS {} is the plugin's own network namespace",
            path.display()
        );
        return Err(CniError::new(Code::InvalidNetns, msg));
    }
    Ok((own, file))
}

/// One address a wish, or none at all.
fn allocate(
    store: &Store,
    host: &mut Socket,
    identity: &Identity,
    plan: &AddressPlan,
) -> Result<Vec<IpAddr>> {
    let mut locked = store.lock(|| survivors(host, &identity.network))?;
    let mut addresses = Vec::with_capacity(plan.wishes.len());
    for wish in &plan.wishes {
        match locked.allocate(wish, &identity.attachment, plan.cooldown) {
            Ok(address) => addresses.push(address),
            Err(error) => {
                for address in addresses {
                    locked.release(address, Rest::None)?;
                }
                return Err(error);
            }
        }
    }
    Ok(addresses)
}

fn release(store: &Store, link: &PodLink, rest: Rest) -> Result<()> {
    if let Some(mut locked) = store.lock_as_is()? {
        for address in &link.addresses {
            locked.release(*address, rest)?;
        }
    }
    Ok(())
}

impl From<CniError> for Broken {
    fn from(error: CniError) -> Self {
        Self {
            error,
            rest: Rest::None,
        }
    }
}
