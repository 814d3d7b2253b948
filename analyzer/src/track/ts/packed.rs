//! Packed audio: frames of sound one behind the other, with the time of the first in an ID3 tag (RFC 8216 §3.4).

use media::ts::{Kind, Unit};
use model::TrackKind;
use wire::codec::aac::adts;
use wire::codec::mpa;
use wire::ts::WRAP;

use super::sound;
use crate::flow::At;
use crate::track::Stats;

/// Head of an ID3 tag, and of a frame in it (ID3v2.4 §3.1, §4).
const HEAD: usize = 10;
/// Largest tag that is read: one may hold a picture.
const MAX_TAG: usize = 1 << 20;
/// Owner of the private frame that holds the time (RFC 8216 §3.4).
const OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";
/// Bytes that tell how frames are coded: the longest header.
const TELL: usize = 9;

/// The packed audio of one viewer: a track for each coding.
#[derive(Debug, Default)]
pub(in crate::track) struct Packed {
    tracks: Vec<Track>,
    trace: bool,
}

#[derive(Debug)]
struct Track {
    kind: Kind,
    stats: Stats,
    rest: sound::Rest,
    /// Where the latest segment's first frame stands on the timeline, in ticks of 90 kHz without wrap-around.
    base: Option<i64>,
    first_ns: Option<i64>,
}

/// Reads one segment.
#[derive(Debug, Default)]
pub(in crate::track) struct Reader {
    /// What may be a tag, or tells how frames are coded.
    kept: Vec<u8>,
    /// The time of the tag.
    time: Option<u64>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Tags, then frames.
    #[default]
    Tags,
    /// Frames of a track.
    Frames(usize),
    /// Neither.
    Blind,
}

/// True where content that begins with this byte may be packed audio: no box of MP4 is as long as it would say.
pub(in crate::track) fn may_begin(first: u8) -> bool {
    matches!(first, b'I' | 0xff | 0x0b)
}

impl Packed {
    /// No track yet; every frame is marked where `trace` says so.
    pub(in crate::track) fn new(trace: bool) -> Self {
        Self { tracks: Vec::new(), trace }
    }

    /// Takes the next bytes of a segment.
    pub(in crate::track) fn data(&mut self, reader: &mut Reader, at: At, bytes: &[u8]) {
        if let State::Frames(track) = reader.state {
            return self.frames(track, at, bytes);
        }
        if matches!(reader.state, State::Tags) {
            reader.kept.extend_from_slice(bytes);
            self.tags(reader, at);
        }
    }

    fn tags(&mut self, reader: &mut Reader, at: At) {
        while reader.kept.starts_with(b"ID3") {
            let Some(size) = tag_size(&reader.kept) else { return };
            if size > MAX_TAG {
                reader.state = State::Blind;
                return;
            }
            let Some(tag) = reader.kept.get(..size) else { return };
            reader.time = reader.time.or_else(|| timestamp(tag));
            reader.kept.drain(..size);
        }
        if reader.kept.len() < TELL {
            return;
        }
        let kept = std::mem::take(&mut reader.kept);
        let Some(kind) = kind(&kept) else {
            reader.state = State::Blind;
            return;
        };
        let index = match self.tracks.iter().position(|track| track.kind == kind) {
            Some(index) => index,
            None => {
                self.tracks.push(Track::new(kind, self.trace));
                self.tracks.len().saturating_sub(1)
            }
        };
        if let Some(track) = self.tracks.get_mut(index) {
            track.begin(reader.time);
        }
        reader.state = State::Frames(index);
        self.frames(index, at, &kept);
    }

