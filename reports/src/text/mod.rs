//! Reports for a terminal of 80 columns.

mod clients;
mod conversations;
mod faults;
mod findings;
mod page;
mod replay;
mod run;
mod scenarios;
mod verdicts;

use model::{Analysis, Role, Severity};

use crate::clients::{observed_s, payload, with_role, with_severity};
use crate::figures::{self, count, plural, span};
use page::Page;

pub use faults::{Fault, faults};
pub use replay::replayed;
pub use run::{run, run_in};
pub use scenarios::{Ran, scenarios};
pub use verdicts::{Detail, Entry, catalogue, explanation, github, verdicts};

/// How to write for this terminal.
#[derive(Clone, Copy, Debug)]
pub struct TextOptions {
    /// Colour, by ANSI escape sequences.
    pub color: bool,
    /// Columns; at least 80 are used.
    pub width: usize,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { color: false, width: 80 }
    }
}

/// As many captures are listed.
const MAX_CAPTURES: usize = 8;

/// The report of `analyze`: captures, clients, conversations, findings, and a line that sums up.
pub fn analysis(analysis: &Analysis, options: &TextOptions) -> String {
    let mut page = Page::new(options);
    captures(&mut page, analysis);
    clients::table(&mut page, analysis, &[]);
    page.blank();
    findings::tally(&mut page, &analysis.findings);
    clients::tracks(&mut page, analysis);
    conversations::tables(&mut page, &analysis.conversations);
    findings::list(&mut page, &analysis.findings);
    page.blank();
    for line in crate::words::wrap(&summary(analysis), page.width()) {
        page.strong(&line);
    }
    page.finish()
}

fn captures(page: &mut Page, analysis: &Analysis) {
    page.heading("CAPTURES", "");
    if analysis.captures.is_empty() {
        page.line("  none");
    }
    for capture in analysis.captures.iter().take(MAX_CAPTURES) {
        page.entry(&capture.file);
        let begin = capture.first_time.map_or_else(|| "at an unknown time".to_owned(), figures::instant);
        page.detail(&format!(
            "{} for {}, {} {}",
            begin,
            span(capture.duration_s),
            capture.format,
            capture.link_type
        ));
        let mut facts =
            format!("{}, {} bytes on the wire", plural(capture.packets, "packet"), count(capture.bytes));
        if capture.truncated_packets > 0 {
            facts += &format!(", {} cut short", count(capture.truncated_packets));
        }
        if capture.synthetic {
            facts += ", headers made up by a tap";
        }
        page.detail(&facts);
    }
    page.left_out(analysis.captures.len(), MAX_CAPTURES);
}

/// The last line: clients, streams, bytes, time, findings.
fn summary(analysis: &Analysis) -> String {
    let mut paths: Vec<&str> = analysis.sessions.iter().filter_map(|s| s.path.as_deref()).collect();
    paths.sort_unstable();
    paths.dedup();
    let control = with_role(analysis, Role::Control);
    let others = if control > 0 { format!(", {} without media", count(control)) } else { String::new() };
    format!(
        "{} and {}{others} on {}: {} of payload in {}; {}.",
        plural(with_role(analysis, Role::Publisher), "publisher"),
        plural(with_role(analysis, Role::Viewer), "viewer"),
        plural(figures::len(&paths), "stream"),
        figures::size(payload(analysis)),
        span(observed_s(analysis)),
        severities(analysis),
    )
}

fn severities(analysis: &Analysis) -> String {
    let of = |severity| with_severity(analysis, severity);
    format!(
        "{}, {}, {}",
        plural(of(Severity::Error), "error"),
        plural(of(Severity::Warning), "warning"),
        plural(of(Severity::Info), "note")
    )
}
