//! What is fed: sets of path attributes, each with the prefixes that have it.
//!
//! How many prefixes share a set decides how full UPDATEs are and how much work a receiver has, so it must be like that
//! of the Internet. It comes from a real table when one is given (`--table`, see [`mrt`](super::mrt)): then a smaller table
//! is a sample of whole sets, and a larger one has each set once more with another origin and prefixes of the same
//! lengths elsewhere. Without a file the table is made: the number of prefixes a set falls as it does in the table of
//! RouteViews' collector at JINX of May 2014 (half of all sets have one prefix, a third of them three or more, one in
//! twenty twenty or more; 6.3 on average), paths have three to eight ASNs, and one set in four has communities.
//!
//! Everything is the same in every run: "random" is a counter through a mixing function.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::ground::Transport;
use super::talk::{self, Attributes};

/// The most prefixes of a made set; it makes the average 6.3.
const MOST_OF_A_SET: u64 = 300;
/// How often a free prefix of one length is looked for before a longer one is taken.
const TRIES: usize = 64;

/// Attributes and the prefixes that have them.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) attributes: Attributes,
    pub(super) prefixes: Vec<IpNetwork>,
}

/// Sets with `routes` prefixes in all, from a real table (`real`) or made.
pub(super) fn of(transport: Transport, routes: u32, first: u32, real: &[Set]) -> Result<Vec<Set>> {
    let wanted = usize::try_from(routes).context("a number of routes")?;
    let mut maker = Maker::new(transport, first);
    let mut sets = Vec::new();
    let mut have = 0;
    if transport == Transport::Ipv4 {
        let mut order: Vec<usize> = (0..real.len()).collect();
        order.sort_by_key(|at| mix(*at as u64));
        for set in order.iter().filter_map(|at| real.get(*at)) {
            if have >= wanted {
                break;
            }
            take(&mut sets, &mut have, wanted, set.clone());
        }
        maker.taken.extend(sets.iter().flat_map(|set| &set.prefixes));
        for set in real.iter().cycle().take_while(|_| !real.is_empty()) {
            if have >= wanted {
                break;
            }
            let again = maker.again(set)?;
            take(&mut sets, &mut have, wanted, again);
        }
    }
    while have < wanted {
        let set = maker.make()?;
        take(&mut sets, &mut have, wanted, set);
    }
    Ok(sets)
}

/// Made sets for several neighbours, `each` prefixes from each, no prefix twice: sets of the first, of the second …
pub(super) fn shares(transport: Transport, each: u32, neighbours: &[u32]) -> Result<Vec<Vec<Set>>> {
    let wanted = usize::try_from(each).context("a number of routes")?;
    let mut maker = Maker::new(transport, 0);
    let mut shares = Vec::new();
    for neighbour in neighbours {
        maker.first = *neighbour;
        let (mut sets, mut have) = (Vec::new(), 0);
        while have < wanted {
            let set = maker.make()?;
            take(&mut sets, &mut have, wanted, set);
        }
        shares.push(sets);
    }
    Ok(shares)
}

fn take(sets: &mut Vec<Set>, have: &mut usize, wanted: usize, mut set: Set) {
    set.prefixes.truncate(wanted - *have);
    *have += set.prefixes.len();
    sets.push(set);
}

/// Whether every receiver takes this prefix for unicast.
pub(super) fn is_fit(prefix: &IpNetwork) -> bool {
    match prefix.network() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let link = [a, b] == [169, 254];
            prefix.prefix() >= 8 && (1..=223).contains(&a) && a != 10 && a != 127 && !link
        }
        IpAddr::V6(address) => prefix.prefix() >= 16 && address.segments()[0] >> 13 == 1,
    }
}

/// Makes sets.
struct Maker {
    transport: Transport,
    first: u32,
    counter: u64,
    taken: HashSet<IpNetwork>,
}

impl Maker {
    fn new(transport: Transport, first: u32) -> Self {
        Self {
            transport,
            first,
            counter: 0,
            taken: HashSet::new(),
        }
    }

    fn random(&mut self) -> u64 {
        self.counter += 1;
        mix(self.counter)
    }

