//! Values that stand in fields of objects: durations, prefixes, communities, the ASN of a peer.
//!
//! Each is parsed once, at the edge, into a type that cannot hold nonsense. Their JSON schemas carry a `format`;
//! [`parse_format`] is the one table from a format to its parser, so that the check of a manifest and the
//! reading of it can never disagree.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Checks a JSON value against a format of ours; `None` for a format that has no parser here.
#[must_use]
pub fn parse_format(format: &str, value: &Value) -> Option<Result<(), String>> {
    fn text<T: FromStr<Err = String>>(value: &Value) -> Result<(), String> {
        value.as_str().map_or_else(
            || Err(format!("{value} is not a string")),
            |s| s.parse::<T>().map(|_| ()),
        )
    }
    match format {
        "duration" => Some(text::<Duration>(value)),
        "cidr" => Some(text::<Cidr>(value)),
        "community" => Some(text::<Community>(value)),
        "large-community" => Some(text::<LargeCommunity>(value)),
        "ip" => Some(text::<Address>(value)),
        "interface" => Some(text::<Interface>(value)),
        "object-name" => Some(text::<ObjectName>(value)),
        "qualified-name" => Some(text::<QualifiedName>(value)),
        "label-value" => Some(text::<LabelValue>(value)),
        "secret-key" => Some(text::<SecretKey>(value)),
        "peer-asn" => Some(PeerAsn::from_value(value).map(|_| ())),
        _ => None,
    }
}

/// An address that objects may have. Fields have it as an [`IpAddr`].
struct Address;

impl FromStr for Address {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.parse::<IpAddr>() {
            Ok(IpAddr::V6(a)) if a.to_ipv4_mapped().is_some() => Err(format!(
                "\"{s}\" is an IPv4 address in the clothes of an IPv6 one"
            )),
            Ok(IpAddr::V4(_) | IpAddr::V6(_)) => Ok(Self),
            Err(_) => Err(format!(
                "\"{s}\" is not an IP address, such as 10.0.1.1 or fd00::1"
            )),
        }
    }
}

/// Text that is only checked; fields have it as a string.
macro_rules! checked_text {
    ($name:ident, $is_one:expr, $what:literal) => {
        struct $name;

        impl FromStr for $name {
            type Err = String;

            fn from_str(s: &str) -> Result<Self, String> {
                if $is_one(s) {
                    Ok(Self)
                } else {
                    Err(format!(concat!("\"{}\" is not ", $what), s.escape_debug()))
                }
            }
        }
    };
}

checked_text!(Interface, is_interface, "the name of an interface, such as eth0");
checked_text!(
    ObjectName,
    is_object_name,
    "the name of an object, such as rack1-tor-a"
);
checked_text!(
    QualifiedName,
    is_qualified_name,
    "the name of a label or annotation, such as topology.kubernetes.io/rack"
);
checked_text!(LabelValue, is_label_value, "the value of a label, such as rack-1");
checked_text!(SecretKey, is_secret_key, "a key of a Secret, such as password");

/// Up to 15 printable octets without a slash or colon: what the kernel takes, but for what no one can read.
fn is_interface(s: &str) -> bool {
    (1..=15).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
        && s != "."
        && s != ".."
}

/// A DNS subdomain (RFC 1123), as Kubernetes wants the names of most objects.
pub(crate) fn is_object_name(s: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    s.len() <= 253 && s.split('.').all(label)
}

fn is_qualified_name(s: &str) -> bool {
    let (prefix, name) = s.rsplit_once('/').map_or((None, s), |(p, n)| (Some(p), n));
    prefix.is_none_or(is_object_name) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(s: &str) -> bool {
    s.len() <= 63
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !s.starts_with(['-', '_', '.'])
        && !s.ends_with(['-', '_', '.'])
}

fn is_secret_key(s: &str) -> bool {
    (1..=253).contains(&s.len())
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// A whole number in its one spelling: no sign, no leading zeros.
fn plain<T: FromStr>(s: &str) -> Option<T> {
    let is_plain = s == "0" || s.starts_with(|c: char| ('1'..='9').contains(&c));
    s.parse().ok().filter(|_| is_plain)
}

macro_rules! string_value {
    ($type:ty, $format:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "format": $format, "description": $description})
            }
        }
    };
}

/// A duration as Kubernetes writes it: `90s`, `1m30s`, `300ms`. Whole milliseconds, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub std::time::Duration);

string_value!(
    Duration,
    "duration",
    "A duration: numbers with a unit of h, m, s or ms, such as 90s or 1m30s."
);

