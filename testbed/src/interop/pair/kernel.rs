//! What our kernel says: its routes, and its counters.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::{Pair, ROUTE, prefix};
use crate::kernel::{self, Action, KernelRoute};
use crate::wait::{self, Look};

impl Pair {
    /// Whether our kernel forwards to a prefix.
    ///
    /// # Errors
    /// It does not answer.
    pub fn forwards(&self, of: &str) -> Result<bool> {
        let routes = kernel::routes(self.fabric.namespace(self.agent.router())?)?;
        Ok(has(&routes, of))
    }

    /// Waits until our kernel forwards to a prefix, or does not any more.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_kernel(&self, of: &str, there: bool) -> Result<()> {
        let namespace = self.fabric.namespace(self.agent.router())?;
        let what = format!("{of} {} our kernel", if there { "in" } else { "out of" });
        self.explained(wait::until(&what, ROUTE, || {
            let routes = kernel::routes(namespace)?;
            let found = has(&routes, of);
            let list = || {
                routes
                    .iter()
                    .map(|route| format!("\n    {route}"))
                    .collect::<String>()
            };
            Ok(if found == there {
                Look::Ok(())
            } else {
                Err(format!("it has{}", list()))
            })
        }))
    }

    /// Waits until our kernel forwards to a prefix by these routers, and by no others.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_gateways(&self, of: &str, gateways: &[IpAddr]) -> Result<()> {
        let namespace = self.fabric.namespace(self.agent.router())?;
        self.explained(wait::until(&format!("{of} via {gateways:?}"), ROUTE, || {
            let routes = kernel::routes(namespace)?;
            let found = routes.iter().filter(|route| route.prefix == prefix(of));
            let hops: Vec<IpAddr> = found
                .flat_map(|route| &route.hops)
                .filter_map(|hop| hop.gateway)
                .collect();
            Ok(if hops == gateways {
                Look::Ok(())
            } else {
                Err(format!("via {hops:?}"))
            })
        }))
    }

    /// A counter of our kernel's TCP (`TcpExt` in `/proc/net/netstat`).
    ///
    /// # Errors
    /// There is no such counter.
    pub fn tcp_counter(&self, name: &str) -> Result<u64> {
        let namespace = self.fabric.namespace(self.agent.router())?;
        let text = namespace.run(|| {
            fs::read_to_string("/proc/thread-self/net/netstat").context("read the counters of TCP")
        })?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let counters: BTreeMap<&str, &str> =
            names.split_whitespace().zip(values.split_whitespace()).collect();
        let value = counters.get(name).with_context(|| format!("no counter {name}"))?;
        value.parse().with_context(|| format!("{name}: {value}"))
    }
}

fn has(routes: &[KernelRoute], of: &str) -> bool {
    routes
        .iter()
        .any(|route| route.prefix == prefix(of) && route.action == Action::Forward)
}
