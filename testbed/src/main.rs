//! `flatroute-testbed`: the demo, the bench, and what belongs to them.
//!
//! `make demo` builds everything and calls `flatroute-testbed demo`; `make bench` calls `flatroute-testbed bench`,
//! `make image` calls `flatroute-testbed image`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use flatroute_testbed::bench;
use flatroute_testbed::cluster::exam::Part;
use flatroute_testbed::cluster::{self, standing::State};
use flatroute_testbed::conformance;
use flatroute_testbed::demo::{self, Wishes, keep};
use flatroute_testbed::image::Image;
use flatroute_testbed::lab::{Cast, Wiring};
use flatroute_testbed::manifests;
use flatroute_testbed::sandbox;
use flatroute_testbed::speaker::Software;
use flatroute_testbed::topology::{Numbering, Topology};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "A data centre of two racks in network namespaces, with flatroute on it"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the fabric, run flatroute on it, show that it works, take it down
    Demo {
        /// What runs on ToRs and spines: flatroute (default), bird or frr
        #[arg(long, default_value = "flatroute")]
        tor: String,
        /// Links without addresses: neighbours find each other (not with bird)
        #[arg(long)]
        unnumbered: bool,
        /// Leave the lab up at the end, and say how to look inside
        #[arg(long)]
        keep: bool,
        /// What runs on the nodes (to test the testbed)
        #[arg(long, default_value = "flatroute", hide = true)]
        node: String,
        /// Wire pods without the CNI plugin (to test the testbed)
        #[arg(long, hide = true)]
        wire_by_hand: bool,
    },
    /// Measure: routes into the kernel and through the agent, beside other daemons
    Bench(Bench),
    /// Write the container image of flatroute (`make image`)
    Image {
        /// Where the static programs flatroute-agent and flatroute-cni are
        programs: PathBuf,
        /// The archive to write
        archive: PathBuf,
    },
    /// Bring a real Kubernetes cluster up (`make cluster`), or remove it
    Cluster {
        #[command(subcommand)]
        act: Act,
        /// racks, or segment: all nodes on one link, and no object of flatroute's
        #[arg(long, default_value = "racks", global = true)]
        shape: String,
        /// What ToRs and spine run: bird or flatroute; BIRD where it is installed when not said
        #[arg(long, default_value = "", hide_default_value = true, global = true)]
        switches: String,
        /// v4, v6, dual or dual64 (IPv6 first)
        #[arg(long, default_value = "dual", global = true)]
        families: String,
        /// How many nodes
        #[arg(long, default_value_t = 4, global = true)]
        nodes: u16,
        /// iptables or nftables
        #[arg(long, default_value = "iptables", global = true)]
        proxy: String,
        /// flatroute, or bird: ptp, host-local and BIRD in its place, for comparison
        #[arg(long, default_value = "flatroute", global = true)]
        carrier: String,
        /// What `test` asks: upstream, operations, model, annotations, privileges and remove of racks, mesh of a segment; all of these when not said
        #[arg(long, value_delimiter = ',', global = true)]
        checks: Vec<String>,
        /// How often `bench` brings each kind of cluster up
        #[arg(long, default_value_t = 2, global = true)]
        rounds: u16,
        /// The archive with our own image
        #[arg(long, default_value = "target/image/flatroute.tar", global = true)]
        image: PathBuf,
    },
    /// Put a CNI plugin, anybody's, to 116 questions (docs/conformance.md)
    CniConformance(Conformance),
    /// Write deploy/install.yaml (`make manifests`)
    Manifests,
    /// Remove a lab that was left up
    Clean,
    /// Draw the fabric
    Draw,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Act {
    /// Bring it up and leave it
    Up,
    /// Bring it up, put it to the test, and take it down (`make cluster-test`)
    Test,
    /// Measure one with flatroute and one with ptp, host-local and BIRD, in turns (`make cluster-bench`)
    Bench,
    /// Remove it
    Down,
}

