//! Capabilities in words, for people. Text that a peer chose is escaped, octets are shown in hexadecimal and cut.

use std::fmt;

use crate::types::{Family, FamilySet};
use crate::wire::Capabilities;
use crate::wire::read::exactly;

use super::{
    AddPath, AddPathMode, AfiSafi, ExtendedNextHop, GracefulRestart, LongLivedFamily, MULTIPROTOCOL,
    UnknownCapability,
};

/// How many octets of an unknown capability are shown.
const MAX_SHOWN_OCTETS: usize = 32;

/// The name of a capability (IANA, Capability Codes).
fn name(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "multiprotocol",
        2 => "route refresh",
        3 => "outbound route filtering",
        4 => "multiple routes to a destination (deprecated)",
        5 => "extended next hop",
        6 => "extended messages",
        7 => "BGPsec",
        8 => "multiple labels",
        9 => "role",
        64 => "graceful restart",
        65 => "four-octet AS",
        66 | 67 => "dynamic capability",
        68 => "multisession",
        69 => "add-path",
        70 => "enhanced route refresh",
        71 => "long-lived graceful restart",
        72 => "routing policy distribution",
        73 => "FQDN",
        74 => "BFD strict mode",
        75 => "software version",
        76 => "paths limit",
        77 => "link-local next hop",
        128 => "route refresh (before the standard)",
        130 => "outbound route filtering (before the standard)",
        131 => "multisession (before the standard)",
        _ => return None,
    })
}

impl Capabilities {
    /// Each capability in words, those of ours first.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let families = self.families.unwrap_or(FamilySet::NONE);
        words.extend(families.iter().map(|family| format!("multiprotocol: {family}")));
        let flag = |is: bool, word: &str| is.then(|| word.to_owned());
        words.extend(flag(self.route_refresh, "route refresh"));
        words.extend(flag(self.enhanced_route_refresh, "enhanced route refresh"));
        words.extend(flag(self.extended_message, "extended messages"));
        words.extend(self.four_octet_as.map(|asn| format!("four-octet AS: {asn}")));
        words.extend(list("extended next hop", &self.extended_next_hop));
        words.extend(list("add-path", &self.add_path));
        words.extend(
            self.graceful_restart
                .as_ref()
                .map(|g| format!("graceful restart: {g}")),
        );
        words.extend(list(
            "long-lived graceful restart",
            &self.long_lived_graceful_restart,
        ));
        words.extend(self.role.map(|role| format!("role: {role}")));
        words.extend(self.fqdn.as_ref().map(|name| {
            let (host, domain) = (name.host.escape_debug(), name.domain.escape_debug());
            format!("FQDN: \"{host}\", domain \"{domain}\"")
        }));
        words.extend(
            self.software_version
                .as_ref()
                .map(|version| format!("software version: \"{}\"", version.escape_debug())),
        );
        words.extend(self.unknown.iter().map(ToString::to_string));
        words
    }
}

fn list(name: &str, values: &[impl fmt::Display]) -> Option<String> {
    let words: Vec<String> = values.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| format!("{name}: {}", words.join(", ")))
}

impl fmt::Display for AfiSafi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Family::from_wire(self.afi, self.safi) {
            Some(family) => family.fmt(f),
            None => write!(f, "AFI {} SAFI {}", self.afi, self.safi),
        }
    }
}

fn forwarding(is: bool) -> &'static str {
    if is { " (forwarding kept)" } else { "" }
}

impl fmt::Display for GracefulRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.restart_time)?;
        if self.restarted {
            f.write_str(", has restarted")?;
        }
        if self.notification {
            f.write_str(", also after NOTIFICATIONs")?;
        }
        for family in &self.families {
            write!(f, ", {}{}", family.family, forwarding(family.forwarding))?;
        }
        Ok(())
    }
}

impl fmt::Display for LongLivedFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} s{}",
            self.family,
            self.stale_time,
            forwarding(self.forwarding)
        )
    }
}

impl fmt::Display for AddPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            AddPathMode::Receive => "receive",
            AddPathMode::Send => "send",
            AddPathMode::Both => "send and receive",
        };
        write!(f, "{} {mode}", self.family)
    }
}

impl fmt::Display for ExtendedNextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by ", self.family)?;
        match self.next_hop_afi {
            1 => f.write_str("IPv4"),
            2 => f.write_str("IPv6"),
            afi => write!(f, "AFI {afi}"),
        }
    }
}

impl fmt::Display for UnknownCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (MULTIPROTOCOL, Some([a, b, _, safi])) = (self.code, exactly(&self.value)) {
            let afi = u16::from_be_bytes([a, b]);
            return write!(f, "multiprotocol: {}", AfiSafi { afi, safi });
        }
        match name(self.code) {
            Some(name) => write!(f, "{name} ({})", self.code)?,
            None => write!(f, "capability {}", self.code)?,
        }
        if !self.value.is_empty() {
            f.write_str(": 0x")?;
        }
        for octet in self.value.iter().take(MAX_SHOWN_OCTETS) {
            write!(f, "{octet:02x}")?;
        }
        if self.value.len() > MAX_SHOWN_OCTETS {
            write!(f, "… ({} octets)", self.value.len())?;
        }
        Ok(())
    }
}