impl FromStr for Duration {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("\"{s}\" is not a duration, such as 90s, 1m30s or 300ms");
        if s == "0" {
            return Ok(Self(std::time::Duration::ZERO));
        }
        if s.is_empty() || s.len() > 32 {
            return Err(wrong());
        }
        let mut rest = s;
        let mut total_ms: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let unit_ms: u64 = match unit {
                "h" => 3_600_000,
                "m" => 60_000,
                "s" => 1_000,
                "ms" => 1,
                _ => return Err(wrong()),
            };
            total_ms = number
                .checked_mul(unit_ms)
                .and_then(|ms| total_ms.checked_add(ms))
                .ok_or_else(wrong)?;
            rest = tail;
        }
        Ok(Self(std::time::Duration::from_millis(total_ms)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms.is_multiple_of(1000) {
            write!(f, "{}s", ms / 1000)
        } else {
            write!(f, "{ms}ms")
        }
    }
}

/// A prefix: `10.244.0.0/16`. The length is required and the host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(pub IpNetwork);

string_value!(
    Cidr,
    "cidr",
    "A prefix with its length, such as 10.244.0.0/16 or fd00:244::/48."
);

impl FromStr for Cidr {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let Some((address, length)) = s.split_once('/') else {
            return Err(format!("\"{s}\" has no prefix length, such as /24"));
        };
        let wrong = || format!("\"{s}\" is not a prefix, such as 10.244.0.0/16 or fd00:244::/48");
        _ = address.parse::<Address>().map_err(|_| wrong())?;
        // A mask, which IpNetwork would take too, is not a length.
        _ = plain::<u8>(length).ok_or_else(wrong)?;
        let net: IpNetwork = s.parse().map_err(|_| wrong())?;
        if net.ip() != net.network() {
            return Err(format!(
                "\"{s}\" has bits behind its length: it would be {}/{}",
                net.network(),
                net.prefix()
            ));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A community of RFC 1997: `65000:100`, or a well-known name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

string_value!(
    Community,
    "community",
    "Two numbers of 16 bits, such as 65000:100, or one of graceful-shutdown, no-export, no-advertise, no-export-subconfed."
);

/// The names of RFC 1997 and RFC 8326.
const WELL_KNOWN: [(&str, u32); 4] = [
    ("graceful-shutdown", 0xffff_0000),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
];

impl FromStr for Community {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if let Some((_, value)) = WELL_KNOWN.iter().find(|(name, _)| *name == s) {
            return Ok(Self(*value));
        }
        let wrong = || format!("\"{s}\" is not a community, such as 65000:100 or no-export");
        let (high, low) = s.split_once(':').ok_or_else(wrong)?;
        let high: u16 = plain(high).ok_or_else(wrong)?;
        let low: u16 = plain(low).ok_or_else(wrong)?;
        Ok(Self(u32::from(high) << 16 | u32::from(low)))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WELL_KNOWN.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

/// A large community (RFC 8092): three numbers of 32 bits, `4200000001:1:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub [u32; 3]);

string_value!(
    LargeCommunity,
    "large-community",
    "Three numbers of 32 bits, such as 4200000001:1:100."
);

impl FromStr for LargeCommunity {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("\"{s}\" is not a large community, such as 4200000001:1:100");
        // RFC 8092 §5 has one spelling: no signs, no leading zeros.
        let parts: Option<Vec<u32>> = s.split(':').map(plain).collect();
        parts
            .and_then(|parts| parts.try_into().ok())
            .map(Self)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [global, local1, local2] = self.0;
        write!(f, "{global}:{local1}:{local2}")
    }
}

/// Which AS a peer must be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerAsn {
    /// Exactly this one.
    Number(u32),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
}

impl PeerAsn {
    fn from_value(value: &Value) -> Result<Self, String> {
        let wrong = || format!("{value} is not an ASN (1 to 4294967295), External or Internal");
        match (value.as_u64(), value.as_str()) {
            (Some(n), _) => match u32::try_from(n) {
                Ok(0) | Err(_) => Err(wrong()),
                Ok(n) => Ok(Self::Number(n)),
            },
            (None, Some("External")) => Ok(Self::External),
            (None, Some("Internal")) => Ok(Self::Internal),
            (None, _) => Err(wrong()),
        }
    }
}

impl Serialize for PeerAsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(n) => serializer.serialize_u32(*n),
            Self::External => serializer.serialize_str("External"),
            Self::Internal => serializer.serialize_str("Internal"),
        }
    }
}

impl<'de> Deserialize<'de> for PeerAsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for PeerAsn {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PeerASN".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true, "format": "peer-asn"})
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
