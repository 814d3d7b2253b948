//! Field trees: one part for each buffer, frame first, then what was put together from frames.

pub mod codec;
pub mod flv;
pub mod mp4;
pub mod rtmp;
pub mod rtp;
#[cfg(test)]
mod tests;
pub mod text;
pub mod ts;

use wire::trace::{Node, Value, field};
use wire::{Cursor, Error, Field, Result, Tree};

use super::provenance::Provenance;

/// What no decoder read.
pub static UNREAD: Field = field("unread", "", "Bytes that nothing here explains.");

/// A buffer and what its bytes mean.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// What it is.
    pub title: String,
    /// How deep it stands under other parts.
    pub level: u8,
    /// The bytes that the tree's bits count in.
    pub bytes: Vec<u8>,
    /// Where they come from.
    pub origin: Provenance,
    /// The fields; the leaves tile the bytes without gap or overlap.
    pub tree: Tree,
    /// Where reading ended early.
    pub error: Option<Error>,
    /// What follows from the fields, for people.
    pub notes: Vec<Note>,
}

/// A statement about a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who says so, or what it is: `Wireshark says`, `in truth`.
    pub label: &'static str,
    /// The statement.
    pub text: String,
}

impl Part {
    /// Reads a buffer with a decoder; what it leaves is shown as unread.
    pub fn read<R>(
        title: impl Into<String>,
        bytes: &[u8],
        origin: Provenance,
        decode: impl FnOnce(&mut Cursor<'_, Tree>) -> Result<R>,
    ) -> (Self, Option<R>) {
        let mut c = Cursor::traced(bytes, Tree::default());
        let (value, error) = match decode(&mut c) {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(error)),
        };
        let mut tree = c.into_trace();
        let end = tree.leaves().last().map_or(0, |leaf| leaf.bits.end);
        let whole = (bytes.len() as u64).saturating_mul(8);
        if end < whole {
            tree.nodes.push(Node { field: &UNREAD, bits: end..whole, value: Value::Bytes, depth: 0 });
        }
        let title = title.into();
        (Self { title, level: 0, bytes: bytes.to_vec(), origin, tree, error, notes: Vec::new() }, value)
    }

    /// The part one level or more deeper.
    #[must_use]
    pub fn at(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Adds a statement.
    pub fn note(&mut self, label: &'static str, text: impl Into<String>) {
        self.notes.push(Note { label, text: text.into() });
    }

    /// Memory held, in bytes, roughly.
    pub(crate) fn weight(&self) -> usize {
        let nodes = self.tree.nodes.len().saturating_mul(size_of::<Node>());
        self.bytes.len().saturating_add(nodes)
    }

    /// The bytes of a node, whole bytes only.
    pub fn slice(&self, node: &Node) -> &[u8] {
        let place = |bit: u64| usize::try_from(bit).unwrap_or(usize::MAX);
        self.bytes.get(place(node.bits.start >> 3)..place(node.bits.end.div_ceil(8))).unwrap_or_default()
    }
}

/// The first leaf that does not begin where the one before ended, or the end that is missing: the invariant of every
/// part. None where the leaves tile the bytes.
pub fn gap(part: &Part) -> Option<u64> {
    let mut at = 0;
    for leaf in part.tree.leaves() {
        if leaf.bits.start != at || leaf.bits.end < leaf.bits.start {
            return Some(at);
        }
        at = leaf.bits.end;
    }
    (at != (part.bytes.len() as u64).saturating_mul(8)).then_some(at)
}
