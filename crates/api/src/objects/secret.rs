//! Secret, the core kind: only its values, which nothing here can print.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use serde_json::{Map, Value};

/// A Secret: octets by key, from `data` (base64) and `stringData` (as they are; they win).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    values: BTreeMap<String, SecretValue>,
}

/// Octets that are never shown: `Debug` and `Display` say that there are some, and no more.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Box<[u8]>);

/// What is wrong with a field of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: String,
    pub(crate) message: &'static str,
    pub(crate) remedy: &'static str,
}

impl Secret {
    /// Reads `data` and `stringData` of an object. What is wrong is told without a word of the values.
    pub(crate) fn read(object: &Map<String, Value>) -> Result<Self, Vec<Fault>> {
        let mut secret = Self::default();
        let mut faults = Vec::new();
        for (field, read) in [
            ("data", from_base64 as fn(&str) -> Option<Vec<u8>>),
            ("stringData", |text: &str| Some(text.as_bytes().to_vec())),
        ] {
            let mut fault = |field: String, message, remedy| {
                faults.push(Fault {
                    field,
                    message,
                    remedy,
                });
            };
            let values = match object.get(field) {
                None | Some(Value::Null) => continue,
                Some(Value::Object(values)) => values,
                Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                    fault(field.to_owned(), "is no mapping of keys to values", "correct it");
                    continue;
                }
            };
            for (key, value) in values {
                let at = format!("{field}.{key}");
                match value {
                    Value::String(text) => match read(text) {
                        Some(octets) => {
                            _ = secret
                                .values
                                .insert(key.clone(), SecretValue(octets.into_boxed_slice()));
                        }
                        None => fault(
                            at,
                            "is not base64",
                            "encode it by printf %s PASSWORD | base64, or put it into stringData as it is",
                        ),
                    },
                    // Kubernetes has it so: a key without a value.
                    Value::Null => _ = secret.values.insert(key.clone(), SecretValue(Box::default())),
                    Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                        fault(at, "is not a string", "put the value into quotes");
                    }
                }
            }
        }
        if faults.is_empty() {
            Ok(secret)
        } else {
            Err(faults)
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&SecretValue> {
        self.values.get(key)
    }

    /// The keys, which are not secret.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

impl SecretValue {
    /// The octets, for whoever needs them and shows them to nobody.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(redacted)")
    }
}

impl fmt::Display for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

/// Decodes base64; line breaks in it do not count, as in Kubernetes.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let decoded: Result<ByteString, _> = serde_json::from_value(Value::String(text));
    decoded.ok().map(|octets| octets.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(object: &Value) -> Result<Secret, Vec<Fault>> {
        Secret::read(object.as_object().unwrap())
    }

    #[test]
    fn values_come_from_data_and_string_data() {
        let secret = read(&json!({
            "data": {"a": "aHVudGVyMg==", "b": "aHVu\ndGVy\nMg==\n", "c": "aHVudGVyMg==", "n": null},
            "stringData": {"c": "wins", "d": "pässword\n"},
        }))
        .unwrap();
        let octets = |key| secret.value(key).map(SecretValue::octets);
        assert_eq!(octets("a"), Some(&b"hunter2"[..]));
        assert_eq!(octets("b"), Some(&b"hunter2"[..]));
        assert_eq!(octets("c"), Some(&b"wins"[..]));
        assert_eq!(octets("d"), Some("pässword\n".as_bytes()));
        assert_eq!(octets("n"), Some(&b""[..]));
        assert_eq!(octets("e"), None);
        assert_eq!(secret.keys().collect::<Vec<_>>(), ["a", "b", "c", "d", "n"]);
        assert_eq!(read(&json!({})), Ok(Secret::default()));
    }

    #[test]
    fn faults_name_the_field_and_not_the_value() {
        let faults = read(&json!({
            "data": {"a": "hunter2!", "b": 12345},
            "stringData": {"c": 12345, "d": true},
        }))
        .unwrap_err();
        let fields: Vec<&str> = faults.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["data.a", "data.b", "stringData.c", "stringData.d"]);
        let faults = faults
            .into_iter()
            .chain(read(&json!({"data": "hunter2"})).unwrap_err());
        for fault in faults {
            let said = format!("{fault:?}");
            assert!(!said.contains("hunter2") && !said.contains("12345"), "{said}");
        }
    }

    #[test]
    fn a_value_is_never_shown() {
        let secret = read(&json!({"stringData": {"password": "hunter2"}})).unwrap();
        for shown in [
            format!("{secret:?}"),
            format!("{secret:#?}"),
            secret.value("password").unwrap().to_string(),
        ] {
            assert!(shown.contains("redacted"), "{shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        }
    }
}
