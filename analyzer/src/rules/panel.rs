//! The rules of one connection, session or viewer at work, and what they come to.

use spec::{Level, Requirement};

use super::{Check, Rule, Speech};
use crate::finding::Note;
use crate::flow::At;
use model::Verdict;

/// What one rule has seen so far.
#[derive(Debug, Default)]
pub struct Tally {
    kept: u64,
    breaches: u64,
    first: Option<Box<Breach>>,
    unsure: Option<&'static str>,
    holes: bool,
}

#[derive(Debug)]
struct Breach {
    at: At,
    last: At,
    want: String,
    got: String,
    message: String,
}

impl Tally {
    /// The requirement applied, and was kept.
    pub fn kept(&mut self) {
        self.kept = self.kept.saturating_add(1);
    }

    /// The requirement was broken here: what it wants, what there was, and a sentence, made only the first time.
    pub fn broken(&mut self, at: At, tell: impl FnOnce() -> (String, String, String)) {
        self.breaches = self.breaches.saturating_add(1);
        match &mut self.first {
            Some(breach) => breach.last = at,
            None => {
                let (want, got, message) = tell();
                self.first = Some(Box::new(Breach { at, last: at, want, got, message }));
            }
        }
    }

    /// Kept or broken.
    pub fn is(&mut self, kept: bool, at: At, tell: impl FnOnce() -> (String, String, String)) {
        if kept { self.kept() } else { self.broken(at, tell) }
    }

    /// The requirement applied, and the packets do not tell whether it was kept.
    pub fn unsure(&mut self, why: &'static str) {
        self.unsure.get_or_insert(why);
    }
}

/// What one rule says of one connection, session or viewer.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The rule.
    pub rule: &'static Requirement,
    /// Pass, fail, warn, skip or inconclusive.
    pub verdict: Verdict,
    /// How often the requirement applied.
    pub applied: u64,
    /// The breaches, counted, with the first one's place.
    pub note: Option<Note>,
    /// Where the latest breach was.
    pub last: Option<At>,
    /// Why nothing was judged.
    pub reason: Option<&'static str>,
}

/// The rules of one connection, session or viewer.
#[derive(Debug)]
pub struct Panel<S: Speech> {
    at_work: Vec<(&'static Requirement, Box<dyn Check<S>>, Tally)>,
}

impl<S: Speech> Panel<S> {
    /// All these rules, freshly started.
    pub fn new(rules: &'static [&'static Rule<S>]) -> Self {
        let start = |rule: &&'static Rule<S>| (rule.requirement, (rule.start)(), Tally::default());
        Self { at_work: rules.iter().map(start).collect() }
    }

    /// Tells every rule.
    pub fn tell(&mut self, event: S::Event<'_>) {
        let hole = S::is_hole(&event);
        for (_, check, tally) in &mut self.at_work {
            tally.holes |= hole;
            check.event(&event, tally);
        }
    }

    /// No more events come: what each rule says.
    pub fn finish(self) -> Vec<Judged> {
        self.at_work
            .into_iter()
            .map(|(rule, mut check, mut tally)| {
                check.end(&mut tally);
                tally.judge(rule)
            })
            .collect()
    }
}

impl Tally {
    fn judge(self, rule: &'static Requirement) -> Judged {
        let Self { kept, breaches, first, unsure, holes } = self;
        let (verdict, reason) = match (breaches, kept) {
            (1.., _) if rule.level == Level::Must => (Verdict::Fail, None),
            (1.., _) => (Verdict::Warn, None),
            (0, _) if unsure.is_some() => (Verdict::Inconclusive, unsure),
            (0, 1..) => (Verdict::Pass, None),
            (0, 0) if holes => (Verdict::Inconclusive, Some("the capture lacks bytes it would need")),
            (0, 0) => (Verdict::Skip, Some("nothing it applies to was seen")),
        };
        let last = first.as_ref().map(|breach| breach.last);
        let note = first.map(|breach| {
            let Breach { at, want, got, message, .. } = *breach;
            Note { count: breaches, ..Note::new(rule, message).at(at).want_got(want, got) }
        });
        Judged { rule, verdict, applied: kept.saturating_add(breaches), note, last, reason }
    }
}

/// Hands the breaches to the findings.
pub(crate) fn notes(judged: &[Judged]) -> impl Iterator<Item = Note> {
    judged.iter().filter_map(|judged| judged.note.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At = At { time_ns: 1, frame: 2, offset: 3, ready_ns: 4 };
    const MUST: &Requirement = &spec::rtmp::CONTROL_MSID0_CSID2;
    const SHOULD: &Requirement = &spec::rtmp::USER_MSID0_CSID2;

    fn verdict(rule: &'static Requirement, tally: Tally) -> (Verdict, u64) {
        let judged = tally.judge(rule);
        (judged.verdict, judged.applied)
    }

    #[test]
    fn verdicts() {
        let text = || (String::new(), String::new(), String::new());
        let mut tally = Tally::default();
        assert_eq!(verdict(MUST, Tally::default()), (Verdict::Skip, 0));
        assert_eq!(verdict(MUST, Tally { holes: true, ..Tally::default() }), (Verdict::Inconclusive, 0));
        tally.kept();
        tally.holes = true;
        assert_eq!(verdict(MUST, tally), (Verdict::Pass, 1));
        for (rule, bad) in [(MUST, Verdict::Fail), (SHOULD, Verdict::Warn)] {
            let mut tally = Tally::default();
            tally.kept();
            tally.broken(AT, text);
            tally.broken(At { frame: 9, ..AT }, text);
            tally.unsure("because");
            let judged = tally.judge(rule);
            assert_eq!((judged.verdict, judged.applied), (bad, 3));
            assert_eq!(judged.note.map(|note| (note.at, note.count)), Some((Some(AT), 2)));
            assert_eq!(judged.last.map(|at| at.frame), Some(9));
        }
        let mut tally = Tally::default();
        tally.kept();
        tally.unsure("because");
        assert_eq!(verdict(MUST, tally), (Verdict::Inconclusive, 1));
    }
}
