//! The list, one file a group.

mod add;
mod bandwidth;
mod check;
mod del;
mod delegation;
mod families;
mod gc;
mod ports;
mod protocol;
mod results;
mod runtimes;
mod status;

use super::verdict::Item;

/// The groups in the order of their numbers.
pub(super) const GROUPS: [(&str, &[Item]); 8] = [
    ("Protocol and environment", protocol::ITEMS),
    ("Results", results::ITEMS),
    ("ADD", add::ITEMS),
    ("DEL", del::ITEMS),
    ("CHECK", check::ITEMS),
    ("GC", gc::ITEMS),
    ("STATUS", status::ITEMS),
    ("Runtimes", runtimes::ITEMS),
];

/// All items.
pub(super) fn all() -> impl Iterator<Item = &'static Item> {
    GROUPS.iter().flat_map(|(_, items)| items.iter())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_numbers_are_one_to_116() {
        let numbers: Vec<u8> = super::all().map(|item| item.number).collect();
        assert_eq!(numbers, (1..=116).collect::<Vec<u8>>());
    }
}
