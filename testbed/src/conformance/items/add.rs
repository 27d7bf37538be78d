//! Items 47 to 70: ADD.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::attachment::Attachment;
use super::super::invocation::Answer;
use super::super::pool;
use super::super::traces::Traces;
use super::super::verdict::{Item, Verdict, item, never, not_applicable, not_provoked};
use super::super::world::{World, pair};
use super::{bandwidth, delegation, families, ports};

/// How many ADDs at once.
const CROWD: usize = 200;
/// How many moments of an ADD's life it is killed in.
const KILLS: u32 = 24;
/// An ADD without a daemon that hangs longer than this hangs.
const ALONE: Duration = Duration::from_secs(10);

pub(super) const ITEMS: &[Item] = &[
    item(
        47,
        "when ADD returns, the interface is there and up, its addresses too, none of them tentative",
        usable,
    ),
    item(
        48,
        "ADD where CNI_IFNAME exists already: an error, the interface untouched, no address held",
        occupied,
    ),
    item(
        49,
        "ADD with a CNI_NETNS that does not exist: an error, nothing left on the host",
        |world| no_namespace(world, "/run/netns/there-is-none"),
    ),
    item(
        50,
        "ADD with the host's own namespace as CNI_NETNS: code 8, the host untouched",
        host_namespace,
    ),
    item(
        51,
        "ADD with a regular file as CNI_NETNS: an error, nothing left, no address held",
        regular_file,
    ),
    item(
        52,
        "ADD killed at any moment, then DEL: nothing left, no address held",
        killed,
    ),
    item(
        53,
        "ADD that fails at its second family gives the first one's address back",
        families::second_fails,
    ),
    item(
        54,
        "ADD with no address left: code 11, nothing left of it",
        exhausted,
    ),
    item(
        55,
        "without any daemon of the plugin: ADD works, or code 11; it does not hang",
        alone,
    ),
    item(
        56,
        "200 ADDs at once, or as many as the pool holds: all succeed with addresses of their own",
        crowd,
    ),
    item(
        57,
        "ADD once more for the same attachment: the same result or an error, never two addresses",
        repeated,
    ),
    item(
        58,
        "a second interface for the same pod: both work, the default routes stay those of the first",
        second_interface,
    ),
    item(
        59,
        "ADD with a prevResult: its interfaces and ips are in the result",
        chained,
    ),
    never(
        60,
        "a chained plugin that has nothing to do repeats prevResult",
        "a plugin that makes an interface always has something to do",
    ),
    item(
        61,
        "runtimeConfig.mac is the interface's and the result's, where the capability is declared",
        mac,
    ),
    item(
        62,
        "runtimeConfig.portMappings: the host's ports reach the pod until DEL (TCP, UDP, each family, each kind of hostIP; SCTP is accepted)",
        ports::mapped,
    ),
    item(
        63,
        "runtimeConfig.bandwidth limits what the pod sends and receives, where the capability is declared; DEL leaves nothing of it",
        bandwidth::limited,
    ),
    item(
        64,
        "a capability that is not declared is not in the request, and ADD works",
        undeclared,
    ),
    item(
        65,
        "ADD calls the plugin of ipam.type with the same environment and the whole configuration, and relays its standard error",
        delegation::called,
    ),
    item(
        66,
        "an ADD of the IPAM plugin that fails: it gets a DEL, its error is relayed",
        delegation::failing,
    ),
    item(
        67,
        "an IPAM plugin that is not there: an error that names it",
        delegation::missing,
    ),
    never(
        68,
        "with a kernel without IPv6, IPv4 works and dual stack is a clear error",
        "ipv6.disable is a parameter of the kernel's start",
    ),
    item(
        69,
        "settings of the pod's namespace made before ADD survive it",
        sysctls,
    ),
    item(
        70,
        "an mtu in the configuration smaller than the uplink's, or larger, is the interface's",
        mtu,
    ),
];

fn expect_usable(attachment: &Attachment<'_>) -> Result<()> {
    let link = attachment.pod.link(&attachment.interface)?;
    ensure!(link.up, "{} is down", link.name);
    let held = attachment.pod.addresses(&attachment.interface)?;
    for address in attachment.addresses()? {
        let found = held.iter().find(|held| held.address == address.ip());
        let found = found.with_context(|| format!("{} does not have {}", link.name, address.ip()))?;
        ensure!(!found.tentative, "{} is tentative", address.ip());
    }
    Ok(())
}

fn usable(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    expect_usable(&attachment)?;
    attachment.delete()?;
    Ok(Verdict::Pass)
}

/// The host after a first pod came and went: what plugins make once and keep (a bridge, a chain) is there.
pub(super) fn settled(world: &World<'_>) -> Result<Traces> {
    world.attach()?.delete()?;
    Traces::of(&world.host)
}

fn occupied(world: &World<'_>) -> Result<Verdict> {
    let before = settled(world)?;
    let pod = world.pod()?;
    pair(&mut pod.namespace.netlink()?, "eth0", "other0")?;
    let was = pod.link("eth0")?;
    world
        .run(&world.call_of(&world.network, 0, "ADD", &pod, None))?
        .refusal()?;
    ensure!(
        pod.link("eth0")? == was,
        "the interface that was there has changed"
    );
    before.nothing_new(&world.host)?;
    pool::whole(world, &world.network, 0)
}

