//! How keys of `runtimeConfig` are spelt.
//!
//! The conventions of CNI write `hostPort`; containerd, whose Go types have no names for JSON, sends `HostPort`, and
//! plugins written in Go do not notice, because their decoder takes a key in any case. So what runtimes make is read in any
//! case here too, and only there: what people write has one spelling.

use serde_json::{Map, Value};

/// The keys of what a capability asks for, by the capability. What users name themselves (annotations, aliases) is not touched.
const KEYS: [(&str, &[&str]); 4] = [
    (
        "portMappings",
        &["hostPort", "containerPort", "protocol", "hostIP"],
    ),
    (
        "bandwidth",
        &["ingressRate", "ingressBurst", "egressRate", "egressBurst"],
    ),
    ("ipRanges", &["subnet", "rangeStart", "rangeEnd", "gateway"]),
    ("dns", &["servers", "searches", "options"]),
];

/// Gives the keys of `runtimeConfig` in a network configuration the spelling of the conventions.
pub(super) fn conventional(configuration: &mut Value) {
    let Some(runtime) = configuration
        .get_mut("runtimeConfig")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (capability, keys) in KEYS {
        if let Some(asked) = runtime.get_mut(capability) {
            respell(asked, keys);
        }
    }
}

fn respell(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| respell(item, keys)),
        Value::Object(object) => {
            let all: Map<String, Value> = std::mem::take(object)
                .into_iter()
                .map(|(key, value)| {
                    let known = keys.iter().find(|known| known.eq_ignore_ascii_case(&key));
                    (known.map_or(key, |known| (*known).to_owned()), value)
                })
                .collect();
            *object = all;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_runtimes_make_is_read_in_any_case_and_what_people_write_is_not() {
        // As containerd writes it.
        let mut given = json!({
            "name": "pods", "MTU": 1400,
            "runtimeConfig": {
                "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}],
                "bandwidth": {"IngressRate": 1, "IngressBurst": 2, "EgressRate": 3, "EgressBurst": 4},
                "ipRanges": [[{"Subnet": "10.0.0.0/24", "RangeStart": "", "RangeEnd": "", "Gateway": ""}]],
                "dns": {"Servers": ["10.96.0.10"], "Searches": null, "Options": null},
                "io.kubernetes.cri.pod-annotations": {"HostPort": "kept"},
                "mac": "02:00:00:00:00:01",
            },
        });
        conventional(&mut given);
        let want = json!({
            "name": "pods", "MTU": 1400,
            "runtimeConfig": {
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}],
                "bandwidth": {"ingressRate": 1, "ingressBurst": 2, "egressRate": 3, "egressBurst": 4},
                "ipRanges": [[{"subnet": "10.0.0.0/24", "rangeStart": "", "rangeEnd": "", "gateway": ""}]],
                "dns": {"servers": ["10.96.0.10"], "searches": null, "options": null},
                "io.kubernetes.cri.pod-annotations": {"HostPort": "kept"},
                "mac": "02:00:00:00:00:01",
            },
        });
        assert_eq!(given, want);
    }

    #[test]
    fn what_has_another_shape_stays_for_who_reads_it() {
        for text in [
            json!({"runtimeConfig": "none"}),
            json!({"runtimeConfig": {"portMappings": "8080:80", "bandwidth": 5, "dns": null}}),
            json!({"runtimeConfig": {"portMappings": [[{"Port": 1}], 7]}}),
            json!({}),
        ] {
            let mut given = text.clone();
            conventional(&mut given);
            assert_eq!(given, text);
        }
    }
}
