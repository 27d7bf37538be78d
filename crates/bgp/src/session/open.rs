//! OPEN: what we say of ourselves, and what becomes of what the peer says (RFC 4271 §4.2, §6.2; RFC 5492).
//!
//! What is wrong for everybody (version, a hold time of 1 or 2 s, a zero AS or identifier) the codec has refused
//! already. Here the AS and the identifier are held against our configuration, then the capabilities. A
//! capability is in force when both sides advertise it. One is required: a family in common. Without any the
//! session could carry nothing, and would look healthy; so it is refused with 2/7 (RFC 5492 §5), whose data
//! names the multiprotocol capabilities that we miss. A peer that refuses *our* capabilities with 2/4 or 2/7 is
//! not tried again without them (RFC 5492 §5 leaves that open): speakers that cannot skip a capability are
//! older than anything this fabric is made of.

use std::time::Duration;

use super::{Graceful, Negotiated, Offer, PeerAsn, Settings};
use crate::types::{Asn, ConnId, Family, FamilySet, Instant, PathIds};
use crate::wire::{
    AddPath, AddPathMode, Capabilities, Context, ExtendedNextHop, Notification, Open, OpenError,
};

/// The version of BGP that this speaker talks.
pub(super) const VERSION: u8 = 4;

/// Why an OPEN is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// For people: what was wrong, and what to change.
    pub(super) what: String,
    /// For the peer.
    pub(super) notification: Notification,
}

impl Refusal {
    fn new(error: OpenError, data: &[u8], what: String) -> Self {
        Self {
            what,
            notification: Notification::open(error, data),
        }
    }
}

/// Our OPEN. Only capabilities whose behaviour this speaker has stand in it.
pub(super) fn ours(settings: &Settings, offer: Option<&Offer>, now: Instant) -> Open {
    let mut capabilities = Capabilities {
        extended_next_hop: extended_next_hop(settings).into_iter().collect(),
        add_path: add_path(settings),
        families: Some(settings.families),
        four_octet_as: Some(settings.local_asn),
        route_refresh: true,
        extended_message: true,
        enhanced_route_refresh: true,
        role: settings.role.filter(|_| may_be_external(settings)),
        ..Capabilities::default()
    };
    if let Some(offer) = offer {
        offer.write(&mut capabilities, now);
    }
    Open {
        version: VERSION,
        asn: settings.local_asn,
        hold_time: whole_seconds(settings.hold_time),
        router_id: settings.router_id,
        capabilities,
    }
}

/// Judges the peer's OPEN: what the session will be, or why there will be none.
pub(super) fn judge(
    settings: &Settings,
    offer: Option<&Offer>,
    conn: ConnId,
    open: Open,
) -> Result<Negotiated, Refusal> {
    check_asn(settings, &open)?;
    check_identifier(settings, &open)?;
    check_role(settings, &open)?;
    let families = common_families(settings, &open.capabilities)?;
    let by_ipv6 = |ours: ExtendedNextHop| open.capabilities.extended_next_hop.contains(&ours);

    let hold_time = Duration::from_secs(u64::from(whole_seconds(settings.hold_time).min(open.hold_time)));
    Ok(Negotiated {
        conn,
        peer_asn: open.asn,
        peer_router_id: open.router_id,
        hold_time,
        keepalive: keepalive_interval(settings, hold_time),
        // RFC 9687 §3.1 suggests at least 8 minutes: docs/rfc/rfc9687.md says why not.
        send_hold_time: settings
            .send_hold_time
            .unwrap_or_else(|| hold_time.saturating_mul(2)),
        families,
        context: Context {
            four_octet_as: open.capabilities.four_octet_as.is_some(),
            extended_message: open.capabilities.extended_message,
            families,
            extended_next_hop: families.contains(Family::Ipv4)
                && extended_next_hop(settings).is_some_and(by_ipv6),
            path_ids: path_ids(settings, &open.capabilities, families),
            internal: open.asn == settings.local_asn,
        },
        route_refresh: open.capabilities.route_refresh,
        enhanced_route_refresh: open.capabilities.enhanced_route_refresh,
        graceful_restart: Graceful::agreed(offer, &open.capabilities, families),
        capabilities: open.capabilities,
    })
}

/// Whether an OPEN would be taken, whatever it says of restarts.
pub(crate) fn is_welcome(settings: &Settings, conn: ConnId, open: Open) -> bool {
    judge(settings, None, conn, open).is_ok()
}

/// IPv4 unicast by IPv6 (RFC 8950 §4), where it is offered.
fn extended_next_hop(settings: &Settings) -> Option<ExtendedNextHop> {
    let offered = settings.extended_next_hop && settings.families.contains(Family::Ipv4);
    offered.then_some(ExtendedNextHop {
        family: Family::Ipv4.into(),
        next_hop_afi: Family::Ipv6.afi(),
    })
}

/// Several paths a prefix (RFC 7911 §4), of every family that is offered.
fn add_path(settings: &Settings) -> Vec<AddPath> {
    let of = |family: Family, mode| AddPath {
        family: family.into(),
        mode,
    };
    let mode = settings.add_path.into_iter();
    mode.flat_map(|mode| settings.families.iter().map(move |family| of(family, mode)))
        .collect()
}

