//! What a text of a format looks like, for an API server: a bound, and a rule that says what is wrong with one that does
//! not. The other half of [`crate::values::parse_format`].

use serde_json::{Map, Value, json};

use super::schema::FORMAT;

/// A format: its name, the most characters that a text of it has, and the rule with what to tell who breaks it.
struct Format {
    name: &'static str,
    longest: u32,
    rule: &'static str,
    message: &'static str,
}

/// A whole number up to 65,535 in its one spelling.
macro_rules! sixteen_bits {
    () => {
        "(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}

/// A label of a DNS name.
macro_rules! dns_label {
    () => {
        "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
    };
}

/// What Kubernetes calls the name part of a label's name.
macro_rules! label_text {
    () => {
        "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    };
}

/// All that the schemas of our types name, except those of integers and `date-time`, which Kubernetes has itself.
const FORMATS: [Format; 11] = [
    Format {
        name: "ip",
        longest: 45,
        rule: "isIP(self)",
        message: "must be an IP address; write it such as 10.0.1.1 or fd00::1",
    },
    Format {
        name: "ipv4",
        longest: 15,
        rule: "isIP(self) && ip(self).family() == 4",
        message: "must be a dotted quad; write it such as 10.0.1.1",
    },
    Format {
        name: "cidr",
        longest: 49,
        rule: "isCIDR(self) && cidr(self) == cidr(self).masked()",
        message: "must be a prefix with its length and without bits behind it; write it such as 10.244.0.0/16 or fd00:244::/48",
    },
    Format {
        name: "duration",
        longest: 32,
        rule: "self.matches('^(0|([0-9]+(h|m|s|ms))+)$')",
        message: "must be a duration, numbers with a unit of h, m, s or ms; write it such as 90s or 1m30s",
    },
    Format {
        name: "community",
        longest: 20,
        rule: concat!(
            "self in ['graceful-shutdown', 'no-export', 'no-advertise', 'no-export-subconfed'] || self.matches('^",
            sixteen_bits!(),
            ":",
            sixteen_bits!(),
            "$')"
        ),
        message: "must be a community, two numbers up to 65535; write it such as 65000:100, or use graceful-shutdown, no-export, no-advertise or no-export-subconfed",
    },
    Format {
        name: "large-community",
        longest: 32,
        rule: "self.matches('^(0|[1-9][0-9]{0,9})(:(0|[1-9][0-9]{0,9})){2}$') && self.split(':').all(n, int(n) <= 4294967295)",
        message: "must be a large community, three numbers up to 4294967295; write it such as 4200000001:1:100",
    },
    Format {
        name: "object-name",
        longest: 253,
        rule: concat!("self.matches('^", dns_label!(), "([.]", dns_label!(), ")*$')"),
        message: "must be the name of an object, lower-case letters, digits, '-' and '.'; write it such as rack1-tor-a",
    },
    Format {
        name: "qualified-name",
        longest: 317,
        rule: concat!(
            "self.matches('^(",
            dns_label!(),
            "([.]",
            dns_label!(),
            ")*/)?",
            label_text!(),
            "$') && self.indexOf('/') <= 253"
        ),
        message: "must be the name of a label or annotation; write it such as topology.kubernetes.io/rack",
    },
    Format {
        name: "label-value",
        longest: 63,
        rule: concat!("self.matches('^(", label_text!(), ")?$')"),
        message: "must be the value of a label, letters, digits, '-', '_' and '.'; write it such as rack-1",
    },
    Format {
        name: "secret-key",
        longest: 253,
        rule: "self.matches('^[-._a-zA-Z0-9]+$')",
        message: "must be a key of a Secret, letters, digits, '-', '_' and '.'; write it such as password",
    },
    Format {
        name: "interface",
        longest: 15,
        rule: "self.matches('^[!-.0-9;-~]+$') && !(self in ['.', '..'])",
        message: "must be the name of an interface, without blanks, '/' and ':'; write it such as eth0",
    },
];

/// Gives a schema the bound and the rule of a format.
pub(super) fn apply(name: &str, schema: &mut Map<String, Value>) {
    match name {
        // Said by the walk, or known to Kubernetes.
        "uint8" | "uint16" | "uint32" | "uint64" | "int32" | "int64" => {}
        "date-time" => {
            schema.insert("format".to_owned(), name.into());
        }
        "peer-asn" => {
            schema.insert(FORMAT.to_owned(), name.into());
            peer_asn(schema);
        }
        _ => {
            schema.insert(FORMAT.to_owned(), name.into());
            let found = FORMATS.iter().find(|format| format.name == name);
            let format = found.unwrap_or_else(|| panic!("no rule for the format {name}"));
            schema.insert("maxLength".to_owned(), format.longest.into());
            add_rule(schema, "", format.rule, format.message);
        }
    }
}

/// A number or a word.
fn peer_asn(schema: &mut Map<String, Value>) {
    schema.insert(
        "anyOf".to_owned(),
        json!([{"type": "integer"}, {"type": "string"}]),
    );
    schema.insert("maxLength".to_owned(), 16.into());
    add_rule(
        schema,
        "",
        "type(self) == int ? self >= 1 && self <= 4294967295 : self in ['External', 'Internal']",
        "must be an ASN from 1 to 4294967295, External (any but ours) or Internal (ours); correct it",
    );
}

/// Adds a rule; `field` is the one below that is wrong, empty for the place itself.
pub(super) fn add_rule(schema: &mut Map<String, Value>, field: &str, rule: &str, message: &str) {
    let mut value = json!({"rule": rule, "message": message});
    if !field.is_empty() {
        value["fieldPath"] = field.into();
    }
    let rules = schema
        .entry("x-kubernetes-validations")
        .or_insert_with(|| json!([]));
    if let Some(rules) = rules.as_array_mut() {
        rules.push(value);
    }
}