    fn frames(&mut self, index: usize, at: At, bytes: &[u8]) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        let Track { kind, stats, rest, base, first_ns } = track;
        stats.bytes = stats.bytes.saturating_add(bytes.len() as u64);
        stats.arrived(at.ready_ns);
        let time = base.map(|base| base.saturating_add(rest.passed()));
        let unit = Unit { pid: 0, pts: time, dts: time, random_access: false, whole: true, data: bytes };
        if sound::frames(stats, rest, *kind, &unit) > 0 {
            first_ns.get_or_insert(at.ready_ns);
        }
    }

    /// Bytes of a segment are missing: the rest of it is in the track that it was in, or in the only one there is.
    pub(in crate::track) fn hole(&mut self, reader: &mut Reader) {
        reader.kept.clear();
        reader.state = match reader.state {
            State::Tags if self.tracks.len() == 1 => State::Frames(0),
            State::Frames(index) => State::Frames(index),
            _ => State::Blind,
        };
        self.lost();
    }

    /// A piece of the timeline is missing.
    pub(in crate::track) fn lost(&mut self) {
        for track in &mut self.tracks {
            track.stats.lost();
            track.rest.cut();
        }
    }

    /// Another segment begins, which need not follow the one before.
    pub(in crate::track) fn seam(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.stats.seam());
    }

    /// The tracks so far.
    pub(in crate::track) fn stats(&self) -> impl Iterator<Item = &Stats> {
        self.tracks.iter().map(|track| &track.stats)
    }

    /// True where no segment was packed audio.
    pub(in crate::track) fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// When the first frame was whole, nanoseconds since 1970.
    pub(in crate::track) fn first_frame_ns(&self) -> Option<i64> {
        self.tracks.iter().filter_map(|track| track.first_ns).min()
    }

    pub(in crate::track) fn into_stats(self) -> impl Iterator<Item = Stats> {
        self.tracks.into_iter().map(|track| track.stats)
    }
}

impl Track {
    fn new(kind: Kind, trace: bool) -> Self {
        let mut stats = Stats::new(TrackKind::Audio).traced(trace);
        stats.info.codec = kind.name().map(str::to_owned);
        stats.declare("container", "packed audio");
        Self { kind, stats, rest: sound::Rest::default(), base: None, first_ns: None }
    }

    /// A segment begins, at the time of its tag or where the one before it ended.
    fn begin(&mut self, time: Option<u64>) {
        self.rest.cut();
        let passed = self.rest.restart();
        let end = self.base.map(|base| base.saturating_add(passed));
        let said = time.map(|raw| end.map_or_else(|| i64::try_from(raw).unwrap_or(0), |end| near(end, raw)));
        self.base = said.or(end).or(Some(0));
    }
}

/// The time of 33 bits that is nearest to another one.
fn near(last: i64, raw: u64) -> i64 {
    let step = i64::try_from(raw.wrapping_sub(last.cast_unsigned()) & WRAP.saturating_sub(1)).unwrap_or(0);
    let round = i64::try_from(WRAP).unwrap_or(i64::MAX);
    last.saturating_add(if step >= round / 2 { step.saturating_sub(round) } else { step })
}

/// How the frames are coded that begin so.
fn kind(bytes: &[u8]) -> Option<Kind> {
    if adts::Header::parse(bytes).is_some() {
        return Some(Kind::Adts);
    }
    // Layer I is not among them, and begins as text of 16 bits does.
    if mpa::Header::parse(bytes).is_some_and(|header| header.layer > 1) {
        return Some(Kind::MpegAudio);
    }
    match bytes {
        // bsid: up to 10 it is AC-3, from 11 on E-AC-3 (ATSC A/52 annex E §2.3.1.6).
        [0x0b, 0x77, _, _, _, sixth, ..] => Some(if sixth >> 3 > 10 { Kind::Eac3 } else { Kind::Ac3 }),
        _ => None,
    }
}

/// Four bytes of seven bits each (ID3v2.4 §6.2).
fn syncsafe(bytes: [u8; 4]) -> usize {
    bytes.iter().fold(0, |sum: usize, byte| sum << 7 | usize::from(byte & 0x7f))
}

/// Bytes of the tag, head and footer counted; none where its head is not whole.
fn tag_size(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, _, _, flags, size @ ..] = bytes.first_chunk::<HEAD>()?;
    let footer = if flags & 0x10 != 0 { HEAD } else { 0 };
    Some(syncsafe(*size).saturating_add(HEAD).saturating_add(footer))
}

