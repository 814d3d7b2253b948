//! Whom the clients of a scenario talk to.

use std::time::Duration;

use server::fault::{self, Fault};

use super::mistake::suggest;
use super::reader::{Fields, Node, Reader};

/// Whom the clients talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The reference server, started in this process on free ports.
    Reference {
        /// Faults it injects.
        faults: Vec<&'static Fault>,
        /// Whether it records what is published.
        record: bool,
    },
    /// A server that is up already; one URL for each protocol it speaks.
    Running(Vec<String>),
    /// A program that is started, and ended behind the last step.
    Command(Command),
}

/// A program that is a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What to run, words split as a shell does; `{NAME}` stands for a port of [`ports`](Self::ports), `{dir}` for a
    /// directory of its own, `{here}` for the scenario's.
    pub line: String,
    /// When clients may come.
    pub ready: Ready,
    /// Names of ports that are free when it starts.
    pub ports: Vec<String>,
    /// Files written into its directory before it starts: name and content, with the same names in braces.
    pub files: Vec<(String, String)>,
    /// Where it serves: a URL for each protocol.
    pub urls: Vec<String>,
    /// How long it may take to be ready.
    pub patience: Duration,
}

/// What tells that a program is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Something accepts connections there: a port, or the name of one in braces.
    Tcp(String),
    /// It prints a line with this in it.
    Line(String),
}

/// How long a program may take where the scenario does not say.
const PATIENCE: Duration = Duration::from_secs(20);

impl Default for Target {
    fn default() -> Self {
        Self::Reference { faults: Vec::new(), record: false }
    }
}

const KEYS: &[&str] = &["use", "faults", "record", "url", "command", "ready", "ports", "files", "patience"];

pub(super) fn read(reader: &Reader<'_>, node: &Node<'_>) -> Option<Target> {
    let fields = Fields::new(reader, node, "a target", KEYS)?;
    let given: Vec<_> = ["use", "url", "command"].into_iter().filter(|k| fields.get(k).is_some()).collect();
    match given[..] {
        ["use"] => reference(&fields),
        ["url"] => {
            only(&fields, &["url"]);
            let urls = reader.texts(fields.get("url")?)?;
            check_urls(reader, &urls, &[]);
            Some(Target::Running(urls.into_iter().map(|(url, _)| url).collect()))
        }
        ["command"] => command(&fields),
        ["url", "command"] => command(&fields),
        _ => {
            let what = "a target needs either use = \"reference\", a url, or a command";
            reader.wrong(fields.span(), what);
            None
        }
    }
}

fn reference(fields: &Fields<'_, '_>) -> Option<Target> {
    only(fields, &["use", "faults", "record"]);
    let reader = fields.reader;
    reader.choice(fields.get("use")?, "server", &[("reference", ())])?;
    let faults = fields.get("faults").map_or(Some(Vec::new()), |node| faults(reader, node))?;
    let record = fields.get("record").map_or(Some(false), |node| reader.boolean(node))?;
    Some(Target::Reference { faults, record })
}

fn faults(reader: &Reader<'_>, node: &Node<'_>) -> Option<Vec<&'static Fault>> {
    let known = |(id, span): (String, std::ops::Range<usize>)| {
        let found = fault::find(&id);
        if found.is_none() {
            let help = suggest(&id, fault::all().map(|fault| fault.id));
            let help =
                help.unwrap_or_else(|| "streamgauge serve --fault list tells what there is".to_owned());
            reader.note(span, format!("the reference server has no fault {id:?}"), Some(help));
        }
        found
    };
    // Every mistake is told, not only the first.
    let found: Vec<_> = reader.texts(node)?.into_iter().map(known).collect();
    found.into_iter().collect()
}

fn command(fields: &Fields<'_, '_>) -> Option<Target> {
    only(fields, &["command", "ready", "url", "ports", "files", "patience"]);
    let reader = fields.reader;
    let line = fields.get("command").and_then(|node| {
        reader.parsed(node, "a command line", |text| match shlex::split(text) {
            Some(words) if !words.is_empty() => Ok(text.to_owned()),
            Some(_) => Err("the command is empty".to_owned()),
            None => Err("a quote in the command is not closed".to_owned()),
        })
    });
    let ready = fields.need("ready").and_then(|node| {
        reader.parsed(node, "what tells that it is ready", |text| match text.split_once(':') {
            Some(("tcp", port)) if !port.is_empty() => Ok(Ready::Tcp(port.to_owned())),
            Some(("line", words)) if !words.is_empty() => Ok(Ready::Line(words.to_owned())),
            _ => Err(format!("{text:?}: want \"tcp:PORT\" or \"line:WORDS\"")),
        })
    });
    let ports = fields.get("ports").map_or(Some(Vec::new()), |node| reader.texts(node));
    let ports: Vec<String> = ports?.into_iter().map(|(name, _)| name).collect();
    let urls = fields.need("url").and_then(|node| reader.texts(node))?;
    check_urls(reader, &urls, &ports);
    let files = fields.get("files").map_or(Some(Vec::new()), |node| files(reader, node));
    let patience = fields.get("patience").map_or(Some(PATIENCE), |node| reader.duration(node));
    Some(Target::Command(Command {
        line: line?,
        ready: ready?,
        ports,
        files: files?,
        urls: urls.into_iter().map(|(url, _)| url).collect(),
        patience: patience?,
    }))
}

fn files(reader: &Reader<'_>, node: &Node<'_>) -> Option<Vec<(String, String)>> {
    let toml::de::DeValue::Table(table) = node.get_ref() else {
        reader.wrong(node.span(), "want a table of file names and what is in them");
        return None;
    };
    let mut files = Vec::new();
    for (name, content) in table {
        let plain = name.get_ref().as_ref();
        if plain.is_empty() || plain.contains('/') || plain.starts_with('.') {
            reader.wrong(name.span(), format!("{plain:?} is no name for a file in the target's directory"));
            return None;
        }
        files.push((plain.to_owned(), reader.text(content)?));
    }
    Some(files)
}

/// Every key is one that this kind of target has.
fn only(fields: &Fields<'_, '_>, keys: &[&str]) {
    for key in KEYS.iter().filter(|key| !keys.contains(key)) {
        if let Some(node) = fields.get(key) {
            fields.reader.wrong(node.span(), format!("{key:?} does not belong to this kind of target"));
        }
    }
}

/// A URL's port may be one that is known only when the program starts.
fn check_urls(reader: &Reader<'_>, urls: &[(String, std::ops::Range<usize>)], ports: &[String]) {
    for (url, span) in urls {
        let filled = ports.iter().fold(url.clone(), |url, name| url.replace(&format!("{{{name}}}"), "1"));
        if let Err(error) = crate::url::TargetUrl::parse(&filled) {
            reader.wrong(span.clone(), error.to_string());
        }
    }
}
