//! What was asked, and how it was answered: in the capture and by the server of this run.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::flow::At;
use model::{Case, Evidence, Verdict};

use super::Options;
use super::end::End;
use super::tracks::{Tracks, When};
use crate::engine::case_of;

/// Requests listed one by one; more are counted.
const MAX_ROWS: usize = 1000;

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The server said no.
    pub(super) refused: bool,
    /// `NetStream.Publish.Start`, `_result`, `200`: what has to be the same.
    pub(super) code: String,
    /// More of it, for people.
    pub(super) words: String,
}

impl Answer {
    pub(super) fn new(refused: bool, code: impl Into<String>, words: impl Into<String>) -> Self {
        Self { refused, code: code.into(), words: words.into() }
    }

    fn text(&self) -> String {
        if self.words.is_empty() { self.code.clone() } else { format!("{} {}", self.code, self.words) }
    }
}

/// Whether a session can go on without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// It cannot.
    Essential,
    /// It can: servers answer these or not, as they like.
    Courtesy,
}

/// A request.
#[derive(Clone, Debug)]
struct Row {
    /// Its name, and the name with what tells it from others.
    name: String,
    title: String,
    at: At,
    weight: Weight,
    captured: Option<Answer>,
    now: Option<Answer>,
}

/// The index of a request.
pub(super) type Place = usize;

/// Everything that a report tells.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What media comes in.
    unit: &'static str,
    rows: Vec<Row>,
    /// Requests beyond those that are listed.
    unlisted: u64,
    /// What the server sends.
    pub(super) tracks: Tracks,
    /// What the client sends, under [`When::Now`].
    sent_tracks: Tracks,
    pub(super) sent: u64,
    /// Messages of the client that were not reached.
    pub(super) unsent: u64,
    pub(super) took: Duration,
    left_out: BTreeMap<&'static str, u64>,
    /// Holes in the client's stream and their bytes.
    holes: (u64, u64),
    /// Nothing is sent any more.
    shut: bool,
}

impl Ledger {
    /// Nothing yet, of a protocol whose media comes in these.
    pub(super) fn of(unit: &'static str) -> Self {
        Self { unit, ..Self::default() }
    }

    /// A request goes out that was captured here.
    pub(super) fn ask(&mut self, name: &str, detail: &str, at: At, weight: Weight) -> Option<Place> {
        if self.shut {
            return None;
        }
        if self.rows.len() >= MAX_ROWS {
            self.unlisted = self.unlisted.saturating_add(1);
            return None;
        }
        let title = if detail.is_empty() { name.to_owned() } else { format!("{name} {detail}") };
        let row = Row { name: name.to_owned(), title, at, weight, captured: None, now: None };
        self.rows.push(row);
        Some(self.rows.len() - 1)
    }

    /// An answer came. The first counts, and a refusal behind it.
    pub(super) fn answered(&mut self, when: When, place: Place, answer: Answer) {
        let Some(row) = self.rows.get_mut(place) else { return };
        let slot = if when == When::Captured { &mut row.captured } else { &mut row.now };
        if slot.as_ref().is_none_or(|before| answer.refused && !before.refused) {
            *slot = Some(answer);
        }
    }

    /// Whether an answer came.
    pub(super) fn is_answered(&self, when: When, place: Place) -> bool {
        let row = self.rows.get(place);
        row.is_some_and(|row| if when == When::Captured { row.captured.is_some() } else { row.now.is_some() })
    }

    /// From here on nothing is sent, and only what the server had said in the capture is taken in.
    pub(super) fn shut(&mut self) {
        self.shut = true;
    }

    /// Media goes out.
    pub(super) fn sends(&mut self, track: &str) {
        if !self.shut {
            self.sent_tracks.count(When::Now, track);
        }
    }

    /// True where the server has answered anything.
    pub(super) fn heard(&self) -> bool {
        self.rows.iter().any(|row| row.now.is_some())
    }

    /// Something of the client's is not sent.
    pub(super) fn leave_out(&mut self, why: &'static str) {
        let count = self.left_out.entry(why).or_default();
        *count = count.saturating_add(1);
    }

    /// The capture lacks bytes of the client's.
    pub(super) fn hole(&mut self, bytes: u64) {
        self.holes = (self.holes.0.saturating_add(1), self.holes.1.saturating_add(bytes));
    }

    /// A request whose answer had come in the capture and is not here.
    pub(super) fn open(&self, weight: Weight) -> Option<&str> {
        let open = |row: &&Row| row.captured.is_some() && row.now.is_none() && row.weight == weight;
        self.rows.iter().find(open).map(|row| row.title.as_str())
    }

    /// True where an answer may still come that tells something.
    pub(super) fn waits(&self) -> bool {
        let told = |row: &Row| row.captured.is_some() || row.weight == Weight::Essential;
        self.rows.iter().any(|row| row.now.is_none() && told(row))
    }

    /// An essential request that was refused, and not so in the capture.
    pub(super) fn refusal(&self) -> Option<String> {
        let refused = |answer: &Option<Answer>| answer.as_ref().is_some_and(|answer| answer.refused);
        let new =
            |row: &&Row| row.weight == Weight::Essential && refused(&row.now) && !refused(&row.captured);
        let row = self.rows.iter().find(new)?;
        Some(format!("{} was refused: {}", row.title, row.now.as_ref()?.text()))
    }

    /// True where an answer differs.
    pub(super) fn differs(&self) -> bool {
        self.rows.iter().any(|row| row.now.is_some() && row.verdict(&End::Whole).0 == Verdict::Fail)
    }