/// The time that a tag tells: the 33 bits of a transport stream's clock.
fn timestamp(tag: &[u8]) -> Option<u64> {
    let (head, mut rest) = tag.split_first_chunk::<HEAD>()?;
    let [_, _, _, version, _, flags, ..] = head;
    if flags & 0x40 != 0 {
        let (size, behind) = rest.split_first_chunk::<4>()?;
        // Version 4 counts these four bytes, version 3 does not (§3.2 of both).
        let skip = match version {
            4 => syncsafe(*size).saturating_sub(4),
            _ => usize::try_from(u32::from_be_bytes(*size)).ok()?,
        };
        rest = behind.get(skip..)?;
    }
    while let Some(([a, b, c, d, size @ .., _, _], behind)) = rest.split_first_chunk::<HEAD>() {
        let size =
            if *version >= 4 { syncsafe(*size) } else { usize::try_from(u32::from_be_bytes(*size)).ok()? };
        let content = behind.get(..size)?;
        if [*a, *b, *c, *d] == *b"PRIV"
            && let Some(time) = content.strip_prefix(OWNER).and_then(|data| data.first_chunk::<8>())
        {
            return Some(u64::from_be_bytes(*time) & WRAP.saturating_sub(1));
        }
        rest = behind.get(size..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
    use super::*;

    /// A tag of version 4 with a title before the time, as ID3v2.4 §3.1 and §4.27 lay it out.
    fn tag(time: u64) -> Vec<u8> {
        let frame =
            |name: &[u8], content: &[u8]| [name, &[0, 0, 0, content.len() as u8, 0, 0], content].concat();
        let frames =
            [frame(b"TIT2", b"\x03title"), frame(b"PRIV", &[OWNER, &time.to_be_bytes()].concat())].concat();
        [&b"ID3\x04\0\0\0\0\0"[..], &[frames.len() as u8], &frames].concat()
    }

    #[test]
    fn the_time_of_a_tag() {
        assert_eq!(timestamp(&tag(0x1_2345_6789)), Some(0x1_2345_6789));
        let tag = tag(7);
        assert_eq!(tag_size(&tag), Some(tag.len()));
        for cut in 0..tag.len() {
            assert_eq!(timestamp(&tag[..cut]), None, "{cut}");
        }
        assert_eq!(tag_size(&tag[..9]), None);
        assert_eq!((near((1 << 33) - 90, 0), near(1 << 33, (1 << 33) - 90)), (1 << 33, (1 << 33) - 90));
    }

    /// A frame of AAC-LC, 48 kHz, stereo, with five bytes of nothing behind its ADTS header.
    const FRAME: [u8; 12] = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x9f, 0xfc, 0, 0, 0, 0, 0];

    #[test]
    fn codings_are_told_by_their_first_frame() {
        assert_eq!(kind(&FRAME), Some(Kind::Adts));
        assert_eq!(kind(&[0xff, 0xfb, 0x90, 0, 0, 0, 0, 0, 0]), Some(Kind::MpegAudio));
        assert_eq!(kind(&[0x0b, 0x77, 0, 0, 0, 0x40]), Some(Kind::Ac3));
        assert_eq!(kind(&[0x0b, 0x77, 0, 0, 0, 0x80]), Some(Kind::Eac3));
        let others = [
            &b"IDOL, a page"[..],
            &[0xff, 0xd8, 0xff, 0xe0, 0, 0, 0, 0, 0],
            &[0xff, 0xfe, b'a', 0, b'b', 0, 0, 0, 0],
        ];
        assert!(others.iter().all(|bytes| kind(bytes).is_none()));
    }

    /// Segments of three frames with these tags, in pieces of a size: frames, first and last time in milliseconds.
    fn read(times: &[Option<u64>], size: usize) -> (u64, (i64, i64)) {
        let at = At { time_ns: 1, frame: 1, offset: 0, ready_ns: 1 };
        let mut packed = Packed::default();
        for time in times {
            let mut reader = Reader::default();
            let segment = [time.map(tag).unwrap_or_default(), FRAME.repeat(3)].concat();
            segment.chunks(size).for_each(|piece| packed.data(&mut reader, at, piece));
        }
        let stats = packed.stats().next().unwrap();
        (stats.frames, stats.pts_range())
    }

    #[test]
    fn frames_stand_where_the_tags_say_however_they_are_cut() {
        for size in [1, 5, 12, 13, 200] {
            // A frame lasts 1920 ticks, 21.3 ms. Ten seconds, then a second later; a clock that wraps; no tags at all.
            assert_eq!(read(&[Some(900_000), Some(990_000)], size), (6, (10_000, 11_042)), "{size}");
            let wrap = 1u64 << 33;
            let ms = |ticks: u64| (ticks / 90) as i64;
            assert_eq!(
                read(&[Some(wrap - 5760), Some(0)], size),
                (6, (ms(wrap - 5760), ms(wrap + 3840))),
                "{size}"
            );
            assert_eq!(read(&[None, None], size), (6, (0, 106)), "{size}");
        }
    }
}
