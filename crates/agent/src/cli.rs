//! The command line.

use std::path::PathBuf;

use crate::http;

/// The flatroute node agent: a BGP-routed, no-overlay pod network.
#[derive(Debug, clap::Parser)]
#[command(name = "flatroute-agent", version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run the daemon.
    Run(Box<RunOptions>),
    /// Say what is wrong with manifests; exit code 1 when something is.
    Check {
        /// A directory of manifests, or one file.
        path: PathBuf,
    },
    /// Set the sysctls that a node needs, and say what was changed.
    Prepare {
        /// Only say what would be changed.
        #[arg(long)]
        dry_run: bool,
        /// Where the sysctls are; a container's own cannot be written.
        #[arg(long, value_name = "DIR", default_value = "/proc/sys")]
        sysctl_dir: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunOptions {
    /// Read the objects from the manifests in this directory, and follow changes to them.
    #[arg(long, value_name = "DIR")]
    pub(crate) standalone: Option<PathBuf>,
    /// The way to the API server; without it, the service account of the pod that this is.
    #[arg(long, value_name = "FILE", conflicts_with = "standalone")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The name of the Node that this is.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub(crate) node_name: String,
    /// Where the control socket stands. Beside it, in secrets/, the keys of sessions are kept for a restart without the API
    /// server, when that is in memory.
    #[arg(long, value_name = "PATH", default_value = "/run/flatroute/agent.sock")]
    pub(crate) control_socket: PathBuf,
    /// Where the probes /healthz and /readyz are served: ADDRESS:PORT, :PORT (every address), or off. Default: :9179 with
    /// an API server, off with --standalone.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http_listen: Option<http::Listen>,
    /// Where the CNI configuration is written once the node can serve pods; nowhere when not given.
    #[arg(long, value_name = "DIR")]
    pub(crate) cni_conf_dir: Option<PathBuf>,
    /// Where state is kept that survives a restart: the objects of the API server last known to be good. Nowhere when not
    /// given.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Run it as a child that is started again at once when it dies, which a kubelet does less and less soon.
    #[arg(long)]
    pub(crate) respawn: bool,
    /// What is logged: error, warn, info, debug, trace, or a filter such as flatroute_bgp=debug,info.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    /// How it is logged.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
