//! The objects that hosts plan from, as values of the API.

use std::net::IpAddr;
use std::time::Duration;

use flatroute_api::objects::{
    Advertise, GracefulRestart, InstallRoutes, MaxPrefixes, MaxPrefixesAction, PodNetwork, Timers, Toggle,
};
use flatroute_api::values::{Cidr, PeerAsn};
use flatroute_api::{
    BGPConfiguration, BGPConfigurationSpec, BGPPeer, BGPPeerSpec, ClusterState, Node, NodeAddress,
    annotations,
};
use flatroute_bgp::types::{Family, FamilySet, Prefix};
use ipnetwork::IpNetwork;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{HostId, Topology};

/// The label of a node that says its name.
pub(super) const NAME: &str = "kubernetes.io/hostname";
/// The name of the object by which a victim has its rogue for a neighbour.
const ROGUE: &str = "rogue";

/// How long sessions wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) hold: Duration,
    pub(super) retry: Duration,
    /// Whether a NOTIFICATION is a restart too.
    pub(super) notification: bool,
}

/// How long routes outlive their session where that may end with a NOTIFICATION or the hold timer: they must be gone before a world
/// is to be at rest.
const RESTART_TIME: Duration = Duration::from_secs(20);

/// The pod CIDRs of the node with this number.
#[must_use]
pub fn pods(families: FamilySet, number: usize) -> Vec<Prefix> {
    let number = u32::try_from(number).expect("few nodes");
    families
        .iter()
        .map(|family| match family {
            Family::Ipv4 => Prefix::V4(0x0a80_0000 + (number << 8), 24),
            Family::Ipv6 => Prefix::V6((0xfd00_0244 << 96) + (u128::from(number) << 64), 64),
        })
        .collect()
}

/// A configuration that knows the pod CIDRs of the cluster.
pub(super) fn configuration() -> BGPConfiguration {
    let cidr = |text: &str| Cidr(text.parse::<IpNetwork>().expect("a prefix"));
    let spec = BGPConfigurationSpec {
        pod_network: Some(PodNetwork {
            cluster_cidrs: Some(vec![cidr("10.128.0.0/9"), cidr("fd00:244::/48")]),
            masquerade: None,
            mtu: None,
        }),
        ..BGPConfigurationSpec::default()
    };
    BGPConfiguration::new(flatroute_api::CONFIGURATION_NAME, spec)
}

/// A Node with these addresses and pod CIDRs, and an ASN of its own where it has one.
pub(super) fn node(name: &str, addresses: &[IpAddr], pods: &[Prefix], asn: Option<u32>) -> Node {
    let mut node = Node::named(name);
    node.metadata.labels = Some([(NAME.to_owned(), name.to_owned())].into());
    node.metadata.annotations = asn.map(|asn| [(annotations::ASN.to_owned(), asn.to_string())].into());
    node.spec.pod_cidrs = Some(pods.iter().map(ToString::to_string).collect());
    let address = |kind: &str, address: String| NodeAddress {
        kind: kind.to_owned(),
        address,
    };
    let internal = addresses.iter().map(|a| address("InternalIP", a.to_string()));
    node.status.addresses = Some(internal.collect());
    node
}

/// The selector of one node.
pub(super) fn only(name: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some([(NAME.to_owned(), name.to_owned())].into()),
        match_expressions: None,
    }
}

pub(super) fn timers(pace: Pace) -> Option<Timers> {
    Some(Timers {
        hold_time: Some(flatroute_api::values::Duration(pace.hold)),
        connect_retry_time: Some(flatroute_api::values::Duration(pace.retry)),
        ..Timers::default()
    })
}

/// A neighbour at an address.
pub(super) fn peer(address: IpAddr, asn: PeerAsn, pace: Pace) -> BGPPeerSpec {
    BGPPeerSpec {
        timers: timers(pace),
        graceful_restart: pace.notification.then(|| GracefulRestart {
            restart_time: Some(flatroute_api::values::Duration(RESTART_TIME)),
            notification: Some(Toggle::Enabled),
            ..GracefulRestart::default()
        }),
        ..BGPPeerSpec::new(address, asn)
    }
}

/// The same for a switch, which passes on what it learns.
pub(super) fn transit(address: IpAddr, asn: u32, pace: Pace) -> BGPPeerSpec {
    BGPPeerSpec {
        advertise: Some([Advertise::LearnedRoutes].into()),
        install_routes: Some([InstallRoutes::PodCIDRs].into()),
        ..peer(address, PeerAsn::Number(asn), pace)
    }
}

/// Puts a neighbour among the objects.
pub(super) fn insert(state: &mut ClusterState, name: &str, spec: BGPPeerSpec) {
    state.peers.insert(name.to_owned(), BGPPeer::new(name, spec));
}

/// Gives the rogue's victim the object that makes a neighbour of it.
pub(super) fn victimize(topology: &mut Topology, victim: HostId, rogue: HostId, pace: Pace) {
    let Some(port) = topology.hosts[victim].ports.iter().find(|p| p.remote == rogue) else {
        return;
    };
    let spec = BGPPeerSpec {
        node_selector: Some(only(&topology.hosts[victim].name)),
        max_prefixes: Some(MaxPrefixes {
            limit: Some(20),
            action: Some(MaxPrefixesAction::Restart),
        }),
        ..peer(
            port.remote_addresses[0],
            PeerAsn::Number(topology.hosts[rogue].asn),
            pace,
        )
    };
    let state = topology.hosts[victim].state;
    insert(&mut topology.states[state], ROGUE, spec);
}
