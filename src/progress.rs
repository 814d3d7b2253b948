//! Progress that changes in place on the terminal.

use std::io::{self, IsTerminal, Write};

use reports::figures;
use scenarios::demo::Moment;

/// True where somebody looks at stderr.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// True where the terminal on stderr moves its cursor when told to.
fn can_draw() -> bool {
    stderr_is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Draws a few lines on the terminal again and again; elsewhere it keeps quiet.
#[derive(Debug)]
pub struct Display {
    on: bool,
    lines: usize,
}

const BAR: usize = 40;

impl Display {
    /// A display on stderr, if that is a terminal and the user wants to see it.
    pub fn new(quiet: bool) -> Self {
        Self { on: !quiet && can_draw(), lines: 0 }
    }

    /// True where something is drawn.
    #[cfg(feature = "live")]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Shows a moment of the demo in place of the one before.
    pub fn show(&mut self, moment: &Moment) {
        if self.on {
            self.draw(&lines(moment));
        }
    }

    /// Draws lines, each no longer than the terminal is wide, in place of those before.
    pub fn draw(&mut self, lines: &[String]) {
        if !self.on {
            return;
        }
        let up = match self.lines {
            0 => String::new(),
            n => format!("\x1b[{n}A"),
        };
        let text: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
        self.lines = lines.len();
        let mut out = io::stderr().lock();
        // A terminal that went away is no reason to stop.
        let _ = write!(out, "{up}{text}\x1b[J").and_then(|()| out.flush());
    }

    /// Clears the display for what comes next.
    pub fn clear(&mut self) {
        if self.on && self.lines > 0 {
            let _ = write!(io::stderr().lock(), "\x1b[{}A\x1b[J", self.lines);
            self.lines = 0;
        }
    }
}

fn lines(moment: &Moment) -> Vec<String> {
    let (elapsed, total) =
        (moment.elapsed.as_secs_f64().min(moment.total.as_secs_f64()), moment.total.as_secs_f64());
    // The bar has no more than BAR cells, whatever the times are.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to BAR")]
    let full = ((elapsed / total.max(0.1)) * BAR as f64) as usize;
    let bar: String = (0..BAR).map(|i| if i < full { '█' } else { '·' }).collect();
    let watching = moment.viewers.iter().filter(|v| v.frames.is_some() && !v.gone).count();
    let rate = figures::rate(Some(moment.bps_out as f64));
    let mut lines = vec![
        format!("  on air {bar} {elapsed:4.1} / {total:.0} s"),
        format!("  {watching} watching, {rate} out"),
    ];
    for viewer in &moment.viewers {
        let state = match viewer.frames {
            None => "not here yet".to_owned(),
            Some(0) => "waits".to_owned(),
            Some(n) if viewer.gone => format!("left after {n} frames"),
            Some(n) => format!("{n} frames"),
        };
        lines.push(format!("    {:<14} {state}", viewer.name));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use scenarios::demo::Watching;
    use std::time::Duration;

    #[test]
    fn the_display_fits_80_columns_and_tells_every_viewer() {
        let viewer = |name, frames, gone| Watching { name, frames, gone };
        let moment = Moment {
            elapsed: Duration::from_secs(8),
            total: Duration::from_secs(16),
            viewers: vec![
                viewer("first in line", Some(120), false),
                viewer("guest", Some(40), true),
                viewer("late viewer", None, false),
            ],
            bps_out: 1_400_000,
        };
        let lines = lines(&moment);
        assert!(lines.iter().all(|l| l.chars().count() <= 80), "{lines:#?}");
        assert_eq!(lines[0].matches('█').count(), 20);
        assert!(lines[1].contains("1 watching"));
        assert!(lines[3].contains("left after 40 frames"));
        assert!(lines[4].contains("not here yet"));
    }
}
