//! Where the log goes.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use crate::args::Common;

/// Logs to stderr.
pub fn to_stderr(common: &Common) {
    let color = crate::progress::stderr_is_terminal() && common.color != crate::args::Color::Never;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter(common)).with_writer(io::stderr).with_ansi(color);
    // A second call would be a mistake of ours, and no reason to stop.
    let _ = log.with_target(false).try_init();
}

/// Logs into a file.
pub fn to_file(common: &Common, file: File) {
    let log = tracing_subscriber::fmt().with_env_filter(filter(common)).with_writer(Mutex::new(file));
    let _ = log.with_ansi(false).with_target(false).try_init();
}

/// `STREAMGAUGE_LOG` in the syntax of tracing's filters, else by the flags.
fn filter(common: &Common) -> EnvFilter {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (_, 0) => "info",
        (_, 1) => "debug",
        _ => "trace",
    };
    EnvFilter::try_from_env("STREAMGAUGE_LOG").unwrap_or_else(|_| EnvFilter::new(level))
}
