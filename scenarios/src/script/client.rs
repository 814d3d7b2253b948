//! Who comes.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::net::{self, Net};
use super::quantity::Unit;
use super::reader::{Fields, Node, Reader};

/// A client, or a crowd of them that do the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// Its name in the scenario.
    pub name: String,
    /// Protocol.
    pub speaks: Speaks,
    /// How RTP travels, over RTSP.
    pub over: Over,
    /// Publisher or viewer.
    pub role: Role,
    /// Path of the stream, as URLs have it.
    pub path: String,
    /// What a publisher sends.
    pub media: Media,
    /// A publisher begins again at the end of its media.
    pub again: bool,
    /// How long it stays; without it until a step ends it, or the stream ends.
    pub length: Option<Duration>,
    /// How many come.
    pub count: u32,
    /// Over how long they come.
    pub ramp: Duration,
    /// What a player holds before it shows the first picture, for stalls.
    pub buffer: Duration,
    /// Bits a second that it reads, at most.
    pub reads: Option<f64>,
    /// What it does when its connection is lost.
    pub reconnect: Option<Again>,
    /// Who it is.
    pub with: With,
    /// The path to the server from the start.
    pub net: Net,
}

/// Protocols of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// RTMP over TCP.
    Rtmp,
    /// RTSP with RTP.
    Rtsp,
    /// HLS over HTTP/1.1.
    Hls,
}

impl Speaks {
    /// Its name in scenarios and URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Rtsp => "rtsp",
            Self::Hls => "hls",
        }
    }
}

/// How RTP travels.
pub use crate::client::Over;

/// Publisher or viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sends media.
    Publisher,
    /// It takes media.
    Viewer,
}

/// What a publisher sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// A clip inside the program.
    Sample,
    /// A file.
    File(PathBuf),
}

/// How often and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The pause before each attempt.
    pub after: Duration,
    /// How many attempts.
    pub times: u32,
}

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum With {
    /// Our own.
    Ours,
    /// The crate rml_rtmp.
    RmlRtmp,
    /// The crate retina.
    Retina,
    /// A program. `{url}` stands for what to publish to or to play, `{media}` for the file, `{dir}` for a directory of its
    /// own, `{here}` for the scenario's.
    Program(String),
}

const KEYS: &[&str] = &[
    "speaks",
    "over",
    "role",
    "path",
    "media",
    "loop",
    "for",
    "count",
    "ramp",
    "buffer",
    "reads",
    "reconnect",
    "with",
    "net",
];
/// The clip inside the program.
const SAMPLE: &str = "sample:h264-aac";
/// Players begin with this much where the scenario does not say.
const BUFFER: Duration = Duration::from_secs(1);
/// The largest crowd.
const MOST: u64 = 10_000;

/// Reads the table of clients; each with the place of its name.
pub(super) fn read_all(reader: &Reader<'_>, node: &Node<'_>, beside: &Path) -> Vec<(Client, Range<usize>)> {
    let DeValue::Table(table) = node.get_ref() else {
        reader.wrong(node.span(), "want clients.NAME = { … }");
        return Vec::new();
    };
    let mut clients = Vec::new();
    for (name, value) in table {
        let Some(fields) = Fields::new(reader, value, "a client", KEYS) else { continue };
        let name = (name.get_ref().as_ref(), name.span());
        clients.extend(read(&fields, name.0, beside).map(|client| (client, name.1)));
    }
    if table.is_empty() {
        reader.wrong(node.span(), "there are no clients");
    }
    clients.sort_by_key(|(_, span)| span.start);
    clients
}

fn read(fields: &Fields<'_, '_>, name: &str, beside: &Path) -> Option<Client> {
    let reader = fields.reader;
    let protocols = [Speaks::Rtmp, Speaks::Rtsp, Speaks::Hls].map(|s| (s.name(), s));
    let speaks = fields.need("speaks").and_then(|node| reader.choice(node, "protocol", &protocols));
    let path = fields.need("path").and_then(|node| reader.parsed(node, "a path such as \"live/a\"", path));
    let role = fields.get("role").map_or(Some(Role::Viewer), |node| {
        reader.choice(node, "role", &[("publisher", Role::Publisher), ("viewer", Role::Viewer)])
    });
    let over = fields.get("over").map_or(Some(Over::Tcp), |node| {
        reader.choice(node, "transport", &[("udp", Over::Udp), ("tcp", Over::Tcp)])
    });
    let media = fields.get("media").map_or(Some(Media::Sample), |node| media(reader, node, beside));
    let again = fields.get("loop").map_or(Some(true), |node| reader.boolean(node));
    let length = fields.get("for").map_or(Some(None), |node| reader.duration(node).map(Some));
    let count = fields.get("count").map_or(Some(1), |node| reader.integer(node, 1..=MOST));
    let ramp = fields.get("ramp").map_or(Some(Duration::ZERO), |node| reader.duration(node));
    let buffer = fields.get("buffer").map_or(Some(BUFFER), |node| reader.duration(node));
    let reads = fields.get("reads").map_or(Some(None), |node| reader.quantity(node, Unit::Rate).map(Some));
    let reconnect = fields.get("reconnect").map_or(Some(None), |node| reconnect(reader, node).map(Some));
    let with = fields.get("with").map_or(Some(With::Ours), |node| with(reader, node));
    let net = fields.get("net").map_or(Some(Net::default()), |node| net::read(reader, node));
    let client = Client {
        name: name.to_owned(),
        speaks: speaks?,
        over: over?,
        role: role?,
        path: path?,
        media: media?,
        again: again?,
        length: length?,
        count: u32::try_from(count?).unwrap_or(u32::MAX),
        ramp: ramp?,
        buffer: buffer?,
        reads: reads?,
        reconnect: reconnect?,
        with: with?,
        net: net?,
    };
    fits_together(fields, &client).then_some(client)
}