    /// Evenly below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.random() % end
    }

    /// An ASN that is neither reserved nor one of the bench's.
    fn asn(&mut self) -> u32 {
        u32::try_from(1000 + self.below(20_000)).unwrap_or(1000)
    }

    fn make(&mut self) -> Result<Set> {
        // One divided by an even number between 0 and 1: the share of sets with k or more prefixes is 1/k.
        let many = 0x1_0000_0000 / (1 + self.below(0x1_0000_0000));
        let length = 2 + self.below(6);
        let mut asns = vec![self.first];
        asns.extend((0..length).map(|_| self.asn()));
        let mut before = vec![talk::WELL_KNOWN, talk::ORIGIN, 1, 0];
        before.extend(talk::as_path(asns.into_iter()).context("a short path")?);
        let mut after = Vec::new();
        if self.below(4) == 0 {
            let count = u8::try_from(1 + self.below(4)).context("few communities")?;
            after.extend([talk::OPTIONAL_TRANSITIVE, talk::COMMUNITIES, 4 * count]);
            for _ in 0..count {
                let [.., a, b] = self.asn().to_be_bytes();
                after.extend([a, b, 0, count]);
            }
        }
        let prefixes = (0..many.min(MOST_OF_A_SET))
            .map(|_| {
                let length = self.length();
                self.prefix(length)
            })
            .collect::<Result<_>>()?;
        Ok(Set {
            attributes: Attributes { before, after },
            prefixes,
        })
    }

    /// The set once more: another origin, prefixes of the same lengths elsewhere.
    fn again(&mut self, set: &Set) -> Result<Set> {
        let mut attributes = set.attributes.clone();
        let origin = self.asn().to_be_bytes();
        let at = attributes.before.len().checked_sub(4).context("an AS path")?;
        // The AS path is last in this part, and a table has no empty ones.
        attributes
            .before
            .get_mut(at..)
            .context("an AS path")?
            .copy_from_slice(&origin);
        let prefixes = set
            .prefixes
            .iter()
            .map(|prefix| self.prefix(prefix.prefix()))
            .collect::<Result<_>>()?;
        Ok(Set { attributes, prefixes })
    }

    /// The length of a made prefix: more than half of all are /24 or /48, as on the Internet.
    fn length(&mut self) -> u8 {
        let shorter = u8::try_from(self.below(20)).unwrap_or(0).saturating_sub(11);
        match self.transport {
            Transport::Ipv4 => 24 - shorter.min(8),
            Transport::Ipv6 => 48 - shorter * 2,
        }
    }

    /// A prefix of a length that nobody has yet; a longer one when there is none.
    fn prefix(&mut self, mut length: u8) -> Result<IpNetwork> {
        loop {
            for _ in 0..TRIES {
                let random = self.random();
                let found = match self.transport {
                    Transport::Ipv4 => {
                        let bits = u32::try_from(random >> 32).unwrap_or(0);
                        let network = Ipv4Network::new_checked(Ipv4Addr::from(bits), length)
                            .context("a length of IPv4")?
                            .network();
                        Ipv4Network::new_checked(network, length).map(IpNetwork::V4)
                    }
                    Transport::Ipv6 => {
                        let bits = (1_u128 << 125) | (u128::from(random) << 61);
                        let network = Ipv6Network::new_checked(Ipv6Addr::from(bits), length)
                            .context("a length of IPv6")?
                            .network();
                        Ipv6Network::new_checked(network, length).map(IpNetwork::V6)
                    }
                };
                let found = found.context("a prefix")?;
                if is_fit(&found) && self.taken.insert(found) {
                    return Ok(found);
                }
            }
            length += 1;
        }
    }
}

/// The finalizer of SplitMix64 behind its increment.
fn mix(counter: u64) -> u64 {
    let a = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Set, Transport, is_fit, of, shares};

    fn distinct(sets: &[Set]) -> usize {
        let all: HashSet<_> = sets.iter().flat_map(|set| &set.prefixes).collect();
        assert!(all.iter().all(|prefix| is_fit(prefix)));
        all.len()
    }

    #[test]
    fn a_made_table_has_what_was_asked_for_and_no_prefix_twice() {
        for transport in [Transport::Ipv4, Transport::Ipv6] {
            let sets = of(transport, 50_000, 65001, &[]).expect("made");
            assert_eq!(distinct(&sets), 50_000);
            let a_set = 50_000.0 / sets.len() as f64;
            assert!((5.5..7.0).contains(&a_set), "{a_set} prefixes a set");
        }
    }

    #[test]
    fn neighbours_share_no_prefix_and_begin_each_path() {
        let shares = shares(Transport::Ipv4, 1000, &[65001, 65002]).expect("made");
        let all: Vec<Set> = shares.concat();
        assert_eq!(distinct(&all), 2000);
        for (sets, asn) in shares.iter().zip([65001_u32, 65002]) {
            // ORIGIN (4 octets), then the header of AS_PATH and of its segment (5).
            let first = |set: &Set| set.attributes.before[9..13] == asn.to_be_bytes();
            assert!(sets.iter().all(first), "{asn}");
        }
    }

    #[test]
    fn a_real_table_is_sampled_or_repeated_elsewhere() {
        let real = of(Transport::Ipv4, 2000, 65001, &[]).expect("made");
        let sample = of(Transport::Ipv4, 500, 65001, &real).expect("sampled");
        assert_eq!(distinct(&sample), 500);
        let more = of(Transport::Ipv4, 5000, 65001, &real).expect("repeated");
        assert_eq!(distinct(&more), 5000);
        let sets: HashSet<_> = more.iter().map(|set| &set.attributes).collect();
        assert!(sets.len() > 2 * real.len(), "each with another origin");
    }
}