    /// A verdict for each request, each track, and the whole.
    pub(super) fn cases(&self, file: &str, session: &str, end: &End) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &self.rows {
            let times = seen.entry(&row.name).or_default();
            *times += 1;
            let id = match *times {
                1 => format!("replay.{}", row.name),
                n => format!("replay.{}-{n}", row.name),
            };
            let (verdict, reason) = row.verdict(end);
            let text = |answer: &Option<Answer>| answer.as_ref().map_or("no answer".to_owned(), Answer::text);
            let (frame, offset) = (row.at.number(), row.at.offset);
            let clause = format!("frame {frame} of the capture");
            let (want, got) = (text(&row.captured), text(&row.now));
            let case = case_of(&id, clause, verdict, &row.title, &want, got);
            let evidence = Evidence {
                file: Some(file.to_owned()),
                frame: Some(frame),
                flow: Some(session.to_owned()),
                offset: Some(offset),
                filter: Some(format!("frame.number == {frame}")),
                ..Evidence::default()
            };
            let level = if row.weight == Weight::Essential { "must" } else { "may" };
            cases.push(Case { reason, level: level.to_owned(), evidence: Some(evidence), ..case });
        }
        cases.extend(self.tracks.iter().map(|(name, counts)| self.track(name, counts, session, end)));
        cases.push(self.whole(session, end));
        cases
    }

    fn whole(&self, session: &str, end: &End) -> Case {
        let verdict = match end {
            End::Whole => Verdict::Pass,
            End::Interrupted | End::Differs => Verdict::Skip,
            End::Unusable(_) => Verdict::Error,
            End::Refused(_) | End::Closed(_) | End::Broken(_) | End::Unplayable(_) => Verdict::Fail,
        };
        let all = self.sent.saturating_add(self.unsent);
        let want =
            if *end == End::Interrupted { "the whole session".to_owned() } else { format!("{all} sent") };
        let got = match end {
            End::Whole => format!("{} sent", self.sent),
            _ => format!("{} sent; {end}", self.sent),
        };
        let title = "all messages";
        let case = case_of("replay.whole", "the whole session".to_owned(), verdict, title, &want, got);
        let evidence = Evidence { flow: Some(session.to_owned()), ..Evidence::default() };
        Case { evidence: Some(evidence), ..case }
    }

    /// What a viewer got of a track: how much may differ, whether anything came may not.
    fn track(&self, name: &str, [captured, now]: [u64; 2], session: &str, end: &End) -> Case {
        let id = format!("replay.track.{}", name.replace(' ', "-"));
        let verdict = match (captured, now) {
            (0, 0) => Verdict::Skip,
            (0, _) => Verdict::Warn,
            (_, 0) if *end == End::Interrupted => Verdict::Skip,
            (_, 0) => Verdict::Fail,
            _ => Verdict::Pass,
        };
        let words = |n: u64| if n == 0 { "nothing".to_owned() } else { format!("{n} {}", self.unit) };
        let clause = "media to the viewer".to_owned();
        let case = case_of(&id, clause, verdict, name, &words(captured), words(now));
        let evidence = Evidence { flow: Some(session.to_owned()), ..Evidence::default() };
        Case { evidence: Some(evidence), ..case }
    }

    /// What a reader of the figures has to know.
    pub(super) fn notes(&self, options: &Options) -> Vec<String> {
        let how = if options.fast { "as quickly as the server took them" } else { "at the captured times" };
        let tracks: Vec<String> =
            self.sent_tracks.iter().map(|(name, [_, n])| format!("{n} {name}")).collect();
        let of =
            if tracks.is_empty() { String::new() } else { format!(", among them {}", tracks.join(" and ")) };
        let seconds = self.took.as_secs_f64();
        let mut notes =
            vec![format!("{} messages of the client sent {how}{of}, in {seconds:.1} s.", self.sent)];
        if self.unsent > 0 {
            notes.push(format!("{} messages of the client were not sent any more.", self.unsent));
        }
        notes.extend(self.left_out.iter().map(|(why, n)| format!("Left out: {n} {why}.")));
        let (holes, bytes) = self.holes;
        if holes > 0 {
            notes.push(format!(
                "The capture lacks {bytes} bytes of the client's stream in {holes} places: messages that lie in them whole \
                 are left out, too."
            ));
        }
        if self.unlisted > 0 {
            notes.push(format!("{} more requests were sent and not compared.", self.unlisted));
        }
        notes
    }
}

impl Row {
    fn verdict(&self, end: &End) -> (Verdict, Option<String>) {
        let because = |verdict, why: &str| (verdict, Some(why.to_owned()));
        match (&self.captured, &self.now, self.weight) {
            (Some(then), Some(now), _) if (then.refused, &then.code) == (now.refused, &now.code) => {
                (Verdict::Pass, None)
            }
            (Some(_), Some(_), _) => (Verdict::Fail, None),
            (None, None, Weight::Courtesy) => (Verdict::Pass, None),
            (_, None, _) if *end == End::Interrupted => {
                because(Verdict::Skip, "interrupted before the answer")
            }
            (Some(_), None, Weight::Essential) => (Verdict::Fail, None),
            (None, Some(now), Weight::Essential) if now.refused => (Verdict::Fail, None),
            (None, _, Weight::Essential) => because(Verdict::Skip, "the capture has no answer to it"),
            (_, _, Weight::Courtesy) => {
                because(Verdict::Warn, "servers answer this or not: sessions go on either way")
            }
        }
    }
}
