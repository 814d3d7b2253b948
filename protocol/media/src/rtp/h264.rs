//! H.264 in RTP (RFC 6184): single NAL units, STAP-A and FU-A.
//!
//! ```text
//! single: NAL unit                      STAP-A: 24(5 bits of type) { size(16) NAL unit } ...
//! FU-A: 28 | S E R type(5) | piece of a NAL unit
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use wire::Cursor;
use wire::codec::LengthPrefixed;
use wire::codec::avc::{self, NalType};

use super::piece::Piece;
use crate::frame::Frame;
use crate::sets::{Following, Sets};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// Parameter sets of a picture that are kept where they came, at most.
const MAX_CHANGED: usize = 64;
/// The largest access unit put together, in bytes.
const MAX_ACCESS_UNIT: usize = 8 << 20;

/// A picture put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub timestamp: u32,
    pub key: bool,
    /// NAL units behind four bytes of length each, without delimiters and without parameter sets that the configuration has.
    pub payload: Bytes,
    /// The decoder configuration record from this picture on, where it is another than before.
    pub config: Option<Bytes>,
}

/// Puts access units together.
#[derive(Debug, Default)]
pub(super) struct Depacketizer {
    sets: Following,
    /// Parameter sets that changed within the access unit.
    changed: Vec<Bytes>,
    unit: BytesMut,
    timestamp: Option<u32>,
    key: bool,
    has_picture: bool,
    broken: bool,
    /// Where the length of the NAL unit in fragments stands, and its header.
    open: Option<(usize, u8)>,
    /// The access unit that a marker ended last.
    marked: Option<u32>,
    /// Some senders set the marker on every NAL unit: then only a new timestamp ends an access unit.
    distrust: bool,
    damaged: u64,
    misfits: u64,
}

impl Depacketizer {
    /// With the parameter sets that the description told.
    pub fn new(sets: Sets) -> Self {
        Self { sets: Following::from(sets), ..Self::default() }
    }

    /// Access units dropped because a part was missing.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Memory that the unfinished access unit takes.
    pub fn open_bytes(&self) -> usize {
        self.unit.capacity()
    }

    /// Payloads that could not be read.
    pub fn misfits(&self) -> u64 {
        self.misfits
    }

    /// Takes the payload of a packet; `lost` says that others are missing before it. Gives the pictures that are complete
    /// by it: two where a timestamp and a marker end one each.
    pub fn packet(&mut self, timestamp: u32, marker: bool, payload: &[u8], lost: bool) -> Vec<Picture> {
        let mut done = Vec::new();
        if self.timestamp.is_some_and(|t| t != timestamp) {
            // Without a marker, what is missing may have been the end of the one before.
            self.broken |= lost;
            done.extend(self.finish());
        } else if lost && self.timestamp.is_some() {
            self.broken = true;
        }
        let begins = self.timestamp.is_none();
        if begins {
            self.timestamp = Some(timestamp);
            // What is missing may be the start of this one, which shows in the first slice.
            self.broken = lost && !starts_picture(payload);
            if self.marked == Some(timestamp) && is_slice(payload) && !self.distrust {
                self.distrust = true;
                self.broken = true;
            }
        }
        if !self.add(payload) {
            self.misfits = self.misfits.saturating_add(1);
            self.broken = true;
        }
        if marker && !self.distrust {
            self.marked = Some(timestamp);
            done.extend(self.finish());
        }
        done
    }

    /// What is complete though nothing follows it.
    pub fn finish(&mut self) -> Option<Picture> {
        let timestamp = self.timestamp.take()?;
        let unfinished = self.open.take().is_some();
        let broken = std::mem::take(&mut self.broken) || unfinished;
        let (key, has_picture) = (std::mem::take(&mut self.key), std::mem::take(&mut self.has_picture));
        // A buffer of its own for each: the next one must not keep the memory of this one.
        let mut payload = std::mem::take(&mut self.unit).freeze();
        let changed = std::mem::take(&mut self.changed);
        if broken {
            self.damaged = self.damaged.saturating_add(1);
            return None;
        }
        if !has_picture || payload.is_empty() {
            return None;
        }
        let config = self.sets.picture(key, &payload, 4);
        if !key && config.is_none() && !changed.is_empty() {
            payload = with_sets(&changed, &payload);
        }
        Some(Picture { timestamp, key, payload, config })
    }