fn no_namespace(world: &World<'_>, path: &str) -> Result<Verdict> {
    let before = settled(world)?;
    world
        .run(&world.call("ADD")?.with("CNI_NETNS", path))?
        .refusal()?;
    before.nothing_new(&world.host)?;
    Ok(Verdict::Pass)
}

fn host_namespace(world: &World<'_>) -> Result<Verdict> {
    let before = settled(world)?;
    let path = world.host.path().to_string_lossy().into_owned();
    let answer = world.run(&world.call("ADD")?.with("CNI_NETNS", &path))?;
    answer.refused(&[8])?;
    before.unchanged(&world.host)?;
    Ok(Verdict::Pass)
}

fn regular_file(world: &World<'_>) -> Result<Verdict> {
    let file = world.folder()?.join("no-namespace");
    std::fs::write(&file, "").context("a regular file")?;
    no_namespace(world, &file.to_string_lossy())?;
    pool::whole(world, &world.network, 0)
}

fn killed(world: &World<'_>) -> Result<Verdict> {
    let before = settled(world)?;
    let whole = world.run(&world.call("ADD")?)?.took;
    // That one's attachment is in the way of nothing: its pod ends with the world. Its address is held, rightly.
    let before = Traces::of(&world.host).unwrap_or(before);
    for moment in 0..KILLS {
        let attachment = world.planned(&world.network, &world.pod()?);
        let after = whole.mul_f64(f64::from(moment) / f64::from(KILLS));
        attachment.call(0, "ADD").run_until(&world.host, Some(after))?;
        let answer = world.run(&attachment.call(0, "DEL"))?;
        answer
            .silent()
            .with_context(|| format!("DEL after ADD was killed at {after:?}"))?;
    }
    before.nothing_new(&world.host)?;
    pool::whole(world, &world.network, 1)
}

fn exhausted(world: &World<'_>) -> Result<Verdict> {
    let filled = pool::fill(world, &world.network)?;
    let Some((pod, answer)) = filled.refused else {
        return not_provoked(format!(
            "the pool has more than {} addresses, or ADD takes long",
            pool::POOL_MAX
        ));
    };
    let before = Traces::of(&world.host)?;
    answer.refused(&[11])?;
    ensure!(
        pod.link("eth0").is_err(),
        "the pod has an interface though ADD failed"
    );
    let again = world.run(&world.call("ADD")?)?;
    again.refused(&[11])?;
    before.nothing_new(&world.host)?;
    Ok(Verdict::Pass)
}

/// The sandbox has no daemon of anybody's.
fn alone(world: &World<'_>) -> Result<Verdict> {
    let answer = world.run(&world.call("ADD")?)?;
    ensure!(answer.took < ALONE, "it took {:.1} s", answer.took.as_secs_f64());
    if answer.code != Some(0) {
        answer.refused(&[11])?;
    }
    Ok(Verdict::Pass)
}

fn crowd(world: &World<'_>) -> Result<Verdict> {
    let count = pool::capacity(world)?.unwrap_or(CROWD).min(CROWD);
    let (made, refused) = pool::add_many(world, &world.network, count, count)?;
    if let Some((_, answer)) = refused.first() {
        answer
            .succeeded()
            .with_context(|| format!("{} of {count} failed", refused.len()))?;
    }
    distinct(&made)?;
    made.iter().try_for_each(expect_usable)?;
    Ok(Verdict::Pass)
}

pub(super) fn distinct(made: &[Attachment<'_>]) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for attachment in made {
        for address in attachment.addresses()? {
            ensure!(seen.insert(address.ip()), "{} was given twice", address.ip());
        }
    }
    Ok(())
}

fn repeated(world: &World<'_>) -> Result<Verdict> {
    let attachment = world.attach()?;
    let answer: Answer = world.run(
        &attachment
            .call(0, "ADD")
            .edited(|conf| drop(conf.remove("prevResult")))?,
    )?;
    if answer.code == Some(0) {
        let again = answer.result()?;
        ensure!(
            again.get("ips") == attachment.result.get("ips"),
            "other addresses: {:?}",
            again.get("ips")
        );
    } else {
        answer.refusal()?;
    }
    let held = attachment.pod.addresses("eth0").unwrap_or_default();
    let said = attachment.addresses()?.len();
    ensure!(
        held.len() <= said,
        "the interface has {} addresses instead of {said}",
        held.len()
    );
    attachment.delete()?;
    pool::whole(world, &world.network, 0)
}

