//! The language of scenarios: who comes, what happens when, and what has to be true of it.
//!
//! A scenario is a TOML file. Reading it finds every mistake at once, each with its place and, where there is one, with
//! what was probably meant. What is read here is a plan; nothing in it says how it is carried out.

mod client;
mod expect;
mod mistake;
mod net;
mod quantity;
mod reader;
mod step;
mod target;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

pub use client::{Again, Client, Media, Over, Role, Speaks, With};
pub use expect::{Expect, Figure, Outcome, Want};
pub use mistake::{Mistake, Mistakes};
pub use net::Net;
pub use quantity::{Bound, Unit};
pub use step::{Act, Step};
pub use target::{Command, Ready, Target};

use reader::{Fields, Reader};

/// A plan, whole and without contradictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// One line that says what it is about.
    pub title: String,
    /// The directory of its file.
    pub home: PathBuf,
    /// Grows everything that is random.
    pub seed: u64,
    /// Whom the clients talk to.
    pub target: Target,
    /// What is kept of the packets.
    pub capture: Capture,
    /// Who comes, by name.
    pub clients: Vec<Client>,
    /// What happens, in the order of time.
    pub steps: Vec<Step>,
    /// What has to be true of it.
    pub expect: Vec<Expect>,
}

/// What is kept of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// Every byte.
    #[default]
    Full,
    /// What tells who spoke, without the media: enough for bandwidth and the begin of each message.
    Headers,
    /// Nothing; expectations about packets cannot be decided then.
    Off,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum ScriptError {
    /// The file could not be read.
    Read(PathBuf, io::Error),
    /// The file could be read and not be understood.
    Wrong(Mistakes),
}

impl std::fmt::Display for ScriptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Wrong(mistakes) => write!(f, "{mistakes}"),
        }
    }
}

impl std::error::Error for ScriptError {}

const KEYS: &[&str] = &["title", "seed", "target", "capture", "clients", "steps", "expect"];

impl Scenario {
    /// Reads a file. Media files named in it are looked for beside it.
    pub fn load(file: &Path) -> Result<Self, ScriptError> {
        let text = fs::read_to_string(file).map_err(|e| ScriptError::Read(file.to_owned(), e))?;
        let beside = file.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &file.display().to_string(), beside).map_err(ScriptError::Wrong)
    }

    /// Reads a plan from `text`; `name` stands in messages for the file, and media are looked for in `beside`.
    pub fn parse(text: &str, name: &str, beside: &Path) -> Result<Self, Mistakes> {
        let reader = Reader::new(name, text);
        let parsed = DeTable::parse(text);
        let scenario = reader.document(&parsed, KEYS).and_then(|fields| read(&fields, beside));
        let mistakes = reader.into_mistakes();
        match scenario {
            Some(scenario) if mistakes.is_empty() => Ok(scenario),
            _ => Err(Mistakes(mistakes)),
        }
    }

    /// When everything that was planned is over: every step, and the stay of every client that has a length.
    pub fn length(&self) -> Duration {
        let lengths = self.steps.iter().flat_map(|step| {
            let starts = matches!(step.act, Some(Act::Publish | Act::Play));
            step.who.iter().filter_map(|i| self.clients.get(*i)).map(move |client| {
                let stays = client.length.unwrap_or_default() + client.ramp;
                if starts { step.at + stays } else { step.at }
            })
        });
        lengths.max().unwrap_or_default()
    }
}

fn read(fields: &Fields<'_, '_>, beside: &Path) -> Option<Scenario> {
    let reader = fields.reader;
    let title = fields.need("title").and_then(|node| reader.text(node));
    let seed = fields.get("seed").map_or(Some(1), |node| reader.integer(node, 0..=u64::from(u32::MAX)));
    let target = fields.get("target").map_or(Some(Target::default()), |node| target::read(reader, node));
    let capture = fields.get("capture").map_or(Some(Capture::Full), |node| {
        let choices = [("full", Capture::Full), ("headers", Capture::Headers), ("off", Capture::Off)];
        reader.choice(node, "capture", &choices)
    });
    let clients = fields.need("clients").map(|node| client::read_all(reader, node, beside));
    let clients = clients.unwrap_or_default();
    let steps = match fields.need("steps") {
        Some(node) => step::read_all(reader, node, &clients),
        None => Vec::new(),
    };
    let expect = match fields.get("expect") {
        Some(node) => expect::read_all(reader, node, &clients),
        None => Vec::new(),
    };
    Some(Scenario {
        title: title?,
        home: beside.to_owned(),
        seed: seed?,
        target: target?,
        capture: capture?,
        clients: clients.into_iter().map(|(client, _)| client).collect(),
        steps,
        expect,
    })
}
