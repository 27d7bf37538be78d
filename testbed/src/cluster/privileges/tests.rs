use super::*;

const RBAC: &str = "
kind: ClusterRole
metadata: {name: flatroute-agent}
rules:
- {apiGroups: [flatroute.io], resources: [bgppeers], verbs: [list, watch]}
- {apiGroups: [flatroute.io], resources: [bgpnodestatuses], verbs: [create, patch]}
---
kind: Role
metadata: {name: flatroute-agent, namespace: flatroute-system}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [flatroute-peer-status], verbs: [update]}
---
kind: RoleBinding
metadata: {name: flatroute-agent}
";

/// A request: verb, group, resource, namespace, name, answer.
fn request(of: [&str; 5], code: u16) -> Request {
    let [verb, group, resource, namespace, name] = of.map(str::to_owned);
    Request {
        verb,
        group,
        resource,
        namespace,
        name,
        code,
        uri: "/x".to_owned(),
        at: "t".to_owned(),
        pod: "p".to_owned(),
        why: "because".to_owned(),
    }
}

fn requests(all: Vec<Request>) -> Requests {
    Requests { all, torn: 0 }
}

fn used(rights: &BTreeSet<Right>, requests: &Requests) -> Vec<String> {
    let uses = uses(rights, requests);
    let used = uses.into_iter().filter(|(_, count)| *count > 0);
    used.map(|(right, _)| right.to_string()).collect()
}

#[test]
fn rights_are_verbs_on_resources_and_on_single_objects() {
    let words: Vec<String> = rights(RBAC).unwrap().iter().map(ToString::to_string).collect();
    let want = [
        "create bgpnodestatuses.flatroute.io",
        "patch bgpnodestatuses.flatroute.io",
        "list bgppeers.flatroute.io",
        "watch bgppeers.flatroute.io",
        "update leases.coordination.k8s.io flatroute-peer-status in flatroute-system",
    ];
    assert_eq!(words, want);
}

#[test]
fn an_apply_that_makes_the_object_uses_two_rights() {
    let rights = rights(RBAC).unwrap();
    for (code, want) in [
        (200, vec!["patch bgpnodestatuses.flatroute.io"]),
        (
            201,
            vec![
                "create bgpnodestatuses.flatroute.io",
                "patch bgpnodestatuses.flatroute.io",
            ],
        ),
        (403, vec![]),
    ] {
        let of = ["patch", "flatroute.io", "bgpnodestatuses", "", "n1"];
        assert_eq!(used(&rights, &requests(vec![request(of, code)])), want, "{code}");
    }
}

#[test]
fn what_no_right_covers_is_seen_whatever_became_of_it() {
    let rights = rights(RBAC).unwrap();
    let fine = request(["watch", "flatroute.io", "bgppeers", "", ""], 200);
    let named = [
        "update",
        "coordination.k8s.io",
        "leases",
        "flatroute-system",
        "flatroute-peer-status",
    ];
    let lease = request(named, 409);
    let all = requests(vec![
        fine,
        lease,
        // Another verb, another object, another namespace, another subresource, and no resource at all.
        request(["get", "flatroute.io", "bgppeers", "", "tor"], 200),
        request(
            [
                "update",
                "coordination.k8s.io",
                "leases",
                "flatroute-system",
                "other",
            ],
            403,
        ),
        request(
            [
                "update",
                "coordination.k8s.io",
                "leases",
                "default",
                "flatroute-peer-status",
            ],
            200,
        ),
        request(["patch", "flatroute.io", "bgpnodestatuses/status", "", "n1"], 200),
        request(["get", "", "", "", ""], 200),
    ]);
    assert_eq!(beyond(&rights, &all).len(), 5);
    let [refused] = forbidden(&all)[..] else {
        panic!("{all:?}")
    };
    assert_eq!(refused.to_string(), "update /x → 403 (at t, by p; because)");
    assert_eq!(used(&rights, &all).len(), 2);
}

#[test]
fn the_roles_of_deploy_base_are_read() {
    let granted = granted().unwrap();
    assert!(granted.len() > 20, "{granted:?}");
}
