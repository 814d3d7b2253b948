//! The end screen of a run: who watched what, how much, was it right, where is the report.

use std::path::Path;

use model::{Check, Run, Verdict};

use super::page::{Ink, Page};
use super::{TextOptions, clients, findings};
use crate::clients::{Client, endpoint, recorded, role, streams, unseen, verdict};
use crate::figures::{count, count_within, difference, len, plural, span};
use crate::words::{clean, left, middle};

/// As many clients and checks a section are listed.
const MAX_ROWS: usize = 60;

/// The end screen; files are named relative to the run directory.
pub fn run(run: &Run, options: &TextOptions) -> String {
    run_in(run, None, options)
}

/// The end screen of a run that was written to `dir`.
pub fn run_in(run: &Run, dir: Option<&Path>, options: &TextOptions) -> String {
    let mut page = Page::new(options);
    let title = middle(&clean(&run.title), page.width());
    page.strong(&title);
    page.line(&middle(
        &clean(&format!("{}, {}, {}", run.generator, run.started, span(run.duration_s))),
        page.width(),
    ));
    clients::table(&mut page, &run.analysis, &run.server_clients);
    if !run.server_clients.is_empty() {
        two_counts(&mut page, run);
    }
    recordings(&mut page, run);
    checks(&mut page, run);
    if !run.analysis.findings.is_empty() {
        findings::list(&mut page, &run.analysis.findings);
    }
    notes(&mut page, run);
    report(&mut page, run, dir);
    page.finish()
}

/// The server's metrics and the wire's count, side by side.
fn two_counts(page: &mut Page, run: &Run) {
    page.heading("SERVER AND WIRE", "payload bytes, counted twice");
    page.titles(&format!("{:>47}{:>25}", "to the server", "to the client"));
    page.titles(&cells("client", ["server", "wire", "server", "wire"].map(str::to_owned), " apart"));
    let streams = streams(&run.analysis, &run.server_clients);
    let clients: Vec<&Client<'_>> = streams.iter().flat_map(|s| &s.clients).collect();
    for client in clients.iter().take(MAX_ROWS) {
        let name = client.name().unwrap_or_else(|| endpoint(client.session.client));
        let label = format!("{} {name}", role(client.session.role));
        match client.tally() {
            Some(t) => {
                let apart = t.apart();
                let ink = if apart == 0 { Ink::Good } else { Ink::Doubtful };
                let counts = [t.server_in, t.wire_in, t.server_out, t.wire_out];
                let shown = page.ink(ink, &format!("{:>6}", count_within(apart, 6)));
                let line = cells(&label, counts.map(|n| count_within(n, 11)), &shown);
                page.line(&line);
                if apart > 0 {
                    explain(page, client, t.difference_in(), t.difference_out());
                }
            }
            None => page.line(&format!("  {} not among the server's clients", left(&label, 21))),
        }
    }
    page.left_out(clients.len(), MAX_ROWS);
    for lost in unseen(run) {
        let name = lost.name.clone().unwrap_or_else(|| endpoint(lost.address));
        let figures = format!("{} in, {} out", count(lost.bytes_in), count(lost.bytes_out));
        page.detail(&format!("The server counted {name} ({figures}); no packet of it was captured."));
    }
}

fn cells(label: &str, counts: [String; 4], apart: &str) -> String {
    let [a, b, c, d] = counts;
    format!("  {} {a:>11} {b:>11}  {c:>11} {d:>11}  {apart}", left(label, 21))
}

fn explain(page: &mut Page, client: &Client<'_>, to_server: i128, to_client: i128) {
    let mut text = format!(
        "server minus wire: {} to the server, {} to the client",
        difference(to_server),
        difference(to_client)
    );
    if let Some(unsent) = client.session.unsent.filter(|n| *n > 0) {
        text += &format!("; {} bytes lay unsent when the connection was reset", count(unsent));
    }
    page.detail(&text);
}

