//! What holds between fields, in CEL: the other half of [`mod@crate::validate`].
//!
//! A rule stands at the lowest place that has all that it looks at, tells of the field that is wrong, and says what to do.
//! A text that is no address, prefix or duration is told by the rule of its format; a rule here then has nothing to say,
//! because it could only repeat it.

use serde_json::Value;

use super::formats;

/// A rule: the kind, the place in its schema (`[]`: any element of a list), the field below it that is wrong (empty: the
/// place itself), the expression and what to tell.
struct Rule {
    kind: &'static str,
    at: &'static str,
    field: &'static str,
    rule: &'static str,
    message: &'static str,
}

const fn rule(
    kind: &'static str,
    at: &'static str,
    field: &'static str,
    rule: &'static str,
    message: &'static str,
) -> Rule {
    Rule {
        kind,
        at,
        field,
        rule,
        message,
    }
}

/// Whether a field is there and an address; its format tells when it is none.
macro_rules! is_address {
    ($field:literal) => {
        concat!("(has(self.", $field, ") && isIP(self.", $field, "))")
    };
}

/// Whether `peerAddress` is one of `fe80::/10`.
macro_rules! link_local {
    () => {
        "(ip(self.peerAddress).family() == 6 && ip(self.peerAddress).isLinkLocalUnicast())"
    };
}

/// A duration from one to another, both included.
macro_rules! between {
    ($from:literal, $to:literal) => {
        concat!(
            "(duration(self) >= duration('",
            $from,
            "') && duration(self) <= duration('",
            $to,
            "'))"
        )
    };
}

/// What each duration is told by its format.
macro_rules! is_duration {
    ($field:literal) => {
        concat!($field, ".matches('^(0|([0-9]+(h|m|s|ms))+)$')")
    };
}

const PEER: &str = "BGPPeer";
const FILTER: &str = "BGPFilter";
const CONFIGURATION: &str = "BGPConfiguration";

