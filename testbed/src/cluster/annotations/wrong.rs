//! Annotations that cannot be: the pod is not started, and its Event names the annotation, what is wrong, and what there is.

use anyhow::Result;

use super::addresses::plugin_words;
use super::{Scene, nth};

/// A pod that is wrong, and what its Event has to say.
struct Wrong {
    pod: &'static str,
    annotation: (&'static str, String),
    words: Vec<String>,
}

pub(super) fn told(scene: &Scene<'_>) -> Result<String> {
    let node = &scene.near.node;
    let elsewhere = scene.cidrs(&scene.far.node)?;
    let elsewhere: Vec<String> = elsewhere.iter().map(|cidr| nth(*cidr, 200).to_string()).collect();
    let here = scene.cidrs(node)?;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let all = [
        Wrong {
            pod: "elsewhere",
            annotation: ("cni.flatroute.io/ips", elsewhere.join(",")),
            words: here
                .iter()
                .map(ToString::to_string)
                .chain(elsewhere.first().cloned())
                .chain(["cni.flatroute.io/ips".into(), "choose one of these".into()])
                .collect(),
        },
        Wrong {
            pod: "no-pool",
            annotation: ("cni.flatroute.io/pool", "silver".into()),
            words: words(&["cni.flatroute.io/pool", "silver", "leave the annotation out"]),
        },
        Wrong {
            pod: "typing-error",
            annotation: ("cni.flatroute.io/ip", "10.244.0.77".into()),
            words: words(&[
                "cni.flatroute.io/ip:",
                "cni.flatroute.io/ips",
                "cni.flatroute.io/pool",
            ]),
        },
    ];
    for wrong in &all {
        let (key, value) = &wrong.annotation;
        scene.create(wrong.pod, node, &[(key, value)])?;
    }
    let mut said = Vec::new();
    for wrong in &all {
        let words: Vec<&str> = wrong.words.iter().map(String::as_str).collect();
        let message = scene.await_event(wrong.pod, &words)?;
        said.push(plugin_words(&message).to_owned());
    }
    Ok(said.join(" | "))
}