/// What the server recorded.
fn recordings(page: &mut Page, run: &Run) {
    if run.recordings.is_empty() {
        return;
    }
    page.heading("RECORDED", "read back from the file");
    for recording in run.recordings.iter().take(MAX_ROWS) {
        let file = middle(&clean(&recording.file), page.width() - 2);
        let line = format!("  {}", page.ink(Ink::Strong, &file));
        page.line(&line);
        page.detail(&recorded(recording));
        page.detail(&clean(&recording.tracks.join(" · ")));
    }
    page.left_out(run.recordings.len(), MAX_ROWS);
}

fn checks(page: &mut Page, run: &Run) {
    let of = |wanted| run.checks.iter().filter(move |c| c.verdict == wanted);
    let passed = of(Verdict::Pass).count();
    page.heading("WAS IT RIGHT", &format!("{passed} of {} checks passed", run.checks.len()));
    let order = [Verdict::Fail, Verdict::Error, Verdict::Warn, Verdict::Inconclusive, Verdict::Skip];
    let mut shown = 0;
    for check in order.into_iter().flat_map(of).take(MAX_ROWS) {
        entry(page, check);
        shown += 1;
    }
    page.left_out(run.checks.len() - passed, shown);
    passes(page, of(Verdict::Pass));
    if run.checks.is_empty() {
        page.line("  nothing was checked");
    }
    findings::tally(page, &run.analysis.findings);
}

/// What passed, a line for each thing that was checked: `camera: same bytes` and `viewer: same bytes` are one.
fn passes<'a>(page: &mut Page, checks: impl Iterator<Item = &'a Check>) {
    let mut groups: Vec<(&str, u64)> = Vec::new();
    for check in checks {
        let what = check.title.split_once(": ").map_or(check.title.as_str(), |(_, what)| what);
        match groups.iter_mut().find(|(known, _)| *known == what) {
            Some((_, n)) => *n += 1,
            None => groups.push((what, 1)),
        }
    }
    for (what, n) in groups.iter().take(MAX_ROWS) {
        let name = if *n == 1 { "pass".to_owned() } else { format!("pass × {}", count(*n)) };
        let mark = page.ink(Ink::Good, &format!("✓ {}", left(&name, 12)));
        let line = format!("  {mark} {}", middle(&clean(what), page.width() - 17));
        page.line(&line);
    }
    page.left_out(groups.len(), groups.len().min(MAX_ROWS));
}

fn entry(page: &mut Page, check: &Check) {
    let (ink, mark) = match check.verdict {
        Verdict::Pass => (Ink::Good, "✓"),
        Verdict::Fail | Verdict::Error => (Ink::Bad, "✗"),
        Verdict::Warn => (Ink::Doubtful, "!"),
        Verdict::Skip | Verdict::Inconclusive => (Ink::Faint, "·"),
    };
    let name = left(verdict(check.verdict), 12);
    let title = middle(&clean(&check.title), page.width() - 17);
    let line = format!("  {} {title}", page.ink(ink, &format!("{mark} {name}")));
    page.line(&line);
    if check.verdict != Verdict::Pass {
        page.labelled("             want", &check.want);
        page.labelled("             got ", &check.got);
    }
}

fn notes(page: &mut Page, run: &Run) {
    if run.notes.is_empty() {
        return;
    }
    page.heading("NOTES", "");
    for note in &run.notes {
        for (i, line) in crate::words::wrap(note, page.width() - 4).into_iter().enumerate() {
            page.line(&format!("  {} {line}", if i == 0 { "•" } else { " " }));
        }
    }
}

fn report(page: &mut Page, run: &Run, dir: Option<&Path>) {
    page.heading("REPORT", &plural(len(&run.artifacts), "file"));
    if let Some(dir) = dir {
        // Whole, whatever its length: it is there to be copied.
        let index = dir.join("index.html");
        let line = page.ink(Ink::Strong, &clean(&index.display().to_string()));
        page.line(&format!("  {line}"));
    }
    for artifact in &run.artifacts {
        let title = middle(&clean(&artifact.title), page.width() - 26);
        page.line(&format!("  {} {title}", left(&artifact.file, 22)));
    }
}
