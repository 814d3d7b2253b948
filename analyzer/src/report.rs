//! Puts together what was learnt into the document of the report model.

use model::{Analysis, Finding, Protocol, Session};

use crate::finding::{Note, severity};
use crate::hub::{Closed, Hub, Line};
use crate::rules;
use crate::trace::Trace;

use self::verdicts::Fold;

mod hls;
mod rtmp;
mod rtsp;
mod session;
mod udp;
mod verdicts;

/// Findings told one by one; more are counted with the last of their rule.
const MAX_FINDINGS: usize = 2000;

/// What an analysis consists of before it is put together.
pub(crate) struct Parts {
    pub(crate) first_ns: i64,
    pub(crate) captures: Vec<model::Capture>,
    pub(crate) conversations: model::Conversations,
    /// What is wrong with the captures themselves, by their index.
    pub(crate) faults: Vec<(usize, Note)>,
    pub(crate) hub: Hub,
}

/// The document, and how the rules came out.
pub(crate) fn analysis(parts: Parts) -> (Analysis, Vec<model::Case>, Vec<Trace>) {
    let Parts { first_ns, captures, conversations, faults, hub } = parts;
    let Hub { bandwidth, mut closed, unfinished, rtsp, rtsp_lines, mut hls, udp, .. } = hub;
    closed.sort_by_key(|c| (c.stats.first_ns, c.conn));
    let synthetic = captures.iter().any(|capture| capture.synthetic);
    let file_name = |index: usize| captures.get(index).map(|capture| capture.file.clone());

    let mut findings = Findings { first_ns, files: Vec::new(), list: Vec::new() };
    for (index, note) in faults {
        findings.add(note, None, file_name(index));
    }
    findings.files = captures.iter().map(|capture| capture.file.clone()).collect();
    let mut sessions: Vec<Session> = Vec::new();
    let mut fold = Fold::default();
    let mut traces = Vec::new();
    let mut series: Vec<(String, Vec<Line>)> = Vec::new();
    for entry in closed {
        let Closed { conn, end, stats, outcome, file } = entry;
        let first_session = sessions.len();
        let view =
            rtmp::View { first_ns, synthetic, end, stats, client: outcome.client, clean: outcome.clean };
        let peak = bandwidth.peak_bps(Line::Conn(conn));
        let own: [u64; 2] = outcome.sessions.iter().filter_map(|s| s.own_bytes).fold([0; 2], |sum, own| {
            let [up, down] = sum;
            let [own_up, own_down] = own;
            [up.saturating_add(own_up), down.saturating_add(own_down)]
        });
        for (index, mut session) in outcome.sessions.into_iter().enumerate() {
            let id = format!("rtmp-{}", sessions.len().saturating_add(1));
            traces.extend(traces_of(&id, &mut session.tracks));
            series.push((id.clone(), if index == 0 { vec![Line::Conn(conn)] } else { Vec::new() }));
            sessions.push(view.session(id, session, own, peak.filter(|_| index == 0)));
        }
        let id = sessions.get(first_session).map(|session| session.id.clone());
        fold.add(&outcome.judged, id.as_deref(), file_name(file).as_deref());
        for note in outcome.notes.into_iter().chain(rules::notes(&outcome.judged)) {
            let index = first_session.saturating_add(note.stream.unwrap_or(0));
            let id = sessions.get(index).map(|session| session.id.clone());
            findings.add(note, id, file_name(file));
        }
    }
    let only_file = file_name(0).filter(|_| captures.len() == 1);
    for (index, mut outcome) in rtsp.finish().into_iter().enumerate() {
        let id = format!("rtsp-{}", index.saturating_add(1));
        traces.extend(traces_of(&id, &mut outcome.tracks));
        let judged = outcome.judged.clone();
        fold.add(&judged, Some(&id), only_file.as_deref());
        let lines = rtsp_lines.get(&outcome.session).cloned().unwrap_or_default();
        let peak = lines.iter().filter_map(|line| bandwidth.peak_bps(*line)).reduce(f64::max);
        let (session, notes) = rtsp::session(id.clone(), outcome, first_ns, synthetic, peak);
        for note in notes.into_iter().chain(rules::notes(&judged)) {
            findings.add(note, Some(id.clone()), only_file.clone());
        }
        series.push((id, lines));
        sessions.push(session);
    }
    for note in hls.take_notes() {
        findings.add(note, None, only_file.clone());
    }
    let (viewers, strays) = hls.finish();
    for judged in strays {
        fold.add(&judged, None, only_file.as_deref());
        rules::notes(&judged).for_each(|note| findings.add(note, None, only_file.clone()));
    }
    let mut counts = [0u32; 3];
    for mut outcome in viewers {
        let id = numbered(&mut counts, outcome.protocol);
        traces.extend(traces_of(&id, &mut outcome.tracks));
        let judged = outcome.judged.clone();
        fold.add(&judged, Some(&id), only_file.as_deref());
        let lines = vec![Line::Hls(outcome.viewer)];
        let peak = bandwidth.peak_bps(Line::Hls(outcome.viewer));
        let (session, notes) = hls::session(id.clone(), outcome, first_ns, synthetic, peak);
        for note in notes.into_iter().chain(rules::notes(&judged)) {
            findings.add(note, Some(id.clone()), only_file.clone());
        }
        series.push((id, lines));
        sessions.push(session);
    }
    for outcome in udp.finish() {
        let id = numbered(&mut counts, udp::protocol(outcome.carried));
        let line = Line::Udp(outcome.stream);
        let (session, notes) = udp::session(id.clone(), outcome, first_ns, bandwidth.peak_bps(line));
        notes.into_iter().for_each(|note| findings.add(note, Some(id.clone()), only_file.clone()));
        series.push((id, vec![line]));
        sessions.push(session);
    }
    for (index, note) in unfinished {
        findings.add(note, None, file_name(index));
    }
    let analysis = Analysis {
        captures,
        conversations,
        sessions,
        bandwidth: bandwidth.into_model(&series),
        findings: findings.list,
        ..Analysis::default()
    };
    (analysis, fold.into_cases(), traces)
}