/// What cannot be had together.
fn fits_together(fields: &Fields<'_, '_>, client: &Client) -> bool {
    let publishes = client.role == Role::Publisher;
    let objections = [
        ("role", publishes && client.speaks == Speaks::Hls, "HLS has no publishers"),
        ("over", client.speaks != Speaks::Rtsp, "only RTSP has a choice of transport"),
        ("media", !publishes, "only publishers send media"),
        ("loop", !publishes, "only publishers send media"),
        ("buffer", publishes, "only viewers have a buffer"),
        ("reads", publishes, "only viewers read media"),
        (
            "reads",
            client.with != With::Ours,
            "only our own clients read slowly; give others a net with a rate",
        ),
        ("reconnect", client.with != With::Ours, "only our own clients come back"),
        ("ramp", client.count == 1, "one client needs no ramp; give it a count"),
        ("count", publishes && client.count > 1, "two publishers cannot have one path"),
        ("with", client.with == With::RmlRtmp && client.speaks != Speaks::Rtmp, "rml_rtmp speaks rtmp only"),
        ("with", client.with == With::Retina && client.speaks != Speaks::Rtsp, "retina speaks rtsp only"),
        ("with", client.with == With::Retina && publishes, "retina cannot publish"),
        (
            "net",
            client.net.loss > 0.0 && !client.loses(),
            "only packets over UDP are lost; TCP sends them again",
        ),
    ];
    let mut fits = true;
    for (key, applies, why) in objections {
        if let (true, Some(node)) = (applies, fields.get(key)) {
            fields.reader.wrong(node.span(), why);
            fits = false;
        }
    }
    fits
}

impl Client {
    /// Whether anything of it travels over UDP, where packets can get lost.
    pub fn loses(&self) -> bool {
        self.speaks == Speaks::Rtsp && self.over == Over::Udp
    }
}

/// A path as URLs have it; the same that servers refuse is refused here.
fn path(text: &str) -> Result<String, String> {
    let segments = text.split('?').next().unwrap_or_default().split('/');
    let bad =
        |s: &str| s.is_empty() || s == "." || s == ".." || s.chars().any(|c| c.is_control() || c == ' ');
    if segments.clone().any(bad) {
        return Err(format!("{text:?} is no path: want segments such as \"live/a\""));
    }
    Ok(text.to_owned())
}

fn media(reader: &Reader<'_>, node: &Node<'_>, beside: &Path) -> Option<Media> {
    reader.parsed(node, "a file, or \"sample:h264-aac\"", |text| match text.strip_prefix("sample:") {
        Some(_) if text == SAMPLE => Ok(Media::Sample),
        Some(_) => Err(format!("there is no {text:?}; the clip inside the program is {SAMPLE:?}")),
        None => {
            let file = beside.join(text);
            match file.is_file() {
                true => Ok(Media::File(file)),
                false => Err(format!("there is no file {}", file.display())),
            }
        }
    })
}

fn reconnect(reader: &Reader<'_>, node: &Node<'_>) -> Option<Again> {
    let fields = Fields::new(reader, node, "reconnect", &["after", "times"])?;
    let after = fields.get("after").map_or(Some(Duration::from_secs(1)), |node| reader.duration(node));
    let times = fields.get("times").map_or(Some(3), |node| reader.integer(node, 1..=1000));
    Some(Again { after: after?, times: u32::try_from(times?).unwrap_or(u32::MAX) })
}

fn with(reader: &Reader<'_>, node: &Node<'_>) -> Option<With> {
    if let DeValue::Table(_) = node.get_ref() {
        let fields = Fields::new(reader, node, "with", &["command"])?;
        let line = reader.parsed(fields.need("command")?, "a command line", |text| {
            match shlex::split(text).is_some_and(|words| !words.is_empty()) {
                true => Ok(text.to_owned()),
                false => Err(format!("{text:?} is no command: it is empty, or a quote is not closed")),
            }
        })?;
        return Some(With::Program(line));
    }
    let choices = [("ours", With::Ours), ("rml_rtmp", With::RmlRtmp), ("retina", With::Retina)];
    let names = [0, 1, 2].map(|i: usize| (choices[i].0, i));
    let chosen = reader.choice(node, "client", &names)?;
    Some(choices[chosen].1.clone())
}