#[derive(Debug, Args)]
struct Conformance {
    /// Where the plugins are
    #[arg(long)]
    plugin_dir: PathBuf,
    /// A .conflist, or a .conf with one plugin; a pool of at most 260 addresses lets every leak be seen
    #[arg(long)]
    conf: PathBuf,
    /// Only these items, such as 14,22-30
    #[arg(long, default_value = "", hide_default_value = true)]
    only: String,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

impl Conformance {
    fn run(self) -> Result<ExitCode> {
        conformance::run(&conformance::Wishes {
            plugin_dir: self.plugin_dir,
            conf: self.conf,
            only: conformance::numbers(&self.only)?,
            json: self.json,
        })
    }
}

#[derive(Debug, Args)]
struct Bench {
    /// Only this row
    #[arg(long)]
    row: Option<bench::Kind>,
    /// How often each daemon goes through each row (otherwise 5; 3 in row gather and for tables above 500000 routes)
    #[arg(long)]
    rounds: Option<usize>,
    /// Row install: how many routes
    #[arg(long, default_value_t = 100_000)]
    routes: u32,
    /// Row install: only with this number of next hops
    #[arg(long)]
    hops: Option<usize>,
    /// Row through: how many routes, one table each
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000")]
    sizes: Vec<u32>,
    /// Rows through, gather, rest: only these of flatroute, bird, frr, gobgp (otherwise all that are installed)
    #[arg(long, value_delimiter = ',')]
    daemons: Vec<String>,
    /// Row through: a real IPv4 table, an MRT file of type TABLE_DUMP_V2 (may end in .bz2)
    #[arg(long)]
    table: Option<PathBuf>,
    /// Rows through, gather, rest: another build of flatroute-agent, measured in the same run; with `--row pods`, of flatroute-cni
    #[arg(long)]
    against: Option<PathBuf>,
    /// Row pods: the plugin to measure (otherwise the one beside this program)
    #[arg(long)]
    plugin: Option<PathBuf>,
    /// Leave the IPv6 rows out
    #[arg(long)]
    ipv4_only: bool,
    /// Only our agent
    #[arg(long)]
    alone: bool,
}

impl From<Bench> for bench::Wishes {
    fn from(wishes: Bench) -> Self {
        let Bench {
            row,
            rounds,
            routes,
            hops,
            sizes,
            daemons,
            table,
            against,
            plugin,
            ipv4_only,
            alone,
        } = wishes;
        Self {
            row,
            rounds,
            routes,
            hops,
            sizes,
            daemons,
            table,
            against,
            plugin,
            ipv4_only,
            alone,
        }
    }
}

fn main() -> ExitCode {
    sandbox::answer_call();
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("flatroute-testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wiring(by_hand: bool) -> Wiring {
    if by_hand { Wiring::Hand } else { Wiring::Plugin }
}

fn numbering(unnumbered: bool) -> Numbering {
    if unnumbered {
        Numbering::Unnumbered
    } else {
        Numbering::Numbered
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo {
            tor,
            unnumbered,
            keep,
            node,
            wire_by_hand,
        } => {
            let cast = Cast {
                nodes: node.parse::<Software>()?,
                fabric: tor.parse::<Software>()?,
            };
            return demo::run(&Wishes {
                cast,
                wiring: wiring(wire_by_hand),
                numbering: numbering(unnumbered),
                keep,
            });
        }
        Command::Bench(wishes) => return bench::run(&wishes.into()),
        Command::Image { programs, archive } => {
            let image = Image::flatroute(&programs)?;
            let id = image.write(&archive)?;
            println!("{}: {} ({id})", archive.display(), image.tags().join(", "));
        }
        Command::Cluster {
            act,
            shape,
            switches,
            families,
            nodes,
            proxy,
            carrier,
            checks,
            rounds,
            image,
        } => {
            let wishes = cluster::Wishes {
                shape: shape.parse()?,
                switches: switches.parse()?,
                families: families.parse()?,
                nodes,
                proxy: proxy.parse()?,
                carrier: carrier.parse()?,
                image: std::path::absolute(image)?,
                state: State::in_target("cluster")?,
            };
            match act {
                Act::Up => return cluster::up(&wishes),
                Act::Test => {
                    let mut parts = checks.iter().map(|part| part.parse()).collect::<Result<_>>()?;
                    if checks.is_empty() {
                        parts = Part::usual(wishes.shape);
                    }
                    return cluster::exam::run(&wishes, &parts);
                }
                Act::Bench => return cluster::bench::run(&wishes, rounds),
                Act::Down => println!("{}", cluster::down(&wishes.state)?),
            }
        }
        Command::CniConformance(asked) => return asked.run(),
        Command::Manifests => {
            let deploy = manifests::deploy_dir();
            std::fs::write(deploy.join("install.yaml"), manifests::install_yaml(&deploy)?)?;
            println!("deploy/install.yaml");
        }
        Command::Clean => println!("{}", keep::clean()?),
        Command::Draw => print!("{}", Topology::two_racks().drawing()),
    }
    Ok(ExitCode::SUCCESS)
}
