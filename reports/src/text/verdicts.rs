//! How conformance rules came out, and the catalogue they stand in.

use model::{Case, Evidence, Sessions, Verdict, Verdicts};

use super::TextOptions;
use super::page::{Ink, Page};
use crate::clients::verdict as word;
use crate::figures::{count, plural};
use crate::words::{clean, columns, left, middle};

/// How much to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What is unexpected, and the summary.
    Quiet,
    /// What was broken at length, the rest in a line each.
    Normal,
    /// Everything at length.
    Full,
}

/// The report of `check`.
pub fn verdicts(verdicts: &Verdicts, detail: Detail, options: &TextOptions) -> String {
    let mut page = Page::new(options);
    page.heading("RULES", &clean(&verdicts.target));
    for case in &verdicts.cases {
        if detail == Detail::Quiet && case.expected {
            continue;
        }
        entry(&mut page, case, detail);
    }
    page.blank();
    for line in crate::words::wrap(&summary(verdicts, "rule"), page.width()) {
        page.strong(&line);
    }
    page.finish()
}

fn ink(case: &Case) -> Ink {
    match (case.expected, case.verdict) {
        (false, _) | (_, Verdict::Error) => Ink::Bad,
        (_, Verdict::Pass) => Ink::Good,
        (_, Verdict::Fail | Verdict::Warn | Verdict::Inconclusive) => Ink::Doubtful,
        (_, Verdict::Skip) => Ink::Faint,
    }
}

fn entry(page: &mut Page, case: &Case, detail: Detail) {
    let name = left(&middle(&clean(&case.rule), 44), 44);
    let aside = match (case.verdict, &case.reason) {
        (Verdict::Skip, _) => String::new(),
        (Verdict::Pass | Verdict::Fail | Verdict::Warn, _) if case.applied > 0 => {
            let broken = if case.breaches > 0 { format!("{}/", count(case.breaches)) } else { String::new() };
            format!("{broken}{}", count(case.applied))
        }
        _ => String::new(),
    };
    let line = format!(
        "  {} {} {:<10} {:>8}",
        page.ink(ink(case), &left(short(case.verdict), 6)),
        page.ink(Ink::Strong, &name),
        case.level,
        aside
    );
    page.line(&line);
    let broken = matches!(case.verdict, Verdict::Fail | Verdict::Warn | Verdict::Error);
    if !case.expected && !broken {
        page.detail("a failure was expected here: take it out of the list of expected ones");
    }
    if broken || detail == Detail::Full {
        at_length(page, case, broken);
    }
}

fn at_length(page: &mut Page, case: &Case, broken: bool) {
    page.labelled("rule", &format!("{} ({})", case.title, case.clause));
    if let Some(message) = &case.message {
        page.labelled("seen", message);
    }
    if let (Some(want), Some(got)) = (&case.want, &case.got) {
        page.labelled("want", want);
        page.labelled("got ", got);
    }
    if let Some(evidence) = &case.evidence {
        page.labelled("at  ", &place(evidence));
        if let Some(filter) = &evidence.filter {
            page.labelled("show", filter);
        }
    }
    if broken {
        page.labelled("why ", &case.why);
        let Sessions { pass, fail, warn, .. } = case.sessions;
        if fail + warn > 1 || pass > 0 {
            page.labelled(
                "also",
                &format!("broken in {}, kept in {}", plural(fail + warn, "session"), count(pass)),
            );
        }
    }
    if let Some(reason) = &case.reason {
        page.labelled("note", reason);
    }
    page.blank();
}

fn place(evidence: &Evidence) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(evidence.flow.clone());
    parts.extend(evidence.frame.map(|n| format!("frame {n}")));
    let later = evidence.last_frame.filter(|last| Some(*last) != evidence.frame);
    parts.extend(later.map(|n| format!("last in frame {n}")));
    parts.extend(evidence.offset.map(|n| format!("byte {n} of the stream")));
    parts.extend(evidence.file.clone());
    parts.join(", ")
}

/// A verdict in six columns.
fn short(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Inconclusive => "open",
        other => word(other),
    }
}

