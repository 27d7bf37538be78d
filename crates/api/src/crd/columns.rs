//! What `kubectl get` shows of each kind, and with `-o wide`.

use serde_json::{Value, json};

/// A column: its title, type, where its value is, and what it means.
struct Column(&'static str, &'static str, &'static str, &'static str);

const AGE: Column = Column(
    "AGE",
    "date",
    ".metadata.creationTimestamp",
    "Since when the object has been there.",
);

const PEER: [Column; 7] = [
    Column(
        "PEER",
        "string",
        ".spec['peerAddress','discover','listenRange']",
        "The neighbour's address, or where neighbours are found.",
    ),
    Column("ASN", "string", ".spec.peerASN", "The neighbour's ASN."),
    Column(
        "NODES",
        "integer",
        ".status.desiredNodes",
        "How many nodes shall have this neighbour.",
    ),
    Column(
        "UP",
        "integer",
        ".status.establishedNodes",
        "How many of them have it.",
    ),
    Column(
        "READY",
        "string",
        r#".status.conditions[?(@.type=="Established")].status"#,
        "Whether all of them have it.",
    ),
    Column(
        "REASON",
        "string",
        r#".status.conditions[?(@.type=="Established")].reason"#,
        "Why, in a word.",
    ),
    AGE,
];

const PEER_WIDE: [Column; 3] = [
    Column(
        "LOCAL-ASN",
        "integer",
        ".spec.localASN",
        "Our ASN towards it, where the object has one.",
    ),
    Column(
        "RECEIVED",
        "integer",
        ".status.receivedPrefixes",
        "Prefixes received, over all nodes.",
    ),
    Column(
        "INSTALLED",
        "integer",
        ".status.installedPrefixes",
        "Those of them that are in use and allowed into the kernel.",
    ),
];

const CONFIGURATION: [Column; 3] = [
    Column(
        "LOCAL-ASN",
        "integer",
        ".spec.localASN",
        "The ASN of a node that has none of its own.",
    ),
    Column(
        "MESH",
        "string",
        ".spec.nodeMesh.mode",
        "Whether nodes on one link have sessions that no BGPPeer asks for.",
    ),
    AGE,
];

const NODE: [Column; 8] = [
    Column("ASN", "integer", ".status.localASN", "The node's ASN."),
    Column(
        "ROUTER-ID",
        "string",
        ".status.routerID",
        "The node's BGP identifier.",
    ),
    Column(
        "PEERS",
        "integer",
        ".status.desiredPeers",
        "How many sessions it shall have.",
    ),
    Column(
        "UP",
        "integer",
        ".status.establishedPeers",
        "How many of them are Established.",
    ),
    Column(
        "ROUTES",
        "integer",
        ".status.fib.installed",
        "Routes in the kernel.",
    ),
    Column(
        "READY",
        "string",
        r#".status.conditions[?(@.type=="NetworkReady")].status"#,
        "Whether it can serve pods.",
    ),
    Column(
        "REASON",
        "string",
        r#".status.conditions[?(@.type=="NetworkReady")].reason"#,
        "Why, in a word.",
    ),
    AGE,
];

const NODE_WIDE: [Column; 3] = [
    Column("PHASE", "string", ".status.phase", "What the agent is doing."),
    Column(
        "FAILED",
        "integer",
        ".status.fib.failed",
        "Routes that the kernel refused.",
    ),
    Column(
        "DRIFT",
        "integer",
        ".status.fib.drift",
        "Times that another program changed a route of ours.",
    ),
];

/// The columns of a kind.
pub(super) fn of(kind: &str) -> Value {
    let (always, wide): (&[Column], &[Column]) = match kind {
        "BGPPeer" => (&PEER, &PEER_WIDE),
        "BGPConfiguration" => (&CONFIGURATION, &[]),
        "BGPNodeStatus" => (&NODE, &NODE_WIDE),
        _ => (&[AGE], &[]),
    };
    let always = always.iter().map(|column| (column, 0));
    let wide = wide.iter().map(|column| (column, 1));
    always
        .chain(wide)
        .map(|(Column(name, kind, path, description), priority)| {
            json!({"name": name, "type": kind, "jsonPath": path, "description": description, "priority": priority})
        })
        .collect()
}
