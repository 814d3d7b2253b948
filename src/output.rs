//! Results on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write};

use reports::text::TextOptions;

use crate::args::{Color, Common};
use crate::exit::Failure;

/// Prints a result. A reader that has seen enough (a broken pipe) is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::environment(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line on stderr; where even that fails there is nobody to tell.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints what went wrong.
pub fn complain(message: &str) {
    say(&format!("streamgauge: {message}"));
}

/// How to write reports on stdout.
pub fn text_options(common: &Common) -> TextOptions {
    let color = match common.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    };
    TextOptions { color, ..TextOptions::default() }
}
