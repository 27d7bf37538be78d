//! Label selectors of Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether labels match a selector: all of its labels and all of its expressions. None at all matches everything.
#[must_use]
pub fn matches(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return true };
    selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value))
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|r| requirement(r, labels))
}

/// Whether a selector matches whatever the labels are, for certain.
pub(crate) fn is_all(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().flatten().next().is_none()
        && selector.match_expressions.iter().flatten().next().is_none()
}

fn requirement(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let listed = || value.is_some_and(|v| requirement.values.iter().flatten().any(|x| x == v));
    match requirement.operator.as_str() {
        "In" => listed(),
        // As in Kubernetes: a label that is not there is not in the list either.
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // Validation refuses others; should one come through, it selects nothing.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_saphyr::from_str;

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels: BTreeMap<String, String> = [("rack".to_owned(), "r1".to_owned())].into();
        for (yaml, want) in [
            ("{}", true),
            ("{matchLabels: {rack: r1}}", true),
            ("{matchLabels: {rack: r2}}", false),
            ("{matchLabels: {rack: r1, zone: a}}", false),
            (
                "{matchExpressions: [{key: rack, operator: In, values: [r1, r2]}]}",
                true,
            ),
            (
                "{matchExpressions: [{key: rack, operator: NotIn, values: [r1]}]}",
                false,
            ),
            (
                "{matchExpressions: [{key: zone, operator: NotIn, values: [a]}]}",
                true,
            ),
            (
                "{matchExpressions: [{key: zone, operator: In, values: [a]}]}",
                false,
            ),
            ("{matchExpressions: [{key: rack, operator: Exists}]}", true),
            ("{matchExpressions: [{key: rack, operator: DoesNotExist}]}", false),
            (
                "{matchLabels: {rack: r1}, matchExpressions: [{key: x, operator: Exists}]}",
                false,
            ),
            (
                "{matchExpressions: [{key: rack, operator: Gt, values: ['0']}]}",
                false,
            ),
        ] {
            assert_eq!(matches(Some(&from_str(yaml).unwrap()), &labels), want, "{yaml}");
        }
        assert!(matches(None, &labels));
    }
}
