//! `deploy/`: what a user applies asks for no more than the documents say, and an API server takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatroute_lab::apiserver::{AGENT, ApiServer, Parts};
use flatroute_testbed::image;
use flatroute_testbed::manifests::{deploy_dir, install_yaml, resources};
use serde_json::Value;

/// How long the part of install.yaml may be that is not CRDs: somebody is to read it.
const READABLE_LINES: usize = 400;

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page(name: &str) -> String {
    text(deploy_dir().join("../docs").join(name))
}

fn base(name: &str) -> String {
    text(deploy_dir().join("base").join(name))
}

fn objects(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).expect("YAML")
}

/// The pod of the DaemonSet.
fn pod() -> Value {
    let [daemonset] = objects(&base("daemonset.yaml")).try_into().expect("one object");
    daemonset["spec"]["template"]["spec"].clone()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn words(value: &Value) -> Vec<String> {
    list(value).iter().map(word).collect()
}

fn containers(pod: &Value) -> Vec<Value> {
    [list(&pod["initContainers"]), list(&pod["containers"])].concat()
}

/// The cells of all rows of those tables of a page whose first column is called `head`.
fn rows(page: &str, head: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|');
        inner.split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let head = format!("| {head} |");
    let (mut rows, mut inside) = (Vec::new(), false);
    for line in page.lines() {
        inside = line.starts_with('|') && (inside || line.starts_with(&head));
        if inside && !line.starts_with(&head) && !line.starts_with("|-") {
            rows.push(cells(line));
        }
    }
    assert!(!rows.is_empty(), "no table of {head}");
    rows
}

#[test]
fn install_yaml_is_made_of_base() {
    let deploy = deploy_dir();
    let made = install_yaml(&deploy).expect("made");
    assert!(
        text(deploy.join("install.yaml")) == made,
        "deploy/install.yaml is not what deploy/base says: run `make manifests` and commit it"
    );
    let crds: usize = crds().iter().map(|path| text(path).lines().count()).sum();
    let lines = made.lines().count() - crds;
    assert!(lines < READABLE_LINES, "{lines} lines without the CRDs");
}

fn crds() -> Vec<PathBuf> {
    let entries = fs::read_dir(deploy_dir().join("crds")).expect("listed");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.file_name().is_some_and(|name| name != "kustomization.yaml"))
        .collect()
}

#[test]
fn every_crd_is_installed() {
    let name = |path: &PathBuf| path.file_name().expect("a name").to_owned();
    let installed = resources(&deploy_dir().join("base")).expect("resources");
    let installed: BTreeSet<_> = installed.iter().map(name).collect();
    let there: BTreeSet<_> = crds().iter().map(name).collect();
    assert_eq!(there.len(), 4);
    assert!(there.is_subset(&installed), "{there:?} {installed:?}");
}

/// The same objects, whatever their order and their comments.
fn set(yaml: &str) -> BTreeMap<String, Value> {
    let key = |object: &Value| {
        let meta = &object["metadata"];
        format!("{} {} {}", object["kind"], meta["namespace"], meta["name"])
    };
    objects(yaml)
        .into_iter()
        .map(|object| (key(&object), object))
        .collect()
}

#[test]
fn kustomize_makes_the_same() {
    let Some(parts) = Parts::find_or_skip("kustomize_makes_the_same") else {
        return;
    };
    let output = Command::new(parts.kubectl)
        .arg("kustomize")
        .arg(deploy_dir().join("base"))
        .output()
        .expect("kubectl");
    assert!(output.status.success(), "{output:?}");
    let theirs = set(&String::from_utf8(output.stdout).expect("UTF-8"));
    let ours = set(&install_yaml(&deploy_dir()).expect("made"));
    let names = |set: &BTreeMap<String, Value>| set.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (name, object) in &ours {
        assert_eq!(object, &theirs[name], "{name}");
    }
}

#[test]
fn the_image_is_the_one_that_make_image_writes() {
    let version = env!("CARGO_PKG_VERSION");
    let pod = pod();
    for container in containers(&pod) {
        assert_eq!(container["image"], format!("{}:v{version}", image::FLATROUTE));
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        let program = word(&container["command"][0]);
        assert!(
            ["/flatroute-agent", "/flatroute-cni"].contains(&program.as_str()),
            "{program}"
        );
    }
    let containerfile = text(deploy_dir().join("image/Containerfile"));
    for program in ["flatroute-agent", "flatroute-cni"] {
        assert!(containerfile.contains(&format!(" /{program}\n")), "{program}");
    }
}

