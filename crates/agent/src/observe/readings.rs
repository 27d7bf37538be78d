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
    let mut known = Known::default();
    loop {
        if known.read(&connection, pace).await {
            backoff.reset();
            if tell.send(known.readings()).await.is_err() {
                return;
            }
            sleep(EVERY + part(EVERY / 4)).await;
        } else {
            sleep(backoff.pause()).await;
        }
        if tell.is_closed() {
            return;
        }
    }
}

/// What was read last, from each source.
#[derive(Debug, Default)]
struct Known {
    pod_subnets: Vec<IpNetwork>,
    endpoints: BTreeSet<IpAddr>,
    /// What the name of the server stands for.
    host: BTreeSet<IpAddr>,
}

impl Known {
    /// Reads all. What cannot be read, or not any more, stays as it was. False when the server did not answer.
    async fn read(&mut self, connection: &Connection, pace: Pace) -> bool {
        let config = get::<ConfigMap>(connection, pace, &rbac::KUBEADM).await;
        let slice = get::<EndpointSlice>(connection, pace, &rbac::API_SERVERS).await;
        match config {
            Answer::Found(config) => {
                let text = config.data.cluster_configuration.unwrap_or_default();
                self.pod_subnets = pod_subnets(&text);
            }
            Answer::NotThere => self.pod_subnets.clear(),
            Answer::Unreadable => {}
            Answer::No => return false,
        }
        match slice {
            Answer::Found(slice) => {
                let all = slice.endpoints.into_iter().flatten();
                let addresses = all.flat_map(|endpoint| endpoint.addresses);
                let addresses = addresses.filter_map(|address| address.parse().ok());
                self.endpoints = addresses.take(MAX_FOUND).collect();
            }
            Answer::NotThere => self.endpoints.clear(),
            Answer::Unreadable => {}
            Answer::No => return false,
        }
        let host = connection::addresses(&connection.host).await;
        // A name that is not known now still stands for what it did.
        if !host.is_empty() {
            self.host = host.into_iter().take(MAX_FOUND).collect();
        }
        true
    }

    fn readings(&self) -> Readings {
        Readings {
            api_server: self.endpoints.union(&self.host).copied().collect(),
            kubeadm_pod_subnets: self.pod_subnets.clone(),
        }
    }
}

/// What became of a question for an object.
enum Answer<T> {
    Found(T),
    NotThere,
    /// It may not be read, or makes no sense.
    Unreadable,
    /// There was no answer, or none that says anything of the object.
    No,
}

/// An object by its name.
async fn get<T: for<'de> Deserialize<'de>>(connection: &Connection, pace: Pace, rule: &Rule) -> Answer<T> {
    let (resource, name) = (rule.full_name(), rule.name.unwrap_or_default());
    let Ok(request) = Request::new(rule.path("")).get(name, &GetParams::default()) else {
        return Answer::Unreadable;
    };
    match timeout(pace.answer, connection.client.request_text(request)).await {
        Ok(Ok(text)) => match serde_json::from_str(&text) {
            Ok(object) => Answer::Found(object),
            Err(error) => {
                tracing::warn!(resource, name, %error, "cannot be read: {}", rule.without);
                Answer::Unreadable
            }
        },
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Answer::NotThere,
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            tracing::debug!(resource, name, "may not be read: {}", rule.without);
            Answer::Unreadable
        }
        Ok(Err(_)) | Err(_) => Answer::No,
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
    fn what_may_not_be_read_any_more_stays_as_it_was() {
        use super::super::fake::{CONFIG_MAPS, Fake, Fault, SLICES};
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = Fake::start().await;
            let connection = server.connection();
            let mut known = Known::default();
            // Neither is there, or neither may be read: that is an answer too.
            let here: BTreeSet<IpAddr> = ["127.0.0.1".parse().unwrap()].into();
            for code in [404, 403] {
                for path in [
                    format!("{CONFIG_MAPS}/kubeadm-config"),
                    format!("{SLICES}/kubernetes"),
                ] {
                    server.fault("get", &path, Some(Fault::Status(code)));
                }
                assert!(known.read(&connection, Pace::default()).await);
                assert_eq!(known.readings().api_server, here);
                assert_eq!(known.readings().kubeadm_pod_subnets, []);
            }
            let (config, slice) = (
                format!("{CONFIG_MAPS}/kubeadm-config"),
                format!("{SLICES}/kubernetes"),
            );
            server.fault("get", &config, None);
            server.fault("get", &slice, None);
            let configuration = "networking: {podSubnet: 10.244.0.0/16}";
            server.put(
                CONFIG_MAPS,
                serde_json::json!({"metadata": {"name": "kubeadm-config"}, "data": {"ClusterConfiguration": configuration}}),
            );
            server.put(
                SLICES,
                serde_json::json!({"metadata": {"name": "kubernetes"}, "endpoints": [{"addresses": ["10.0.9.9", "kubernetes"]}]}),
            );
            assert!(known.read(&connection, Pace::default()).await);
            let found = known.readings();
            assert_eq!(found.kubeadm_pod_subnets, ["10.244.0.0/16".parse().unwrap()]);
            assert!(found.api_server.contains(&"10.0.9.9".parse().unwrap()));
            for (code, answered) in [(403, true), (401, false), (500, false)] {
                server.fault("get", &config, Some(Fault::Status(code)));
                server.fault("get", &slice, Some(Fault::Status(code)));
                assert_eq!(known.read(&connection, Pace::default()).await, answered, "{code}");
                assert_eq!(known.readings(), found, "{code}");
            }
        });
    }

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
