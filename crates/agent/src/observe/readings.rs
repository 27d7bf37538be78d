//! What is read by name and not watched, because it changes with the control plane and not with the day: the pod subnets
//! of kubeadm, and the addresses of the API servers for the rails. Each is optional: one that is not there, or may not
//! be read, is as good as an empty one.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use kube::api::{GetParams, Request};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::connection::{self, Connection};
use super::rbac::{self, Rule};
use super::watch::{Backoff, Pace, part};

/// How often it is read again.
const EVERY: Duration = Duration::from_secs(300);
/// How many addresses and subnets are taken.
const MAX_FOUND: usize = 64;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readings {
    pub(crate) api_server: BTreeSet<IpAddr>,
    pub(crate) kubeadm_pod_subnets: Vec<IpNetwork>,
}

/// Reads now and then, until nobody listens.
pub(crate) async fn run(connection: Connection, pace: Pace, tell: mpsc::Sender<Readings>) {
    let mut backoff = Backoff::new(pace);
    loop {
        match read(&connection, pace).await {
            Some(readings) => {
                backoff.reset();
                if tell.send(readings).await.is_err() {
                    return;
                }
                sleep(EVERY + part(EVERY / 4)).await;
            }
            None => sleep(backoff.pause()).await,
        }
        if tell.is_closed() {
            return;
        }
    }
}

/// Reads once; none when the server did not answer.
async fn read(connection: &Connection, pace: Pace) -> Option<Readings> {
    let config: Option<ConfigMap> = get(connection, pace, &rbac::KUBEADM).await?;
    let slice: Option<EndpointSlice> = get(connection, pace, &rbac::API_SERVERS).await?;
    let endpoints = slice.into_iter().flat_map(|slice| slice.endpoints).flatten();
    let mut api_server: BTreeSet<IpAddr> = endpoints
        .flat_map(|endpoint| endpoint.addresses)
        .filter_map(|address| address.parse().ok())
        .take(MAX_FOUND)
        .collect();
    api_server.extend(
        connection::addresses(&connection.host)
            .await
            .into_iter()
            .take(MAX_FOUND),
    );
    let text = config.and_then(|config| config.data.cluster_configuration);
    Some(Readings {
        api_server,
        kubeadm_pod_subnets: text.as_deref().map(pod_subnets).unwrap_or_default(),
    })
}

/// An object by its name. The outer `None`: no answer; the inner one: it is not there, or may not be read.
async fn get<T: for<'de> Deserialize<'de>>(
    connection: &Connection,
    pace: Pace,
    rule: &Rule,
) -> Option<Option<T>> {
    let (resource, name) = (rule.full_name(), rule.name.unwrap_or_default());
    let request = Request::new(rule.path(""))
        .get(name, &GetParams::default())
        .ok()?;
    match timeout(pace.answer, connection.client.request_text(request)).await {
        Ok(Ok(text)) => match serde_json::from_str(&text) {
            Ok(object) => Some(Some(object)),
            Err(error) => {
                tracing::warn!(resource, name, %error, "cannot be read: {}", rule.without);
                Some(None)
            }
        },
        Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 429 => {
            let code = status.code;
            tracing::debug!(
                resource,
                name,
                code,
                "is not there, or may not be read: {}",
                rule.without
            );
            Some(None)
        }
        Ok(Err(_)) | Err(_) => None,
    }
}

#[derive(Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: ConfigMapData,
}

#[derive(Default, Deserialize)]
struct ConfigMapData {
    #[serde(rename = "ClusterConfiguration")]
    cluster_configuration: Option<String>,
}

#[derive(Deserialize)]
struct EndpointSlice {
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClusterConfiguration {
    networking: Networking,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Networking {
    #[serde(rename = "podSubnet")]
    pod_subnet: Option<String>,
}

/// `networking.podSubnet` of kubeadm's ClusterConfiguration: prefixes with commas between them.
fn pod_subnets(text: &str) -> Vec<IpNetwork> {
    let configuration: ClusterConfiguration = match serde_saphyr::from_str(text) {
        Ok(configuration) => configuration,
        Err(error) => {
            let error = error.to_string();
            let error = error.lines().next().unwrap_or_default();
            tracing::warn!(
                error,
                "ConfigMap kubeadm-config cannot be read; it counts as if it were not there"
            );
            return Vec::new();
        }
    };
    let subnets = configuration.networking.pod_subnet.unwrap_or_default();
    subnets
        .split(',')
        .filter_map(|subnet| subnet.trim().parse().ok())
        .take(MAX_FOUND)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_subnets_are_read_from_what_kubeadm_writes() {
        let text = "apiServer: {}\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking:\n  \
                    dnsDomain: cluster.local\n  podSubnet: 10.244.0.0/16, fd00:244::/48\n  serviceSubnet: 10.96.0.0/12\n";
        let want: Vec<IpNetwork> = ["10.244.0.0/16", "fd00:244::/48"]
            .map(|s| s.parse().unwrap())
            .into();
        assert_eq!(pod_subnets(text), want);
        for nothing in ["", "kind: [", "networking: {}", "networking: {podSubnet: all}"] {
            assert_eq!(pod_subnets(nothing), [], "{nothing}");
        }
    }
}
