//! `streamgauge capture`, and what `analyze --live` shares with it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use analyzer::live::{Counts, Interface, LiveError, Sniffer, interfaces};
use reports::figures;

use crate::args::{Capture, Common};
use crate::exit::{Code, Ended, Failure};
use crate::output;
use crate::progress::stderr_is_terminal;

/// Sniffs an interface into a pcapng file.
pub fn run(args: &Capture, common: &Common) -> Ended {
    if args.list {
        output::print(&listing(&interfaces()))?;
        return Ok(Code::Expected);
    }
    let (Some(interface), Some(file)) = (&args.interface, &args.write) else {
        return Err(Failure::usage("capture needs -i IFACE and -w FILE, or --list"));
    };
    let sniffer = Sniffer::open(interface, args.filter.as_deref(), args.snap).map_err(failure)?;
    let mut out: Box<dyn Write> = if file == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        let created = File::create(file);
        Box::new(created.map_err(|e| Failure::environment(format!("cannot write {}: {e}", file.display())))?)
    };
    let asked = stop_flag()?;
    let telling = Telling::new(common.quiet);
    listening(interface, common.quiet);
    let stop = || asked.load(Ordering::Relaxed);
    let ended = sniffer.run(&mut out, args.length, &stop, &mut |counts| telling.show(counts));
    telling.end();
    let counts = match ended {
        // Whoever read along has seen enough.
        Err(LiveError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(Code::Expected);
        }
        ended => ended.map_err(failure)?,
    };
    if !common.quiet {
        output::say(&sentence(&counts));
    }
    Ok(over(args.length, &asked))
}

/// Without a set time the way to end is to interrupt; with one, an interruption cut it short.
pub fn over(length: Option<Duration>, asked: &AtomicBool) -> Code {
    if length.is_some() && asked.load(Ordering::Relaxed) { Code::Interrupted } else { Code::Expected }
}

/// What to tell of an interface that cannot be sniffed, and with which code.
pub fn failure(error: LiveError) -> Failure {
    match error {
        LiveError::NoInterface { .. } | LiveError::Filter { .. } => Failure::usage(error),
        _ => Failure::environment(error),
    }
}

/// A flag that goes up when the user or the system wants the program to end.
pub fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let (raised, runtime) = (Arc::clone(&flag), super::runtime()?);
    // The handlers have to stand before the first packet; only the waiting goes on in another thread.
    let mut signals = {
        let _inside = runtime.enter();
        super::Signals::heed()?
    };
    std::thread::spawn(move || {
        runtime.block_on(signals.asked_to_stop());
        raised.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}

/// `12,345 packets, 6.7 MB; none lost`
pub fn sentence(counts: &Counts) -> String {
    let lost = match (counts.dropped, counts.interface_dropped) {
        (0, 0) => "none lost".to_owned(),
        (n, 0) => format!("{} lost: this machine was too slow", figures::count(n)),
        (n, m) => format!("{} lost here, {} at the interface", figures::count(n), figures::count(m)),
    };
    format!("{} packets, {} bytes; {lost}", figures::count(counts.packets), figures::count(counts.bytes))
}

/// Says that from now on every packet is seen.
pub fn listening(interface: &str, quiet: bool) {
    if !quiet {
        output::say(&format!("listening on {interface}; Ctrl-C ends it"));
    }
}

/// Says on stderr how it goes: one line that changes on a terminal, nothing elsewhere.
struct Telling {
    quiet: bool,
    terminal: bool,
}

impl Telling {
    fn new(quiet: bool) -> Self {
        Self { quiet, terminal: stderr_is_terminal() }
    }

    /// Shows the counts in place of those before.
    fn show(&self, counts: &Counts) {
        if self.terminal && !self.quiet {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K  {}", sentence(counts));
        }
    }

    /// Clears the line for what comes next.
    fn end(&self) {
        if self.terminal && !self.quiet {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }
}

/// The interfaces, one a line.
fn listing(all: &[Interface]) -> String {
    let width = all.iter().map(|i| i.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for i in all {
        let state = match (i.up, i.loopback) {
            (true, true) => "up, loopback",
            (true, false) => "up",
            (false, _) => "down",
        };
        let addresses: Vec<String> = i.addresses.iter().map(|(ip, bits)| format!("{ip}/{bits}")).collect();
        let line = format!("{:width$}  {state:<12}  {}", i.name, addresses.join(" "));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_told_with_state_and_addresses() {
        let interface = |name: &str, up, loopback, addresses: &[(&str, u8)]| Interface {
            name: name.to_owned(),
            up,
            loopback,
            addresses: addresses.iter().filter_map(|(ip, n)| Some((ip.parse().ok()?, *n))).collect(),
        };
        let all = [
            interface("lo", true, true, &[("127.0.0.1", 8), ("::1", 128)]),
            interface("wlan0", false, false, &[]),
        ];
        let want = "lo     up, loopback  127.0.0.1/8 ::1/128\nwlan0  down\n";
        assert_eq!(listing(&all), want);
    }

    #[test]
    fn what_was_lost_is_said() {
        let mut counts = Counts { packets: 1200, bytes: 34_567, ..Counts::default() };
        assert_eq!(sentence(&counts), "1,200 packets, 34,567 bytes; none lost");
        counts.dropped = 7;
        assert_eq!(sentence(&counts), "1,200 packets, 34,567 bytes; 7 lost: this machine was too slow");
    }
}
