//! Recording what a decoder read: nothing at all, or a flat field tree.

use std::ops::Range;

/// The static description of a field: its name, the clause that defines it, what it teaches.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, as the field's standard calls it.
    pub name: &'static str,
    /// Document and clause.
    pub spec: &'static str,
    /// What it means, unit included.
    pub doc: &'static str,
}

/// Shorthand for the statics beside a decoder.
pub const fn field(name: &'static str, spec: &'static str, doc: &'static str) -> Field {
    Field { name, spec, doc }
}

/// The value of a leaf. Bytes and text are not copied: their bit range says where they stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// An unsigned number.
    U64(u64),
    /// A signed number.
    I64(i64),
    /// A floating point number.
    F64(f64),
    /// Raw bytes.
    Bytes,
    /// UTF-8 text.
    Text,
    /// A group: its children say more.
    Group,
    /// A group whose children are the pieces of one number, and that number.
    Pieces(i64),
}

/// Receives what a cursor reads.
pub trait Trace {
    /// A leaf was read.
    fn leaf(&mut self, field: &'static Field, bits: Range<u64>, value: Value);
    /// A group begins at this bit.
    fn open(&mut self, field: &'static Field, at: u64);
    /// The innermost open group ends at this bit.
    fn close(&mut self, at: u64);
    /// What is in the innermost open group makes this number.
    fn makes(&mut self, number: i64);
}

impl Trace for () {
    #[inline(always)]
    fn leaf(&mut self, _: &'static Field, _: Range<u64>, _: Value) {}
    #[inline(always)]
    fn open(&mut self, _: &'static Field, _: u64) {}
    #[inline(always)]
    fn close(&mut self, _: u64) {}
    #[inline(always)]
    fn makes(&mut self, _: i64) {}
}

/// One node of a [`Tree`].
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub field: &'static Field,
    /// Where it stands in its buffer, in bits.
    pub bits: Range<u64>,
    /// What was read.
    pub value: Value,
    /// 0 for top level.
    pub depth: u16,
}

/// A field tree as one flat list in pre-order; format only what is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// The nodes, parents before children.
    pub nodes: Vec<Node>,
    open: Vec<usize>,
}

impl Tree {
    fn depth(&self) -> u16 {
        u16::try_from(self.open.len()).unwrap_or(u16::MAX)
    }

    /// The nodes that have no children.
    pub fn leaves(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| !matches!(n.value, Value::Group | Value::Pieces(_)))
    }
}

impl Trace for Tree {
    fn leaf(&mut self, field: &'static Field, bits: Range<u64>, value: Value) {
        let depth = self.depth();
        self.nodes.push(Node { field, bits, value, depth });
    }

    fn open(&mut self, field: &'static Field, at: u64) {
        let depth = self.depth();
        self.open.push(self.nodes.len());
        self.nodes.push(Node { field, bits: at..at, value: Value::Group, depth });
    }

    fn close(&mut self, at: u64) {
        if let Some(node) = self.open.pop().and_then(|i| self.nodes.get_mut(i)) {
            node.bits.end = at;
        }
    }

    fn makes(&mut self, number: i64) {
        if let Some(node) = self.open.last().and_then(|i| self.nodes.get_mut(*i)) {
            node.value = Value::Pieces(number);
        }
    }
}
