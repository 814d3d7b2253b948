//! Writes a run directory for each made-up run of the tests, to be looked at:
//! `cargo run -p streamgauge-reports --example gallery -- DIR`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(clippy::arithmetic_side_effects)]

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::path::Path;

use streamgauge_reports::plot::{Theme, bandwidth_png, bandwidth_svg};
use streamgauge_reports::{rundir, text};

fn main() {
    let dir = std::env::args().nth(1).expect("usage: gallery DIR");
    let runs = [
        ("eight", samples::eight_clients()),
        ("good", samples::good()),
        ("empty", samples::empty()),
        ("hostile", samples::hostile()),
        ("crowd", samples::crowd()),
        ("years", samples::years()),
    ];
    for (name, run) in runs {
        let dir = Path::new(&dir).join(name);
        rundir::write(&dir, &run, &[]).unwrap();
        let options = text::TextOptions { color: false, width: 80 };
        std::fs::write(dir.join("analysis.txt"), text::analysis(&run.analysis, &options)).unwrap();
        std::fs::write(dir.join("run.txt"), text::run_in(&run, Some(&dir), &options)).unwrap();
        std::fs::write(dir.join("dark.png"), bandwidth_png(&run, Theme::Dark).unwrap()).unwrap();
        std::fs::write(dir.join("dark.svg"), bandwidth_svg(&run, Theme::Dark).unwrap()).unwrap();
        println!("{}", dir.display());
    }
}
