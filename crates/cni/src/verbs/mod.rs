//! One file a verb. Each takes the checked call and configuration and returns what goes to standard output.

pub(crate) mod add;
pub(crate) mod check;
pub(crate) mod del;
pub(crate) mod gc;
pub(crate) mod status;

use flatroute_netlink::{Link, Socket};

use crate::config::Config;
use crate::error::Result;
use crate::identity::{Alias, Identity, brief};
use crate::invocation::Attachment;
use crate::ipam::{Record, Store};

/// The attachment of a call.
fn identity(config: &Config, attachment: &Attachment) -> Identity {
    Identity::new(&config.network, attachment)
}

/// The store of the configuration's network.
fn store(config: &Config) -> Store {
    Store::new(&config.state_dir, &config.network)
}

/// Whether a link may be the host's end of a pod's.
pub(crate) fn is_pod_link(link: &Link) -> bool {
    link.kind.as_deref() == Some("veth")
}

/// The links of a network's attachments, by their aliases, of the kinds that `is` says.
fn links_of_network(
    host: &mut Socket,
    network: &str,
    is: impl Fn(&Link) -> bool,
) -> Result<Vec<(Link, Alias)>> {
    let network = brief(network);
    let ours = |link: Link| {
        let alias = Alias::parse(link.alias.as_deref()?)?;
        (is(&link) && alias.identity.network == network).then_some((link, alias))
    };
    Ok(host.links()?.into_iter().filter_map(ours).collect())
}

/// The addresses that links say are in use: the state directory's content, rebuilt from the kernel.
pub(crate) fn survivors(host: &mut Socket, network: &str) -> Result<Vec<Record>> {
    let links = links_of_network(host, network, is_pod_link)?;
    Ok(links
        .into_iter()
        .flat_map(|(_, alias)| {
            let attachment = alias.identity.attachment;
            alias.addresses.into_iter().map(move |address| Record {
                address,
                attachment: attachment.clone(),
            })
        })
        .collect())
}
