//! Keeps the rules for packets of pods in the kernel: the table `flatroute` of nf_tables.
//!
//! A task of its own, because the rules depend on the plan alone: no session and no route waits for them. It writes what
//! differs when the plan changes, when it starts (a restart finds all in order and writes nothing), and when
//! another program has changed the table. That it hears from the kernel; and as notices can be missed
//! while their socket is made anew, it also looks now and then. What it cannot do it says, in `/v1/status` and as an event, and tries again.
//!
//! Who always changes what we always repair shall not keep both busy: between two repairs there is a pause.
//!
//! The same ear hears of the plugin's part, the hostPorts. They are the plugin's to write, and nothing is described here; but a program
//! that empties nf_tables takes them from pods that run, and the plugin is no daemon that could notice. So what is heard of
//! them is remembered ([`nft::Memory`]), and what went as a whole is put back.
//!
//! The table stays when the agent ends: pods go on, and so do the checks.

use std::os::fd::OwnedFd;
use std::time::Duration;

use flatroute_api::control::PodRules;
use flatroute_netlink::Socket;
use flatroute_nft as nft;
use flatroute_plan::PodNetwork;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Event;
use super::carry::tell;

/// How soon after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// How often it is looked without an occasion.
const LOOK: Duration = Duration::from_mins(5);
/// How long between two repairs.
const PAUSE: Duration = Duration::from_secs(1);
/// How many steps of a change are told in words.
const MAX_TOLD: usize = 4;

/// The task, as its owner sees it.
pub(super) struct Keeper {
    wanted: watch::Sender<Option<nft::PodNetwork>>,
    seen: watch::Receiver<Option<PodRules>>,
}

impl Keeper {
    /// Starts it; it does nothing before something is wanted, and ends with its owner.
    pub(super) fn start(teller: mpsc::Sender<Event>) -> Self {
        let (wanted, wants) = watch::channel(None);
        let (sees, seen) = watch::channel(None);
        tokio::spawn(keep(wants, sees, teller));
        Self { wanted, seen }
    }

    /// What there shall be. Nothing: what stands is left as it is, because pods that run need it.
    pub(super) fn wants(&self, network: Option<&PodNetwork>) {
        let Some(network) = network.map(rules) else { return };
        self.wanted.send_if_modified(|wanted| {
            let differs = wanted.as_ref() != Some(&network);
            *wanted = Some(network);
            differs
        });
    }

    /// How it went.
    pub(super) fn seen(&self) -> Option<PodRules> {
        self.seen.borrow().clone()
    }
}

fn rules(plan: &PodNetwork) -> nft::PodNetwork {
    nft::PodNetwork {
        pod_cidrs: plan.pod_cidrs.clone(),
        masquerade: plan.masquerade.as_ref().map(|plan| nft::Masquerade {
            direct: plan.direct.clone(),
            source_ipv4: plan.source_ipv4,
            source_ipv6: plan.source_ipv6,
        }),
    }
}

/// The sockets to the kernel.
struct Sockets {
    kernel: nft::Kernel,
    links: Socket,
    watch: nft::Watch,
    readable: AsyncFd<OwnedFd>,
}

/// Why it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// Another plan, or the start.
    Wanted,
    /// Somebody changed something, or may have.
    Changed,
}

async fn keep(
    mut wanted: watch::Receiver<Option<nft::PodNetwork>>,
    sees: watch::Sender<Option<PodRules>>,
    teller: mpsc::Sender<Event>,
) {
    let mut sockets = None;
    let mut occasion = Occasion::Wanted;
    let mut rules = PodRules::default();
    let mut memory = nft::Memory::default();
    // Whether hostPorts are still to be put back.
    let mut is_due = false;
    loop {
        let network = wanted.borrow_and_update().clone();
        if let Some(network) = network {
            let opened = match sockets.take() {
                Some(open) => Ok(open),
                None => open(&mut memory),
            };
            let done = match opened {
                Ok(open) => {
                    let (open, done) = write(open, network, &mut memory).await;
                    sockets = done.is_ok().then_some(open);
                    done
                }
                Err(error) => Err(error),
            };
            is_due = done.as_ref().is_ok_and(|done| done.unrestored.is_some());
            note(&mut rules, occasion, done, &teller);
            sees.send_replace(Some(rules.clone()));
        }
        let began = Instant::now();
        let again = if rules.in_force && !is_due { LOOK } else { AGAIN };
        occasion = tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => Occasion::Wanted,
                Err(_) => return,
            },
            () = changed(sockets.as_mut(), &mut memory) => {
                sleep_until(began + PAUSE).await;
                Occasion::Changed
            }
            () = sleep_until(began + again) => Occasion::Changed,
        };
    }
}

