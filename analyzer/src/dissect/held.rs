//! Rows that wait: what a packet says whose bytes lie behind a hole in the stream shows when the hole is filled, or
//! given up.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::{Facts, Flow, Out, Row, Value};
use crate::flow::{ConnId, Dir};

/// Rows that wait at most.
const MAX_ROWS: usize = 32_768;
/// What they may hold together, in bytes.
const MAX_BYTES: usize = 32 << 20;

/// What is known of a packet beside what it says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meta {
    pub(super) number: u64,
    pub(super) file: usize,
    pub(super) in_file: u64,
    pub(super) since_ns: i64,
    pub(super) time_ns: i64,
    pub(super) length: u32,
    pub(super) addresses: Option<(IpAddr, IpAddr)>,
    pub(super) flow: Option<Flow>,
    /// Protocol column of a packet without a PDU.
    pub(super) protocol: &'static str,
}

impl Meta {
    /// Puts the columns together: `line` is the Info of a packet without a PDU.
    pub(super) fn row<'a>(&self, out: &'a mut Out, line: &mut String) -> Row<'a> {
        if out.info.is_empty() {
            std::mem::swap(&mut out.info, line);
        }
        let Out { info, remarks, facts, .. } = out;
        info.push_str(remarks);
        let protocol = out.speaks.map_or(self.protocol, super::Speaks::name);
        self.facts(protocol, info, facts);
        Row {
            number: self.number,
            file: self.file,
            in_file: self.in_file,
            since_first_ns: self.since_ns,
            time_ns: self.time_ns,
            length: self.length,
            addresses: self.addresses,
            flow: self.flow,
            protocol,
            info: &out.info,
            facts: &out.facts,
            parts: &out.parts,
        }
    }

    fn facts(&self, protocol: &str, info: &str, facts: &mut Facts) {
        facts.number("frame.number", self.number);
        facts.number("frame.len", u64::from(self.length));
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds for people, compared with numbers typed by people"
        )]
        facts.push("frame.time", Value::Real(self.since_ns as f64 / 1e9));
        if let Some(flow) = self.flow {
            facts.number("flow", flow.number());
        }
        if let Some((src, dst)) = self.addresses {
            facts.push("ip.src", Value::Address(src));
            facts.push("ip.dst", Value::Address(dst));
            facts.push("ip.addr", Value::Address(src));
            facts.push("ip.addr", Value::Address(dst));
        }
        facts.text("protocol", protocol);
        facts.text("info", info);
    }
}

/// A row that cannot be told yet.
#[derive(Clone, Debug)]
struct Held {
    meta: Meta,
    /// The stream whose hole it waits for.
    conn: Option<(ConnId, Dir)>,
    waits: bool,
    out: Out,
    line: String,
}

impl Held {
    fn weight(&self) -> usize {
        self.line.len().saturating_add(self.out.weight())
    }
}

/// The rows from the first that waits on, in the order of the capture.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    rows: VecDeque<Held>,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Memory held, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.rows.iter().fold(0, |n, row| n.saturating_add(row.weight()))
    }

    /// Appends a row; `conn` where it waits for that stream.
    pub(super) fn push(&mut self, meta: Meta, conn: Option<(ConnId, Dir)>, out: Out, line: String) {
        let held = Held { meta, conn, waits: conn.is_some(), out, line };
        self.bytes = self.bytes.saturating_add(held.weight());
        self.rows.push_back(held);
    }

    fn find(&mut self, number: u64) -> Option<&mut Held> {
        let at = self.rows.binary_search_by_key(&number, |row| row.meta.number).ok()?;
        self.rows.get_mut(at)
    }

    /// The bytes of a packet were handed on.
    pub(super) fn arrived(&mut self, number: u64) {
        if let Some(row) = self.find(number) {
            row.waits = false;
        }
    }

    /// Nothing more will come of a connection.
    pub(super) fn closed(&mut self, conn: ConnId) {
        for row in self.rows.iter_mut().filter(|row| row.conn.is_some_and(|(id, _)| id == conn)) {
            row.waits = false;
        }
    }

    /// The first row that waits for a stream.
    pub(super) fn first_of(&self, conn: ConnId, dir: Dir) -> Option<u64> {
        self.rows.iter().find(|row| row.waits && row.conn == Some((conn, dir))).map(|row| row.meta.number)
    }

    /// What a waiting packet says so far, to go on with; it comes back by a second call.
    pub(super) fn swap(&mut self, number: u64, out: &mut Out) -> bool {
        let Some(row) = self.find(number) else { return false };
        let before = row.weight();
        std::mem::swap(&mut row.out, out);
        let after = row.weight();
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
        true
    }

    /// Tells the rows that need not wait any longer; all of them at the end.
    pub(super) fn release(&mut self, all: bool, f: &mut impl FnMut(&Row<'_>)) {
        while let Some(front) = self.rows.front() {
            let full = self.rows.len() > MAX_ROWS || self.bytes > MAX_BYTES;
            if front.waits && !full && !all {
                break;
            }
            if let Some(mut row) = self.rows.pop_front() {
                self.bytes = self.bytes.saturating_sub(row.weight());
                f(&row.meta.row(&mut row.out, &mut row.line));
            }
        }
    }
}
