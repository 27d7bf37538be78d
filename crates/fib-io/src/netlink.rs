//! The real kernel behind the verbs of [`Kernel`].

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;

use flatroute_fib::{Interface, Kernel, KernelNexthop, KernelRoute, Notice, Op, Refusal, Settings};

use crate::message::{AF_INET, AF_INET6, Ask, Context, Found, decode};
use crate::socket::{Error, Listener, Requests};

/// Kernel routes over rtnetlink, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Netlink {
    requests: Requests,
    listener: Listener,
    settings: Settings,
    has_nexthops: bool,
}

impl Netlink {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When netlink is out of reach.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let mut requests = Requests::open(settings)?;
        let listener = Listener::open(requests.port())?;
        let has_nexthops = match requests.dump(Ask::Nexthops, |_, _| None::<()>) {
            Ok(_) => true,
            Err(error) if error.is_unsupported() => false,
            Err(error) => return Err(error),
        };
        Ok(Self {
            requests,
            listener,
            settings,
            has_nexthops,
        })
    }

    /// Whether the kernel has nexthop objects.
    #[must_use]
    pub fn has_nexthops(&self) -> bool {
        self.has_nexthops
    }

    /// Readable when a notification waits.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Kernel for Netlink {
    type Error = Error;

    fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        let mut interfaces = BTreeMap::new();
        for found in self.requests.dump(Ask::Links, decode)? {
            if let Found::Link {
                index,
                name,
                up,
                carrier,
            } = found
            {
                interfaces.insert(
                    index,
                    Interface {
                        index,
                        name,
                        up,
                        carrier,
                        addresses: BTreeSet::new(),
                    },
                );
            }
        }
        for found in self.requests.dump(Ask::Addresses, decode)? {
            if let Found::Address { index, networks, .. } = found
                && let Some(interface) = interfaces.get_mut(&index)
            {
                interface.addresses.extend(networks);
            }
        }
        Ok(interfaces.into_values().collect())
    }

    fn nexthops(&mut self) -> Result<Vec<KernelNexthop>, Error> {
        if !self.has_nexthops {
            return Ok(Vec::new());
        }
        let found = self.requests.dump(Ask::Nexthops, decode)?;
        let nexthop = |found| {
            if let Found::Nexthop(nexthop) = found {
                Some(nexthop)
            } else {
                None
            }
        };
        Ok(found.into_iter().filter_map(nexthop).collect())
    }

    fn routes(&mut self) -> Result<Vec<KernelRoute>, Error> {
        let ours =
            |message: &crate::message::Message<'_>, context: Context<'_>| match decode(message, context) {
                Some(Found::Route {
                    route,
                    ours: true,
                    gone: false,
                    ..
                }) => Some(route),
                _ => None,
            };
        let mut routes = self.requests.dump(Ask::Routes(AF_INET), ours)?;
        routes.extend(self.requests.dump(Ask::Routes(AF_INET6), ours)?);
        Ok(routes)
    }

    fn notices(&mut self) -> Result<Vec<Notice>, Error> {
        let mut notices = Vec::new();
        let settings = self.settings;
        let complete = self.listener.drain(|message| {
            if let Some(found) = decode(message, &settings) {
                notice(found, &mut notices);
            }
        })?;
        if !complete {
            notices.push(Notice::Lost);
        }
        Ok(notices)
    }

    fn apply(&mut self, ops: Vec<Op>) -> Result<Vec<(Op, Result<(), Refusal>)>, Error> {
        self.requests.apply(ops)
    }
}

fn notice(found: Found, notices: &mut Vec<Notice>) {
    let notice = match found {
        Found::Link {
            index,
            name,
            up,
            carrier,
        } => Notice::Link {
            index,
            name,
            up,
            carrier,
        },
        Found::LinkGone(index) => Notice::LinkGone(index),
        Found::Address {
            index,
            gone,
            networks,
        } => {
            let each = |network| {
                if gone {
                    Notice::AddressGone(index, network)
                } else {
                    Notice::Address(index, network)
                }
            };
            notices.extend(networks.into_iter().map(each));
            return;
        }
        Found::Nexthop(nexthop) => Notice::Nexthop(nexthop),
        Found::NexthopGone(id) => Notice::NexthopGone(id),
        Found::Route {
            route,
            ours,
            gone,
            replaced,
        } => match (ours, gone, replaced) {
            (true, true, _) => Notice::RouteGone(route.prefix),
            (true, false, _) => Notice::Route(route),
            (false, true, _) => Notice::ForeignGone(route.prefix),
            (false, false, true) => Notice::ForeignReplaced(route.prefix),
            (false, false, false) => return,
        },
    };
    notices.push(notice);
}
