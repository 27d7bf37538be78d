//! Traffic control, as much as limiting a link's bandwidth needs: a token bucket where packets leave, and a filter that
//! sends what comes in through another device, because a queue exists only where packets leave.
//!
//! `netlink-packet-route` has the messages and the filter, and the token bucket (`tbf`) not: its options are laid out
//! here, after `struct tc_tbf_qopt`.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, Nla as _, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror, TcMirrorActionType, TcOption,
    TcU32Key, TcU32Selector, TcU32SelectorFlags,
};

use crate::{Error, Result, Socket};

const TBF: &str = "tbf";
const INGRESS: &str = "ingress";
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`; with it the kernel needs no table of times.
const LINKLAYER_ETHERNET: u8 = 1;
/// Octets of `struct tc_ratespec`, whose last four are the rate.
const RATE_BYTES: usize = 12;
/// Where the limit is in `struct tc_tbf_qopt`: behind two rates.
const LIMIT_OFFSET: usize = 24;
/// Packets of every protocol (`ETH_P_ALL`).
const EVERY_PROTOCOL: u16 = 3;
const PRIORITY: u32 = 1;
/// Where the filters of packets that come in hang.
const FILTERS: TcHandle = TcHandle {
    major: u16::MAX,
    minor: 0,
};
const FIRST: TcHandle = TcHandle { major: 1, minor: 0 };

/// A token bucket (`tbf`): packets leave a link at a rate, and after a pause some at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that may leave at once after a pause. A larger packet is cut if it is one of many segments (GSO), and
    /// dropped otherwise.
    pub burst: u32,
    /// Bytes that may wait; what comes on top is dropped.
    pub limit: u32,
}

impl TokenBucket {
    fn options(&self) -> Vec<TcOption> {
        let mut parameters = vec![0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
        parameters.extend(u32::try_from(self.rate).unwrap_or(u32::MAX).to_ne_bytes());
        // No peak rate; the burst has an attribute of its own, in bytes instead of the kernel's ticks.
        parameters.resize(LIMIT_OFFSET, 0);
        parameters.extend(self.limit.to_ne_bytes());
        parameters.extend([0; 8]);
        let option = |kind, value: Vec<u8>| TcOption::Other(DefaultNla::new(kind, value));
        let mut options = vec![
            option(TCA_TBF_PARMS, parameters),
            option(TCA_TBF_BURST, self.burst.to_ne_bytes().to_vec()),
        ];
        if self.rate > u64::from(u32::MAX) {
            options.push(option(TCA_TBF_RATE64, self.rate.to_ne_bytes().to_vec()));
        }
        options
    }

    /// Rate and limit of what the kernel says; the burst it gives rounded and in time.
    fn read(options: &[u8]) -> Option<(u64, u32)> {
        let (mut rate, mut rate64, mut limit) = (None, None, None);
        let number = |octets: &[u8], offset: usize| {
            let octets = octets.get(offset..)?.first_chunk::<4>()?;
            Some(u32::from_ne_bytes(*octets))
        };
        for option in NlasIterator::new(options).flatten() {
            match option.kind() {
                TCA_TBF_PARMS => {
                    rate = number(option.value(), RATE_BYTES.saturating_sub(4)).map(u64::from);
                    limit = number(option.value(), LIMIT_OFFSET);
                }
                TCA_TBF_RATE64 => {
                    rate64 = option
                        .value()
                        .first_chunk::<8>()
                        .map(|octets| u64::from_ne_bytes(*octets));
                }
                _ => {}
            }
        }
        Some((rate64.or(rate)?, limit?))
    }
}

fn message(index: u32, handle: TcHandle, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(i32::try_from(index).unwrap_or(0));
    message.header.handle = handle;
    message.header.parent = parent;
    message
}

fn redirect(to: u32) -> Vec<TcOption> {
    let mut everything = TcU32Selector::default();
    everything.flags = TcU32SelectorFlags::Terminal;
    everything.nkeys = 1;
    everything.keys = vec![TcU32Key::default()];
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = to;
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.into()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))]),
    ];
    vec![
        TcOption::U32(TcFilterU32Option::Selector(everything)),
        TcOption::U32(TcFilterU32Option::Action(vec![action])),
    ]
}

/// The link that a filter's action sends packets to.
fn target(option: &TcOption) -> Option<u32> {
    let TcOption::U32(TcFilterU32Option::Action(actions)) = option else {
        return None;
    };
    let attributes = actions.iter().flat_map(|action| &action.attributes);
    let options = attributes.filter_map(|attribute| match attribute {
        TcActionAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))
            if mirror.eaction == TcMirrorActionType::EgressRedir =>
        {
            Some(mirror.ifindex)
        }
        _ => None,
    })
}

impl Socket {
    /// Puts a token bucket where packets leave the link. Quickest while the link is down.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is no such link, or the kernel has no `sch_tbf`.
    pub fn add_token_bucket(&mut self, index: u32, bucket: &TokenBucket) -> Result<()> {
        let mut message = message(index, FIRST, TcHandle::ROOT);
        message.attributes = vec![
            TcAttribute::Kind(TBF.into()),
            TcAttribute::Options(bucket.options()),
        ];
        self.request(
            RouteNetlinkMessage::NewQueueDiscipline(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("add the queueing discipline {TBF} to the link with index {index}"),
        )
    }

    /// Rate (bytes a second) and limit (bytes) of the token bucket where packets leave the link, if that has one.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreadable`].
    pub fn token_bucket(&mut self, index: u32) -> Result<Option<(u64, u32)>> {
        let request =
            RouteNetlinkMessage::GetQueueDiscipline(message(index, TcHandle::UNSPEC, TcHandle::ROOT));
        let what = || format!("look up the queueing discipline of the link with index {index}");
        // Kernels before 6.8 answer as to a change: only to who wants to hear the echo.
        let found = match self.find(request, NLM_F_ECHO, &what) {
            Err(error) if error.is_missing() => None,
            found => found?,
        };
        let Some(RouteNetlinkMessage::NewQueueDiscipline(found)) = found else {
            return Ok(None);
        };
        let is_ours = |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == TBF);
        if !found.attributes.iter().any(is_ours) {
            return Ok(None);
        }
        let options = found.attributes.iter().find_map(|attribute| match attribute {
            TcAttribute::Options(options) => options.first(),
            _ => None,
        });
        let mut octets = Vec::new();
        if let Some(TcOption::Other(options)) = options {
            octets.resize(options.value_len(), 0);
            options.emit_value(&mut octets);
        }
        let read = TokenBucket::read(&octets);
        read.map(Some).ok_or_else(|| Error::Unreadable {
            what: what(),
            reason: format!("{TBF} without rate"),
        })
    }

    /// Makes the link take filters for packets that come in.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is no such link, or the kernel has no `sch_ingress`.
    pub fn add_ingress(&mut self, index: u32) -> Result<()> {
        let mut message = message(index, FILTERS, TcHandle::INGRESS);
        message.attributes = vec![TcAttribute::Kind(INGRESS.into())];
        self.request(
            RouteNetlinkMessage::NewQueueDiscipline(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("add the queueing discipline {INGRESS} to the link with index {index}"),
        )
    }

    /// Sends every packet that comes in by a link ([`add_ingress`](Self::add_ingress) first) out of another one.
    ///
    /// # Errors
    /// [`Error::is_missing`] when there is no such link, or the kernel has no `cls_u32` or `act_mirred`.
    pub fn add_redirect(&mut self, index: u32, to: u32) -> Result<()> {
        let mut message = message(index, TcHandle::UNSPEC, FILTERS);
        message.header.info = (PRIORITY << 16) | u32::from(EVERY_PROTOCOL.to_be());
        message.attributes = vec![
            TcAttribute::Kind(TcFilterU32::KIND.into()),
            TcAttribute::Options(redirect(to)),
        ];
        self.request(
            RouteNetlinkMessage::NewTrafficFilter(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || format!("redirect what comes in by the link with index {index}"),
        )
    }

    /// The index of the link that packets which come in by `index` are sent out of, if they are.
    ///
    /// # Errors
    /// See [`Socket::dump`].
    pub fn redirect(&mut self, index: u32) -> Result<Option<u32>> {
        let request = RouteNetlinkMessage::GetTrafficFilter(message(index, TcHandle::UNSPEC, FILTERS));
        let what = || format!("list the filters of the link with index {index}");
        let found = match self.dump(&request, what) {
            Err(error) if error.is_missing() => Vec::new(),
            found => found?,
        };
        let attributes = found.into_iter().flat_map(|message| match message {
            RouteNetlinkMessage::NewTrafficFilter(filter) => filter.attributes,
            _ => Vec::new(),
        });
        Ok(attributes
            .filter_map(|attribute| match attribute {
                TcAttribute::Options(options) => options.iter().find_map(target),
                _ => None,
            })
            .next())
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable as _, Nla as _};

    use super::{TCA_TBF_PARMS, TokenBucket};

    #[test]
    fn a_bucket_is_laid_out_as_the_kernel_reads_it() {
        for rate in [125, 1_000_000, u64::from(u32::MAX) + 8] {
            let bucket = TokenBucket {
                rate,
                burst: 15_140,
                limit: 40_140,
            };
            let options = bucket.options();
            let parameters = options.iter().find(|option| option.kind() == TCA_TBF_PARMS);
            assert_eq!(parameters.expect("parameters").value_len(), 36);
            let mut octets = vec![0; options.as_slice().buffer_len()];
            options.as_slice().emit(&mut octets);
            assert_eq!(TokenBucket::read(&octets), Some((rate, 40_140)));
            for length in 0..30 {
                assert_eq!(TokenBucket::read(octets.get(..length).expect("shorter")), None);
            }
        }
    }
}
