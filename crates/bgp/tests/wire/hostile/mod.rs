//! Octets in, action out (RFC 7606, RFC 4271 §6): what becomes of a message is a [`Want`], and [`check`] compares. The
//! tables stand in the modules, by what is hostile in them.

mod as_path;
mod attributes;
mod communities;
mod contexts;
mod foreign;
mod internal;
mod limits;
mod multiprotocol;
mod published;
mod several;

use flatroute_bgp::wire::{Context, Disposition, Message, Update};

use super::bytes::{hex, read};

/// What must come of a message.
enum Want {
    /// These prefixes are announced; so many attributes were dropped.
    Announce(&'static [&'static str], usize),
    /// These prefixes are withdrawn, none announced, because of an error.
    Withdraw(&'static [&'static str]),
    /// The first are announced, the others withdrawn, without an error.
    Both(&'static [&'static str], &'static [&'static str]),
    /// The session ends with this code, subcode and data.
    Reset(u8, u8, &'static str),
    /// Nothing happens to any prefix; so many errors are told.
    Nothing(usize),
}
use Want::{Announce, Both, Nothing, Reset, Withdraw};

const P: &[&str] = &["203.0.113.0/24"];
const P6: &[&str] = &["2001:db8:aa::/48"];

/// ORIGIN, AS_PATH 65001, NEXT_HOP 192.0.2.2: all that an IPv4 prefix needs.
const GOOD: &str = "40010100 40020602010000fde9 400304c0000202";
/// ORIGIN and AS_PATH: what an IPv6 prefix needs besides MP_REACH_NLRI.
const GOOD6: &str = "40010100 40020602010000fde9";
/// MP_REACH_NLRI of 2001:db8:aa::/48 by 2001:db8::2.
const REACH: &str = "800e1c 00020110 20010db8000000000000000000000002 00 30 20010db800aa";
const NLRI: &str = "18cb0071";

fn names(update: &Update) -> (Vec<String>, Vec<String>) {
    let announced = update
        .announced
        .iter()
        .flat_map(|a| &a.prefixes)
        .map(ToString::to_string)
        .collect();
    let withdrawn = update.withdrawn.iter().map(ToString::to_string).collect();
    (announced, withdrawn)
}

fn check(name: &str, message: &[u8], ctx: &Context, want: &Want) {
    let result = read(message, ctx);
    match (want, result) {
        (Announce(prefixes, dropped), Ok(Message::Update(update))) => {
            assert_eq!(names(&update), (own(prefixes), vec![]), "{name}: {update:?}");
            assert_eq!(update.errors.len(), *dropped, "{name}: {update:?}");
            let mild =
                |e: &flatroute_bgp::wire::AttributeError| e.disposition == Disposition::DiscardAttribute;
            assert!(update.errors.iter().all(mild), "{name}: {update:?}");
        }
        (Withdraw(prefixes), Ok(Message::Update(update))) => {
            assert_eq!(names(&update), (vec![], own(prefixes)), "{name}: {update:?}");
            let worst = update.errors.iter().map(|e| e.disposition).max();
            assert_eq!(worst, Some(Disposition::TreatAsWithdraw), "{name}: {update:?}");
            assert_eq!(update.end_of_rib, None, "{name}");
        }
        (Both(announced, withdrawn), Ok(Message::Update(update))) => {
            assert_eq!(
                names(&update),
                (own(announced), own(withdrawn)),
                "{name}: {update:?}"
            );
            assert_eq!(update.errors, [], "{name}");
        }
        (Nothing(errors), Ok(Message::Update(update))) => {
            assert_eq!(names(&update), (vec![], vec![]), "{name}: {update:?}");
            assert_eq!(update.errors.len(), *errors, "{name}: {update:?}");
        }
        (Reset(code, subcode, data), Err(error)) => {
            let sent = &error.notification;
            assert_eq!((sent.code, sent.subcode), (*code, *subcode), "{name}: {error}");
            assert_eq!(sent.data, hex(data), "{name}: {error}");
        }
        (_, result) => panic!("{name}: {result:?}"),
    }
}

fn own(prefixes: &[&str]) -> Vec<String> {
    prefixes.iter().map(|p| (*p).to_owned()).collect()
}