/// A direction counts where one side sends and the other receives (RFC 7911 §4). Of a family that the peer names twice the last
/// word counts.
fn path_ids(settings: &Settings, theirs: &Capabilities, families: FamilySet) -> PathIds {
    let peer = |family: Family| {
        let mut of_family = theirs.add_path.iter().filter(|path| path.family == family.into());
        of_family.next_back().map(|path| path.mode)
    };
    let can = |mode: Option<AddPathMode>, alone| mode == Some(AddPathMode::Both) || mode == Some(alone);
    let agreed = |ours, others| {
        let of = |family: &Family| can(settings.add_path, ours) && can(peer(*family), others);
        families.iter().filter(of).collect()
    };
    PathIds {
        received: agreed(AddPathMode::Receive, AddPathMode::Send),
        sent: agreed(AddPathMode::Send, AddPathMode::Receive),
    }
}

fn check_asn(settings: &Settings, open: &Open) -> Result<(), Refusal> {
    // AS_TRANS is only a stand-in (RFC 6793 §9): who sends it as its own has lost its number on the way.
    let usable = open.asn != Asn::TRANS;
    let (welcome, expected) = match settings.peer_asn {
        PeerAsn::Exact(asn) => (open.asn == asn, format!("AS {asn}")),
        PeerAsn::External => (
            usable && open.asn != settings.local_asn,
            format!("an AS other than our {}", settings.local_asn),
        ),
        PeerAsn::Internal => (
            usable && open.asn == settings.local_asn,
            format!("our AS {}", settings.local_asn),
        ),
    };
    if welcome {
        return Ok(());
    }
    Err(Refusal::new(
        OpenError::BadPeerAs,
        &[],
        format!(
            "the peer says it is AS {}, its configuration here says {expected}: correct peerASN here or the AS there",
            open.asn
        ),
    ))
}

/// RFC 6286 §2.2: inside one AS, not ours.
fn check_identifier(settings: &Settings, open: &Open) -> Result<(), Refusal> {
    if open.asn != settings.local_asn || open.router_id != settings.router_id {
        return Ok(());
    }
    Err(Refusal::new(
        OpenError::BadIdentifier,
        &[],
        format!(
            "the internal peer has our BGP identifier {}: give one of us another",
            open.router_id
        ),
    ))
}

/// Between internal peers roles mean nothing (RFC 9234 §4).
fn may_be_external(settings: &Settings) -> bool {
    match settings.peer_asn {
        PeerAsn::Exact(asn) => asn != settings.local_asn,
        PeerAsn::External => true,
        PeerAsn::Internal => false,
    }
}

/// RFC 9234 §4.2: who says its role must say the one that ours calls for. Who says none is believed to have it.
fn check_role(settings: &Settings, open: &Open) -> Result<(), Refusal> {
    let Some(ours) = settings.role.filter(|_| may_be_external(settings)) else {
        return Ok(());
    };
    let expected = ours.counterpart();
    let found = match open.capabilities.role {
        _ if open.capabilities.has_doubtful_role() => "a role that is none, or more than one".to_owned(),
        Some(found) if found != expected => format!("the role {found}"),
        Some(_) | None => return Ok(()),
    };
    Err(Refusal::new(
        OpenError::RoleMismatch,
        &[],
        format!(
            "the peer says {found}, our role {ours} calls for {expected}: correct role here or the peer's"
        ),
    ))
}

fn common_families(settings: &Settings, theirs: &Capabilities) -> Result<FamilySet, Refusal> {
    // Without the capability a speaker means IPv4 unicast (RFC 4760 §1, §8).
    let offered = theirs
        .families
        .unwrap_or_else(|| FamilySet::from_iter([Family::Ipv4]));
    let common = settings.families.intersection(offered);
    if !common.is_empty() {
        return Ok(common);
    }
    let data: Vec<u8> = settings.families.iter().flat_map(multiprotocol).collect();
    let list = |set: FamilySet| match set.iter().map(|f| f.to_string()).collect::<Vec<_>>() {
        names if names.is_empty() => "none of ours".to_owned(),
        names => names.join(" and "),
    };
    Err(Refusal::new(
        OpenError::UnsupportedCapability,
        &data,
        format!(
            "no address family in common: we are configured for {}, the peer offers {}",
            list(settings.families),
            list(offered)
        ),
    ))
}

/// The multiprotocol capability as it stands in an OPEN (RFC 4760 §8): code 1, length 4, AFI, reserved, SAFI.
fn multiprotocol(family: Family) -> [u8; 6] {
    let [high, low] = family.afi().to_be_bytes();
    [1, 4, high, low, 0, family.safi()]
}

/// A third of the hold time, or what is configured when that is shorter; at least 1 s (RFC 4271 §4.4); zero when
/// the hold time is, which means no KEEPALIVEs.
fn keepalive_interval(settings: &Settings, hold_time: Duration) -> Duration {
    if hold_time.is_zero() {
        return Duration::ZERO;
    }
    let third = hold_time / 3;
    settings
        .keepalive_time
        .map_or(third, |configured| configured.min(third))
        .max(Duration::from_secs(1))
}

fn whole_seconds(duration: Duration) -> u16 {
    u16::try_from(duration.as_secs()).unwrap_or(u16::MAX)
}
