//! What has to be true of what happened.

use std::ops::Range;
use std::time::Duration;

use super::client::{Client, Role};
use super::mistake::suggest;
use super::quantity::{Bound, Unit};
use super::reader::{Fields, Node, Reader};
use super::step;
use crate::glob::matches;

/// One thing that has to be true.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// Line in the scenario file, from 1.
    pub line: usize,
    /// What.
    pub want: Want,
}

/// What can be wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// A figure of every client named.
    Figure {
        /// Places in the list of clients.
        who: Vec<usize>,
        /// Which figure.
        figure: Figure,
        /// What it has to keep.
        bound: Bound,
    },
    /// The first picture is one a decoder can start at, or is not.
    KeyFrameFirst {
        /// Places in the list of clients.
        who: Vec<usize>,
        /// What has to be so.
        is: bool,
    },
    /// The codecs of the tracks, in any order.
    Codecs {
        /// Places in the list of clients.
        who: Vec<usize>,
        /// Contract names, such as `h264`.
        are: Vec<String>,
    },
    /// How it went for the clients.
    Outcome {
        /// Places in the list of clients.
        who: Vec<usize>,
        /// What has to be so.
        is: Outcome,
    },
    /// Conformance rules over the packets.
    Rules {
        /// Globs of rule ids.
        globs: Vec<String>,
        /// Globs of those that are left out.
        except: Vec<String>,
        /// How many sessions may break one of them.
        findings: Bound,
    },
    /// A recording of the reference server.
    Record {
        /// Path of the stream.
        path: String,
        /// Seconds.
        duration: Option<Bound>,
        /// Pictures in it.
        pictures: Option<Bound>,
    },
    /// A series of the reference server's metrics.
    Metric {
        /// Name and labels as they stand in the metrics.
        series: String,
        /// What its value has to keep; labels that are not named are summed over.
        value: Bound,
        /// When to look; behind the last step without it.
        at: Option<Duration>,
    },
    /// The server's count of each client's bytes is that of the packets.
    BytesAgree,
}

/// Figures of a client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Sessions in which there were frames: one for each time that it came.
    Sessions,
    /// Pictures and audio frames.
    Frames,
    /// Pictures.
    Pictures,
    /// Audio frames.
    AudioFrames,
    /// From the first packet to the first whole picture.
    FirstFrame,
    /// Frames the publisher sent between this viewer's first and last, which it never got.
    FramesMissing,
    /// Frames that nobody published so.
    FramesForeign,
    /// The longest time without a frame.
    LongestGap,
    /// How often a player with the client's buffer would have stood still.
    Stalls,
    /// Mean bandwidth of the session.
    Bitrate,
    /// RTP packets that never came.
    LostPackets,
}

impl Figure {
    /// All of them with their keys and units.
    pub const ALL: [(&'static str, Self, Unit); 11] = [
        ("sessions", Self::Sessions, Unit::Count),
        ("frames", Self::Frames, Unit::Count),
        ("pictures", Self::Pictures, Unit::Count),
        ("audio_frames", Self::AudioFrames, Unit::Count),
        ("first_frame", Self::FirstFrame, Unit::Time),
        ("frames_missing", Self::FramesMissing, Unit::Count),
        ("frames_foreign", Self::FramesForeign, Unit::Count),
        ("longest_gap", Self::LongestGap, Unit::Time),
        ("stalls", Self::Stalls, Unit::Count),
        ("bitrate", Self::Bitrate, Unit::Rate),
        ("lost_packets", Self::LostPackets, Unit::Count),
    ];

    /// Its key in scenarios.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, figure, _)| *figure == self).map_or("", |(name, ..)| name)
    }

    /// Whether only viewers have it.
    fn of_viewers(self) -> bool {
        matches!(
            self,
            Self::FirstFrame | Self::FramesMissing | Self::FramesForeign | Self::Stalls | Self::LongestGap
        )
    }
}

/// How it went for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it came for and ended as the scenario said.
    Ok,
    /// The server told it that the stream is over.
    Told,
    /// The server said no.
    Refused,
    /// The connection was lost.
    Lost,
}

