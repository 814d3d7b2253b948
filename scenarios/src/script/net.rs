//! How a path between a client and the server behaves.

use std::time::Duration;

use super::quantity::Unit;
use super::reader::{Fields, Node, Reader};

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

/// Reads one.
pub(super) fn read(reader: &Reader<'_>, node: &Node<'_>) -> Option<Net> {
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
