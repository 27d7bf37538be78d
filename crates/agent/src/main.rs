//! The node daemon of flatroute.
//!
//! It goes round in three steps. *Observe*: read the objects, from a directory of manifests (`observe`). *Plan*:
//! make the plan of this node from them, with a pure function of another crate. *Act*: when the plan differs from
//! the one in force, hand it to the speaker and to the kernel's routes (`act`). One task (`run`) owns all state;
//! everything else talks to it through bounded channels: the observer, the control socket (`control`), the
//! signals.
//!
//! With `--respawn` the first process is only the parent of the daemon, which starts it again at once when it dies (`respawn`).
//!
//! Beside `run` there are two small commands: `check` explains what is wrong with manifests, offline, and
//! `prepare` sets the sysctls that a node needs. Exit codes: 0 fine, 1 failed or problems found, 2 wrong usage.
#![forbid(unsafe_code)]

mod act;
mod check;
mod cli;
mod conflist;
mod control;
mod events;
mod http;
mod observe;
mod prepare;
mod ready;
mod report;
mod respawn;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.command {
        cli::Command::Run(options) if options.respawn => respawn::main(options.log_format),
        cli::Command::Run(options) => run::main(&options),
        cli::Command::Check { path } => check::main(&path),
        cli::Command::Prepare { dry_run, sysctl_dir } => prepare::main(&sysctl_dir, dry_run),
    }
}