    fn add(&mut self, payload: &[u8]) -> bool {
        let Some(&first) = payload.first() else { return true };
        match first & 0x1f {
            1..=23 => {
                let whole = self.open.take().is_none();
                self.nal(payload);
                whole
            }
            STAP_A => {
                let mut rest = payload.get(1..).unwrap_or_default();
                while let [high, low, behind @ ..] = rest {
                    let size = usize::from(u16::from_be_bytes([*high, *low]));
                    let Some((nal, after)) = behind.split_at_checked(size) else { return false };
                    self.nal(nal);
                    rest = after;
                }
                rest.is_empty() && self.open.take().is_none()
            }
            FU_A => self.fragment(first, payload),
            // Interleaving and 24 bit offsets belong to modes nobody offers.
            _ => false,
        }
    }

    fn nal(&mut self, nal: &[u8]) {
        // Cameras put start codes where none belong.
        let nal = nal.strip_prefix(&[0, 0, 0, 1]).or_else(|| nal.strip_prefix(&[0, 0, 1])).unwrap_or(nal);
        let Some(kind) = NalType::of(nal) else { return };
        match kind {
            NalType::SPS | NalType::PPS => self.set(nal),
            NalType::AUD | NalType::FILLER => {}
            _ => {
                self.note(kind);
                if self.reserve(nal.len()) {
                    self.unit.put_u32(u32::try_from(nal.len()).unwrap_or(0));
                    self.unit.extend_from_slice(nal);
                }
            }
        }
    }

    fn set(&mut self, nal: &[u8]) {
        if self.sets.sets.take(nal) && self.changed.len() < MAX_CHANGED {
            self.changed.push(Bytes::copy_from_slice(nal));
        }
    }

    fn note(&mut self, kind: NalType) {
        self.key |= kind == NalType::IDR;
        self.has_picture |= kind.is_vcl();
    }

    fn reserve(&mut self, n: usize) -> bool {
        let fits = self.unit.len().saturating_add(n) <= MAX_ACCESS_UNIT;
        self.broken |= !fits;
        fits
    }

    fn fragment(&mut self, indicator: u8, payload: &[u8]) -> bool {
        let [_, header, piece @ ..] = payload else { return false };
        let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
        let nal_header = indicator & 0xe0 | header & 0x1f;
        let mut fits = true;
        if start {
            fits = self.open.is_none();
            self.open = Some((self.unit.len(), nal_header));
            self.note(NalType(nal_header & 0x1f));
            self.unit.put_u32(0);
            self.unit.put_u8(nal_header);
        }
        // The type may change between the fragments of sloppy senders; the first counts.
        let Some((at, _)) = self.open else { return false };
        if self.reserve(piece.len()) {
            self.unit.extend_from_slice(piece);
        }
        if end {
            self.open = None;
            self.close(at);
        }
        fits
    }

    /// Writes the length of the NAL unit that began at `at`.
    fn close(&mut self, at: usize) {
        let length = self.unit.len().saturating_sub(at).saturating_sub(4);
        let bytes = u32::try_from(length).unwrap_or(0).to_be_bytes();
        if let Some(place) = self.unit.get_mut(at..).and_then(|u| u.first_chunk_mut::<4>()) {
            *place = bytes;
        }
        // A parameter set in fragments is rare and legal.
        let nal = self.unit.get(at.saturating_add(4)..).unwrap_or_default();
        if matches!(NalType::of(nal), Some(NalType::SPS | NalType::PPS)) {
            let nal = Bytes::copy_from_slice(nal);
            self.set(&nal);
            self.unit.truncate(at);
        }
    }
}

/// A picture behind parameter sets that its track does not have.
fn with_sets(sets: &[Bytes], payload: &[u8]) -> Bytes {
    let mut whole = BytesMut::with_capacity(payload.len().saturating_add(256));
    for set in sets {
        whole.put_u32(u32::try_from(set.len()).unwrap_or(0));
        whole.extend_from_slice(set);
    }
    whole.extend_from_slice(payload);
    whole.freeze()
}

