//! What the third speakers of a pair say and do.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use flatroute_api::control::{self as api, Routes};

use super::plan::{Running, between, router_of};
use super::{Pair, ROUTE};
use crate::control;
use crate::interop::ours::{self, NODE_FILE, replace};
use crate::speaker::agent;
use crate::topology::Tier;
use crate::wait::{self, Look};

impl Pair {
    fn third(&self, n: usize) -> Result<&Running> {
        self.thirds.get(n).context("a third speaker")
    }

    /// Waits until the `n`th third speaker shows a route that it has received and that fits.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_third(
        &self,
        n: usize,
        of: &str,
        what: &str,
        fits: impl Fn(&api::Route) -> bool,
    ) -> Result<api::Route> {
        let third = self.third(n)?;
        self.explained(wait::until(&format!("the third's {of}: {what}"), ROUTE, || {
            let answer: Routes = control::fetch(&agent::socket(&third.speaker), "/v1/routes?view=received")?;
            let found = answer.routes.into_iter().find(|route| route.prefix == of);
            Ok(match found {
                Some(route) if fits(&route) => Look::Ok(route),
                Some(route) => Err(format!("it has {route:?}")),
                None => Err("it does not have it".to_owned()),
            })
        }))
    }

    /// Waits until the `n`th third speaker has received a route no more.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_third_without(&self, n: usize, of: &str) -> Result<()> {
        let third = self.third(n)?;
        self.explained(wait::until(&format!("the third without {of}"), ROUTE, || {
            let answer: Routes = control::fetch(&agent::socket(&third.speaker), "/v1/routes?view=received")?;
            let found = answer.routes.into_iter().find(|route| route.prefix == of);
            Ok(match found {
                Some(route) => Err(format!("it has {route:?}")),
                None => Look::Ok(()),
            })
        }))
    }

    /// Takes what the `n`th third speaker originates away from it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn third_withdraws(&self, n: usize) -> Result<()> {
        let third = self.third(n)?;
        let plan = self.plan.thirds.get(n).context("its plan")?;
        let mut router = third.router.clone();
        router.pod_cidrs = None;
        let files = plan.its.manifests(&router, third.neighbour);
        let (_, text) = files.first().context("its Node")?;
        replace(third.speaker.dir(), NODE_FILE, text)
    }

    /// The identifier of the `n`th third speaker, as its router has it.
    ///
    /// # Errors
    /// There is none.
    pub fn third_id(&self, n: usize) -> Result<Ipv4Addr> {
        Ok(self.third(n)?.router.ipv4)
    }

    /// The peer's identifier.
    ///
    /// # Errors
    /// There is none.
    pub fn its_id(&self) -> Result<Ipv4Addr> {
        Ok(router_of(&self.fabric, Tier::Tor)?.ipv4)
    }

    /// Waits until we have a route from the `n`th third speaker.
    ///
    /// # Errors
    /// Not in time.
    pub fn await_third_taken(&self, n: usize, of: &str) -> Result<()> {
        let name = ours::name_beside(n);
        self.explained(wait::until(&format!("{of} of {name}"), ROUTE, || {
            let path = format!("/v1/routes?view=received&peer={name}");
            let answer: Routes = control::fetch(&agent::socket(&self.agent), &path)?;
            Ok(if answer.routes.iter().any(|route| route.prefix == of) {
                Look::Ok(())
            } else {
                Err(format!("it has {:?}", answer.routes))
            })
        }))
    }

    /// The address of the `n`th third speaker on its link with our node.
    ///
    /// # Errors
    /// It is no neighbour of ours.
    pub fn third_address(&self, n: usize) -> Result<IpAddr> {
        let link = between(&self.fabric, &self.third(n)?.router.name, self.agent.router())?;
        Ok(link.upper.ipv4.into())
    }
}