const RULES: &[Rule] = &[
    rule(
        PEER,
        "spec",
        ".peerAddress",
        "has(self.peerAddress) || has(self.interface) || has(self.discover) || has(self.peerSelector) || has(self.listenRange)",
        "nothing says who the neighbour is; set exactly one of peerAddress, interface, discover, peerSelector and listenRange",
    ),
    rule(
        PEER,
        "spec",
        ".discover",
        "!has(self.discover) || !has(self.peerAddress)",
        "discover excludes peerAddress; set exactly one of peerAddress, interface, discover, peerSelector and listenRange",
    ),
    rule(
        PEER,
        "spec",
        ".peerSelector",
        "!has(self.peerSelector) || !(has(self.peerAddress) || has(self.discover))",
        "peerSelector excludes peerAddress and discover; set exactly one of peerAddress, interface, discover, peerSelector and listenRange",
    ),
    rule(
        PEER,
        "spec",
        ".listenRange",
        "!has(self.listenRange) || !(has(self.peerAddress) || has(self.discover) || has(self.peerSelector))",
        "listenRange excludes peerAddress, discover and peerSelector; set exactly one of peerAddress, interface, discover, peerSelector and listenRange",
    ),
    rule(
        PEER,
        "spec",
        ".listenLimit",
        "!has(self.listenLimit) || has(self.listenRange)",
        "listenLimit needs listenRange; remove it, or set listenRange",
    ),
    rule(
        PEER,
        "spec",
        ".connectMode",
        "!has(self.listenRange) || !has(self.connectMode)",
        "connectMode excludes listenRange, whose neighbours are not dialled; remove it",
    ),
    rule(
        PEER,
        "spec",
        ".peerPort",
        "!has(self.listenRange) || !has(self.peerPort)",
        "peerPort excludes listenRange, whose neighbours are not dialled; remove it",
    ),
    rule(
        PEER,
        "spec.listenRange",
        "",
        "!isCIDR(self) || !cidr(self).ip().isLinkLocalUnicast() || cidr(self).ip().family() == 4",
        "listenRange is link-local, and such an address means another neighbour on each interface; use a prefix of other addresses",
    ),
    rule(
        PEER,
        "spec",
        ".peerASN",
        "has(self.peerASN) || has(self.peerSelector)",
        "peerASN is required, but not there; set it: a number, External or Internal",
    ),
    rule(
        PEER,
        "spec",
        ".peerASN",
        "!has(self.peerASN) || !has(self.peerSelector)",
        "peerASN excludes peerSelector, with which both ASNs come from the Nodes; remove it",
    ),
    rule(
        PEER,
        "spec",
        ".localASN",
        "!has(self.localASN) || !has(self.peerSelector)",
        "localASN excludes peerSelector, with which both ASNs come from the Nodes; remove it",
    ),
    rule(
        PEER,
        "spec",
        ".interface",
        "!has(self.interface) || has(self.peerAddress) || !(has(self.discover) || has(self.peerSelector) || has(self.listenRange))",
        "interface excludes discover, peerSelector and listenRange; set exactly one of peerAddress, interface, discover, peerSelector and listenRange",
    ),
    rule(
        PEER,
        "spec",
        ".sourceAddress",
        "!has(self.sourceAddress) || has(self.peerAddress)",
        "sourceAddress needs peerAddress in this version; remove it, or set peerAddress",
    ),
    rule(
        PEER,
        "spec",
        ".interface",
        concat!(
            "!",
            is_address!("peerAddress"),
            " || !",
            link_local!(),
            " || has(self.interface)"
        ),
        "a link-local peerAddress needs the interface that it is on; set interface, such as eth0",
    ),
    rule(
        PEER,
        "spec",
        ".interface",
        concat!(
            "!has(self.interface) || !",
            is_address!("peerAddress"),
            " || ",
            link_local!()
        ),
        "only a link-local peerAddress has an interface in this version; remove it, or use the neighbour's fe80:: address",
    ),
    rule(
        PEER,
        "spec.peerAddress",
        "",
        "!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLoopback() || ip(self).isLinkLocalUnicast()",
        "peerAddress is not the address of a single neighbour; use the neighbour's unicast address",
    ),
    rule(
        PEER,
        "spec.sourceAddress",
        "",
        "!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLoopback() || ip(self).isLinkLocalUnicast()",
        "sourceAddress is not a unicast address; use one of the node's",
    ),
    rule(
        PEER,
        "spec",
        ".sourceAddress",
        concat!(
            "!",
            is_address!("sourceAddress"),
            " || !",
            is_address!("peerAddress"),
            " || ip(self.sourceAddress).family() == ip(self.peerAddress).family()"
        ),
        "sourceAddress is of another family than peerAddress; use one of the same family",
    ),
    rule(
        PEER,
        "spec",
        ".multihop",
        "!has(self.multihop) || !has(self.ttlSecurity)",
        "multihop excludes ttlSecurity; remove one of the two",
    ),
    rule(
        PEER,
        "spec",
        ".routeReflectorClient",
        "!has(self.routeReflectorClient) || !has(self.peerSelector)",
        "routeReflectorClient excludes peerSelector, with which the Nodes say who reflects; remove it, and annotate the Nodes that reflect with flatroute.io/cluster-id",
    ),
    rule(
        PEER,
        "spec",
        ".routeReflectorClient",
        "!has(self.routeReflectorClient) || self.routeReflectorClient != 'Enabled' || !has(self.peerASN) || self.peerASN != 'External'",
        "routeReflectorClient makes a neighbour of another ASN a client, which it cannot be; remove it, or set peerASN: Internal",
    ),
    rule(
        PEER,
        "spec.gracefulRestart.restartTime",
        "",
        concat!(
            "!",
            is_duration!("self"),
            " || (",
            between!("1s", "4095s"),
            " && duration(self).getMilliseconds() % 1000 == 0)"
        ),
        "restartTime is not from 1s to 4095s in whole seconds; remove it for 120s",
    ),
    rule(
        PEER,
        "spec.gracefulRestart.longLivedStaleTime",
        "",
        concat!(
            "!",
            is_duration!("self"),
            " || (",
            between!("0s", "16777215s"),
            " && duration(self).getMilliseconds() % 1000 == 0)"
        ),
        "longLivedStaleTime is not from 0s to 16777215s in whole seconds; remove it for 0s",
    ),
    rule(
        PEER,
        "spec",
        ".role",
        "!has(self.role) || !has(self.peerSelector)",
        "role excludes peerSelector, with which both ends have the same object; remove it",
    ),
    rule(
        PEER,
        "spec",
        ".role",
        "!has(self.role) || !has(self.peerASN) || has(self.peerSelector) || type(self.peerASN) == int || self.peerASN != 'Internal'",
        "role means nothing between two of one AS, and peerASN is Internal; remove it, or correct peerASN",
    ),
    rule(
        PEER,
        "spec.timers.holdTime",
        "",
        concat!(
            "!",
            is_duration!("self"),
            " || duration(self) == duration('0s') || (",
            between!("3s", "65535s"),
            " && duration(self).getMilliseconds() % 1000 == 0)"
        ),
        "holdTime is neither 0s nor from 3s to 65535s in whole seconds; choose such a value, or remove it for 90s",
    ),
    rule(
        PEER,
        "spec.timers.keepaliveTime",
        "",
        concat!("!", is_duration!("self"), " || ", between!("1s", "65535s")),
        "keepaliveTime is not from 1s to 65535s; remove it for a third of holdTime",
    ),
    rule(
        PEER,
        "spec.timers",
        ".keepaliveTime",
        concat!(
            "!has(self.keepaliveTime) || !",
            is_duration!("self.keepaliveTime"),
            " || (has(self.holdTime) && !",
            is_duration!("self.holdTime"),
            ") || (has(self.holdTime) && duration(self.holdTime) == duration('0s'))",
            " || duration(self.keepaliveTime) < duration(has(self.holdTime) ? self.holdTime : '90s')"
        ),
        "keepaliveTime is not shorter than holdTime, so the neighbour would give up between two KEEPALIVEs; remove it for a third of holdTime",
    ),
    rule(
        PEER,
        "spec.timers.sendHoldTime",
        "",
        concat!(
            "!",
            is_duration!("self"),
            " || duration(self) == duration('0s') || ",
            between!("3s", "65535s")
        ),
        "sendHoldTime is neither 0s nor from 3s to 65535s; remove it for twice the hold time",
    ),
    rule(
        PEER,
        "spec.timers",
        ".sendHoldTime",
        concat!(
            "!has(self.sendHoldTime) || !",
            is_duration!("self.sendHoldTime"),
            " || (has(self.holdTime) && !",
            is_duration!("self.holdTime"),
            ") || duration(self.sendHoldTime) == duration('0s')",
            " || duration(self.sendHoldTime) >= duration(has(self.holdTime) ? self.holdTime : '90s')"
        ),
        "sendHoldTime is shorter than holdTime, so a neighbour that is only slow would be given up before a silent one; remove it for twice the hold time",
    ),
    rule(
        PEER,
        "spec.timers.connectRetryTime",
        "",
        concat!("!", is_duration!("self"), " || ", between!("1s", "65535s")),
        "connectRetryTime is not from 1s to 65535s; remove it for 5s",
    ),
    rule(
        PEER,
        "spec.importFilters",
        "",
        "self.all(x, self.exists_one(y, x == y))",
        "importFilters has a name twice; remove one",
    ),
    rule(
        PEER,
        "spec.exportFilters",
        "",
        "self.all(x, self.exists_one(y, x == y))",
        "exportFilters has a name twice; remove one",
    ),
    rule(
        PEER,
        "spec",
        ".stateMessage",
        "!has(self.stateMessage) || (has(self.state) && self.state == 'Down')",
        "stateMessage is only sent when state is Down; set state: Down, or remove it",
    ),
    rule(
        PEER,
        "spec.stateMessage",
        "",
        "size(bytes(self)) <= 255",
        "stateMessage is longer than 255 bytes in UTF-8; shorten it",
    ),
    rule(
        FILTER,
        "spec.rules[].match.prefixes[]",
        ".ge",
        "!has(self.ge) || !isCIDR(self.cidr) || self.ge >= cidr(self.cidr).prefixLength()",
        "ge is shorter than cidr, so it says nothing; raise it",
    ),
    rule(
        FILTER,
        "spec.rules[].match.prefixes[]",
        ".le",
        "!has(self.le) || !isCIDR(self.cidr) || self.le <= (cidr(self.cidr).ip().family() == 4 ? 32 : 128)",
        "le is longer than addresses of the family are; lower it",
    ),
    rule(
        FILTER,
        "spec.rules[].match.prefixes[]",
        ".le",
        "!isCIDR(self.cidr) || (has(self.ge) ? self.ge : cidr(self.cidr).prefixLength()) <= (has(self.le) ? self.le : (cidr(self.cidr).ip().family() == 4 ? 32 : 128))",
        "no length is at least ge and at most le; raise le, or lower ge",
    ),
    rule(
        FILTER,
        "spec.rules[]",
        ".set",
        "self.action != 'Reject' || !has(self.set)",
        "set changes nothing on a route that is refused; remove it",
    ),
    rule(
        CONFIGURATION,
        "",
        "",
        "self.metadata.name == 'default'",
        "metadata.name is not default, and only the BGPConfiguration of that name is read; name it default",
    ),
    rule(
        CONFIGURATION,
        "spec.localASNFrom",
        "",
        "has(self.nodeLabel) != has(self.nodeAnnotation)",
        "localASNFrom needs exactly one of nodeLabel and nodeAnnotation; set one of the two",
    ),
    rule(
        CONFIGURATION,
        "spec.nodeMesh",
        ".routeReflectorSelector",
        "!has(self.routeReflectorSelector) || !has(self.mode) || self.mode != 'Disabled'",
        "routeReflectorSelector has no mesh to reflect in while mode is Disabled; remove it, or set mode: Auto",
    ),
    rule(
        CONFIGURATION,
        "spec.podNetwork.clusterCIDRs[]",
        "",
        "!isCIDR(self) || cidr(self).prefixLength() > 0",
        "clusterCIDRs has a prefix that is every address, not the pods of a cluster; use the one that the pod CIDRs are taken from",
    ),
    rule(
        CONFIGURATION,
        "spec.podNetwork.masquerade.nonMasqueradeCIDRs[]",
        "",
        "!isCIDR(self) || cidr(self).prefixLength() > 0",
        "nonMasqueradeCIDRs has a prefix that is every address, so that nothing would be masqueraded; remove it, or set mode: Disabled",
    ),
];

/// Adds the rules of a kind to the schema of its objects.
pub(super) fn attach(kind: &str, root: &mut Value) {
    for rule in RULES.iter().filter(|rule| rule.kind == kind) {
        let place = find(root, rule.at).and_then(Value::as_object_mut);
        let place = place.unwrap_or_else(|| panic!("{kind} has no {}", rule.at));
        formats::add_rule(place, rule.field, rule.rule, rule.message);
    }
}

fn find<'a>(root: &'a mut Value, at: &str) -> Option<&'a mut Value> {
    let mut here = root;
    for part in at.split('.').filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches("[]");
        here = here.get_mut("properties")?.get_mut(name)?;
        if part.ends_with("[]") {
            here = here.get_mut("items")?;
        }
    }
    Some(here)
}
