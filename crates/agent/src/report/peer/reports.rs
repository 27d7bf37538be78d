//! What nodes report of one BGPPeer, and which condition a reason of theirs belongs to.

use std::collections::BTreeMap;

use flatroute_api::ProblemReason;
use flatroute_api::objects::{BGPNodeStatusStatus, Family, NodePeer, PeerReason, SessionState};
use flatroute_bgp_io::KEY_NOT_SET;

use super::Nodes;
use crate::report::condition::split;

/// What the nodes say of one BGPPeer, those that say anything.
pub(super) struct Reports<'a>(pub(super) BTreeMap<&'a str, Vec<&'a NodePeer>>);

impl<'a> Reports<'a> {
    pub(super) fn of(name: &str, nodes: &'a Nodes) -> Self {
        let of_node = |(node, status): (&'a String, &'a BGPNodeStatusStatus)| {
            let sessions: Vec<&NodePeer> = status.peers.iter().filter(|peer| peer.name == name).collect();
            (!sessions.is_empty()).then_some((node.as_str(), sessions))
        };
        Self(nodes.iter().filter_map(of_node).collect())
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = (&'a str, &'a NodePeer)> {
        self.0
            .iter()
            .flat_map(|(node, sessions)| sessions.iter().map(|peer| (*node, *peer)))
    }

    /// The nodes all of whose sessions are up.
    pub(super) fn established(&self) -> usize {
        let is_up = |sessions: &&Vec<&NodePeer>| sessions.iter().all(|peer| is_up(peer));
        self.0.values().filter(is_up).count()
    }

    pub(super) fn prefixes(&self) -> (u64, u64) {
        let all = self.sessions().flat_map(|(_, peer)| &peer.prefixes);
        all.fold((0, 0), |(received, installed), family| {
            (
                received.saturating_add(family.received),
                installed.saturating_add(family.installed),
            )
        })
    }

    pub(super) fn advertised(&self) -> u64 {
        let all = self.sessions().flat_map(|(_, peer)| &peer.prefixes);
        all.map(|family| family.advertised).fold(0, u64::saturating_add)
    }

    /// The first session on a ground for `asked`, with the word and the sentence for it: the node first.
    pub(super) fn reason<R>(
        &self,
        asked: impl Fn(Ground) -> Option<R>,
    ) -> Option<(&'a str, &'a str, &'a str, R)> {
        self.sessions().find_map(|(node, peer)| {
            let (word, sentence) = split(peer.reason.as_deref()?);
            Some((node, word, sentence, asked(ground(word))?))
        })
    }

    /// The first session that leaves a family out which no other session of the object on that node carries. Two sessions to
    /// one ToR, one a family, leave nothing out.
    pub(super) fn left_out(&self) -> Option<(&'a str, &'a NodePeer, Vec<Family>)> {
        self.0.iter().find_map(|(node, sessions)| {
            let is_carried = |family: &Family| {
                let mut negotiated = sessions.iter().filter_map(|peer| peer.negotiated.as_ref());
                negotiated.any(|n| n.families.contains(family))
            };
            sessions.iter().find_map(|peer| {
                let missing = peer.not_negotiated.iter().filter(|f| !is_carried(f));
                let missing: Vec<Family> = missing.copied().collect();
                (!missing.is_empty()).then_some((*node, *peer, missing))
            })
        })
    }

    /// Why no node finds a neighbour, if that is so of all.
    pub(super) fn nobody(&self) -> Option<PeerReason> {
        let mut reasons = self.sessions().map(|(_, peer)| {
            let (word, _) = split(peer.reason.as_deref()?);
            match ground(word) {
                Ground::Nobody(reason) => Some(reason),
                Ground::Conflict | Ground::Object | Ground::Secret | Ground::Filter | Ground::Node => None,
            }
        });
        let first = reasons.next()??;
        reasons.all(|reason| reason.is_some()).then_some(first)
    }

    /// The session that an operator should look at first: one that was refused or broke says more than one that is tried.
    pub(super) fn worst(&self) -> Option<(&'a str, &'a NodePeer)> {
        let down = self.sessions().filter(|(_, peer)| !is_up(peer));
        // The first of equals, so that the choice stays.
        down.min_by_key(|(node, peer)| {
            (
                std::cmp::Reverse((peer.reason.is_some(), peer.last_error.is_some())),
                *node,
                peer.address,
            )
        })
    }
}

pub(super) fn is_up(peer: &NodePeer) -> bool {
    peer.state == SessionState::Established
}

/// Which condition has to say why a session is not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// `Accepted`: another BGPPeer has the neighbour.
    Conflict,
    /// `Accepted`: something in the object, or it does not fit the node.
    Object,
    /// `ResolvedRefs`: the Secret or its key.
    Secret,
    /// `ResolvedRefs`, which sees it in the objects.
    Filter,
    /// `Established`: the object is good, and finds no neighbour on the node.
    Nobody(PeerReason),
    /// `Established`: the object is good, and the node cannot.
    Node,
}

/// The ground of a reason, as nodes report it: that of a problem, or of the driver. A word of another version is taken for
/// something in the object.
pub(super) fn ground(word: &str) -> Ground {
    use ProblemReason as P;
    let Some(reason) = P::of_word(word) else {
        return if word == KEY_NOT_SET {
            Ground::Node
        } else {
            Ground::Object
        };
    };
    match reason {
        P::ConflictingPeer => Ground::Conflict,
        P::FilterNotFound => Ground::Filter,
        P::SecretKeyNotFound | P::SecretNotFound => Ground::Secret,
        P::NoDefaultGateway => Ground::Nobody(PeerReason::NoDefaultGateway),
        P::NoRouterAdvertisement => Ground::Nobody(PeerReason::NoRouterAdvertisement),
        P::NoMatchingNodes => Ground::Nobody(PeerReason::NoMatchingNodes),
        P::NoCommonFamily | P::NoLinkLocalAddress | P::NoRawSocket => Ground::Node,
        P::APIServerUnreachable
        | P::ClusterCIDRsUnknown
        | P::CopyRefused
        | P::Duplicate
        | P::Forbidden
        | P::ForwardingDisabled
        | P::Gone
        | P::IPv6Disabled
        | P::InterfaceNotFound
        | P::Invalid
        | P::MeshTooLarge
        | P::NoPodCIDRs
        | P::NodeNotFound
        | P::NodeNotPrepared
        | P::NotInstalled
        | P::NotKept
        | P::NotSupported
        | P::NotYAML
        | P::OverlappingCIDRs
        | P::OwnAddress
        | P::Refused
        | P::Required
        | P::ReversePathFilter
        | P::RoutesContested
        | P::SecretAmbiguous
        | P::SecretEndsWithLineBreak
        | P::SecretInvalid
        | P::SecretReadableByOthers
        | P::SeveralRouters
        | P::Stale
        | P::TooManyGateways
        | P::Unauthorized
        | P::UnknownField
        | P::UnknownKind => Ground::Object,
    }
}
