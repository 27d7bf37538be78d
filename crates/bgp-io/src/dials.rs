//! Connections that are being opened.

use std::collections::BTreeMap;
use std::io;

use flatroute_bgp::types::ConnId;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use crate::MAX_DIALS;

/// All of them.
#[derive(Default)]
pub(crate) struct Dials {
    tasks: JoinSet<(ConnId, io::Result<TcpStream>)>,
    aborts: BTreeMap<ConnId, AbortHandle>,
}

impl Dials {
    /// Starts to open a connection.
    ///
    /// # Errors
    /// When [`MAX_DIALS`] are under way.
    pub(crate) fn start(
        &mut self,
        conn: ConnId,
        dial: impl Future<Output = io::Result<TcpStream>> + Send + 'static,
    ) -> Result<(), String> {
        if self.aborts.len() >= MAX_DIALS {
            return Err(format!("{MAX_DIALS} connections are being opened already"));
        }
        let abort = self.tasks.spawn(async move { (conn, dial.await) });
        self.aborts.insert(conn, abort);
        Ok(())
    }

    /// Gives one up.
    pub(crate) fn abort(&mut self, conn: ConnId) {
        if let Some(abort) = self.aborts.remove(&conn) {
            abort.abort();
        }
    }

    /// Waits for the next that is open or has failed; pending while there is none. Safe to be dropped while it waits.
    pub(crate) async fn next(&mut self) -> (ConnId, io::Result<TcpStream>) {
        loop {
            match self.tasks.join_next().await {
                // Otherwise it was given up in the meantime.
                Some(Ok((conn, result))) if self.aborts.remove(&conn).is_some() => return (conn, result),
                // Only one that was given up is aborted; nobody waits for its end.
                Some(Ok(_) | Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dials_at_once_have_a_limit_and_one_that_is_given_up_makes_room() {
        let mut dials = Dials::default();
        let conns = || (0..).map(ConnId::Dialled);
        for conn in conns().take(MAX_DIALS) {
            assert_eq!(dials.start(conn, std::future::pending()), Ok(()));
        }
        let one_more = conns().nth(MAX_DIALS).unwrap();
        let refused = dials.start(one_more, std::future::pending()).unwrap_err();
        assert!(refused.contains("256"), "{refused}");
        dials.abort(ConnId::Dialled(7));
        let failing = async { Err(io::Error::other("no")) };
        assert_eq!(dials.start(one_more, failing), Ok(()));
        let (conn, result) = dials.next().await;
        assert_eq!(conn, one_more, "the one that was given up is not heard of");
        assert!(result.is_err());
        assert_eq!(dials.start(ConnId::Dialled(7), std::future::pending()), Ok(()));
    }
}
