//! The end of the agent, and the end of its sessions.
//!
//! SIGTERM and SIGINT end the program, and are taken for the beginning of a restart: no neighbour is told anything, so
//! those with graceful restart keep this node's routes (RFC 4724); nothing is taken out of the kernel, and the next agent adopts
//! what it finds. Before that the newest objects are kept for it, and who leads gives the Lease back, each within a
//! bound.
//!
//! A node that goes down has no next agent, and its neighbours must not keep its routes for minutes: they are told Cease, which
//! withdraws them at once. Its kubelet says so in the Node's condition Ready, whereupon the pods of the node have some time to end,
//! and need its routes for that; so the Cease waits for the signal that ends the agent.
//!
//! Whoever else knows that the host goes down asks by `POST /v1/node:shutdown`. Then the sessions end at once and the agent stays:
//! did it end, whoever supervises it would start another one, whose sessions would come up again.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use super::{Owner, PATIENCE};
use crate::act::Act;
use crate::events::Happening;

/// How long the objects may take to be kept, at the end.
const KEEP: Duration = Duration::from_secs(2);
/// What neighbours are told.
const GOES_DOWN: &str = "the node shuts down";

impl<A: Act> Owner<A> {
    /// Ends every session with a Cease, for good.
    ///
    /// # Errors
    /// When they do not end, or the next agent would not know.
    pub(super) async fn shut_down(&mut self) -> anyhow::Result<()> {
        self.is_shut_down = true;
        self.act.shutdown(GOES_DOWN).await?;
        self.happened(Happening {
            kind: "NodeShutdown".to_owned(),
            text: "every neighbour was told that this node shuts down; no session comes up again before the agent is started again"
                .to_owned(),
            ..Happening::default()
        });
        Ok(())
    }

    /// Ends the agent, after a signal. What others need of us is seen to while the sessions stand: neighbours without graceful
    /// restart have no route to our pods from their end to the next agent's start.
    ///
    /// # Errors
    /// When neighbours that shall be told are not told in time.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
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
        if self.goes_down() {
            tracing::info!("stopping: the node shuts down, and every neighbour is told");
            timeout(PATIENCE, self.shut_down())
                .await
                .context("the neighbours were not told in time")?
        } else {
            tracing::info!("stopping without a word, for the next agent to go on");
            self.act.leave().await
        }
    }

    /// Whether the kubelet says that the node shuts down.
    fn goes_down(&self) -> bool {
        let node = self.state.as_ref().and_then(|state| state.nodes.get(&self.node));
        node.is_some_and(|node| node.status.shuts_down)
    }
}
