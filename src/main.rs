//! streamgauge: a reference server and packet analyzer for live streams.
//!
//! This crate is arguments, exit codes and wiring; it knows no protocol.

// Nothing from the network is decoded here.
#![allow(clippy::arithmetic_side_effects)]

mod args;
mod commands;
mod exit;
mod faults;
mod logging;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    // clap's own exit code for wrong usage is 2, ours too.
    let args = Args::parse();
    let ended = match args.command {
        Command::Demo(demo) => commands::demo::run(&demo, &args.common),
        Command::Serve(serve) => commands::serve::run(serve, &args.common),
        Command::Publish(publish) => commands::publish::run(&publish, &args.common),
        Command::Analyze(analyze) => commands::analyze::run(&analyze, &args.common),
        #[cfg(feature = "live")]
        Command::Capture(capture) => commands::capture::run(&capture, &args.common),
        Command::Dissect(dissect) => commands::dissect::run(&dissect, &args.common),
        Command::Check(check) => commands::check::run(&check, &args.common),
        Command::Run(run) => commands::run::run(&run, &args.common),
        Command::Replay(replay) => commands::replay::run(&replay, &args.common),
        Command::Rules(rules) => commands::rules::run(&rules, &args.common),
        Command::Explain(explain) => commands::explain::run(&explain, &args.common),
        Command::Report(report) => commands::report::run(&report, &args.common),
    };
    match ended {
        Ok(code) => code.into(),
        Err(failure) => {
            output::complain(&failure.message);
            failure.code.into()
        }
    }
}