fn second_interface(world: &World<'_>) -> Result<Verdict> {
    let pod = world.pod()?;
    let first = world.add_to(&world.network, &pod, "eth0")?;
    let defaults = || -> Result<Vec<String>> {
        let routes = crate::kernel::routes(&pod.namespace)?;
        Ok(routes
            .iter()
            .filter(|route| route.prefix.prefix() == 0)
            .map(ToString::to_string)
            .collect())
    };
    let before = defaults()?;
    let second = world.add_to(&world.network, &pod, "net1")?;
    expect_usable(&first)?;
    expect_usable(&second)?;
    let after = defaults()?;
    ensure!(
        before.iter().all(|route| after.contains(route)),
        "default routes were {before:?}, are {after:?}"
    );
    second.delete()?;
    expect_usable(&first)?;
    first.delete()?;
    Ok(Verdict::Pass)
}

/// What a plugin before ours could have answered.
fn foreign(world: &World<'_>, sandbox: &str) -> Value {
    let mut ip = json!({"address": "198.51.100.7/24", "interface": 0});
    if world.network.version.as_str() < "1.0.0"
        && let Some(fields) = ip.as_object_mut()
    {
        fields.insert("version".into(), "4".into());
    }
    json!({
        "cniVersion": world.network.version,
        "interfaces": [{"name": "other0", "mac": "02:00:00:00:00:07", "sandbox": sandbox}],
        "ips": [ip],
        "routes": [],
        "dns": {},
    })
}

fn chained(world: &World<'_>) -> Result<Verdict> {
    let mut attachment = world.planned(&world.network, &world.pod()?);
    attachment.result = foreign(world, &attachment.pod.path());
    let result = world.run(&attachment.call(0, "ADD"))?.result()?;
    attachment.result = result;
    let position = attachment.list("interfaces").iter().position(|interface| {
        interface.get("name") == Some(&json!("other0"))
            && interface.get("mac") == Some(&json!("02:00:00:00:00:07"))
    });
    let position = position.context("prevResult's interface is not in the result")?;
    let kept = attachment.list("ips").iter().any(|ip| {
        ip.get("address") == Some(&json!("198.51.100.7/24")) && ip.get("interface") == Some(&json!(position))
    });
    ensure!(
        kept,
        "prevResult's address, with its interface, is not in the result: {:?}",
        attachment.list("ips")
    );
    ensure!(
        attachment.list("ips").len() > 1,
        "the plugin's own address is not in the result"
    );
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn mac(world: &World<'_>) -> Result<Verdict> {
    const MAC: [u8; 6] = [0x02, 0x42, 0, 0x12, 0x34, 0x56];
    if !world.network.declares("mac") {
        return not_applicable("the configuration does not declare the capability mac");
    }
    let mut network = world.network.clone();
    network.runtime.insert("mac".into(), "02:42:00:12:34:56".into());
    let attachment = world.add_to(&network, &world.pod()?, "eth0")?;
    let is = attachment.pod.link("eth0")?.mac;
    ensure!(is == Some(MAC), "the interface has {is:02x?}");
    let said = attachment.list("interfaces").get(attachment.position()?).cloned();
    let said = said.and_then(|interface| interface.get("mac").cloned());
    ensure!(
        said == Some(json!("02:42:00:12:34:56")),
        "the result has {said:?}"
    );
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn undeclared(world: &World<'_>) -> Result<Verdict> {
    let mut network = world.network.edited(|conf| drop(conf.remove("capabilities")));
    network.runtime.insert(
        "portMappings".into(),
        json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]),
    );
    network.runtime.insert(
        "bandwidth".into(),
        json!({"ingressRate": 1_000_000, "ingressBurst": 1_000_000}),
    );
    ensure!(
        !network.request(0, None).contains_key("runtimeConfig"),
        "the suite's own request is wrong"
    );
    world.add_to(&network, &world.pod()?, "eth0")?.delete()?;
    Ok(Verdict::Pass)
}

fn sysctls(world: &World<'_>) -> Result<Verdict> {
    const SETTINGS: [(&str, &str); 4] = [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/ip_local_port_range", "20000\t30000"),
        ("net/ipv4/conf/all/rp_filter", "2"),
        ("net/core/somaxconn", "777"),
    ];
    let pod = world.pod()?;
    for (name, value) in SETTINGS {
        pod.namespace.set(name, value)?;
    }
    let attachment = world.add_to(&world.network, &pod, "eth0")?;
    for (name, value) in SETTINGS {
        let is = pod
            .namespace
            .run(|| Ok(std::fs::read_to_string(format!("/proc/sys/{name}"))?))?;
        ensure!(is.trim() == value, "{name} was {value}, is {}", is.trim());
    }
    attachment.delete()?;
    Ok(Verdict::Pass)
}

fn mtu(world: &World<'_>) -> Result<Verdict> {
    let has_key = world
        .network
        .plugins
        .first()
        .is_some_and(|conf| conf.contains_key("mtu"));
    if !has_key {
        return not_applicable("the configuration has no mtu");
    }
    for mtu in [1400, 9000] {
        let network = world
            .network
            .edited(|conf| drop(conf.insert("mtu".into(), mtu.into())));
        let attachment = world.add_to(&network, &world.pod()?, "eth0")?;
        let is = attachment.pod.link("eth0")?.mtu;
        ensure!(is == mtu, "mtu {mtu}: the interface has {is}");
        attachment.delete()?;
    }
    Ok(Verdict::Pass)
}
