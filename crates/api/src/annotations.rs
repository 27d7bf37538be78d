//! Annotations of a Node that override the configuration for it.

/// The ASN of the node.
pub const ASN: &str = "flatroute.io/asn";
/// The BGP identifier of the node, written as an IPv4 address.
pub const ROUTER_ID: &str = "flatroute.io/router-id";
/// Makes the node a route reflector for the cluster of this identifier, written as an IPv4 address.
pub const CLUSTER_ID: &str = "flatroute.io/cluster-id";

/// Reads an ASN from a label or an annotation: 1 to 4294967295.
///
/// # Errors
/// When the text is not such a number.
pub fn parse_asn(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(0) | Err(_) => Err(format!("\"{text}\" is not an ASN from 1 to 4294967295")),
        Ok(asn) => Ok(asn),
    }
}

/// Reads a BGP identifier: a dotted quad that is not 0.0.0.0 (RFC 6286).
///
/// # Errors
/// When the text is not such an identifier.
pub fn parse_router_id(text: &str) -> Result<std::net::Ipv4Addr, String> {
    match text.parse::<std::net::Ipv4Addr>() {
        Ok(id) if !id.is_unspecified() => Ok(id),
        Ok(_) | Err(_) => Err(format!("\"{text}\" is not a BGP identifier, such as 10.0.1.11")),
    }
}

/// Reads the identifier of a cluster of route reflectors (RFC 4456): a dotted quad that is not 0.0.0.0.
///
/// # Errors
/// When the text is not such an identifier.
pub fn parse_cluster_id(text: &str) -> Result<std::net::Ipv4Addr, String> {
    parse_router_id(text)
        .map_err(|_| format!("\"{text}\" is not an identifier of a cluster, such as 10.0.1.11"))
}
