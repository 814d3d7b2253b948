//! What is wrong, worst first.

use model::{Finding, Severity};

use super::page::{Ink, Page};
use crate::clients::severity;
use crate::figures::{count, plural};
use crate::words::{clean, middle};

/// As many findings are listed.
const MAX_FINDINGS: usize = 40;

/// The findings by severity, each with its first place and its filter.
pub(super) fn list(page: &mut Page, findings: &[Finding]) {
    page.heading("FINDINGS", "");
    if findings.is_empty() {
        let none = page.ink(Ink::Good, "nothing wrong was found");
        page.line(&format!("  {none}"));
        return;
    }
    let mut worst_first: Vec<&Finding> = findings.iter().collect();
    worst_first.sort_by_key(|f| std::cmp::Reverse(f.severity));
    for finding in worst_first.iter().take(MAX_FINDINGS) {
        entry(page, finding);
    }
    page.left_out(findings.len(), MAX_FINDINGS);
}

fn entry(page: &mut Page, finding: &Finding) {
    let ink = match finding.severity {
        Severity::Error => Ink::Bad,
        Severity::Warning => Ink::Doubtful,
        Severity::Info => Ink::Faint,
    };
    let rule = middle(&clean(&finding.rule), page.width() - 32);
    let line = format!(
        "  {} {} ({}){}",
        page.ink(ink, &format!("{:<7}", severity(finding.severity))),
        page.ink(Ink::Strong, &rule),
        middle(&clean(&finding.level), 10),
        if finding.count > 1 { format!(" × {}", count(finding.count)) } else { String::new() }
    );
    page.line(&line);
    page.detail(&finding.message);
    if let (Some(want), Some(got)) = (&finding.want, &finding.got) {
        page.labelled("want", want);
        page.labelled("got ", got);
    }
    let place = place(finding);
    if !place.is_empty() {
        page.labelled("at  ", &place);
    }
    if let Some(filter) = &finding.filter {
        page.labelled("show", filter);
    }
}

fn place(finding: &Finding) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(finding.session.clone());
    parts.extend(finding.frame.map(|n| format!("frame {n}")));
    parts.extend(finding.stream_offset.map(|n| format!("byte {n} of the stream")));
    parts.extend(finding.time_s.map(|s| format!("{s:.3} s")));
    parts.extend(finding.file.clone());
    parts.join(", ")
}

/// One line for the first screen: how many of each severity.
pub(super) fn tally(page: &mut Page, findings: &[Finding]) {
    let of = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let each = [
        (of(Severity::Error), "error", Ink::Bad),
        (of(Severity::Warning), "warning", Ink::Doubtful),
        (of(Severity::Info), "note", Ink::Faint),
    ];
    let told: Vec<String> = each
        .iter()
        .map(|(n, noun, ink)| {
            let text = plural(u64::try_from(*n).unwrap_or(u64::MAX), noun);
            if *n > 0 { page.ink(*ink, &text) } else { text }
        })
        .collect();
    page.line(&format!("  findings in the packets: {}", told.join(", ")));
}
