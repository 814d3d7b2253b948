//! What a server answered to a session that was played again, beside what was captured.

use model::{Case, Verdict, Verdicts};

use super::page::{Ink, Page};
use super::{Detail, TextOptions};
use crate::figures::plural;
use crate::words::{left, wrap};

/// Columns of what was sent.
const SENT: usize = 16;

/// The report of `replay`: a line for each request, and what a reader of it has to know.
pub fn replayed(verdicts: &Verdicts, notes: &[String], detail: Detail, options: &TextOptions) -> String {
    let mut page = Page::new(options);
    page.heading("REPLAY", "");
    page.entry(&verdicts.target);
    let answer = page.width().saturating_sub(20 + SENT) / 2;
    let row = |frame: &str, sent: &str, then: &str, now: &str| {
        let (then, now) = (left(then, answer), left(now, answer));
        format!("{frame:>6}  {} {then} {now} ", left(sent, SENT))
    };
    let told = |case: &&Case| detail != Detail::Quiet || !case.expected;
    let shown: Vec<&Case> = verdicts.cases.iter().filter(told).collect();
    if !shown.is_empty() {
        page.blank();
        page.titles(&format!("{}same?", row("frame", "sent", "captured answer", "answer now")));
    }
    for case in shown {
        let frame = case.evidence.as_ref().and_then(|evidence| evidence.frame);
        let frame = frame.map_or("-".to_owned(), |frame| frame.to_string());
        let (then, now) = (case.want.as_deref().unwrap_or("-"), case.got.as_deref().unwrap_or("-"));
        let cells = [(case.title.clone(), SENT), (short(then), answer), (short(now), answer)];
        let mut columns = cells.map(|(text, width)| wrap(&text, width).into_iter());
        let mut first = true;
        loop {
            let [sent, then, now] = columns.each_mut().map(Iterator::next);
            if sent.is_none() && then.is_none() && now.is_none() {
                break;
            }
            let [sent, then, now] = [sent, then, now].map(Option::unwrap_or_default);
            let line = row(if first { &frame } else { "" }, &sent, &then, &now);
            let verdict = if first { page.ink(ink(case), word(case)) } else { String::new() };
            page.line(&format!("{line}{verdict}"));
            first = false;
        }
        if detail == Detail::Full
            && let Some(reason) = &case.reason
        {
            page.labelled("note", reason);
        }
    }
    if detail != Detail::Quiet && !notes.is_empty() {
        page.blank();
        notes.iter().for_each(|note| page.detail(note));
    }
    page.blank();
    for line in wrap(&summary(verdicts), page.width()) {
        page.strong(&line);
    }
    page.finish()
}

/// Codes of RTMP without the class that all of a kind have in common: they are long.
fn short(text: &str) -> String {
    text.replace("NetConnection.", "").replace("NetStream.", "")
}

fn word(case: &Case) -> &'static str {
    match (case.expected, case.verdict) {
        (_, Verdict::Pass) => "yes",
        (true, Verdict::Warn) => "~",
        (true, Verdict::Fail | Verdict::Error) => "known",
        (_, Verdict::Skip | Verdict::Inconclusive) => "-",
        (false, _) => "NO",
    }
}

fn ink(case: &Case) -> Ink {
    match (case.expected, case.verdict) {
        (false, _) => Ink::Bad,
        (true, Verdict::Pass) => Ink::Good,
        (true, Verdict::Skip) => Ink::Faint,
        (true, _) => Ink::Doubtful,
    }
}

/// The last line.
fn summary(verdicts: &Verdicts) -> String {
    let of = |test: fn(&Case) -> bool| verdicts.cases.iter().filter(|case| test(case)).count() as u64;
    let all = plural(verdicts.cases.len() as u64, "outcome");
    let mut parts = vec![format!("{} the same", of(|case| case.verdict == Verdict::Pass))];
    let asides = of(|case| case.expected && case.verdict == Verdict::Warn);
    if asides > 0 {
        parts.push(format!("{asides} of no weight (~)"));
    }
    let known = of(|case| case.expected && matches!(case.verdict, Verdict::Fail | Verdict::Error));
    if known > 0 {
        parts.push(format!("{known} known to differ"));
    }
    let skipped = of(|case| case.expected && matches!(case.verdict, Verdict::Skip | Verdict::Inconclusive));
    if skipped > 0 {
        parts.push(format!("{skipped} not compared"));
    }
    let different = of(|case| !case.expected);
    parts.push(if different == 0 { "none differs".to_owned() } else { format!("{different} not the same") });
    format!("{all}: {}.", parts.join(", "))
}
