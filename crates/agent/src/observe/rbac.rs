//! What observing may do: the rules of RBAC that it needs, each with its reason. `deploy/base` grants these, and
//! `docs/api-server.md` lists them; a test holds the page to this table.

use std::fmt;

use super::failure::Verb;

/// The name of the agent's ClusterRole and of its Roles.
const ROLE: &str = "flatroute-agent";

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) place: Place,
    /// The API group; empty for the core group.
    pub(crate) group: &'static str,
    /// Its version, for the path.
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
    /// The one object that is meant, when it is one.
    pub(crate) name: Option<&'static str>,
    pub(crate) verbs: &'static [Verb],
    /// What is asked for.
    pub(crate) what: &'static str,
    /// What becomes of the agent without it.
    pub(crate) without: &'static str,
}

/// Where a rule is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Cluster,
    OwnNamespace,
    Namespace(&'static str),
}

const FOLLOW: &[Verb] = &[Verb::List, Verb::Watch];
const NO_PLAN: &str = "nothing new is planned";

const fn ours(resource: &'static str, what: &'static str) -> Rule {
    Rule {
        place: Place::Cluster,
        group: "flatroute.io",
        version: "v1alpha1",
        resource,
        name: None,
        verbs: FOLLOW,
        what,
        without: NO_PLAN,
    }
}

pub(crate) const PEERS: Rule = ours("bgppeers", "the neighbours");
pub(crate) const FILTERS: Rule = ours("bgpfilters", "the filters of the neighbours");
pub(crate) const CONFIGURATIONS: Rule = ours("bgpconfigurations", "what all neighbours share");
pub(crate) const NODES: Rule = Rule {
    place: Place::Cluster,
    group: "",
    version: "v1",
    resource: "nodes",
    name: None,
    verbs: FOLLOW,
    what: "pod CIDRs, addresses, labels and annotations of the own Node, and of the others where the plan needs them",
    without: NO_PLAN,
};
pub(crate) const SECRETS: Rule = Rule {
    place: Place::OwnNamespace,
    group: "",
    version: "v1",
    resource: "secrets",
    name: None,
    verbs: FOLLOW,
    what: "the keys of sessions; only Secrets that a neighbour of the node names, each by its name",
    without: "sessions with a key keep the one that is known, or are held down",
};
pub(crate) const KUBEADM: Rule = Rule {
    place: Place::Namespace("kube-system"),
    group: "",
    version: "v1",
    resource: "configmaps",
    name: Some("kubeadm-config"),
    verbs: &[Verb::Get],
    what: "the pod CIDRs of a cluster that kubeadm has made",
    without: "they are those of BGPConfiguration, or made of all Nodes'",
};
pub(crate) const API_SERVERS: Rule = Rule {
    place: Place::Namespace("default"),
    group: "discovery.k8s.io",
    version: "v1",
    resource: "endpointslices",
    name: Some("kubernetes"),
    verbs: &[Verb::Get],
    what: "the addresses of all API servers, which no learned route may take away",
    without: "only the address that the agent itself uses is protected",
};

/// All that is asked of the API server by observing.
#[cfg(test)]
const RULES: [&Rule; 7] = [
    &PEERS,
    &FILTERS,
    &CONFIGURATIONS,
    &NODES,
    &SECRETS,
    &KUBEADM,
    &API_SERVERS,
];

impl Rule {
    /// `bgppeers.flatroute.io`; `nodes`.
    pub(crate) fn full_name(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }

    /// The path of the resource on the server.
    pub(crate) fn path(&self, own_namespace: &str) -> String {
        let start = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        let resource = self.resource;
        match self.place {
            Place::Cluster => format!("{start}/{resource}"),
            Place::OwnNamespace => format!("{start}/namespaces/{own_namespace}/{resource}"),
            Place::Namespace(namespace) => format!("{start}/namespaces/{namespace}/{resource}"),
        }
    }

    /// What to do when a verb is missing.
    pub(crate) fn remedy(&self, verb: Verb) -> String {
        let group = match self.group {
            "" => "the core group",
            group => group,
        };
        let resource = self.resource;
        format!(
            "add the verb {verb} on {resource} of {group} to {}, or apply deploy/base again",
            self.place
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => write!(f, "the ClusterRole {ROLE}"),
            Self::OwnNamespace => write!(f, "the Role {ROLE} of the agent's own namespace"),
            Self::Namespace(namespace) => write!(f, "the Role {ROLE} in the namespace {namespace}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table in the page.
    #[test]
    fn the_page_says_what_is_asked_for() {
        let page = include_str!("../../../../docs/api-server.md");
        for rule in RULES {
            let verbs: Vec<&str> = rule.verbs.iter().map(|verb| verb.as_str()).collect();
            let named = rule.name.map(|name| format!(" `{name}`")).unwrap_or_default();
            let row = format!(
                "| {} | `{}`{named} | {} | {} | {} |",
                rule.place,
                rule.full_name(),
                verbs.join(", "),
                rule.what,
                rule.without
            );
            assert!(page.contains(&row), "docs/api-server.md lacks this row:\n{row}");
        }
    }

    /// All rules of a kind of role in `deploy/base`, as YAML values, with the namespace of the role.
    fn granted() -> Vec<(Option<String>, serde_json::Value)> {
        let text = include_str!("../../../../deploy/base/rbac.yaml");
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text).unwrap();
        let roles = documents
            .into_iter()
            .filter(|d| d["kind"] == "ClusterRole" || d["kind"] == "Role");
        let rules = roles.flat_map(|role| {
            let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
            let rules = role["rules"].as_array().cloned().unwrap_or_default();
            rules.into_iter().map(move |rule| (namespace.clone(), rule))
        });
        rules.collect()
    }

    #[test]
    fn what_is_asked_for_is_granted_by_deploy_base() {
        let granted = granted();
        let has = |list: &serde_json::Value, what: &str| {
            list.as_array().into_iter().flatten().any(|item| item == what)
        };
        for rule in RULES {
            let namespace = match rule.place {
                Place::Cluster => None,
                Place::OwnNamespace => Some("flatroute-system"),
                Place::Namespace(namespace) => Some(namespace),
            };
            let is_it = |(place, granted): &&(Option<String>, serde_json::Value)| {
                place.as_deref() == namespace
                    && has(&granted["apiGroups"], rule.group)
                    && has(&granted["resources"], rule.resource)
                    && rule.name.is_none_or(|name| has(&granted["resourceNames"], name))
                    && rule
                        .verbs
                        .iter()
                        .all(|verb| has(&granted["verbs"], verb.as_str()))
            };
            assert!(granted.iter().any(|rule| is_it(&rule)), "{rule:?}");
        }
    }
}
