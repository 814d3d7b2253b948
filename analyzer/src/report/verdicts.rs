//! Folds what the rules say of each session into one case a rule.

use std::collections::HashMap;

use model::{Case, Evidence, Sessions, Verdict};

use crate::finding::{Note, severity};
use crate::rules::{self, Judged};

/// Breaches of further sessions that are listed.
const MAX_MORE: usize = 20;

/// The rules over all sessions so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    rules: HashMap<&'static str, Folded>,
}

#[derive(Debug, Default)]
struct Folded {
    sessions: Sessions,
    applied: u64,
    breaches: u64,
    first: Option<Note>,
    evidence: Option<Evidence>,
    more: Vec<Evidence>,
    reason: Option<&'static str>,
}

impl Fold {
    /// What the rules say of one session.
    pub(super) fn add(&mut self, judged: &[Judged], session: Option<&str>, file: Option<&str>) {
        for one in judged {
            let folded = self.rules.entry(one.rule.id).or_default();
            let sessions = &mut folded.sessions;
            let count = match one.verdict {
                Verdict::Pass => &mut sessions.pass,
                Verdict::Fail => &mut sessions.fail,
                Verdict::Warn => &mut sessions.warn,
                Verdict::Skip => &mut sessions.skip,
                Verdict::Inconclusive | Verdict::Error => &mut sessions.inconclusive,
            };
            *count = count.saturating_add(1);
            folded.applied = folded.applied.saturating_add(one.applied);
            // Of two reasons the one that says what is missing tells more.
            if one.verdict == Verdict::Inconclusive || folded.reason.is_none() {
                folded.reason = one.reason.or(folded.reason);
            }
            let Some(note) = &one.note else { continue };
            folded.breaches = folded.breaches.saturating_add(note.count);
            let evidence = Evidence {
                file: file.map(str::to_owned),
                frame: note.at.map(|at| at.frame),
                flow: session.map(str::to_owned),
                offset: note.at.map(|at| at.offset),
                last_frame: one.last.map(|at| at.frame),
                filter: note.at.map(|at| format!("frame.number == {}", at.frame)),
            };
            if folded.evidence.is_none() {
                folded.evidence = Some(evidence);
                folded.first = Some(note.clone());
            } else if folded.more.len() < MAX_MORE {
                folded.more.push(evidence);
            }
        }
    }

    /// One case a rule, also for those that no session was there for.
    pub(super) fn into_cases(mut self) -> Vec<Case> {
        rules::all().map(|rule| case(rule.requirement, self.rules.remove(rule.requirement.id))).collect()
    }
}

fn case(rule: &'static spec::Requirement, folded: Option<Folded>) -> Case {
    let absent = folded.is_none();
    let Folded { sessions, applied, breaches, first, evidence, more, reason } = folded.unwrap_or_default();
    let Sessions { pass, fail, warn, inconclusive, .. } = sessions;
    let verdict = match (fail, warn, pass, inconclusive) {
        (1.., ..) => Verdict::Fail,
        (0, 1.., ..) => Verdict::Warn,
        (0, 0, 1.., _) => Verdict::Pass,
        (0, 0, 0, 1..) => Verdict::Inconclusive,
        (0, 0, 0, 0) => Verdict::Skip,
    };
    let why_not = if absent { Some("no session of its protocol was seen") } else { reason };
    let unjudged = matches!(verdict, Verdict::Skip | Verdict::Inconclusive);
    let (want, got, message) = match first {
        Some(note) => (note.want, note.got, Some(note.message)),
        None => (None, None, None),
    };
    Case {
        rule: rule.id.to_owned(),
        verdict,
        expected: verdict != Verdict::Fail,
        level: rule.level.to_string(),
        reason: why_not.filter(|_| unjudged).map(str::to_owned),
        want,
        got,
        evidence,
        seconds: 0.0,
        title: rule.title.to_owned(),
        clause: rule.spec.to_owned(),
        severity: severity(rule.severity),
        why: rule.teach.to_owned(),
        message,
        applied,
        breaches,
        sessions,
        more,
    }
}
