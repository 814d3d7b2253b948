//! What happens when.

use std::ops::Range;
use std::time::Duration;

use super::client::{Client, Role};
use super::mistake::suggest;
use super::net::{self, Net};
use super::reader::{Fields, Node, Reader};

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since the begin, at which the target is ready.
    pub at: Duration,
    /// To whom: places in the list of clients.
    pub who: Vec<usize>,
    /// What they do.
    pub act: Option<Act>,
    /// What becomes of their path to the server.
    pub net: Option<Net>,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Connects and publishes.
    Publish,
    /// Connects and plays.
    Play,
    /// Says goodbye and leaves.
    Stop,
    /// Is gone without a word: its connection is reset.
    Abort,
    /// Reads and sends nothing, and keeps its connection.
    Freeze,
    /// Goes on after a freeze.
    Resume,
    /// Loses its connection: somebody on the way resets it, for both ends. The client lives on.
    Reset,
}

impl Act {
    const ALL: [(&'static str, Self); 7] = [
        ("publish", Self::Publish),
        ("play", Self::Play),
        ("stop", Self::Stop),
        ("abort", Self::Abort),
        ("freeze", Self::Freeze),
        ("resume", Self::Resume),
        ("reset", Self::Reset),
    ];

    /// Its name in scenarios.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, act)| *act == self).map_or("", |(name, _)| name)
    }
}

const KEYS: &[&str] = &["at", "who", "do", "net"];

/// Reads the steps, in the order of their times.
pub(super) fn read_all(
    reader: &Reader<'_>,
    node: &Node<'_>,
    clients: &[(Client, Range<usize>)],
) -> Vec<Step> {
    let nodes = reader.list(node).unwrap_or_default();
    let fields = nodes.into_iter().filter_map(|node| Fields::new(reader, node, "a step", KEYS));
    let mut steps: Vec<Step> = fields.filter_map(|fields| read(&fields, clients)).collect();
    steps.sort_by_key(|step| step.at);
    for (i, (client, span)) in clients.iter().enumerate() {
        if !steps.iter().any(|step| step.who.contains(&i) && starts(step)) {
            let verb = if client.role == Role::Publisher { "publish" } else { "play" };
            let help = format!("give it a step with do = {verb:?}");
            reader.note(span.clone(), format!("{:?} never comes", client.name), Some(help));
        }
    }
    steps
}

fn starts(step: &Step) -> bool {
    matches!(step.act, Some(Act::Publish | Act::Play))
}

fn read(fields: &Fields<'_, '_>, clients: &[(Client, Range<usize>)]) -> Option<Step> {
    let reader = fields.reader;
    let at = fields.need("at").and_then(|node| reader.duration(node));
    let who = fields.need("who").and_then(|node| who(reader, node, clients));
    let act = fields.get("do").map_or(Some(None), |node| reader.choice(node, "action", &Act::ALL).map(Some));
    let path = fields.get("net").map_or(Some(None), |node| net::read(reader, node).map(Some));
    if fields.get("do").is_none() && fields.get("net").is_none() {
        reader.wrong(fields.span(), "a step needs something to do, or a net");
    }
    let (who, act, path) = (who?, act?, path?);
    for client in who.iter().filter_map(|i| clients.get(*i)).map(|(client, _)| client) {
        let (name, role) = (&client.name, client.role);
        let node = fields.get("do").unwrap_or(fields.need("at")?);
        match (act, role) {
            (Some(Act::Publish), Role::Viewer) => {
                let help = format!("a viewer plays; a publisher has role = \"publisher\", {name:?} has not");
                reader.note(node.span(), format!("{name:?} cannot publish"), Some(help));
            }
            (Some(Act::Play), Role::Publisher) => {
                let help = "a publisher publishes".to_owned();
                reader.note(node.span(), format!("{name:?} cannot play"), Some(help));
            }
            _ => {}
        }
        if let (Some(net), Some(node)) = (path, fields.get("net"))
            && net.loss > 0.0
            && !client.loses()
        {
            let what =
                format!("{name:?} is not on UDP: only packets over UDP are lost, TCP sends them again");
            reader.wrong(node.span(), what);
        }
    }
    Some(Step { at: at?, who, act, net: path })
}

/// One client or several, by name.
pub(super) fn who(
    reader: &Reader<'_>,
    node: &Node<'_>,
    clients: &[(Client, Range<usize>)],
) -> Option<Vec<usize>> {
    let names = reader.texts(node)?;
    let mut places = Vec::new();
    for (name, span) in names {
        match clients.iter().position(|(client, _)| client.name == name) {
            Some(place) => places.push(place),
            None => {
                let known = || clients.iter().map(|(client, _)| client.name.as_str());
                let help = suggest(&name, known())
                    .or_else(|| Some(format!("there are {}", known().collect::<Vec<_>>().join(", "))));
                reader.note(span, format!("there is no client {name:?}"), help);
            }
        }
    }
    (!places.is_empty()).then_some(places)
}
