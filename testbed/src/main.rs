//! `flatroute-testbed`: the demo, the bench, and what belongs to them.
//!
//! `make demo` builds everything and calls `flatroute-testbed demo`; `make bench` calls `flatroute-testbed bench`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use flatroute_testbed::bench;
use flatroute_testbed::demo::{self, Wishes, keep};
use flatroute_testbed::lab::{Cast, Wiring};
use flatroute_testbed::sandbox;
use flatroute_testbed::speaker::Software;
use flatroute_testbed::topology::Topology;

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
    /// Measure: routes from BGP peers into the kernel, ours beside BIRD's
    Bench {
        /// How often each receiver installs each row
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// How many routes
        #[arg(long, default_value_t = 100_000)]
        routes: u32,
        /// Leave the IPv6 rows out
        #[arg(long)]
        ipv4_only: bool,
        /// Only the rows with this number of next hops
        #[arg(long)]
        hops: Option<usize>,
        /// Only our agent, without BIRD as a receiver
        #[arg(long)]
        alone: bool,
    },
    /// Remove a lab that was left up
    Clean,
    /// Draw the fabric
    Draw,
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

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo {
            tor,
            keep,
            node,
            wire_by_hand,
        } => {
            let cast = Cast {
                nodes: node.parse::<Software>()?,
                fabric: tor.parse::<Software>()?,
            };
            let wiring = if wire_by_hand {
                Wiring::Hand
            } else {
                Wiring::Plugin
            };
            return demo::run(&Wishes { cast, wiring, keep });
        }
        Command::Bench {
            rounds,
            routes,
            ipv4_only,
            hops,
            alone,
        } => {
            return bench::run(&bench::Wishes {
                rounds,
                routes,
                ipv4_only,
                alone,
                hops,
            });
        }
        Command::Clean => println!("{}", keep::clean()?),
        Command::Draw => print!("{}", Topology::two_racks().drawing()),
    }
    Ok(ExitCode::SUCCESS)
}
