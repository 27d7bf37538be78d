//! What the result says about DNS.
//!
//! The configuration's word (`runtimeConfig.dns`, else `dns`) counts before that of a plugin for addresses. What a plugin before us in the
//! chain said stays in any case: our lists are appended to its lists, our `domain` counts where it has none.

use serde_json::{Map, Value};

use crate::config::Config;

/// `dns` of the result; `given` is what a plugin for addresses said.
pub(crate) fn of(config: &Config, given: Option<&Map<String, Value>>) -> Value {
    let said = |value: &Value| value.as_object().is_some_and(|object| !object.is_empty());
    let ours = config.dns();
    let ours = match given {
        Some(given) if !said(&ours) => Value::Object(given.clone()),
        Some(_) | None => ours,
    };
    match config.prev_result().and_then(|result| result.get("dns")) {
        Some(previous) if said(previous) => merged(previous, &ours),
        Some(_) | None => ours,
    }
}

fn merged(previous: &Value, ours: &Value) -> Value {
    let mut merged = previous.as_object().cloned().unwrap_or_default();
    for (key, value) in ours.as_object().into_iter().flatten() {
        match (merged.get_mut(key), value) {
            (Some(Value::Array(before)), Value::Array(list)) => {
                for entry in list {
                    if !before.contains(entry) {
                        before.push(entry.clone());
                    }
                }
            }
            (Some(Value::Null) | None, _) => {
                merged.insert(key.clone(), value.clone());
            }
            (Some(_), _) => {}
        }
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::of;
    use crate::config::Config;
    use crate::invocation::Verb;

    fn dns(previous: &Value, conf: &Value, given: &Value) -> Value {
        let conf = json!({"cniVersion": "1.1.0", "name": "n", "prevResult": {"dns": previous}, "dns": conf});
        let config = Config::read(Verb::Add, conf.to_string().as_bytes()).expect("a configuration");
        of(&config, given.as_object())
    }

    #[test]
    fn the_configuration_counts_before_ipam_and_behind_the_chain() {
        let none = json!({});
        let (conf, given) = (
            json!({"nameservers": ["10.0.0.1"], "domain": "a"}),
            json!({"nameservers": ["10.0.0.2"]}),
        );
        assert_eq!(dns(&none, &conf, &given), conf);
        assert_eq!(dns(&none, &none, &given), given);
        assert_eq!(dns(&none, &none, &Value::Null), none);
        let before = json!({"nameservers": ["10.0.0.9", "10.0.0.1"], "domain": "b", "search": ["x"]});
        assert_eq!(dns(&before, &none, &Value::Null), before);
        assert_eq!(dns(&before, &conf, &given), before, "its own are there already");
        assert_eq!(
            dns(&before, &none, &given),
            json!({"nameservers": ["10.0.0.9", "10.0.0.1", "10.0.0.2"], "domain": "b", "search": ["x"]})
        );
        assert_eq!(dns(&Value::Null, &conf, &none), conf);
    }
}