/// The last line: how many rules came to which verdict, and how many were unexpected.
/// How many there are of each; `noun` is what they are about.
fn summary(verdicts: &Verdicts, noun: &str) -> String {
    let of = |verdict| verdicts.cases.iter().filter(|case| case.verdict == verdict).count();
    let all =
        [Verdict::Pass, Verdict::Fail, Verdict::Warn, Verdict::Error, Verdict::Inconclusive, Verdict::Skip];
    let told: Vec<String> = all
        .into_iter()
        .filter(|verdict| of(*verdict) > 0)
        .map(|verdict| format!("{} {}", of(verdict), word(verdict)))
        .collect();
    let surprises = verdicts.cases.iter().filter(|case| !case.expected).count();
    let surprises =
        if surprises == 0 { "none unexpected".to_owned() } else { format!("{surprises} unexpected") };
    let all = plural(u64::try_from(verdicts.cases.len()).unwrap_or(u64::MAX), noun);
    format!("{all}: {}; {surprises}.", told.join(", "))
}

/// Lines that GitHub's workflow log turns into annotations.
pub fn github(verdicts: &Verdicts) -> String {
    let mut text = String::new();
    for case in &verdicts.cases {
        let kind = match (case.expected, case.verdict) {
            (false, _) => "error",
            (true, Verdict::Fail | Verdict::Warn) => "warning",
            (true, _) => continue,
        };
        let evidence = case.evidence.clone().unwrap_or_default();
        let file =
            evidence.file.as_deref().map(|file| format!("file={},", property(file))).unwrap_or_default();
        let title = property(&format!("{} ({})", case.rule, word(case.verdict)));
        let mut message = case.message.clone().unwrap_or_else(|| case.title.clone());
        if let (Some(want), Some(got)) = (&case.want, &case.got) {
            message += &format!("\nwant: {want}\ngot: {got}");
        }
        if let Some(filter) = &evidence.filter {
            message += &format!("\nWireshark: {filter}");
        }
        text += &format!("::{kind} {file}title={title}::{}\n", data(&message));
    }
    text + &summary(verdicts, "verdict") + "\n"
}

fn data(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(clean).collect();
    lines.join("\n").replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A requirement as a line of the catalogue.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// `must`, `should`, `convention` or `may`.
    pub level: String,
    /// What is required, in one line.
    pub title: String,
    /// True where `check` judges it.
    pub judged: bool,
}

/// The catalogue, a requirement a line.
pub fn catalogue(entries: &[Entry], options: &TextOptions) -> String {
    let mut page = Page::new(options);
    page.heading("REQUIREMENTS", "● check has a rule for it");
    let widest = entries.iter().map(|entry| columns(&entry.id)).max().unwrap_or(0).min(44);
    for entry in entries {
        let mark = if entry.judged { page.ink(Ink::Good, "●") } else { " ".to_owned() };
        let name = page.ink(Ink::Strong, &left(&middle(&entry.id, widest), widest));
        let room = page.width().saturating_sub(widest + 17);
        page.line(&format!("  {mark} {name} {:<10} {}", entry.level, shorten(&entry.title, room)));
    }
    let judged = entries.iter().filter(|entry| entry.judged).count();
    page.blank();
    page.strong(&format!("{} requirements, {judged} with a rule over captures.", entries.len()));
    page.finish()
}

fn shorten(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars().take(room.saturating_sub(1)) {
        short.push(c);
    }
    short.trim_end().to_owned() + "…"
}

/// A title, a line under it, and headed paragraphs.
pub fn explanation(
    title: &str,
    aside: &str,
    subtitle: &str,
    parts: &[(&str, &str)],
    options: &TextOptions,
) -> String {
    let mut page = Page::new(options);
    page.heading(title, aside);
    for line in crate::words::wrap(subtitle, page.width() - 2) {
        let line = page.ink(Ink::Strong, &line);
        page.line(&format!("  {line}"));
    }
    for (head, text) in parts.iter().filter(|(_, text)| !text.is_empty()) {
        page.blank();
        let head = page.ink(Ink::Faint, head);
        page.line(&format!("  {head}"));
        page.detail(text);
    }
    page.finish()
}
