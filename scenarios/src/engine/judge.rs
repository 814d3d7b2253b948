//! Holds expectations against what happened.

use std::net::SocketAddr;

use model::{Case, Evidence, Recording, ServerClient, Session, Sessions, Severity, Verdict};

use super::actor::{Actor, Ending};
use super::figures::{self, Figures};
use super::target::RECORDINGS;
use super::{Options, Performance, Traced, metrics, record};
use crate::demo::CAPTURE;
use crate::glob::matches;
use crate::script::{Bound, Expect, Figure, Outcome, Scenario, Want};

/// What came of the expectations.
pub struct Judged {
    /// A verdict for each.
    pub cases: Vec<Case>,
    /// What the reference server counted.
    pub server_clients: Vec<ServerClient>,
    /// What it recorded.
    pub recordings: Vec<Recording>,
    /// What a reader of the figures has to know.
    pub notes: Vec<String>,
}

/// Judges every expectation, and what nobody needs to say: that clients come through, and that the target lives.
pub fn judge(scenario: &Scenario, seen: &Performance, traced: Option<&Traced>, options: &Options) -> Judged {
    let mut court = Court { scenario, seen, traced, options, recordings: Vec::new(), cases: Vec::new() };
    court.survival();
    for (i, expect) in scenario.expect.iter().enumerate() {
        court.expectation(i, expect);
    }
    court.outcomes_unsaid();
    let server_clients = court.server_clients();
    let mut notes = vec![
        "Figures of clients come from the packets: frames, times, bandwidth and codecs as the analyzer reads them.".to_owned(),
    ];
    if seen.actors.iter().any(|actor| actor.through.is_some()) {
        notes.push(
            "Clients behind a relay were captured at its port: what they sent and what they got, when they got it."
                .to_owned(),
        );
    }
    let lost = seen.actors.iter().filter_map(|actor| {
        let lost = actor.lost_on_path().filter(|lost| *lost > 0)?;
        Some(format!("{} {lost}", actor.name))
    });
    let lost: Vec<String> = lost.collect();
    if !lost.is_empty() {
        notes.push(format!("Packets that the paths lost on their way: {}.", lost.join(", ")));
    }
    Judged { cases: court.cases, server_clients, recordings: court.recordings, notes }
}

struct Court<'a> {
    scenario: &'a Scenario,
    seen: &'a Performance,
    traced: Option<&'a Traced>,
    options: &'a Options,
    recordings: Vec<Recording>,
    cases: Vec<Case>,
}

/// What one client came to.
struct Found {
    /// As text.
    got: String,
    /// Whether it is as wanted; none where it cannot be told.
    holds: Option<bool>,
    /// How far it is out, to find the worst.
    distance: f64,
    /// The session it is about.
    session: Option<String>,
}