/// Opens the sockets, the ear first: what happens from now on is heard.
fn open(memory: &mut nft::Memory) -> Result<Sockets, nft::Error> {
    let watch = nft::Watch::open(nft::TABLE)?;
    let failed = |error: std::io::Error| {
        nft::Error::Netlink(nft::SocketError::Socket {
            what: "watch",
            source: error,
        })
    };
    let descriptor = std::os::fd::AsFd::as_fd(&watch)
        .try_clone_to_owned()
        .map_err(failed)?;
    #[expect(
        deprecated,
        reason = "the successor is unsafe for types with a lying `AsRawFd`; `OwnedFd` tells the truth"
    )]
    let readable = AsyncFd::with_interest(descriptor, tokio::io::Interest::READABLE).map_err(failed)?;
    let mut kernel = nft::Kernel::open()?;
    memory.see(kernel.host_ports()?);
    Ok(Sockets {
        kernel,
        links: Socket::open().map_err(nft::Error::Netlink)?,
        watch,
        readable,
    })
}

/// What was written.
#[derive(Debug, Default)]
struct Done {
    operations: Vec<nft::Operation>,
    /// HostPorts that had been taken away.
    ports: Vec<nft::host_ports::Owned>,
    /// Why others were not put back.
    unrestored: Option<nft::Error>,
}

/// Writes what differs, beside the runtime: a change can take tens of milliseconds, and no keepalive waits for it.
async fn write(
    mut sockets: Sockets,
    network: nft::PodNetwork,
    memory: &mut nft::Memory,
) -> (Sockets, Result<Done, nft::Error>) {
    let mut remembered = std::mem::take(memory);
    let written = tokio::task::spawn_blocking(move || {
        let Sockets { kernel, links, .. } = &mut sockets;
        let done = kernel.apply(&network.table()).map(|operations| {
            let (ports, unrestored) = match kernel.restore_host_ports(&mut remembered, links) {
                Ok(ports) => (ports, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            Done {
                operations,
                ports,
                unrestored,
            }
        });
        (sockets, remembered, done)
    });
    match written.await {
        Ok((sockets, remembered, done)) => {
            *memory = remembered;
            (sockets, done)
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Waits until somebody else has changed the table, or may have; for ever without sockets.
async fn changed(sockets: Option<&mut Sockets>, memory: &mut nft::Memory) {
    let Some(sockets) = sockets else {
        return std::future::pending().await;
    };
    loop {
        match sockets.readable.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return,
        }
        match sockets.watch.is_changed(sockets.kernel.port(), memory) {
            Ok(false) => {}
            Ok(true) | Err(_) => return,
        }
    }
}

/// Keeps in mind how it went, and tells what is new.
fn note(
    rules: &mut PodRules,
    occasion: Occasion,
    outcome: Result<Done, nft::Error>,
    teller: &mpsc::Sender<Event>,
) {
    match outcome {
        Ok(done) => {
            if let Some(error) = &done.unrestored {
                tracing::warn!(%error, "hostPorts of running pods are not put back yet");
            }
            let was_in_force = std::mem::replace(&mut rules.in_force, true);
            let had_failed = rules.reason.take().is_some();
            let is_drift = was_in_force && occasion == Occasion::Changed && !done.operations.is_empty();
            if is_drift || !done.ports.is_empty() {
                rules.drift = rules.drift.saturating_add(1);
                let text = format!(
                    "another program changed the rules for packets of pods; repaired: {}",
                    in_words(&done)
                );
                tell(teller, "PodRulesDrift", None, text);
            } else if !done.operations.is_empty() {
                let text = format!("the rules for packets of pods are in force: {}", in_words(&done));
                tell(teller, "PodRulesInForce", None, text);
            } else if had_failed {
                let text = "the rules for packets of pods are in force".to_owned();
                tell(teller, "PodRulesInForce", None, text);
            }
        }
        Err(error) => {
            rules.in_force = false;
            let reason = error.to_string();
            if rules.reason.as_ref() != Some(&reason) {
                let text =
                    format!("packets of pods are not checked and not masqueraded as they shall be: {reason}");
                tell(teller, "PodRulesFailed", None, text);
            }
            rules.reason = Some(reason);
        }
    }
}

fn in_words(done: &Done) -> String {
    let operations = few(done.operations.iter().map(ToString::to_string));
    let ports = done.ports.iter().filter(|owned| owned.port().is_some());
    let ports = few(ports.map(|owned| format!("{} (\"{}\")", owned.element, owned.owner)));
    let ports = ports.map(|ports| format!("put back {ports}"));
    let parts: Vec<String> = operations.into_iter().chain(ports).collect();
    parts.join("; ")
}

/// The first few, and how many more there are; none of none.
fn few(all: impl Iterator<Item = String> + Clone) -> Option<String> {
    let mut words: Vec<String> = all.clone().take(MAX_TOLD).collect();
    let more = all.count().saturating_sub(MAX_TOLD);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests;
