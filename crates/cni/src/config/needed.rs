//! Which keys a verb needs.
//!
//! DEL should complete whatever else is wrong (CNI 1.1.0 §2, "DEL"): a pod that cannot be deleted keeps its node busy for
//! ever. It works with the name, the state directory and the identity, and so does GC, with its list beside them. All other keys
//! are left out before anything is read, so none of them can be in the way with a wrong type. Without `hostInterfacePrefix`
//! a link is found by the addresses that the files say.

use serde_json::Value;

use super::is_prefix;
use crate::invocation::Verb;

/// What removes needs to know.
const OF_REMOVAL: [&str; 5] = ["cniVersion", "name", "stateDir", "hostInterfacePrefix", "ipam"];
/// What GC needs in addition.
const OF_GC: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// Leaves the keys in a network configuration that `verb` needs.
pub(super) fn keep(verb: Verb, configuration: &mut Value) {
    let more: &[&str] = match verb {
        Verb::Del => &[],
        Verb::Gc => &OF_GC,
        Verb::Add | Verb::Check | Verb::Status | Verb::Version => return,
    };
    let Some(keys) = configuration.as_object_mut() else {
        return;
    };
    keys.retain(|key, value| match key.as_str() {
        // One that no ADD can have had.
        "hostInterfacePrefix" => value.as_str().is_some_and(is_prefix),
        "ipam" => value.is_object(),
        key => OF_REMOVAL.contains(&key) || more.contains(&key),
    });
}
