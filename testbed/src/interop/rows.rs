//! The rows of the matrix: what is promised, what proves it, and which peer cannot do it.

mod lacking;

use std::time::Duration;

use anyhow::Result;

use super::cells::{
    collision, endings, limits, long_lived, messages, paths, reflection, restarts, roles, routes, security,
    sessions, unnumbered,
};
use super::peer::{Kind, Version};

/// A promise, for every peer.
#[derive(Clone, Copy)]
pub struct Row {
    /// In the names of cells.
    pub key: &'static str,
    /// The part of the table that it stands in.
    pub group: &'static str,
    /// For readers of the table.
    pub title: &'static str,
    /// A cell fails when it takes longer.
    pub limit: Duration,
    /// Proves it against one kind of peer.
    pub body: fn(Kind) -> Result<()>,
    /// Why this version of this peer cannot take part.
    pub lacking: fn(Kind, Version) -> Option<&'static str>,
    /// What we lack ourselves so far.
    pub not_yet: fn() -> Option<&'static str>,
}

const ORDINARY: Duration = Duration::from_secs(60);
/// For cells in which a session has to come back from an error.
const LONG: Duration = Duration::from_secs(120);

fn all_can(_: Kind, _: Version) -> Option<&'static str> {
    None
}

fn ready() -> Option<&'static str> {
    None
}

const fn row(
    group: &'static str,
    key: &'static str,
    title: &'static str,
    body: fn(Kind) -> Result<()>,
) -> Row {
    Row {
        key,
        group,
        title,
        limit: ORDINARY,
        body,
        lacking: all_can,
        not_yet: ready,
    }
}

impl Row {
    const fn long(mut self) -> Self {
        self.limit = LONG;
        self
    }

    const fn unless(mut self, lacking: fn(Kind, Version) -> Option<&'static str>) -> Self {
        self.lacking = lacking;
        self
    }

    const fn once(mut self, not_yet: fn() -> Option<&'static str>) -> Self {
        self.not_yet = not_yet;
        self
    }
}

