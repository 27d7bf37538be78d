//! What a row of the tables is: where the session stands, what is sent, and what must come of it.

use super::octets::{attribute, capabilities, keepalive, open, update};

/// The routes that each neighbour has announced before the hostile octets come. `P` and `P6` are those of the
/// published messages, the others shall survive them.
pub(crate) const P: &str = "203.0.113.0/24";
pub(crate) const Q: &str = "198.51.100.0/24";
pub(crate) const P6: &str = "2001:db8:aa::/48";
pub(crate) const Q6: &str = "2001:db8:bb::/48";
/// Announced after the hostile octets: where it has arrived, they have been read.
pub(crate) const SENTINEL: &str = "192.88.99.0/24";
pub(crate) const SENTINEL6: &str = "2001:db8:ee::/48";

pub(crate) const NLRI: &str = "18cb0071";
pub(crate) const NLRI_Q: &str = "18c63364";
pub(crate) const NLRI6: &str = "3020010db800aa";

/// The agent's AS, and that of its external neighbours.
pub(crate) const OURS: u16 = 64512;
pub(crate) const THEIRS: u16 = 65001;

pub(crate) const ORIGIN: &str = "40010100";
/// AS_PATH 65001, of four octets and of two.
pub(crate) const PATH: &str = "40020602010000fde9";
pub(crate) const PATH2: &str = "4002040201fde9";
/// NEXT_HOP 192.0.2.2.
pub(crate) const HOP: &str = "400304c0000202";
/// What `P` looks like when a message of these three has been taken.
pub(crate) const GOOD_LOOK: &str = "192.0.2.2 65001 IGP";
pub(crate) const GOOD6_LOOK: &str = "2001:db8::2 65001 IGP";

/// What a session has agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// External, AS numbers of four octets, both families.
    External,
    /// The same, AS numbers of two octets.
    TwoOctet,
    /// Of the agent's AS.
    Internal,
    /// External, the TCP connection over IPv6.
    OverIpv6,
    /// External, no multiprotocol capability.
    Ipv4Only,
    /// External, IPv6 only.
    Ipv6Only,
    /// External, messages of up to 65,535 octets.
    Extended,
    /// External, no capability at all: RFC 4271 and nothing since.
    Plain,
    /// External, with enhanced route refresh.
    Refreshing,
}

impl Context {
    pub(crate) fn asn(self) -> u16 {
        match self {
            Self::Internal => OURS,
            Self::External
            | Self::TwoOctet
            | Self::OverIpv6
            | Self::Ipv4Only
            | Self::Ipv6Only
            | Self::Extended
            | Self::Plain
            | Self::Refreshing => THEIRS,
        }
    }

    pub(crate) fn has_ipv4(self) -> bool {
        self != Self::Ipv6Only
    }

    pub(crate) fn has_ipv6(self) -> bool {
        !matches!(self, Self::Ipv4Only | Self::Plain)
    }

    /// The good OPEN of this context.
    pub(crate) fn open(self, identifier: u32) -> Vec<u8> {
        let mut list = String::new();
        if self.has_ipv4() && self.has_ipv6() {
            list += "010400010001";
        }
        if self.has_ipv6() {
            list += "010400020001";
        }
        list += "0200";
        match self {
            Self::TwoOctet => {}
            Self::Plain => list.clear(),
            Self::Refreshing => list += "46004104 0000fde9",
            Self::Extended => list += "06004104 0000fde9",
            Self::Internal => list += "4104 0000fc00",
            Self::External | Self::OverIpv6 | Self::Ipv4Only | Self::Ipv6Only => list += "4104 0000fde9",
        }
        open(self.asn(), 90, identifier, &capabilities(&list))
    }

    /// ORIGIN and AS_PATH, and for an internal neighbour LOCAL_PREF.
    fn attributes(self) -> String {
        match self {
            Self::TwoOctet | Self::Plain => format!("{ORIGIN}{PATH2}"),
            Self::Internal => format!("{ORIGIN}400200 40050400000064"),
            Self::External
            | Self::OverIpv6
            | Self::Ipv4Only
            | Self::Ipv6Only
            | Self::Extended
            | Self::Refreshing => {
                format!("{ORIGIN}{PATH}")
            }
        }
    }

    /// A good announcement of IPv4 prefixes with this MED.
    pub(crate) fn announce(self, nlri: &str, med: &str) -> Vec<u8> {
        update("", &format!("{}{HOP}800404{med}", self.attributes()), nlri)
    }

