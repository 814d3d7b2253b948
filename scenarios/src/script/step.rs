//! What happens when.

use std::ops::Range;
use std::time::Duration;

use super::client::{Client, Role};
use super::mistake::suggest;
use super::quantity::Unit;
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

/// A path between a client and the server. Each direction has all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Net {
    /// Share of UDP packets that are lost, 0 to 1.
    pub loss: f64,
    /// Added to every packet's way.
    pub delay: Duration,
    /// The delay varies by up to this, either way; UDP packets may overtake each other.
    pub jitter: Duration,
    /// Bits a second that pass, at most.
    pub rate: Option<f64>,
    /// Nothing passes, and nobody is told: a cable is pulled.
    pub cut: bool,
}

impl Net {
    /// Whether it is a path without any behaviour.
    pub fn is_clear(&self) -> bool {
        *self == Self::default()
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
    let path = fields.get("net").map_or(Some(None), |node| net(reader, node).map(Some));
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

pub(super) fn net(reader: &Reader<'_>, node: &Node<'_>) -> Option<Net> {
    let fields = Fields::new(reader, node, "a net", &["loss", "delay", "jitter", "rate", "cut"])?;
    let loss = fields.get("loss").map_or(Some(0.0), |node| reader.quantity(node, Unit::Share));
    let delay = fields.get("delay").map_or(Some(Duration::ZERO), |node| reader.duration(node));
    let jitter = fields.get("jitter").map_or(Some(Duration::ZERO), |node| reader.duration(node));
    let rate = fields.get("rate").map_or(Some(None), |node| reader.quantity(node, Unit::Rate).map(Some));
    let cut = fields.get("cut").map_or(Some(false), |node| reader.boolean(node));
    let net = Net { loss: loss? / 100.0, delay: delay?, jitter: jitter?, rate: rate?, cut: cut? };
    if net.jitter > net.delay
        && let Some(node) = fields.get("jitter")
    {
        reader.wrong(
            node.span(),
            "the jitter is larger than the delay: a packet cannot come before it was sent",
        );
        return None;
    }
    if net.rate.is_some_and(|rate| rate < 1000.0)
        && let Some(node) = fields.get("rate")
    {
        reader.wrong(node.span(), "nothing moves at this rate; want 1 kbit/s or more, or cut = true");
        return None;
    }
    Some(net)
}
