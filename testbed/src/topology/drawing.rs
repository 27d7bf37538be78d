//! A fabric as text, for a terminal of 80 columns.
//!
//! Spines stand on top, each rack is a column of its own below. Lines would cross (every ToR has a link to every spine,
//! every node one to every ToR of its rack), so each tier is joined by one rail that says "all of these to all of those".

use super::{Router, Tier, Topology};

/// Width of one router's box, borders included.
const BOX: usize = 17;

impl Topology {
    /// The fabric drawn with box characters, no line wider than 18 columns a router of the widest tier.
    #[must_use]
    pub fn drawing(&self) -> String {
        let racks = self.routers.iter().map(|router| router.rack).max().unwrap_or(0);
        let columns = |rack: u16, tier| {
            self.tier(tier)
                .filter(|router| router.rack == rack)
                .collect::<Vec<_>>()
        };
        let rack_width = |rack| {
            let most = columns(rack, Tier::Tor)
                .len()
                .max(columns(rack, Tier::Node).len());
            (most * (BOX + 1)).saturating_sub(1)
        };
        let widths: Vec<usize> = (1..=racks).map(rack_width).collect();
        let total = widths.iter().sum::<usize>() + 3 * widths.len().saturating_sub(1);
        let mut lines = Vec::new();
        let spines: Vec<&Router> = self.tier(Tier::Spine).collect();
        if !spines.is_empty() {
            lines.extend(boxes(&spines).into_iter().map(|line| centre(&line, total)));
            lines.push(rail("every ToR to every spine", total));
        }
        let beside = |parts: Vec<Vec<String>>| {
            let height = parts.iter().map(Vec::len).max().unwrap_or(0);
            (0..height)
                .map(|row| {
                    let cells = parts
                        .iter()
                        .zip(&widths)
                        .map(|(part, width)| centre(part.get(row).map_or("", String::as_str), *width));
                    cells.collect::<Vec<_>>().join("   ")
                })
                .collect::<Vec<_>>()
        };
        lines.extend(beside(
            (1..=racks).map(|rack| boxes(&columns(rack, Tier::Tor))).collect(),
        ));
        let rails = (1..=racks)
            .zip(&widths)
            .map(|(rack, width)| vec![rail(&format!("rack {rack}: every node to every ToR"), *width)]);
        lines.extend(beside(rails.collect()));
        lines.extend(beside(
            (1..=racks)
                .map(|rack| boxes(&columns(rack, Tier::Node)))
                .collect(),
        ));
        lines
            .iter()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }
}

fn boxes(routers: &[&Router]) -> Vec<String> {
    let inner = BOX - 2;
    let mut rows = vec![
        routers
            .iter()
            .map(|_| format!("┌{}┐", "─".repeat(inner)))
            .collect::<Vec<_>>(),
    ];
    rows.push(
        routers
            .iter()
            .map(|r| format!("│{}│", centre(&format!("{} AS{}", r.name, r.asn), inner)))
            .collect(),
    );
    rows.push(
        routers
            .iter()
            .map(|r| format!("│{}│", centre(&r.ipv4.to_string(), inner)))
            .collect(),
    );
    if routers.iter().any(|router| router.pod_cidrs.is_some()) {
        let text = |r: &Router| r.pod_cidrs.map_or(String::new(), |cidrs| cidrs.ipv4.to_string());
        rows.push(
            routers
                .iter()
                .map(|r| format!("│{}│", centre(&text(r), inner)))
                .collect(),
        );
        let text = |r: &Router| r.pod_cidrs.map_or(String::new(), |cidrs| cidrs.ipv6.to_string());
        rows.push(
            routers
                .iter()
                .map(|r| format!("│{}│", centre(&text(r), inner)))
                .collect(),
        );
    }
    rows.push(
        routers
            .iter()
            .map(|_| format!("└{}┘", "─".repeat(inner)))
            .collect(),
    );
    rows.into_iter().map(|row| row.join(" ")).collect()
}

fn rail(label: &str, width: usize) -> String {
    let room = width.saturating_sub(label.chars().count() + 2);
    let left = room / 2;
    format!("{} {label} {}", "═".repeat(left), "═".repeat(room - left))
}

fn centre(text: &str, width: usize) -> String {
    let room = width.saturating_sub(text.chars().count());
    let left = room / 2;
    format!("{}{text}{}", " ".repeat(left), " ".repeat(room - left))
}