/// All rows, in the order of the table.
pub const ROWS: &[Row] = &[
    row("Session", "we_dial", "Established, we dial", sessions::we_dial),
    row(
        "Session",
        "peer_dials",
        "Established, the peer dials",
        sessions::peer_dials,
    ),
    row(
        "Session",
        "both_dial",
        "Established, both may dial; routes both ways, no flap",
        sessions::both_dial,
    ),
    row(
        "Session",
        "collision",
        "Established, two connections meet; routes both ways, no flap",
        collision::collision,
    ),
    row(
        "Session",
        "over_ipv4",
        "IPv4 transport: both families, routes both ways with path, origin and next hop",
        sessions::over_ipv4,
    ),
    row(
        "Session",
        "over_ipv6",
        "IPv6 transport: both families, routes both ways with path, origin and next hop",
        sessions::over_ipv6,
    )
    .unless(lacking::no_ipv4_over_ipv6),
    row(
        "Session",
        "from_a_range",
        "`listenRange`: the peer dials and becomes a neighbour, routes both ways",
        sessions::from_a_range,
    ),
    row(
        "Session",
        "from_a_guarded_range",
        "`listenRange` with TCP MD5 for the whole range and GTSM, routes both ways",
        sessions::from_a_guarded_range,
    ),
    row(
        "Session",
        "unnumbered",
        "a link without addresses: found by router advertisements, both families by link-local next hops in both kernels",
        unnumbered::unnumbered,
    )
    .unless(lacking::no_advertisements),
    row(
        "Session",
        "wide_asn",
        "ASNs of four octets on both sides",
        sessions::wide_asn,
    ),
    row(
        "Session",
        "two_octet_peer",
        "our ASN of four octets against a speaker of two (AS_TRANS, AS4_PATH)",
        sessions::two_octet_peer,
    )
    .unless(lacking::no_two_octets),
    row(
        "Session",
        "wrong_asn_of_peer",
        "the peer has another ASN than we expect: 2/2 from us",
        sessions::wrong_asn_of_peer,
    ),
    row(
        "Session",
        "wrong_asn_of_ours",
        "we have another ASN than the peer expects: 2/2 from it",
        sessions::wrong_asn_of_ours,
    ),
    row(
        "Routes",
        "peer_withdraws",
        "the peer withdraws, and announces again",
        routes::peer_withdraws,
    ),
    row(
        "Routes",
        "we_withdraw",
        "we withdraw, and announce again",
        routes::we_withdraw,
    ),
    row(
        "Routes",
        "communities_to_peer",
        "communities to the peer",
        routes::communities_to_peer,
    ),
    row(
        "Routes",
        "communities_to_us",
        "communities to us",
        routes::communities_to_us,
    ),
    row(
        "Routes",
        "well_known_communities",
        "NO_EXPORT and NO_ADVERTISE to the peer",
        routes::well_known_communities,
    ),
    row(
        "Routes",
        "large_to_peer",
        "large communities to the peer",
        routes::large_to_peer,
    ),
    row(
        "Routes",
        "large_to_us",
        "large communities to us",
        routes::large_to_us,
    ),
    row(
        "Several paths",
        "paths_to_us",
        "add-path: two paths of a prefix to us; one goes",
        paths::paths_to_us,
    ),
    row(
        "Several paths",
        "paths_to_peer",
        "add-path: two paths of a prefix to the peer; one goes",
        paths::paths_to_peer,
    ),
    row(
        "Roles",
        "roles_agreed",
        "the peer is our provider, we are its customer: each knows it",
        roles::roles_agreed,
    )
    .unless(lacking::no_roles),
    row(
        "Roles",
        "roles_mismatched",
        "both are providers: 2/11, and no session",
        roles::roles_mismatched,
    )
    .unless(lacking::no_roles),
    row(
        "Roles",
        "only_to_customer",
        "between peers: ONLY_TO_CUSTOMER on our routes at the peer, and on its routes at us",
        roles::only_to_customer,
    )
    .unless(lacking::no_roles),
    row(
        "Roles",
        "leak_not_sent",
        "a route of our provider, with its mark: not told to a peer; told where we say no role any more",
        roles::leak_not_sent,
    )
    .unless(lacking::no_roles),
    row(
        "Roles",
        "leak_refused_by_peer",
        "such a route told without a role of ours: the peer, our provider, does not take it",
        roles::leak_refused_by_peer,
    )
    .unless(lacking::no_word_of_leaks),
    row(
        "Roles",
        "leak_refused_by_us",
        "such a route told without a role of the peer's: we, its provider, refuse it",
        roles::leak_refused_by_us,
    )
    .unless(lacking::no_roles),
    row(
        "Route reflection",
        "we_reflect",
        "we reflect: ORIGINATOR_ID and CLUSTER_LIST at the peer; a client no more",
        reflection::we_reflect,
    ),
    row(
        "Route reflection",
        "peer_reflects",
        "the peer reflects: ORIGINATOR_ID and CLUSTER_LIST at us, and at its other client",
        reflection::peer_reflects,
    )
    .unless(lacking::no_reflection),
    row(
        "Route reflection",
        "own_originator",
        "our own ORIGINATOR_ID comes back: refused",
        reflection::own_originator,
    )
    .unless(lacking::no_own_originator),
    row(
        "Route reflection",
        "own_cluster",
        "our own cluster comes back: refused",
        reflection::own_cluster,
    ),
    row(
        "Messages",
        "peer_refreshes",
        "route refresh, the peer asks",
        messages::peer_refreshes,
    )
    .unless(lacking::no_refresh_by_peer),
    row(
        "Messages",
        "we_refresh",
        "route refresh, we ask",
        messages::we_refresh,
    )
    .unless(lacking::no_refresh_of_peer),
    row(
        "Messages",
        "enhanced_refresh",
        "enhanced route refresh: agreed on, the peer's BoRR and EoRR understood, routes intact both ways",
        messages::enhanced_refresh,
    )
    .unless(lacking::no_enhanced_refresh)
    .once(lacking::no_enhanced_refresh_of_ours),
    row(
        "Messages",
        "extended_to_us",
        "extended messages: a route of more than 4,096 octets to us",
        messages::extended_to_us,
    )
    .unless(lacking::no_extended_messages),
    row(
        "Messages",
        "extended_to_peer",
        "extended messages: a route of more than 4,096 octets to the peer",
        messages::extended_to_peer,
    )
    .unless(lacking::no_extended_messages),
    row(
        "Limits",
        "limit_warn",
        "our prefix limit, Warn: taken and said",
        limits::warn,
    ),
    row(
        "Limits",
        "limit_drop",
        "our prefix limit, Drop: refused, the session stays",
        limits::drop_beyond,
    ),
    row(
        "Limits",
        "limit_restart",
        "our prefix limit, Restart: 6/1 from us",
        limits::restart,
    ),
    row(
        "Limits",
        "limit_of_peer",
        "the peer's prefix limit: 6/1 from it",
        limits::of_peer,
    )
    .unless(lacking::no_prefix_limit),
    row(
        "Endings",
        "we_shut",
        "our shutdown's text at the peer; up again",
        endings::we_shut,
    )
    .long()
    .unless(lacking::no_shutdown_text_read),
    row(
        "Endings",
        "peer_shuts",
        "the peer's shutdown's text at us; up again",
        endings::peer_shuts,
    )
    .long()
    .unless(lacking::no_shutdown_text_sent),
    row(
        "Endings",
        "killed",
        "the peer is killed: its routes leave our kernel; up again",
        endings::killed,
    )
    .long(),
    row(
        "Endings",
        "frozen",
        "the peer is frozen: hold timer, its routes leave our kernel; up again",
        endings::frozen,
    )
    .long(),
    row(
        "Endings",
        "deaf",
        "the peer stops reading, hold time 0: send hold timer; up again",
        endings::deaf,
    )
    .long()
    .unless(lacking::no_hold_time_of_zero)
    .once(lacking::no_send_hold_time),
    row(
        "Graceful restart",
        "peer_restarts",
        "the peer is killed and comes back: its routes stay in our kernel all the time",
        restarts::peer_restarts,
    )
    .long()
    .unless(lacking::no_restarter),
    row(
        "Graceful restart",
        "we_restart",
        "our agent is killed and comes back: the peer shows our routes as kept, and none is ever missing",
        restarts::we_restart,
    )
    .long()
    .unless(lacking::no_restart_helper),
    row(
        "Graceful restart",
        "peer_stays_away",
        "the peer is killed and stays away: its routes are a last resort with LLGR_STALE; back, they are preferred again",
        long_lived::peer_stays_away,
    )
    .long()
    .unless(lacking::no_long_lived),
    row(
        "Graceful restart",
        "we_stay_away",
        "our agent is killed and stays away: the peer shows our routes with LLGR_STALE; back, they are fresh",
        long_lived::we_stay_away,
    )
    .long()
    .unless(lacking::no_long_lived),
    row(
        "Security",
        "gtsm_we_dial",
        "GTSM, we dial",
        security::gtsm_we_dial,
    ),
    row(
        "Security",
        "gtsm_peer_dials",
        "GTSM, the peer dials",
        security::gtsm_peer_dials,
    ),
    row(
        "Security",
        "gtsm_over_ipv6",
        "GTSM over IPv6, both may dial",
        security::gtsm_over_ipv6,
    ),
    row(
        "Security",
        "gtsm_refuses",
        "GTSM at our side only: no session",
        security::gtsm_refuses,
    ),
    row(
        "Security",
        "md5_we_dial",
        "TCP MD5, we dial",
        security::md5_we_dial,
    )
    .unless(lacking::no_md5_of_listener)
    .once(lacking::no_md5),
    row(
        "Security",
        "md5_peer_dials",
        "TCP MD5, the peer dials",
        security::md5_peer_dials,
    )
    .once(lacking::no_md5),
    row(
        "Security",
        "md5_over_ipv6",
        "TCP MD5 over IPv6, both may dial",
        security::md5_over_ipv6,
    )
    .once(lacking::no_md5),
    row(
        "Security",
        "md5_wrong_key",
        "TCP MD5 with another key: no session",
        security::md5_wrong_key,
    )
    .once(lacking::no_md5),
    row(
        "Security",
        "md5_no_key",
        "TCP MD5 at our side only: no session",
        security::md5_no_key,
    )
    .once(lacking::no_md5),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ROWS;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let keys: BTreeSet<&str> = ROWS.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), ROWS.len());
        let titles: BTreeSet<&str> = ROWS.iter().map(|row| row.title).collect();
        assert_eq!(titles.len(), ROWS.len());
    }

    #[test]
    fn rows_of_a_group_stand_together() {
        let mut groups: Vec<&str> = ROWS.iter().map(|row| row.group).collect();
        groups.dedup();
        let different: BTreeSet<&&str> = groups.iter().collect();
        assert_eq!(different.len(), groups.len(), "{groups:?}");
    }
}
