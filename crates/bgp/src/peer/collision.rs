//! Which of two connections stays (RFC 4271 §6.8, RFC 6286 §2.3): a pure function on what is known of both.
//!
//! Both sides must come to the same answer, though they learn the facts in different orders. The danger is that
//! each closes the connection that the other keeps, and the speakers retry in step for ever. Three facts prevent
//! it here:
//!
//! * The connection that the speaker with the higher identifier dialled is *preferred*; both sides compute the
//!   same one.
//! * A connection becomes OpenConfirm by our KEEPALIVE, and only then can the other side hold it Established. So
//!   a connection may be given up freely before that KEEPALIVE, and never after: once it is *promised*, the
//!   other slot is emptied, nothing is dialled, and what is dialled to us is refused before we say OPEN, so the
//!   other side cannot have chosen it.
//! * So the KEEPALIVE waits while a preferred connection stands in OpenSent, until its OPEN comes or it ends,
//!   but not longer than [`super::COLLISION_PATIENCE`]. A loser is never closed while the winner could still
//!   turn out to be nothing.
//!
//! Against a speaker that decides by the letter of §6.8 the answer is the same: it too keeps the preferred one
//! when it sees both OPENs, and what it closes we see end.

use crate::types::{Asn, RouterId};

/// Who dialled a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// This speaker.
    Dialled,
    /// The peer.
    Accepted,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Dialled, Self::Accepted];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialled => Self::Accepted,
            Self::Accepted => Self::Dialled,
        }
    }
}

/// How far a slot is, as far as collisions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no connection.
    Empty,
    /// TCP is on its way.
    Connecting,
    /// Our OPEN is out, the peer's is not in.
    OpenSent,
    /// The peer's OPEN is in, our KEEPALIVE is not out.
    Held,
    /// Our KEEPALIVE is out: OpenConfirm or Established.
    Promised,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Wait,
    /// Nothing until the preferred connection's OPEN comes, or patience ends.
    WaitForPreferred,
    /// This connection becomes the session; what is in the other slot is closed.
    Keep(Side),
}

/// The connection that wins between two that are equal otherwise. Equal identifiers are possible between
/// different ASes: then the higher AS number decides (RFC 6286 §2.3).
pub(super) fn preferred(local: (RouterId, Asn), remote: (RouterId, Asn)) -> Side {
    if local > remote {
        Side::Dialled
    } else {
        Side::Accepted
    }
}

/// Decides. `preferred` must be given when either slot is held or promised; `impatient` once
/// [`Verdict::WaitForPreferred`] was the answer for too long.
pub(super) fn resolve(dialled: Standing, accepted: Standing, preferred: Side, impatient: bool) -> Verdict {
    let (winner, loser) = match preferred {
        Side::Dialled => (dialled, accepted),
        Side::Accepted => (accepted, dialled),
    };
    match (winner, loser) {
        (Standing::Held, Standing::Empty | Standing::Connecting | Standing::OpenSent | Standing::Held) => {
            Verdict::Keep(preferred)
        }
        (Standing::Empty | Standing::Connecting, Standing::Held) => Verdict::Keep(preferred.other()),
        (Standing::OpenSent, Standing::Held) if impatient => Verdict::Keep(preferred.other()),
        (Standing::OpenSent, Standing::Held) => Verdict::WaitForPreferred,
        // What is promised stays; the other slot was emptied when it was.
        (Standing::Promised, _) | (_, Standing::Promised) => Verdict::Wait,
        (
            Standing::Empty | Standing::Connecting | Standing::OpenSent,
            Standing::Empty | Standing::Connecting | Standing::OpenSent,
        ) => Verdict::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_identifier_dials_the_winner_and_the_higher_as_breaks_a_tie() {
        let id = |id, asn| (RouterId(id), Asn(asn));
        assert_eq!(preferred(id(2, 1), id(1, 9)), Side::Dialled);
        assert_eq!(preferred(id(1, 9), id(2, 1)), Side::Accepted);
        assert_eq!(preferred(id(1, 9), id(1, 1)), Side::Dialled);
        assert_eq!(preferred(id(1, 1), id(1, 9)), Side::Accepted);
    }

    /// Every pair of standings, with our own connection preferred: W waits, P waits for the preferred one,
    /// D keeps the dialled, A the accepted one. The second letter is the answer once patience has ended.
    #[test]
    fn table() {
        use Standing::{Connecting, Empty, Held, OpenSent, Promised};
        let letter = |v| match v {
            Verdict::Wait => 'W',
            Verdict::WaitForPreferred => 'P',
            Verdict::Keep(Side::Dialled) => 'D',
            Verdict::Keep(Side::Accepted) => 'A',
        };
        let all = [Empty, Connecting, OpenSent, Held, Promised];
        let mut table = String::from("dialled\\accepted Empty Connecting OpenSent Held Promised\n");
        for dialled in all {
            table += &format!("{dialled:?}");
            for accepted in all {
                let cell = [false, true].map(|i| letter(resolve(dialled, accepted, Side::Dialled, i)));
                table += &format!(" {}{}", cell[0], cell[1]);
            }
            table.push('\n');
        }
        assert_eq!(
            table,
            "dialled\\accepted Empty Connecting OpenSent Held Promised\n\
             Empty WW WW WW AA WW\n\
             Connecting WW WW WW AA WW\n\
             OpenSent WW WW WW PA WW\n\
             Held DD DD DD DD WW\n\
             Promised WW WW WW WW WW\n"
        );
        for (a, b) in all.into_iter().flat_map(|a| all.map(|b| (a, b))) {
            for impatient in [false, true] {
                let mirrored = match resolve(b, a, Side::Accepted, impatient) {
                    Verdict::Keep(side) => Verdict::Keep(side.other()),
                    Verdict::Wait => Verdict::Wait,
                    Verdict::WaitForPreferred => Verdict::WaitForPreferred,
                };
                assert_eq!(resolve(a, b, Side::Dialled, impatient), mirrored, "{a:?} {b:?}");
            }
        }
    }
}