fn slice_start(payload: &[u8]) -> Option<&[u8]> {
    match payload {
        [first, rest @ ..] if matches!(first & 0x1f, 1 | 5) => Some(rest),
        [first, header, rest @ ..] if first & 0x1f == FU_A && header & 0x80 != 0 => {
            matches!(header & 0x1f, 1 | 5).then_some(rest)
        }
        _ => None,
    }
}

fn is_slice(payload: &[u8]) -> bool {
    slice_start(payload).is_some() || matches!(payload, [first, ..] if first & 0x1f == FU_A)
}

/// True where a packet cannot be in the middle of a picture: parameter sets and the like, or a slice that begins with the
/// first macroblock, whose number 0 is coded as one bit that is set.
fn starts_picture(payload: &[u8]) -> bool {
    match payload.first().map(|b| b & 0x1f) {
        Some(6..=9) => true,
        Some(STAP_A) => payload.get(3..).is_some_and(starts_picture),
        _ => slice_start(payload).and_then(<[u8]>::first).is_some_and(|b| b & 0x80 != 0),
    }
}

/// Cuts a picture into payloads of at most `max` bytes. Its parameter sets go before a key frame.
pub(super) fn packetize(frame: &Frame, max: usize) -> Vec<Piece> {
    let Ok(config) = avc::Config::decode(&mut Cursor::new(&frame.track.config)) else { return Vec::new() };
    // What cannot be read ends the picture: its whole units go out.
    let all: Vec<&[u8]> =
        LengthPrefixed::new(&frame.payload, config.length_size).map_while(Result::ok).collect();
    let sets = config.sps.iter().chain(&config.pps).copied().filter(|s| !s.is_empty());
    let sets: Vec<&[u8]> = if frame.key { sets.collect() } else { Vec::new() };
    // The picture may bring its own, which are in the configuration.
    let goes = |nal: &&[u8]| !matches!(NalType::of(nal), None | Some(NalType::AUD)) && !sets.contains(nal);
    let units = all.into_iter().filter(goes);

    let mut block = BytesMut::with_capacity(frame.payload.len().saturating_add(256));
    let mut pieces: Vec<Bytes> = Vec::new();
    let together = sets.iter().fold(1usize, |n, s| n.saturating_add(2).saturating_add(s.len()));
    if sets.len() > 1 && together <= max {
        let importance = sets.iter().map(|s| s.first().copied().unwrap_or(0) & 0x60).max().unwrap_or(0);
        block.put_u8(importance | STAP_A);
        for set in &sets {
            block.put_u16(u16::try_from(set.len()).unwrap_or(0));
            block.extend_from_slice(set);
        }
        pieces.push(block.split().freeze());
    } else {
        sets.iter().for_each(|set| cut(set, max, &mut block, &mut pieces));
    }
    units.for_each(|nal| cut(nal, max, &mut block, &mut pieces));
    let last = pieces.len().saturating_sub(1);
    pieces.into_iter().enumerate().map(|(n, payload)| Piece { marker: n == last, payload }).collect()
}

/// One NAL unit as a single packet, or in fragments.
fn cut(nal: &[u8], max: usize, block: &mut BytesMut, pieces: &mut Vec<Bytes>) {
    if nal.len() <= max {
        block.extend_from_slice(nal);
        pieces.push(block.split().freeze());
        return;
    }
    let Some((&header, body)) = nal.split_first() else { return };
    let room = max.saturating_sub(2).max(1);
    let count = body.len().div_ceil(room);
    for (n, piece) in body.chunks(room).enumerate() {
        let start = if n == 0 { 0x80 } else { 0 };
        let end = if n.saturating_add(1) == count { 0x40 } else { 0 };
        block.put_u8(header & 0xe0 | FU_A);
        block.put_u8(start | end | header & 0x1f);
        block.extend_from_slice(piece);
        pieces.push(block.split().freeze());
    }
}
