//! How scenarios came out.

use model::{Case, Verdict};

use super::page::{Ink, Page};
use super::{Detail, TextOptions};
use crate::clients::verdict as word;
use crate::figures::plural;
use crate::words::{clean, left, middle, wrap};

/// A scenario that was run.
#[derive(Clone, Debug)]
pub struct Ran<'a> {
    /// Its name.
    pub name: &'a str,
    /// One verdict for each expectation.
    pub cases: &'a [Case],
    /// What it took.
    pub seconds: f64,
}

/// The report of `run`: a line for each scenario, and what was not as expected at length.
pub fn scenarios(ran: &[Ran<'_>], detail: Detail, options: &TextOptions) -> String {
    let mut page = Page::new(options);
    page.heading("SCENARIOS", &plural(ran.len() as u64, "scenario"));
    for one in ran {
        scenario(&mut page, one, detail);
    }
    page.blank();
    for line in wrap(&summary(ran), page.width()) {
        page.strong(&line);
    }
    page.finish()
}

fn scenario(page: &mut Page, ran: &Ran<'_>, detail: Detail) {
    let surprises = ran.cases.iter().filter(|case| !case.expected).count();
    if detail == Detail::Quiet && surprises == 0 {
        return;
    }
    let (ink, verdict) = match surprises {
        0 => (Ink::Good, "pass"),
        _ if ran.cases.iter().any(|case| case.verdict == Verdict::Error) => (Ink::Bad, "error"),
        _ => (Ink::Bad, "fail"),
    };
    let known = ran.cases.iter().filter(|case| case.expected && case.verdict == Verdict::Fail).count();
    let mut told = plural(ran.cases.len() as u64, "expectation");
    if surprises > 0 {
        told.push_str(&format!(", {surprises} not met"));
    }
    if known > 0 {
        told.push_str(&format!(", {known} known"));
    }
    let line = format!(
        "  {} {} {:<34} {:>5.1} s",
        page.ink(ink, &left(verdict, 6)),
        page.ink(Ink::Strong, &left(&middle(&clean(ran.name), 26), 26)),
        told,
        ran.seconds
    );
    page.line(&line);
    for case in ran.cases {
        if !case.expected || detail == Detail::Full || case.verdict == Verdict::Fail {
            expectation(page, case);
        }
    }
}

fn expectation(page: &mut Page, case: &Case) {
    let ink = match (case.expected, case.verdict) {
        (false, _) => Ink::Bad,
        (true, Verdict::Pass) => Ink::Good,
        (true, _) => Ink::Doubtful,
    };
    let line = format!("    {} {}", page.ink(ink, &left(word(case.verdict), 12)), clean(&case.title));
    page.line(&line);
    if case.expected && case.verdict == Verdict::Pass {
        if let Some(got) = &case.got {
            page.labelled("got ", got);
        }
        return;
    }
    if let (Some(want), Some(got)) = (&case.want, &case.got) {
        page.labelled("want", want);
        page.labelled("got ", got);
    }
    page.labelled("id  ", &format!("{} ({})", case.rule, case.clause));
    if let Some(filter) = case.evidence.as_ref().and_then(|evidence| evidence.filter.as_ref()) {
        page.labelled("show", filter);
    }
    if let Some(reason) = &case.reason {
        page.labelled("note", reason);
    }
}

/// The last line.
fn summary(ran: &[Ran<'_>]) -> String {
    let bad = ran.iter().filter(|one| one.cases.iter().any(|case| !case.expected)).count();
    let expectations: usize = ran.iter().map(|one| one.cases.len()).sum();
    let all = plural(ran.len() as u64, "scenario");
    let of = plural(expectations as u64, "expectation");
    match bad {
        0 => format!("{all} with {of}: all as expected."),
        bad => format!("{all} with {of}: {bad} not as expected."),
    }
}

#[cfg(test)]
mod tests {
    use model::{Sessions, Severity};

    use super::*;

    fn case(rule: &str, verdict: Verdict, expected: bool) -> Case {
        Case {
            rule: rule.to_owned(),
            verdict,
            expected,
            level: "must".to_owned(),
            reason: None,
            want: Some("0".to_owned()),
            got: Some("3 (crowd-7; 1 of 50 clients)".to_owned()),
            evidence: None,
            seconds: 1.0,
            title: "crowd: frames missing 0".to_owned(),
            clause: "line 12 of the scenario".to_owned(),
            severity: Severity::Error,
            why: String::new(),
            message: None,
            applied: 1,
            breaches: 0,
            sessions: Sessions::default(),
            more: Vec::new(),
        }
    }

    #[test]
    fn what_went_wrong_is_told_at_length_on_80_columns() {
        let good = [case("smoke/late-join:late.first_frame", Verdict::Pass, true)];
        let bad = [
            case("smoke/all:crowd.frames_missing", Verdict::Fail, false),
            case("smoke/all:crowd.stalls", Verdict::Fail, true),
            case("smoke/all:crowd.frames", Verdict::Pass, true),
        ];
        let ran = [
            Ran { name: "smoke/late-join", cases: &good, seconds: 9.81 },
            Ran { name: "smoke/all", cases: &bad, seconds: 112.0 },
        ];
        let text = scenarios(&ran, Detail::Normal, &TextOptions::default());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text);
        let quiet = scenarios(&ran, Detail::Quiet, &TextOptions::default());
        assert!(!quiet.contains("late-join"), "{quiet}");
    }
}
