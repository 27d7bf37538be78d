//! How the agent ends.
//!
//! SIGTERM and SIGINT end the program, and are taken for the beginning of a restart: no neighbour is told anything, so
//! those with graceful restart keep this node's routes (RFC 4724); nothing is taken out of the kernel, and the next agent adopts
//! what it finds. Before that the newest objects are kept for it, and who leads gives the Lease back, each within a
//! bound. A node that will not be back says Cease to its neighbours instead, which withdraws its routes at once: when its kubelet says
//! that it shuts down, or when `POST /v1/node:shutdown` says so.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use super::{Owner, PATIENCE};
use crate::act::Act;

/// How long the objects may take to be kept, at the end.
const KEEP: Duration = Duration::from_secs(2);

/// How the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Another one follows: no neighbour is told.
    Restart,
    /// Nobody follows, and the neighbours are told why.
    Cease(&'static str),
}

impl<A: Act> Owner<A> {
    /// What a signal means.
    pub(super) fn farewell(&self) -> Farewell {
        let node = self.state.as_ref().and_then(|state| state.nodes.get(&self.node));
        if node.is_some_and(|node| node.status.shuts_down) {
            Farewell::Cease("the node shuts down")
        } else {
            Farewell::Restart
        }
    }

    /// What others need of us is seen to while the sessions stand: neighbours without graceful restart have no route to our
    /// pods from their end to the next agent's start.
    pub(super) async fn stop(&mut self, farewell: Farewell) -> anyhow::Result<()> {
        let (report, following) = (self.outlets.report.take(), self.following.take());
        let keep = async {
            if let Some(following) = following
                && timeout(KEEP, following).await.is_err()
            {
                tracing::warn!("the newest objects were not kept in time");
            }
        };
        let give_back = async {
            if let Some(report) = report {
                report.stop().await;
            }
        };
        tokio::join!(keep, give_back);
        match farewell {
            Farewell::Restart => {
                tracing::info!("stopping without a word, for the next agent to go on");
                self.act.leave().await
            }
            Farewell::Cease(why) => {
                tracing::info!(why, "stopping: every neighbour is told");
                timeout(PATIENCE, self.act.shutdown(why))
                    .await
                    .context("the neighbours were not told in time")?
            }
        }
    }
}
