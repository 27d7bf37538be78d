//! Fields and values that belong to the API but whose behaviour this version does not have.
//!
//! They are listed by name and not typed: nothing in the program can read them, so none can be accepted and
//! then do nothing. A field of which only the default works is one of them. Whoever adds the behaviour adds the field to the type and takes its line out of here; a
//! test sees to it that no field is in both places.

use crate::objects::Kind;

/// Fields, by kind and path; `[]` stands for any element of a list.
pub const FIELDS: &[(Kind, &str)] = &[
    (Kind::BGPPeer, "spec.auth.tcpAO"),
    (Kind::BGPPeer, "spec.bfd"),
    (Kind::BGPConfiguration, "spec.routerIDFrom"),
    (Kind::BGPConfiguration, "spec.drain"),
    (Kind::BGPConfiguration, "spec.communities"),
];

/// Values of fields that exist, by kind and path.
pub const VALUES: &[(Kind, &str, &[&str])] = &[(
    Kind::BGPPeer,
    "spec.advertise[]",
    &[
        "ServiceLoadBalancerIPs",
        "ServiceExternalIPs",
        "ServiceClusterIPs",
    ],
)];

/// Kinds of manifests that belong to the API but are not read yet.
pub const KINDS: &[&str] = &["Service", "EndpointSlice"];

/// Whether a field is one of [`FIELDS`]. `path` may have indices in its brackets.
#[must_use]
pub fn field(kind: Kind, path: &str) -> bool {
    let path = without_indices(path);
    FIELDS.iter().any(|(k, p)| *k == kind && *p == path)
}

/// Whether a value of a field is one of [`VALUES`].
#[must_use]
pub fn value(kind: Kind, path: &str, value: &str) -> bool {
    let path = without_indices(path);
    VALUES
        .iter()
        .any(|(k, p, values)| *k == kind && *p == path && values.contains(&value))
}

/// The names of the unsupported fields directly under a path, for suggestions.
pub(crate) fn siblings<'a>(kind: Kind, parent: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let parent = without_indices(parent);
    FIELDS
        .iter()
        .filter(move |(k, _)| *k == kind)
        .filter_map(move |(_, p)| {
            let (above, last) = p.rsplit_once('.')?;
            (above == parent).then_some(last)
        })
}

fn without_indices(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => {
                inside = true;
                out.push(c);
            }
            ']' => {
                inside = false;
                out.push(c);
            }
            _ if inside => {}
            c => out.push(c),
        }
    }
    out
}
