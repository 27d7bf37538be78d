//! `flatroute-agent check`: all that is wrong with manifests, without a network and without an API server.
//!
//! After the objects themselves it looks at how they fit together, by planning for every Node that is among
//! them: filters and Secrets that are named and not there, two peers with one address. What only the machine or the
//! cluster knows, such as the names of interfaces or which Nodes there will be, is not judged.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use flatroute_api::manifest::Merged;
use flatroute_api::{ClusterState, Kind, Problem, ProblemReason};
use flatroute_plan::{Facts, Gateway, Links, Listing, plan};

use crate::observe::files;

/// What `check` prints, and whether all is well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) lines: Vec<String>,
    pub(crate) fine: bool,
}

pub(crate) fn main(path: &Path) -> ExitCode {
    match check(path) {
        Ok(outcome) => {
            for line in outcome.lines {
                println!("{line}");
            }
            if outcome.fine {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("flatroute-agent check: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// Checks a directory or a file.
pub(crate) fn check(path: &Path) -> std::io::Result<Outcome> {
    let merged = files::read_once(path)?;
    let count = merged.state.len();
    let mut problems: BTreeSet<Problem> = merged.problems.iter().cloned().collect();
    problems.extend(together(merged));
    if problems.is_empty() {
        let objects = if count == 1 { "object" } else { "objects" };
        return Ok(Outcome {
            lines: vec![format!("{count} {objects}, no problems")],
            fine: true,
        });
    }
    Ok(Outcome {
        lines: problems.iter().map(ToString::to_string).collect(),
        fine: false,
    })
}

/// What is wrong with the objects together.
fn together(merged: Merged) -> Vec<Problem> {
    let Merged {
        state,
        places,
        problems: _,
    } = merged;
    let mut nodes: Vec<String> = state.nodes.keys().cloned().collect();
    if nodes.is_empty() {
        nodes.push("any".to_owned());
    }
    let mut listing = Listing::of(ClusterState::default(), ["manifests"]);
    listing.listed("manifests", |empty| *empty = state);
    let Ok(synced) = listing.synced() else {
        return Vec::new();
    };
    // One that is documentation's stands for those that a machine has, so that a discovery is planned too.
    let gateway = Gateway {
        address: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
        interface: None,
        protocol: 0,
    };
    let facts = Facts {
        links: Links {
            default_gateways: [gateway].into(),
            ..Links::default()
        },
        ..Facts::default()
    };
    let of_the_machine = [
        ProblemReason::ClusterCIDRsUnknown,
        ProblemReason::NodeNotFound,
        ProblemReason::InterfaceNotFound,
        ProblemReason::NoMatchingNodes,
        ProblemReason::NoRouterAdvertisement,
    ];
    let found = nodes.iter().flat_map(|node| plan(node, &synced, &facts).problems);
    found
        .filter(|p| !of_the_machine.contains(&p.reason))
        .map(|p| {
            let kind = Kind::ALL.into_iter().find(|k| k.as_str() == p.kind);
            let place = kind.and_then(|k| places.get(&(k, String::new(), p.name.clone())).cloned());
            Problem { place, ..p }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discovered_or_selected_is_judged_without_a_machine() {
        let dir = tempfile::tempdir().unwrap();
        let object = |name: &str, spec: &str| {
            format!(
                "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec: {spec}\n"
            )
        };
        let good = object("tors", "{discover: DefaultGateways, peerASN: External}")
            + &object("nodes", "{peerSelector: {}}")
            + "---\napiVersion: flatroute.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {nodeMesh: {mode: Auto}}\n";
        std::fs::write(dir.path().join("a.yaml"), &good).unwrap();
        assert_eq!(check(dir.path()).unwrap().lines, ["3 objects, no problems"]);
        let bad =
            good + &object(
                "tors-too",
                "{discover: DefaultGateways, peerASN: 65001, importFilters: [gone]}",
            ) + &object(
                "both",
                "{discover: DefaultGateways, peerAddress: 10.0.1.1, peerASN: 65001}",
            );
        std::fs::write(dir.path().join("a.yaml"), &bad).unwrap();
        let lines = check(dir.path()).unwrap().lines;
        let at = dir.path().join("a.yaml").display().to_string();
        assert_eq!(
            lines,
            [
                format!(
                    "{at}:4:17: BGPPeer/tors-too: spec.discover: on node any BGPPeer/tors has 192.0.2.1 too, and is the one in use; remove one of the two, or make their selectors exclude each other"
                ),
                format!(
                    "{at}:5:25: BGPPeer/both: spec.discover: excludes peerAddress; set exactly one of peerAddress, interface, discover, peerSelector and listenRange"
                ),
            ]
        );
    }

    const GOOD: &str = "apiVersion: flatroute.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: tor-a}\nspec: {peerAddress: 10.0.1.1, peerASN: 65001}\n";

    #[test]
    fn good_manifests_are_counted_and_bad_ones_explained() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), GOOD).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "kind: [").unwrap();
        let outcome = check(dir.path()).unwrap();
        assert_eq!(
            outcome,
            Outcome {
                lines: vec!["1 object, no problems".to_owned()],
                fine: true
            }
        );

        let bad = GOOD
            .replace("tor-a", "tor-b")
            .replace("65001}", "65001, peerPrt: 1}");
        std::fs::write(dir.path().join("b.yaml"), format!("{GOOD}---\n{bad}")).unwrap();
        let same = GOOD
            .replace("tor-a", "tor-c")
            .replace("65001}", "65001, importFilters: [gone]}");
        std::fs::write(dir.path().join("c.yaml"), &same).unwrap();
        let same = GOOD.replace("tor-a", "tor-d");
        std::fs::write(dir.path().join("d.yaml"), &same).unwrap();
        let outcome = check(dir.path()).unwrap();
        let at = |file: &str| dir.path().join(file).display().to_string();
        assert_eq!(
            outcome.lines,
            [
                format!(
                    "{}:1:1: BGPPeer/tor-a: metadata.name: is there twice: first at {}:1:1; remove one of the two",
                    at("b.yaml"),
                    at("a.yaml")
                ),
                format!(
                    "{}:2:9: BGPPeer/tor-b: spec.peerPrt: unknown field; did you mean peerPort? Otherwise remove it",
                    at("b.yaml")
                ),
                format!(
                    "{}:1:1: BGPPeer/tor-c: spec.importFilters[0]: there is no BGPFilter gone: the peer is left out; add the filter, or remove its name",
                    at("c.yaml")
                ),
                format!(
                    "{}:1:1: BGPPeer/tor-d: spec.peerAddress: on node any BGPPeer/tor-a has 10.0.1.1 too, and is the one in use; remove one of the two, or make their nodeSelectors exclude each other",
                    at("d.yaml")
                ),
            ]
        );
        assert!(!outcome.fine);
        // One file alone.
        assert!(check(&dir.path().join("a.yaml")).unwrap().fine);
        assert!(check(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn a_key_that_is_not_there_and_a_secret_that_all_may_read_are_explained() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let at = |file: &str| dir.path().join(file).display().to_string();
        let mode = |mode| {
            let file = dir.path().join("s.yaml");
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let signed = GOOD.replace("65001}", "65001, auth: {md5: {secretRef: {name: tor}}}}");
        std::fs::write(dir.path().join("a.yaml"), signed).unwrap();
        assert_eq!(
            check(dir.path()).unwrap().lines,
            [format!(
                "{}:1:1: BGPPeer/tor-a: spec.auth.md5.secretRef.name: there is no Secret tor; the session is held down; add it, or correct the name",
                at("a.yaml")
            )]
        );
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: tor}\nstringData: {md5: hunter2}\n";
        std::fs::write(dir.path().join("s.yaml"), secret).unwrap();
        mode(0o644);
        assert_eq!(
            check(dir.path()).unwrap().lines,
            [
                format!(
                    "{}:1:1: BGPPeer/tor-a: spec.auth.md5.secretRef.key: Secret tor has no key password; the session is held down; add it to the Secret, or name the one that is meant, such as md5",
                    at("a.yaml")
                ),
                format!(
                    "{0}:1:1: Secret/tor: stands in a file that every user of this machine may read (mode 0644); chmod 600 {0}",
                    at("s.yaml")
                ),
            ]
        );
        std::fs::write(dir.path().join("s.yaml"), secret.replace("md5", "password")).unwrap();
        mode(0o640);
        assert!(check(dir.path()).unwrap().fine);
    }

    #[test]
    fn a_file_that_is_not_text_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), [0xff, 0xfe, 0x00]).unwrap();
        let outcome = check(dir.path()).unwrap();
        assert!(
            !outcome.fine && outcome.lines[0].contains("not UTF-8"),
            "{outcome:?}"
        );
    }
}