    /// The same of IPv6 ones.
    pub(crate) fn announce6(self, nlri: &str, med: &str) -> Vec<u8> {
        let reach = attribute(
            0x80,
            14,
            &format!("000201 10 20010db8000000000000000000000002 00 {nlri}"),
        );
        update("", &format!("{reach}{}800404{med}", self.attributes()), "")
    }

    /// How routes of the good announcements are shown, with the MED that they carry.
    pub(crate) fn look(self, next_hop: &str) -> String {
        match self {
            Self::Internal => format!("{next_hop} - IGP med=7 pref=100"),
            Self::External
            | Self::TwoOctet
            | Self::OverIpv6
            | Self::Ipv4Only
            | Self::Ipv6Only
            | Self::Extended
            | Self::Plain
            | Self::Refreshing => {
                format!("{next_hop} 65001 IGP med=7")
            }
        }
    }
}

/// How far the session is when the hostile octets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TCP is connected and the agent's OPEN has come (it is in OpenSent).
    Connected,
    /// OPENs are exchanged and the agent's KEEPALIVE has come (it is in OpenConfirm).
    Opened,
    /// Established, and routes announced.
    Established,
}

/// How the octets go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    /// One octet a segment.
    Trickled,
    /// Then our direction is closed.
    ThenClosed,
    /// Then a RST.
    ThenReset,
}

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The session lives, these routes (and the sentinel's) look like this, and the others as before.
    Announce(&'static [(&'static str, &'static str)]),
    /// The session lives, these routes are gone, the others are as before; the error is told.
    Withdraw(&'static [&'static str]),
    /// The session lives, these routes are gone, and nothing is told, for the neighbour took them back.
    Gone(&'static [&'static str]),
    /// The session lives, the first route is gone, the second looks like a good one without MED.
    Swap(&'static str, &'static str),
    /// The session lives, nothing has changed.
    Nothing,
    /// The session lives; the route is received and refused, with a reason that holds this text.
    Refuse(&'static str, &'static str),
    /// The session comes to life: the octets were what it waited for.
    Established,
    /// NOTIFICATION of this code, subcode and data, then the end; all routes are gone.
    Reset(u8, u8, &'static str),
    /// The end, without a NOTIFICATION; all routes are gone.
    End,
}

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What demands the answer.
    pub(crate) by: &'static str,
    pub(crate) context: Context,
    pub(crate) stage: Stage,
    pub(crate) octets: Vec<u8>,
    pub(crate) delivery: Delivery,
    pub(crate) want: Want,
    /// What the events must say of it; none: whatever `want` implies.
    pub(crate) told: Option<&'static str>,
}

impl Row {
    pub(crate) fn new(
        context: Context,
        stage: Stage,
        name: &'static str,
        by: &'static str,
        octets: Vec<u8>,
        want: Want,
    ) -> Self {
        Self {
            name,
            by,
            context,
            stage,
            octets,
            delivery: Delivery::Whole,
            want,
            told: None,
        }
    }

    pub(crate) fn deliver(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// The events say this of it, though the session lives.
    pub(crate) fn told(mut self, text: &'static str) -> Self {
        self.told = Some(text);
        self
    }
}

/// Octets of an UPDATE in an established session of this context.
pub(crate) fn in_session(context: Context) -> impl Fn(&'static str, &'static str, Vec<u8>, Want) -> Row {
    move |name, by, octets, want| Row::new(context, Stage::Established, name, by, octets, want)
}

/// What is sent to reach Established, besides the routes.
pub(crate) fn handshake(context: Context, identifier: u32) -> Vec<u8> {
    [context.open(identifier), keepalive()].concat()
}

/// Sentinel and base routes, as octets.
pub(crate) fn base(context: Context) -> Vec<u8> {
    let mut octets = Vec::new();
    if context.has_ipv4() {
        octets.extend(context.announce(&format!("{NLRI}{NLRI_Q}"), "00000007"));
    }
    if context.has_ipv6() {
        octets.extend(context.announce6(&format!("{NLRI6} 3020010db800bb"), "00000007"));
    }
    octets
}

/// A route and End-of-RIB: when both are seen, all that was sent before has been read, and told if it had to be.
pub(crate) fn sentinel(context: Context) -> Vec<u8> {
    if context.has_ipv4() {
        [context.announce("18c05863", "00000007"), update("", "", "")].concat()
    } else {
        [
            context.announce6("3020010db800ee", "00000007"),
            update("", "800f03000201", ""),
        ]
        .concat()
    }
}
