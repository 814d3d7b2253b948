//! The state of one chunk stream, and how headers change it.

use wire::rtmp::chunk::{EXTENDED, MessageHeader};

use super::body::Body;
use crate::flow::At;

/// State of one chunk stream.
#[derive(Clone, Debug)]
pub(super) struct Chunked {
    pub(super) csid: u32,
    pub(super) timestamp: u32,
    delta: u32,
    pub(super) length: u32,
    pub(super) type_id: u8,
    pub(super) stream_id: u32,
    /// The field of the last extended timestamp in force.
    pub(super) extended: Option<u32>,
    /// The last header with a time was of format 0, whose time is no delta.
    absolute: bool,
    /// A header of format 0 was seen: the time is no mere sum of deltas.
    pub(super) based: bool,
    /// How far its messages lie apart is known.
    pub(super) timed: bool,
    /// A message is under way.
    pub(super) open: bool,
    /// A hole or an unread stretch lies behind us; how much of an open message is left is not known.
    pub(super) interrupted: bool,
    /// A header of this chunk stream may lie in a hole: what it leaves out is to be doubted.
    pub(super) stale: bool,
    pub(super) body: Body,
    pub(super) first: At,
    pub(super) wire_bytes: u64,
}

impl Chunked {
    pub(super) fn new(csid: u32, at: At) -> Self {
        Self {
            csid,
            timestamp: 0,
            delta: 0,
            length: 0,
            type_id: 0,
            stream_id: 0,
            extended: None,
            absolute: false,
            based: false,
            timed: true,
            open: false,
            interrupted: false,
            stale: false,
            body: Body::default(),
            first: at,
            wire_bytes: 0,
        }
    }

    /// One whose messages leave out how far their times lie apart.
    pub(super) fn untimed(csid: u32, at: At) -> Self {
        Self { timed: false, ..Self::new(csid, at) }
    }

    /// Bytes of a format 3 header on this chunk stream.
    pub(super) fn continuation_header(&self) -> u64 {
        let basic: u64 = match self.csid {
            0..=63 => 1,
            64..=319 => 2,
            _ => 3,
        };
        if self.extended.is_some() { basic.saturating_add(4) } else { basic }
    }

    /// A repeated extended timestamp behind a format 3 header, if those four bytes are one. Senders repeat the
    /// field as it was or write the time they mean; some leave it out, and then payload stands there.
    pub(super) fn repeated_time(&self, bytes: &[u8], field: u32) -> Option<u32> {
        let four = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
        if four == field || four == self.timestamp {
            return Some(four);
        }
        let step = four.wrapping_sub(self.timestamp);
        (!self.open && four >= EXTENDED && step < 60_000).then_some(four)
    }

    /// True where a header in the middle of a message goes on with it.
    pub(super) fn continues(&self, fmt: u8, header: &MessageHeader) -> bool {
        match fmt {
            3 => true,
            _ if self.interrupted => false,
            // Some senders repeat a whole header in place of format 3.
            0 => {
                self.body.passed > 0
                    && header.length == Some(self.length)
                    && header.type_id == Some(self.type_id)
                    && header.time == Some(self.timestamp)
            }
            1 => self.body.passed > 0 && header.length == Some(self.length) && header.time == Some(0),
            _ => false,
        }
    }

    /// Takes over what the header of a new message says.
    pub(super) fn begin(&mut self, fmt: u8, header: &MessageHeader, latest: u32) {
        self.length = header.length.unwrap_or(self.length);
        self.type_id = header.type_id.unwrap_or(self.type_id);
        self.stream_id = header.stream_id.unwrap_or(self.stream_id);
        if fmt < 3 {
            self.extended = header.time.filter(|_| header.extended);
        }
        self.timed |= header.time.is_some();
        match (fmt, header.time) {
            (0, Some(time)) => {
                self.timestamp = time;
                self.delta = time;
                self.absolute = true;
                self.based = true;
            }
            (1 | 2, Some(delta)) => {
                self.delta = delta;
                self.timestamp = self.timestamp.wrapping_add(delta);
                self.absolute = false;
            }
            (_, Some(time)) if time != self.delta || self.absolute => {
                // An extended time repeated on a message of its own: the time itself.
                self.timestamp = time;
            }
            _ => self.timestamp = self.timestamp.wrapping_add(self.step(latest)),
        }
        self.open = true;
        self.interrupted = false;
        self.stale &= fmt > 1;
        self.body.begin(self.type_id);
    }

    /// The delta of a message without any header. After format 0 the specification takes the absolute time for
    /// it (§5.3.1.2.4) and several servers take 0: what lies closer to the other media is meant.
    fn step(&self, latest: u32) -> u32 {
        if !self.absolute {
            return self.delta;
        }
        let distance = |time: u32| time.wrapping_sub(latest).cast_signed().unsigned_abs();
        let by_text = self.timestamp.wrapping_add(self.delta);
        if distance(by_text) < distance(self.timestamp) || self.timestamp < 100 { self.delta } else { 0 }
    }
}
