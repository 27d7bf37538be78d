//! The way to the API server: a kubeconfig, or the service account of a pod. The certificate of the server is checked
//! against the authority that either names; a token is read again before it runs out.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// Where the service account of a pod has its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace when nothing says another.
const DEFAULT_NAMESPACE: &str = "flatroute-system";

/// The way to the API server.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// `host:port`, for people.
    pub(crate) server: String,
    /// The host, for the rails: an address or a name.
    pub(crate) host: String,
}

impl Connection {
    /// By a kubeconfig, or without one by the service account of the pod. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// When there is neither, or it cannot be used.
    pub(crate) async fn open(kubeconfig: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = match kubeconfig {
            Some(path) => {
                let context = || format!("--kubeconfig {}", path.display());
                let file = Kubeconfig::read_from(path).with_context(context)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .with_context(context)?
            }
            None => Config::incluster().context(
                "this is no pod with a service account; give --kubeconfig FILE, or --standalone DIR with manifests",
            )?,
        };
        config.connect_timeout = Some(CONNECT);
        // The watches have pauses of their own.
        config.default_retry = false;
        Self::of(config)
    }

    /// By a configuration of the client.
    pub(crate) fn of(config: Config) -> anyhow::Result<Self> {
        let uri = config.cluster_url.clone();
        let host = uri
            .host()
            .context("the address of the API server has no host")?
            .trim_matches(['[', ']'])
            .to_owned();
        let server = uri.authority().map_or_else(|| host.clone(), ToString::to_string);
        let client = Client::try_from(config).context("the client of the API server")?;
        Ok(Self { client, server, host })
    }
}

/// Our own namespace: POD_NAMESPACE, or that of the service account, or the default one.
pub(crate) fn own_namespace() -> String {
    let given = std::env::var("POD_NAMESPACE").ok();
    let mounted = || std::fs::read_to_string(NAMESPACE_FILE).ok();
    given
        .or_else(mounted)
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

/// The host, when it is an address and no name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

/// The addresses of a host: itself, or what its name stands for.
pub(crate) async fn addresses(host: &str) -> Vec<IpAddr> {
    if let Some(address) = literal(host) {
        return vec![address];
    }
    match tokio::net::lookup_host((host, 0)).await {
        Ok(found) => found.map(|socket| socket.ip()).collect(),
        Err(error) => {
            tracing::debug!(host, %error, "the name of the API server is not known");
            Vec::new()
        }
    }
}
