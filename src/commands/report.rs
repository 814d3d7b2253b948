//! `streamgauge report`.

use std::io;

use crate::args::{Common, Report};
use crate::exit::{Code, Ended, Failure};
use crate::output;

/// Renders a run directory again from its `run.json`.
pub fn run(args: &Report, common: &Common) -> Ended {
    let run = reports::rundir::load(&args.dir).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => Failure::usage(e),
        _ => Failure::environment(e),
    })?;
    reports::rundir::render(&args.dir, &run).map_err(Failure::environment)?;
    output::print(&reports::text::run_in(&run, Some(&args.dir), &output::text_options(common)))?;
    Ok(Code::Expected)
}
