//! Schemas of fields whose Rust type says less than the field allows, and of types that come from Kubernetes without a
//! bound. The API server estimates what a rule may cost from the bounds of what it looks at, so each list, map and text
//! has one.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// An ASN: four octets (RFC 6793), not zero (RFC 7607).
pub(crate) fn asn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 1, "maximum": 4_294_967_295_u32})
}

/// A list of ASNs.
pub(crate) fn asns(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "minItems": 1, "maxItems": 64, "items": asn(generator)})
}

/// The name of an object.
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "object-name"})
}

/// The names of BGPFilters.
pub(crate) fn filter_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 16, "items": {"type": "string", "format": "object-name"}})
}

/// The key of a value in a Secret.
pub(crate) fn secret_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "secret-key"})
}

/// The name of a label or an annotation.
pub(crate) fn qualified_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "qualified-name"})
}

/// The name of an interface.
pub(crate) fn interface(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "interface"})
}

/// A list of conditions: at most one of each type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    let text =
        |description: &str, max: u64| json!({"type": "string", "maxLength": max, "description": description});
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the state.",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": text("Which aspect.", 64),
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it is so."},
                "reason": text("Why, in a word for programs.", 64),
                "message": text("Why, in a sentence for people.", 1024),
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "description": "When status last changed.",
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The generation of the object that this is about.",
                },
            },
        },
    })
}

/// A selector of Nodes by their labels. All that is given must hold; an empty one selects every Node.
pub(crate) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    let label_value = json!({"type": "string", "format": "label-value"});
    let rule = |rule: &str, message: &str| -> Value {
        json!({"rule": rule, "message": message, "fieldPath": ".values"})
    };
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels with the value that each must have.",
                "maxProperties": 16,
                "additionalProperties": label_value,
            },
            "matchExpressions": {
                "type": "array",
                "description": "Conditions on labels.",
                "maxItems": 16,
                "items": {
                    "type": "object",
                    "description": "A condition on a label.",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string", "format": "qualified-name", "description": "The name of the label."},
                        "operator": {
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                            "description": "What must hold: its value is one of `values`, or none of them; it is there, or not.",
                        },
                        "values": {
                            "type": "array",
                            "description": "The values of `In` and `NotIn`.",
                            "maxItems": 64,
                            "items": label_value,
                        },
                    },
                    "x-kubernetes-validations": [
                        rule(
                            "self.operator in ['Exists', 'DoesNotExist'] || (has(self.values) && size(self.values) > 0)",
                            "In and NotIn need values; add some",
                        ),
                        rule(
                            "self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0",
                            "Exists and DoesNotExist take no values; remove them",
                        ),
                    ],
                },
            },
        },
    })
}