impl Court<'_> {
    fn expectation(&mut self, index: usize, expect: &Expect) {
        match &expect.want {
            Want::Figure { who, figure, bound } => {
                let title = format!("{} {bound}", words(*figure));
                self.of_clients(
                    expect.line,
                    who,
                    figure.name(),
                    &title,
                    &bound.to_string(),
                    |court, actor| court.figure(actor, *figure, bound),
                );
            }
            Want::KeyFrameFirst { who, is } => {
                let want = if *is { "a key frame first" } else { "no key frame first" };
                self.of_clients(expect.line, who, "key_frame_first", want, want, |court, actor| {
                    let figures = court.figures(actor);
                    let got = figures
                        .key_frame_first
                        .map(|key| if key { "a key frame" } else { "another picture" });
                    let holds = figures.key_frame_first.map(|key| key == *is);
                    found(got.map(str::to_owned), holds, &figures)
                });
            }
            Want::Codecs { who, are } => {
                let mut are = are.clone();
                are.sort();
                let want = are.join(", ");
                let title = format!("the codecs are {want}");
                self.of_clients(expect.line, who, "codecs", &title, &want, |court, actor| {
                    let figures = court.figures(actor);
                    let known = !figures.sessions.is_empty();
                    let got = known.then(|| figures.codecs.join(", "));
                    found(got, known.then_some(figures.codecs == are), &figures)
                });
            }
            Want::Outcome { who, is } => {
                let title = format!("it ends: {}", is.name());
                self.of_clients(expect.line, who, "outcome", &title, is.name(), |_, actor| ended(actor, *is));
            }
            Want::Rules { globs, except, findings } => self.rules(expect.line, globs, except, findings),
            Want::Record { path, duration, pictures } => {
                self.recording(expect.line, path, duration.as_ref(), pictures.as_ref());
            }
            Want::Metric { series, value, at } => {
                self.metric(index, expect.line, series, value, at.is_some())
            }
            Want::BytesAgree => self.bytes_agree(expect.line),
        }
    }

    /// One case for a figure of one client or of a crowd: the worst of them counts.
    fn of_clients(
        &mut self,
        line: usize,
        who: &[usize],
        key: &str,
        title: &str,
        want: &str,
        look: impl Fn(&Self, &Actor) -> Found,
    ) {
        for client in who {
            let Some(name) = self.scenario.clients.get(*client).map(|c| c.name.clone()) else { continue };
            let actors: Vec<&Actor> = self.seen.actors.iter().filter(|a| a.client == *client).collect();
            let all: Vec<(&Actor, Found)> = actors.iter().map(|a| (*a, look(self, a))).collect();
            let rank = |found: &Found| match found.holds {
                Some(false) => (2, found.distance),
                None => (1, 0.0),
                Some(true) => (0, 0.0),
            };
            let worst = all.iter().max_by(|a, b| {
                let (a, b) = (rank(&a.1), rank(&b.1));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
            let Some((actor, worst)) = worst else { continue };
            let bad = all.iter().filter(|(_, found)| found.holds == Some(false)).count();
            let got = match (all.len(), bad) {
                (1, _) => worst.got.clone(),
                (n, 0) => format!("{} ({n} clients)", worst.got),
                (n, bad) => format!("{} ({}; {bad} of {n} clients)", worst.got, actor.name),
            };
            let verdict = match worst.holds {
                Some(true) => Verdict::Pass,
                Some(false) => Verdict::Fail,
                None => Verdict::Inconclusive,
            };
            let title = format!("{name}: {title}");
            let mut case = case(&format!("{name}.{key}"), line, verdict, &title, want, got);
            case.applied = all.len() as u64;
            case.breaches = bad as u64;
            case.evidence = worst.session.as_ref().map(|session| evidence(session, self.traced));
            self.add(case);
        }
    }

    fn add(&mut self, mut case: Case) {
        let same = |n: usize, id: &str| if n == 1 { id.to_owned() } else { format!("{id}#{n}") };
        let id = case.rule.clone();
        let free = (1..).map(|n| same(n, &id)).find(|id| self.cases.iter().all(|c| c.rule != *id));
        case.rule = free.unwrap_or(id);
        self.cases.push(case);
    }

    fn sessions(&self, actor: &Actor) -> Vec<&Session> {
        let Some(traced) = self.traced else { return Vec::new() };
        let came_from = actor.seen.all();
        let is_its = |session: &&Session| {
            let ends = session.connections.iter().map(|c| (&c.client, &c.server));
            let mut ends = ends.chain([(&session.client, &session.server)]);
            ends.any(|(client, server)| match actor.through {
                Some(through) => is(server, through),
                None => came_from.iter().any(|address| is(client, *address)),
            })
        };
        traced.analysis.sessions.iter().filter(is_its).collect()
    }

    fn figures(&self, actor: &Actor) -> Figures {
        let sessions = self.sessions(actor);
        let client = self.scenario.clients.get(actor.client);
        let published: Vec<&Session> = self
            .seen
            .actors
            .iter()
            .filter(|other| {
                let theirs = self.scenario.clients.get(other.client);
                theirs.is_some_and(|theirs| {
                    theirs.role == crate::script::Role::Publisher
                        && client.is_some_and(|c| c.path == theirs.path)
                })
            })
            .flat_map(|other| self.sessions(other))
            .collect();
        let traces = self.traced.map(|t| t.traces.as_slice()).unwrap_or_default();
        let buffer = client.map(|c| c.buffer).unwrap_or_default();
        figures::of(&sessions, &published, traces, buffer)
    }

    fn figure(&self, actor: &Actor, figure: Figure, bound: &Bound) -> Found {
        let figures = self.figures(actor);
        let value = figures.value(figure);
        let got = value.map(|value| bound.unit().write(value));
        let mut found = found(got, value.map(|value| bound.holds(value)), &figures);
        found.distance = value.map_or(0.0, |value| bound.distance(value));
        found
    }

    fn rules(&mut self, line: usize, globs: &[String], except: &[String], findings: &Bound) {
        let mut which = globs.join(" ");
        if !except.is_empty() {
            which = format!("{which} except {}", except.join(" "));
        }
        let id = format!("rules.{which}");
        let title = format!("conformance rules {which} are broken {findings} times");
        let want = format!("{findings} sessions that break one");
        let Some(traced) = self.traced else {
            let got = "nothing was captured".to_owned();
            return self.add(case(&id, line, Verdict::Inconclusive, &title, &want, got));
        };
        let is_one = |globs: &[String], rule: &&Case| globs.iter().any(|glob| matches(glob, &rule.rule));
        let selected = traced.rules.iter().filter(|rule| is_one(globs, rule) && !is_one(except, rule));
        let broken: Vec<&Case> =
            selected.filter(|rule| matches!(rule.verdict, Verdict::Fail | Verdict::Warn)).collect();
        let sessions: u64 = broken.iter().map(|rule| rule.sessions.fail + rule.sessions.warn).sum();
        #[expect(clippy::cast_precision_loss, reason = "there are fewer sessions than 2^52")]
        let holds = findings.holds(sessions as f64);
        let got = match broken.first() {
            None => "none is broken".to_owned(),
            Some(_) => {
                let one = |rule: &&Case| {
                    let what = rule.message.as_ref().or(rule.got.as_ref());
                    format!("{}: {}", rule.rule, what.map_or("", String::as_str))
                };
                broken.iter().map(one).collect::<Vec<_>>().join("; ")
            }
        };
        let verdict = if holds { Verdict::Pass } else { Verdict::Fail };
        let mut case = case(&id, line, verdict, &title, &want, got);
        case.breaches = sessions;
        case.evidence = broken.first().and_then(|rule| rule.evidence.clone());
        self.add(case);
    }

    fn recording(&mut self, line: usize, path: &str, duration: Option<&Bound>, pictures: Option<&Bound>) {
        let dir = self.options.out.join(RECORDINGS).join(path);
        let found = record::newest(&dir, self.seen.began)
            .and_then(|file| Ok((record::read(&file)?, file)))
            .map(|(account, file)| record::describe(path, &file, &self.options.out, account));
        let recording = match found {
            Ok(recording) => recording,
            Err(why) => {
                let title = format!("{path} is recorded");
                return self.add(case(
                    &format!("record.{path}"),
                    line,
                    Verdict::Fail,
                    &title,
                    "a recording",
                    why,
                ));
            }
        };
        #[expect(clippy::cast_precision_loss, reason = "a recording has fewer pictures than 2^52")]
        let figures =
            [("duration", duration, recording.duration_s), ("pictures", pictures, recording.pictures as f64)];
        for (key, bound, value) in figures {
            let Some(bound) = bound else { continue };
            let verdict = if bound.holds(value) { Verdict::Pass } else { Verdict::Fail };
            let title = format!("the recording of {path}: {key} {bound}");
            let got = bound.unit().write(value);
            self.add(case(&format!("record.{path}.{key}"), line, verdict, &title, &bound.to_string(), got));
        }
        if duration.is_none() && pictures.is_none() {
            let got = format!("{} pictures, {} audio frames", recording.pictures, recording.audio_frames);
            let verdict =
                if recording.pictures + recording.audio_frames > 0 { Verdict::Pass } else { Verdict::Fail };
            let title = format!("{path} is recorded");
            self.add(case(&format!("record.{path}"), line, verdict, &title, "frames in a recording", got));
        }
        if !self.recordings.contains(&recording) {
            self.recordings.push(recording);
        }
    }

    fn metric(&mut self, index: usize, line: usize, series: &str, bound: &Bound, timed: bool) {
        let wanted = timed.then_some(index);
        let sample = self.seen.samples.iter().find(|sample| sample.expectation == wanted);
        let value = sample.and_then(|sample| metrics::value(&sample.text, series));
        let (verdict, got) = match (sample, value) {
            (None, _) => {
                (Verdict::Inconclusive, "only the reference server's metrics can be read".to_owned())
            }
            (Some(_), None) => (Verdict::Fail, "there is no such series".to_owned()),
            (Some(_), Some(value)) if bound.holds(value) => (Verdict::Pass, bound.unit().write(value)),
            (Some(_), Some(value)) => (Verdict::Fail, bound.unit().write(value)),
        };
        let title = format!("{series} is {bound}");
        self.add(case(&format!("metric.{series}"), line, verdict, &title, &bound.to_string(), got));
    }

    /// The server's clients with their sessions in the analysis.
    fn server_clients(&self) -> Vec<ServerClient> {
        let Some((_, ended)) = self.seen.clock else { return Vec::new() };
        let clients = self.seen.clients.iter().map(|client| {
            let actor = self.actor_at(client.address);
            let session = actor.and_then(|actor| {
                let sessions = self.sessions(actor);
                let direct = sessions.iter().find(|s| is(&s.client, client.address));
                direct.or(sessions.first()).map(|s| s.id.clone())
            });
            ServerClient {
                id: client.id.clone(),
                name: actor.map(|actor| actor.name.clone()),
                protocol: client.protocol,
                role: client.role,
                address: model::Endpoint { address: client.address.ip(), port: Some(client.address.port()) },
                path: Some(client.path.clone()),
                bytes_in: client.bytes_in,
                bytes_out: client.bytes_out,
                frames_dropped: client.frames_dropped,
                connected_s: client.connected_s(ended),
                session,
            }
        });
        clients.collect()
    }

    fn actor_at(&self, address: SocketAddr) -> Option<&Actor> {
        self.seen.actors.iter().find(|actor| {
            let direct = actor.through.is_none() && actor.seen.all().contains(&address);
            direct || actor.sides().iter().any(|(_, far)| *far == address)
        })
    }

    fn bytes_agree(&mut self, line: usize) {
        let title = "the server and the packets count the same bytes of every client";
        let clients = self.server_clients();
        let Some(traced) = self.traced.filter(|_| !clients.is_empty()) else {
            let got = "only the reference server's counts can be held against a capture".to_owned();
            return self.add(case("bytes_agree", line, Verdict::Inconclusive, title, "equal counts", got));
        };
        let mut compared = 0;
        let mut wrong = Vec::new();
        for client in &clients {
            // A relay changes ports in RTSP, and with them lengths.
            let relayed =
                self.seen.actors.iter().any(|a| Some(&a.name) == client.name.as_ref() && a.through.is_some());
            if relayed {
                continue;
            }
            let name = client.name.as_deref().unwrap_or(&client.id);
            let session = traced.analysis.sessions.iter().find(|s| Some(&s.id) == client.session.as_ref());
            let packets = session.map(|s| (s.bytes_to_server, s.bytes_to_client));
            compared += 1;
            if packets != Some((client.bytes_in, client.bytes_out)) {
                let got = packets.map_or("no session".to_owned(), |(i, o)| format!("{i} in, {o} out"));
                wrong.push(format!(
                    "{name}: server {} in, {} out; packets {got}",
                    client.bytes_in, client.bytes_out
                ));
            }
        }
        let (verdict, got) = match (compared, wrong.is_empty()) {
            (0, _) => (Verdict::Inconclusive, "every client was behind a relay".to_owned()),
            (n, true) => (Verdict::Pass, format!("equal for {n} clients")),
            (_, false) => (Verdict::Fail, wrong.join("; ")),
        };
        self.add(case("bytes_agree", line, verdict, title, "equal counts", got));
    }

    /// That the target lives and that there is an end.
    fn survival(&mut self) {
        if let Some(how) = &self.seen.died {
            self.add(case(
                "target.alive",
                1,
                Verdict::Error,
                "the target lives",
                "alive to the end",
                how.clone(),
            ));
        }
        if self.seen.late {
            let got = format!("not over after {} s", self.options.timeout.as_secs_f64());
            self.add(case(
                "run.in_time",
                1,
                Verdict::Error,
                "the scenario ends in time",
                "over in time",
                got,
            ));
        }
    }

    /// Clients of which nobody said how they end have to come through.
    fn outcomes_unsaid(&mut self) {
        let said = |client: usize| {
            let says =
                |expect: &Expect| matches!(&expect.want, Want::Outcome { who, .. } if who.contains(&client));
            self.scenario.expect.iter().any(says)
        };
        let unsaid: Vec<usize> = (0..self.scenario.clients.len()).filter(|client| !said(*client)).collect();
        for client in unsaid {
            let through = self
                .seen
                .actors
                .iter()
                .filter(|a| a.client == client)
                .all(|a| ended(a, Outcome::Ok).holds == Some(true));
            if !through {
                self.of_clients(1, &[client], "outcome", "it comes through", "ok", |_, actor| {
                    ended(actor, Outcome::Ok)
                });
            }
        }
    }
}

fn is(endpoint: &model::Endpoint, address: SocketAddr) -> bool {
    endpoint.address == address.ip().to_canonical() && endpoint.port == Some(address.port())
}

fn found(got: Option<String>, holds: Option<bool>, figures: &Figures) -> Found {
    let session = figures.sessions.first().cloned();
    let unknown = || match figures.sessions.is_empty() {
        true => "no session of it is in the capture".to_owned(),
        false => "the packets do not tell".to_owned(),
    };
    Found { got: got.unwrap_or_else(unknown), holds, distance: 0.0, session }
}

fn ended(actor: &Actor, want: Outcome) -> Found {
    let (got, holds) = match &actor.ending {
        None => ("it never came".to_owned(), false),
        Some(Ending::Left) => ("it left in good order".to_owned(), want == Outcome::Ok),
        Some(Ending::Told) => {
            ("the server told it of the end".to_owned(), matches!(want, Outcome::Ok | Outcome::Told))
        }
        Some(Ending::Aborted) => ("it was gone without a word, as planned".to_owned(), want == Outcome::Ok),
        Some(Ending::Refused(why)) => (format!("refused: {why}"), want == Outcome::Refused),
        Some(Ending::Lost(why)) => (format!("lost: {why}"), want == Outcome::Lost),
    };
    Found { got, holds: Some(holds), distance: 0.0, session: None }
}

/// What a figure is, in words.
fn words(figure: Figure) -> &'static str {
    match figure {
        Figure::Sessions => "sessions",
        Figure::Frames => "pictures and audio frames",
        Figure::Pictures => "pictures",
        Figure::AudioFrames => "audio frames",
        Figure::FirstFrame => "time to the first picture",
        Figure::FramesMissing => "frames missing",
        Figure::FramesForeign => "frames nobody published so",
        Figure::LongestGap => "longest time without a frame",
        Figure::Stalls => "stalls of a player",
        Figure::Bitrate => "mean bandwidth",
        Figure::LostPackets => "RTP packets lost",
    }
}

