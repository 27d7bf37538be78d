//! What a schema cannot say: fields that exclude each other or need each other, values that only make sense
//! together. One pure function a kind, from an object to its problems; they expect a value that
//! [`mod@crate::structure`] has let through, and are as true for an object from the API server as for a manifest.

mod peer;

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub use peer::peer;

use crate::objects::{BGPConfigurationSpec, BGPFilterSpec, Kind, Node, NodeMeshMode};
use crate::problem::{Problem, ProblemReason};
use crate::values::Cidr;
use crate::{CONFIGURATION_NAME, annotations};

struct Report<'a> {
    kind: Kind,
    name: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    fn new(kind: Kind, name: &'a str) -> Self {
        Self {
            kind,
            name,
            problems: Vec::new(),
        }
    }

    fn add(&mut self, field: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(
            self.kind.as_str(),
            self.name,
            field,
            message,
            remedy,
        ));
    }

    fn required(&mut self, field: &str, message: &str, remedy: &str) {
        let problem = Problem::new(self.kind.as_str(), self.name, field, message, remedy);
        self.problems.push(problem.because(ProblemReason::Required));
    }
}

/// The problem with the name of an object, if there is one: Kubernetes wants a DNS subdomain (RFC 1123).
#[must_use]
pub fn name(kind: Kind, name: &str) -> Option<Problem> {
    if crate::values::is_object_name(name) {
        return None;
    }
    Some(Problem::new(
        kind.as_str(),
        name,
        "metadata.name",
        "not a name that Kubernetes takes",
        "use lower-case letters, digits, '-' and '.', such as rack1-tor-a",
    ))
}

fn label_selector(report: &mut Report<'_>, field: &str, selector: &LabelSelector) {
    for (i, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let empty = requirement.values.as_ref().is_none_or(Vec::is_empty);
        let at = format!("{field}.matchExpressions[{i}]");
        match requirement.operator.as_str() {
            "In" | "NotIn" if empty => report.add(at, "has no values", "add some"),
            "Exists" | "DoesNotExist" if !empty => {
                report.add(
                    at,
                    format!("{} takes no values", requirement.operator),
                    "remove them",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => report.add(
                at,
                format!("\"{other}\" is not one of In, NotIn, Exists, DoesNotExist"),
                "choose one of them",
            ),
        }
    }
}

/// The problems of a BGPFilter.
#[must_use]
pub fn filter(name: &str, spec: &BGPFilterSpec) -> Vec<Problem> {
    let mut report = Report::new(Kind::BGPFilter, name);
    for (i, rule) in spec.rules.iter().enumerate() {
        for (j, range) in rule
            .matches
            .iter()
            .flat_map(|m| m.prefixes.iter().flatten())
            .enumerate()
        {
            let at = format!("spec.rules[{i}].match.prefixes[{j}]");
            let len = range.cidr.0.prefix();
            let longest = if range.cidr.0.is_ipv4() { 32 } else { 128 };
            let ge = range.ge.unwrap_or(len);
            let le = range.le.unwrap_or(if range.ge.is_some() { longest } else { len });
            if ge < len {
                report.add(
                    format!("{at}.ge"),
                    format!("{ge} is shorter than {}", range.cidr),
                    "raise it",
                );
            } else if le > longest {
                report.add(
                    format!("{at}.le"),
                    format!("{le} is longer than {longest}"),
                    "lower it",
                );
            } else if le < ge {
                report.add(
                    format!("{at}.le"),
                    format!("no length is at least {ge} and at most {le}"),
                    "raise le, or lower ge",
                );
            }
        }
        if rule.action == crate::objects::FilterAction::Reject && rule.set.is_some() {
            report.add(
                format!("spec.rules[{i}].set"),
                "changes nothing on a route that is refused",
                "remove it",
            );
        }
    }
    report.problems
}

/// The problems of a BGPConfiguration.
#[must_use]
pub fn configuration(name: &str, spec: &BGPConfigurationSpec) -> Vec<Problem> {
    let mut report = Report::new(Kind::BGPConfiguration, name);
    if name != CONFIGURATION_NAME {
        report.add(
            "metadata.name",
            format!("only the object named {CONFIGURATION_NAME} is read"),
            format!("name it {CONFIGURATION_NAME}"),
        );
    }
    if let Some(from) = &spec.local_asn_from
        && from.node_label.is_some() == from.node_annotation.is_some()
    {
        report.add(
            "spec.localASNFrom",
            "needs exactly one of nodeLabel and nodeAnnotation",
            "set one of the two",
        );
    }
    if let Some(mesh) = &spec.node_mesh
        && let Some(selector) = &mesh.route_reflector_selector
    {
        if mesh.mode == Some(NodeMeshMode::Disabled) {
            report.add(
                "spec.nodeMesh.routeReflectorSelector",
                "there is no mesh to reflect in while mode is Disabled",
                "remove it, or set mode: Auto",
            );
        }
        label_selector(&mut report, "spec.nodeMesh.routeReflectorSelector", selector);
    }
    if let Some(cidrs) = spec.pod_network.as_ref().and_then(|n| n.cluster_cidrs.as_ref()) {
        for (i, cidr) in cidrs.iter().enumerate() {
            if cidr.0.prefix() == 0 {
                report.add(
                    format!("spec.podNetwork.clusterCIDRs[{i}]"),
                    format!("{cidr} is every address, not the pods of a cluster"),
                    "use the prefix that the pod CIDRs are taken from",
                );
            }
        }
    }
    let masquerade = spec.pod_network.as_ref().and_then(|n| n.masquerade.as_ref());
    for (i, cidr) in masquerade
        .and_then(|m| m.non_masquerade_cidrs.as_ref())
        .into_iter()
        .flatten()
        .enumerate()
    {
        if cidr.0.prefix() == 0 {
            report.add(
                format!("spec.podNetwork.masquerade.nonMasqueradeCIDRs[{i}]"),
                format!("{cidr} is every address: nothing would be masqueraded"),
                "remove it, or set mode: Disabled",
            );
        }
    }
    report.problems
}

/// The problems of a Node: what stands in the fields and annotations that are read.
#[must_use]
pub fn node(name: &str, node: &Node) -> Vec<Problem> {
    let mut report = Report::new(Kind::Node, name);
    for cidr in node.pod_cidrs() {
        if let Err(message) = cidr.parse::<Cidr>() {
            report.add("spec.podCIDRs", message, "correct it");
        }
    }
    for (i, address) in node.status.addresses.iter().flatten().enumerate() {
        if address.kind == "InternalIP" && address.address.parse::<IpAddr>().is_err() {
            report.add(
                format!("status.addresses[{i}].address"),
                format!("\"{}\" is not an IP address", address.address),
                "correct it",
            );
        }
    }
    let at = |key: &str| format!("metadata.annotations[{key}]");
    if let Some(Err(message)) = node.annotation(annotations::ASN).map(annotations::parse_asn) {
        report.add(
            at(annotations::ASN),
            message,
            "correct it, or remove the annotation",
        );
    }
    if let Some(Err(message)) = node
        .annotation(annotations::ROUTER_ID)
        .map(annotations::parse_router_id)
    {
        report.add(
            at(annotations::ROUTER_ID),
            message,
            "correct it, or remove the annotation",
        );
    }
    if let Some(Err(message)) = node
        .annotation(annotations::CLUSTER_ID)
        .map(annotations::parse_cluster_id)
    {
        report.add(
            at(annotations::CLUSTER_ID),
            message,
            "correct it, or remove the annotation",
        );
    }
    report.problems
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