/// The marks of a session's tracks, where they were kept.
fn traces_of(id: &str, tracks: &mut [crate::track::Stats]) -> Vec<Trace> {
    let marks = tracks.iter_mut().filter_map(|stats| Some((stats.kind(), stats.take_marks()?)));
    marks.map(|(kind, marks)| Trace { session: id.to_owned(), kind, marks }).collect()
}

/// The next id of a protocol whose sessions are numbered as they come.
fn numbered(counts: &mut [u32; 3], protocol: Protocol) -> String {
    let [hls, rtp, mpegts] = counts;
    let (name, count) = match protocol {
        Protocol::Rtp => ("rtp", rtp),
        Protocol::MpegTs => ("mpegts", mpegts),
        _ => ("hls", hls),
    };
    *count = count.saturating_add(1);
    format!("{name}-{count}")
}

struct Findings {
    first_ns: i64,
    /// Names of the captures.
    files: Vec<String>,
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, note: Note, session: Option<String>, file: Option<String>) {
        if self.list.len() >= MAX_FINDINGS {
            if let Some(last) = self.list.iter_mut().rev().find(|f| f.rule == note.rule.id) {
                last.count = last.count.saturating_add(note.count);
            }
            return;
        }
        let Note { rule, at, want, got, message, count, .. } = note;
        let file = at.and_then(|at| self.files.get(at.file()).cloned()).or(file);
        self.list.push(Finding {
            rule: rule.id.to_owned(),
            level: rule.level.to_string(),
            severity: severity(rule.severity),
            session,
            file,
            frame: at.map(|at| at.number()),
            stream_offset: at.map(|at| at.offset),
            filter: at.map(|at| format!("frame.number == {}", at.number())),
            time_s: at.map(|at| seconds(at.time_ns.saturating_sub(self.first_ns))),
            want,
            got,
            message,
            count,
        });
    }
}

/// Nanoseconds in seconds.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}
