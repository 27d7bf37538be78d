//! The sentences of the Kubernetes network model that need no Kubernetes, in one family alone and in both.
//!
//! `flatroute_testbed::model` says what is asked; the table that each run prints says what held, and where the rest is asked.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use flatroute_testbed::cluster::exam::draw;
use flatroute_testbed::cluster::site::Families;
use flatroute_testbed::model::standalone::{Standalone, judge};
use flatroute_testbed::trial::{self, Need, Trial};

fn main() -> ExitCode {
    // On two idle cores each takes about a tenth of it.
    let limit = Duration::from_secs(300);
    let needs = &[Need::Agent, Need::Plugin, Need::Ping];
    trial::main(&[
        Trial {
            name: "the_model_holds_with_ipv4_alone",
            needs,
            limit,
            body: || holds(Families::V4),
        },
        Trial {
            name: "the_model_holds_with_ipv6_alone",
            needs,
            limit,
            body: || holds(Families::V6),
        },
        Trial {
            name: "the_model_holds_with_both_families",
            needs,
            limit,
            body: || holds(Families::Dual),
        },
    ])
}

fn holds(families: Families) -> Result<()> {
    let mut lab = Standalone::rise(families)?;
    let rows = lab.ask();
    print!("{}", draw(&rows));
    judge(&rows)?;
    lab.end()
}