impl Outcome {
    const ALL: [(&'static str, Self); 4] =
        [("ok", Self::Ok), ("told", Self::Told), ("refused", Self::Refused), ("lost", Self::Lost)];

    /// Its name in scenarios.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, outcome)| *outcome == self).map_or("", |(name, _)| name)
    }
}

const KEYS: &[&str] = &[
    "who",
    "sessions",
    "frames",
    "pictures",
    "audio_frames",
    "first_frame",
    "frames_missing",
    "frames_foreign",
    "longest_gap",
    "stalls",
    "bitrate",
    "lost_packets",
    "key_frame_first",
    "codecs",
    "outcome",
    "rules",
    "except",
    "findings",
    "record",
    "duration",
    "metric",
    "value",
    "at",
    "bytes_agree",
];

/// Reads the expectations; one table may hold several.
pub(super) fn read_all(
    reader: &Reader<'_>,
    node: &Node<'_>,
    clients: &[(Client, Range<usize>)],
) -> Vec<Expect> {
    let mut all = Vec::new();
    for node in reader.list(node).unwrap_or_default() {
        let Some(fields) = Fields::new(reader, node, "an expectation", KEYS) else { continue };
        let line = reader.line(node.span().start);
        all.extend(read(&fields, clients).into_iter().map(|want| Expect { line, want }));
    }
    all
}

fn read(fields: &Fields<'_, '_>, clients: &[(Client, Range<usize>)]) -> Vec<Want> {
    let subjects = ["who", "rules", "record", "metric", "bytes_agree"];
    let given: Vec<_> = subjects.into_iter().filter(|key| fields.get(key).is_some()).collect();
    match given[..] {
        ["who"] => of_clients(fields, clients),
        ["rules"] => rules(fields).into_iter().collect(),
        ["record"] => record(fields, clients).into_iter().collect(),
        ["metric"] => metric(fields).into_iter().collect(),
        ["bytes_agree"] => bytes_agree(fields).into_iter().collect(),
        _ => {
            let what = "an expectation is about one of who, rules, record, metric, bytes_agree";
            fields.reader.wrong(fields.span(), what);
            Vec::new()
        }
    }
}

/// Every key is one that this kind of expectation has.
fn only(fields: &Fields<'_, '_>, subject: &str, keys: &[&str]) {
    for key in KEYS.iter().filter(|key| **key != subject && !keys.contains(key)) {
        if let Some(node) = fields.get(key) {
            fields.reader.wrong(node.span(), format!("{key:?} does not go with {subject:?}"));
        }
    }
}

fn of_clients(fields: &Fields<'_, '_>, clients: &[(Client, Range<usize>)]) -> Vec<Want> {
    let reader = fields.reader;
    only(fields, "who", &KEYS[1..=14]);
    let Some(who) = fields.get("who").and_then(|node| step::who(reader, node, clients)) else {
        return Vec::new();
    };
    let mut wants = Vec::new();
    for (key, figure, unit) in Figure::ALL {
        let Some(node) = fields.get(key) else { continue };
        let Some(bound) = reader.bound(node, unit) else { continue };
        for (client, _) in who.iter().filter_map(|i| clients.get(*i)) {
            if figure.of_viewers() && client.role == Role::Publisher {
                reader.wrong(node.span(), format!("{:?} publishes: only viewers have {key}", client.name));
            }
            if figure == Figure::LostPackets && client.speaks != super::Speaks::Rtsp {
                reader.wrong(node.span(), format!("{:?} has no RTP packets that could be lost", client.name));
            }
        }
        wants.push(Want::Figure { who: who.clone(), figure, bound });
    }
    if let Some(is) = fields.get("key_frame_first").and_then(|node| reader.boolean(node)) {
        wants.push(Want::KeyFrameFirst { who: who.clone(), is });
    }
    if let Some(node) = fields.get("codecs")
        && let Some(names) = reader.texts(node)
    {
        wants.push(Want::Codecs { who: who.clone(), are: codecs(reader, names) });
    }
    if let Some(is) = fields.get("outcome").and_then(|node| reader.choice(node, "outcome", &Outcome::ALL)) {
        wants.push(Want::Outcome { who: who.clone(), is });
    }
    let says_something = KEYS[1..=14].iter().any(|key| fields.get(key).is_some());
    if !says_something {
        reader.wrong(fields.span(), "nothing is expected of them");
    }
    wants
}

/// The names the contract gives to codecs.
const CODECS: [&str; 15] = [
    "h264", "h265", "av1", "vp8", "vp9", "vp6", "h263", "aac", "mp3", "opus", "flac", "g711a", "g711u",
    "speex", "vvc",
];

fn codecs(reader: &Reader<'_>, names: Vec<(String, Range<usize>)>) -> Vec<String> {
    let known = |(name, span): (String, Range<usize>)| {
        let found = CODECS.contains(&name.as_str());
        if !found {
            let help = suggest(&name, CODECS.into_iter());
            reader.note(span, format!("there is no codec {name:?}"), help);
        }
        found.then_some(name)
    };
    names.into_iter().filter_map(known).collect()
}

fn rules(fields: &Fields<'_, '_>) -> Option<Want> {
    let reader = fields.reader;
    only(fields, "rules", &["except", "findings"]);
    let globs = globs(reader, fields.get("rules")?)?;
    let except = fields.get("except").map_or(Some(Vec::new()), |node| self::globs(reader, node))?;
    let findings = match fields.get("findings") {
        Some(node) => reader.bound(node, Unit::Count)?,
        None => Bound::exactly(Unit::Count, 0.0),
    };
    Some(Want::Rules { globs, except, findings })
}

/// Globs that each mean a rule.
fn globs(reader: &Reader<'_>, node: &Node<'_>) -> Option<Vec<String>> {
    let globs: Vec<String> = reader.text(node)?.split_whitespace().map(str::to_owned).collect();
    let ids = || analyzer::rules::all().map(|rule| rule.requirement.id);
    for glob in &globs {
        if !ids().any(|id| matches(glob, id)) {
            let help = suggest(glob, ids());
            reader.note(node.span(), format!("no rule is called {glob:?}"), help);
        }
    }
    if globs.is_empty() {
        reader.wrong(node.span(), "no rule is named; \"*\" names all");
    }
    Some(globs)
}

fn record(fields: &Fields<'_, '_>, clients: &[(Client, Range<usize>)]) -> Option<Want> {
    let reader = fields.reader;
    only(fields, "record", &["duration", "pictures"]);
    let node = fields.get("record")?;
    let path = reader.text(node)?;
    let published = || clients.iter().map(|(c, _)| c).filter(|c| c.role == Role::Publisher);
    if !published().any(|client| client.path == path) {
        let help = suggest(&path, published().map(|client| client.path.as_str()));
        reader.note(node.span(), format!("nobody publishes {path:?}"), help);
    }
    let duration = fields.get("duration").map_or(Some(None), |n| reader.bound(n, Unit::Time).map(Some))?;
    let pictures = fields.get("pictures").map_or(Some(None), |n| reader.bound(n, Unit::Count).map(Some))?;
    Some(Want::Record { path, duration, pictures })
}

fn metric(fields: &Fields<'_, '_>) -> Option<Want> {
    let reader = fields.reader;
    only(fields, "metric", &["value", "at"]);
    let series = reader.parsed(fields.get("metric")?, "the name of a metric", |text| {
        let name = text.split('{').next().unwrap_or_default();
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        match plain && !name.is_empty() && (text == name || text.ends_with('}')) {
            true => Ok(text.to_owned()),
            false => Err(format!("{text:?} is no metric: want name or name{{label=\"value\"}}")),
        }
    });
    let value = fields.need("value").and_then(|node| reader.bound(node, Unit::Count));
    let at = fields.get("at").map_or(Some(None), |node| reader.duration(node).map(Some));
    Some(Want::Metric { series: series?, value: value?, at: at? })
}

fn bytes_agree(fields: &Fields<'_, '_>) -> Option<Want> {
    only(fields, "bytes_agree", &[]);
    let node = fields.get("bytes_agree")?;
    if !fields.reader.boolean(node)? {
        fields.reader.wrong(node.span(), "that they disagree cannot be wanted; leave it out");
        return None;
    }
    Some(Want::BytesAgree)
}
