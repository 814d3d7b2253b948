//! Prints the analysis of capture files as JSON.

use std::io::Write;
use std::process::ExitCode;

use streamgauge_analyzer::{Analyzer, Options};

fn main() -> ExitCode {
    let mut analyzer = Analyzer::new(Options::default());
    for file in std::env::args_os().skip(1) {
        if let Err(error) = analyzer.file(&file) {
            eprintln!("{error}");
        }
    }
    let analysis = analyzer.finish();
    let mut out = std::io::stdout().lock();
    let written = serde_json::to_writer_pretty(&mut out, &analysis).map_err(std::io::Error::from);
    match written.and_then(|()| writeln!(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
