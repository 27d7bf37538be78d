//! What the owner tells beside the control socket, and who gives it a push: the HTTP port, the CNI configuration, the API
//! server.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::cli::RunOptions;
use crate::conflist;
use crate::events::Happening;
use crate::http::{self, Pulse};
use crate::observe::connection::{Connection, own_namespace};
use crate::ready::Ready;
use crate::report::{Objects, Report};

/// How many may wait for a sign of life.
const MAX_PULSES: usize = 16;
/// How many happenings of the tasks here may wait.
const MAX_TOLD: usize = 16;

/// The ends of the channels that the owner holds.
pub(super) struct Outlets {
    /// Whether the node can serve pods.
    pub(super) ready: watch::Sender<Ready>,
    /// What the CNI configuration is to be written for: nothing before the node can serve pods. `None`: it is not wanted.
    pub(super) pods: Option<watch::Sender<conflist::Pods>>,
    /// Who wants a sign of life.
    pub(super) pulses: mpsc::Receiver<Pulse>,
    /// What the tasks have to tell.
    pub(super) told: mpsc::Receiver<Happening>,
    /// What is written to the API server; `None`: there is none.
    pub(super) report: Option<Report>,
    /// The objects, for the report.
    pub(super) objects: Arc<Objects>,
    /// When the report was told last.
    pub(super) reported: Option<Instant>,
    /// Since when the kernel has been behind what was chosen.
    pub(super) behind: Option<Instant>,
}

impl Default for Outlets {
    /// Nobody listens.
    fn default() -> Self {
        Self {
            ready: watch::Sender::new(Ready::Starting),
            pods: None,
            pulses: mpsc::channel(1).1,
            told: mpsc::channel(1).1,
            report: None,
            objects: Arc::default(),
            reported: None,
            behind: None,
        }
    }
}

impl Outlets {
    /// Opens the port and starts the tasks. They end with the program.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub(super) async fn open(options: &RunOptions, api: Option<Connection>) -> anyhow::Result<Self> {
        let listen = options.http_listen.unwrap_or(match options.standalone {
            Some(_) => http::Listen::Off,
            None => http::Listen::All(http::DEFAULT_PORT),
        });
        let (teller, told) = mpsc::channel(MAX_TOLD);
        let (pulse, pulses) = mpsc::channel(MAX_PULSES);
        let ready = watch::Sender::new(Ready::Starting);
        if let Some(listener) = http::bind(listen).await? {
            tokio::spawn(http::serve(listener, ready.subscribe(), pulse));
        }
        let pods = options.cni_conf_dir.as_ref().map(|conf_dir| {
            let (sender, wanted) = watch::channel(conflist::Pods::default());
            tokio::spawn(conflist::keep(conf_dir.clone(), wanted, teller.clone()));
            sender
        });
        let report = api.map(|api| Report::start(api.client, &options.node_name, &own_namespace(), teller));
        Ok(Self {
            ready,
            pods,
            pulses,
            told,
            report,
            ..Self::default()
        })
    }
}