#[test]
fn no_container_has_more_than_the_page_says() {
    let pod = pod();
    for key in ["hostPID", "hostIPC", "shareProcessNamespace"] {
        assert!(pod.get(key).is_none(), "{key}");
    }
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let page = page("privileges.md");
    let told: BTreeMap<_, _> = rows(&page, "container")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[2].clone()))
        .collect();
    let explained: BTreeSet<_> = rows(&page, "capability")
        .into_iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let mut used = BTreeSet::new();
    for container in containers(&pod) {
        let name = word(&container["name"]);
        let context = container["securityContext"]
            .as_object()
            .expect("a securityContext");
        // Only these: nothing is privileged, nobody becomes somebody else, no profile is switched off.
        let keys: BTreeSet<_> = context.keys().map(String::as_str).collect();
        let only = [
            "allowPrivilegeEscalation",
            "capabilities",
            "readOnlyRootFilesystem",
        ];
        assert_eq!(keys, BTreeSet::from(only), "{name}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(words(&context["capabilities"]["drop"]), ["ALL"], "{name}");
        let added = words(&context["capabilities"]["add"]);
        let listed = if added.is_empty() {
            "none".to_owned()
        } else {
            added.join(", ")
        };
        assert_eq!(told.get(&name), Some(&listed), "{name}");
        used.extend(added);
        assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
    }
    assert_eq!(told.len(), containers(&pod).len());
    assert_eq!(used, explained);
    assert_reasons(&base("daemonset.yaml"), "add:");
}

/// The base with one capability more, which the page of the feature names.
#[test]
fn the_overlay_for_links_without_addresses_adds_one_capability() {
    let [overlay] = objects(&text(deploy_dir().join("unnumbered/kustomization.yaml")))
        .try_into()
        .expect("one object");
    assert_eq!(words(&overlay["resources"]), ["../base"]);
    let [patch] = list(&overlay["patches"]).try_into().expect("one patch");
    let [daemonset] = objects(&base("daemonset.yaml")).try_into().expect("one object");
    let target = ["kind", "name"].map(|key| word(&patch["target"][key]));
    assert_eq!(
        target,
        ["DaemonSet".to_owned(), word(&daemonset["metadata"]["name"])]
    );
    let [change] = list(&objects(&word(&patch["patch"]))[0])
        .try_into()
        .expect("one change");
    let [op, path, value] = ["op", "path", "value"].map(|key| word(&change[key]));
    assert_eq!((op.as_str(), value.as_str()), ("add", "NET_RAW"));
    let place = path.strip_suffix("/-").expect("the end of a list");
    let added = daemonset.pointer(place).expect("the place is there");
    assert!(!words(added).contains(&value));
    assert!(path.starts_with("/spec/template/spec/containers/0/"));
    assert_eq!(
        daemonset["spec"]["template"]["spec"]["containers"][0]["name"],
        "agent"
    );
    // The command for those who do not use kustomize does the same.
    let command = format!("\"op\": \"add\", \"path\": \"{path}\", \"value\": \"{value}\"");
    assert!(page("unnumbered.md").contains(&command), "{command}");
}

/// Each item of the list below a line has a comment before it.
fn assert_reasons(yaml: &str, below: &str) {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<_> = yaml.lines().collect();
    let mut items = 0;
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.trim() == below) {
        let inside = lines[number + 1..].iter().zip(&lines[number..]);
        for (item, before) in inside.take_while(|(item, _)| indent(item) > indent(line)) {
            if item.trim_start().starts_with("- ") && indent(item) == indent(line) + 2 {
                assert!(before.trim_start().starts_with("# "), "without a reason: {item}");
                items += 1;
            }
        }
    }
    assert!(items > 0, "nothing below {below}");
}

#[test]
fn every_host_path_has_a_reason() {
    let pod = pod();
    assert_reasons(&base("daemonset.yaml"), "volumes:");
    let paths: BTreeMap<_, _> = list(&pod["volumes"])
        .iter()
        .map(|volume| (word(&volume["name"]), word(&volume["hostPath"]["path"])))
        .collect();
    assert!(
        paths.values().all(|path| path.starts_with('/')),
        "only host paths: {paths:?}"
    );
    let mut mounted = BTreeSet::new();
    for container in containers(&pod) {
        for mount in list(&container["volumeMounts"]) {
            let access = if mount["readOnly"] == true {
                "read"
            } else {
                "write"
            };
            let path = &paths[&word(&mount["name"])];
            mounted.insert((path.clone(), word(&container["name"]), access.to_owned()));
        }
    }
    let used: BTreeSet<_> = mounted.iter().map(|(path, ..)| path).collect();
    assert_eq!(used, paths.values().collect(), "every volume is used");
    let plain = |cell: &String| cell.trim_matches('`').to_owned();
    let told: BTreeSet<_> = rows(&page("privileges.md"), "directory of the host")
        .iter()
        .map(|row| (plain(&row[0]), plain(&row[1]), plain(&row[2])))
        .collect();
    assert_eq!(mounted, told);
}

