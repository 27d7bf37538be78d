//! The owner looks at what the node lacks: the sysctls that the plan judges ([`flatroute_plan::settings`]).
//!
//! Nobody tells of most of them, so it looks now and then, and at once when the uplinks are others. A look is a handful of files
//! of the kernel's memory, some two dozen on a node with two uplinks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flatroute_api::ProblemReason;
use flatroute_plan::settings::{Sysctls, paths};
use flatroute_plan::{Facts, Plan};

use super::Owner;
use crate::act::Act;

/// How often it looks.
pub(super) const PERIOD: Duration = Duration::from_secs(15);

/// Where they are, and of which uplinks they have been read.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// None: nobody looks.
    root: Option<PathBuf>,
    uplinks: Option<BTreeSet<String>>,
}

impl Settings {
    /// Those below this directory. `/proc/sys/net` has those of the network namespace of whoever opens a file.
    pub(super) fn below(root: impl Into<PathBuf>) -> Self {
        Self {
            root: Some(root.into()),
            uplinks: None,
        }
    }

    /// Reads into the facts what a plan with other uplinks than before is made from; whether it did.
    pub(super) fn reads_anew(&mut self, plan: &Plan, facts: &mut Facts) -> bool {
        if self.root.is_none() || self.uplinks.as_ref() == Some(&plan.uplinks) {
            return false;
        }
        self.uplinks = Some(plan.uplinks.clone());
        facts.sysctls = self.read();
        true
    }

    /// What the files say now. One that is not there, because the kernel does not have it or the interface has gone, is left out.
    fn read(&self) -> Option<Sysctls> {
        let (root, uplinks) = (self.root.as_ref()?, self.uplinks.as_ref()?);
        let found = paths(uplinks).into_iter().filter_map(|path| {
            let value = std::fs::read_to_string(root.join(&path)).ok()?;
            Some((path, value.trim().to_owned()))
        });
        Some(found.collect())
    }
}

impl<A: Act> Owner<A> {
    /// Whether there is anything to look for.
    pub(super) fn is_watching_settings(&self) -> bool {
        self.settings.root.is_some() && self.in_force.is_some()
    }

    /// Looks, and plans again when something has changed. A habit of other programs that is new or over is told without a plan.
    ///
    /// # Errors
    /// When the plan that follows cannot be carried out.
    pub(super) async fn watch_settings(&mut self) -> anyhow::Result<()> {
        let now = self.settings.read();
        if now != self.facts.sysctls {
            self.facts.sysctls = now;
            return self.replan().await;
        }
        let is_told = self
            .problems
            .iter()
            .any(|p| p.reason == ProblemReason::RoutesContested);
        if self.contest.problem(&self.node, Instant::now()).is_some() != is_told {
            self.tell_planned();
        }
        Ok(())
    }

    /// Tells the problems of the plan in force again, with what has come beside them.
    fn tell_planned(&mut self) {
        let planned = self.in_force.as_ref().map(|plan| plan.problems.clone());
        self.tell_problems(&planned.unwrap_or_default());
    }
}