fn evidence(session: &str, traced: Option<&Traced>) -> Evidence {
    let of = |s: &&Session| s.id == session;
    let filter = traced.and_then(|t| t.analysis.sessions.iter().find(of)).map(|s| s.filter.clone());
    Evidence { file: Some(CAPTURE.to_owned()), flow: Some(session.to_owned()), filter, ..Evidence::default() }
}

pub(super) fn case(id: &str, line: usize, verdict: Verdict, title: &str, want: &str, got: String) -> Case {
    case_of(id, format!("line {line} of the scenario"), verdict, title, want, got)
}

/// A verdict on what `clause` wants.
pub(crate) fn case_of(
    id: &str,
    clause: String,
    verdict: Verdict,
    title: &str,
    want: &str,
    got: String,
) -> Case {
    Case {
        rule: id.to_owned(),
        verdict,
        expected: matches!(verdict, Verdict::Pass | Verdict::Warn | Verdict::Skip),
        level: "must".to_owned(),
        reason: None,
        want: Some(want.to_owned()),
        message: None,
        got: Some(got),
        evidence: None,
        seconds: 0.0,
        title: title.to_owned(),
        clause,
        severity: Severity::Error,
        why: String::new(),
        applied: 1,
        breaches: u64::from(verdict == Verdict::Fail),
        sessions: Sessions::default(),
        more: Vec::new(),
    }
}