/// Where, resource, name, verbs.
type Grant = (String, String, String, BTreeSet<String>);

#[test]
fn rbac_grants_what_the_page_says_and_no_more() {
    let mut granted: BTreeSet<Grant> = BTreeSet::new();
    for role in objects(&base("rbac.yaml")) {
        let place = match (role["kind"].as_str(), role["metadata"]["namespace"].as_str()) {
            (Some("ClusterRole"), None) => "the ClusterRole flatroute-agent".to_owned(),
            (Some("Role"), Some("flatroute-system")) => {
                "the Role flatroute-agent of the agent's own namespace".to_owned()
            }
            (Some("Role"), Some(namespace)) => {
                format!("the Role flatroute-agent in the namespace {namespace}")
            }
            _ => continue,
        };
        for rule in list(&role["rules"]) {
            let [group] = words(&rule["apiGroups"]).try_into().expect("one group a rule");
            for resource in words(&rule["resources"]) {
                let (resource, sub) = resource.split_once('/').unwrap_or((&resource, ""));
                let mut name = if group.is_empty() {
                    resource.to_owned()
                } else {
                    format!("{resource}.{group}")
                };
                if !sub.is_empty() {
                    name = format!("{name}/{sub}");
                }
                let verbs = words(&rule["verbs"]).into_iter().collect();
                let only = words(&rule["resourceNames"]).join(", ");
                assert!(
                    granted.insert((place.clone(), name, only, verbs)),
                    "a rule twice: {rule}"
                );
            }
        }
    }
    let told: BTreeSet<Grant> = rows(&page("api-server.md"), "granted by")
        .into_iter()
        .map(|row| {
            let mut names = row[1].split('`').filter(|part| !part.trim().is_empty());
            let resource = names.next().unwrap_or_default().to_owned();
            let only = names.next().unwrap_or_default().to_owned();
            let verbs = row[2].split(", ").map(str::to_owned).collect();
            (row[0].clone(), resource, only, verbs)
        })
        .collect();
    assert_eq!(granted, told);
    assert_reasons(&base("rbac.yaml"), "rules:");
}

#[test]
fn an_api_server_takes_it_and_the_agent_may_no_more_than_it_needs() {
    let name = "an_api_server_takes_it_and_the_agent_may_no_more_than_it_needs";
    let Some(server) = ApiServer::shared(name) else {
        return;
    };
    // Twice, as an upgrade does; strict: a field that the server does not know is refused.
    let path = deploy_dir().join("install.yaml").display().to_string();
    for _ in 0..2 {
        let said = server.kubectl(&["apply", "--server-side", "--validate=strict", "-f", &path]);
        said.expect("applied");
    }
    let may = |arguments: &[&str]| {
        let said = server.kubectl_as(AGENT, &[&["auth", "can-i"], arguments].concat());
        said.is_ok_and(|said| said.trim() == "yes")
    };
    for yes in [
        &["list", "bgppeers.flatroute.io"][..],
        &["watch", "nodes"],
        &["patch", "nodes", "--subresource=status"],
        &["list", "secrets", "-n", "flatroute-system"],
        &["get", "configmaps/kubeadm-config", "-n", "kube-system"],
        &[
            "get",
            "endpointslices.discovery.k8s.io/kubernetes",
            "-n",
            "default",
        ],
    ] {
        assert!(may(yes), "may not {yes:?}");
    }
    for no in [
        &["patch", "nodes"][..],
        &["delete", "nodes"],
        &["list", "secrets"],
        &["get", "secrets", "-n", "kube-system"],
        &["list", "secrets", "-n", "default"],
        &["create", "secrets", "-n", "flatroute-system"],
        &["get", "configmaps/other", "-n", "kube-system"],
        &["update", "bgppeers.flatroute.io"],
        &["delete", "bgppeers.flatroute.io"],
        &["update", "bgpnodestatuses.flatroute.io"],
        &["list", "pods"],
        &["create", "pods", "-n", "flatroute-system"],
        &["*", "*"],
    ] {
        assert!(!may(no), "may {no:?}");
    }
}
