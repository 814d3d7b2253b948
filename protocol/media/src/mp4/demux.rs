//! Files to frames: progressive and fragmented MP4, the tracks merged by decoding time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use wire::mp4::{BoxHeader, BoxType, Fragment, Movie, SampleEntry, fragment};
use wire::{Cursor, Error};

use crate::clock::rescale;
use crate::describe::describe;
use crate::frame::{Codec, Frame, Kind, Track};

mod table;
use table::Walk;

/// Largest moov or moof that is read.
const LARGEST: u64 = 256 << 20;
/// Largest sample that is read.
const SAMPLE: u32 = 64 << 20;

/// Bytes that can be read anywhere: a file, or memory.
pub trait Source {
    /// Bytes there are.
    fn size(&mut self) -> u64;
    /// The `n` bytes from byte `at` on; fewer only at the end.
    fn read(&mut self, at: u64, n: usize) -> Result<Bytes, String>;
}

impl Source for Bytes {
    fn size(&mut self) -> u64 {
        self.len() as u64
    }

    fn read(&mut self, at: u64, n: usize) -> Result<Bytes, String> {
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        Ok(self.slice(start..start.saturating_add(n).min(self.len())))
    }
}

/// Why a file cannot be read, or not further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The source failed.
    Read(String),
    /// A box says what cannot be.
    Bytes(Error),
    /// There is no moov: no MP4 file, or one whose writer never finished it.
    NoMovie,
    /// A moov or moof is larger than we read.
    TooLarge(BoxType, u64),
    /// A sample lies beyond the end of the file at this byte: the file was cut.
    Cut(u64),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(why) => f.write_str(why),
            Self::Bytes(error) => error.fmt(f),
            Self::NoMovie => f.write_str("no moov box: this is no MP4 file, or it was never finished"),
            Self::TooLarge(kind, size) => write!(f, "box {kind} of {size} bytes is larger than we read"),
            Self::Cut(at) => write!(f, "the file is cut: a frame should stand at byte {at}"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Bytes(error)
    }
}

/// Reads the frames of a file's first video and its first audio track, in order of their decoding times. Times begin where
/// the file's edit lists say.
#[derive(Debug)]
pub struct Demuxer<S> {
    source: S,
    lanes: Vec<Lane>,
    skipped: Vec<String>,
    /// Where the next box of the file is looked for.
    at: u64,
    /// Samples of the fragment that is being read.
    queue: VecDeque<Sample>,
    failed: bool,
}

#[derive(Debug)]
struct Lane {
    id: u32,
    track: Arc<Track>,
    /// Ticks that come off every time, as the edit list says.
    shift: i64,
    defaults: wire::mp4::movie::Defaults,
    walk: Walk,
    ahead: Option<Sample>,
    /// Decoding time of the next fragment that does not say its own.
    decode_time: i64,
}

/// Where a sample is and when.
#[derive(Clone, Copy, Debug)]
struct Sample {
    lane: usize,
    dts: i64,
    pts: i64,
    key: bool,
    at: u64,
    size: u32,
}

impl<S: Source> Demuxer<S> {
    /// Finds the tracks.
    pub fn open(mut source: S) -> Result<Self, Trouble> {
        let mut at = 0;
        let movie = loop {
            let Some((head, start, end)) = next_box(&mut source, at)? else { return Err(Trouble::NoMovie) };
            if head.kind.0 == *b"moov" {
                break content(&mut source, head, start, end)?;
            }
            at = end;
        };
        let parsed = Movie::decode(&mut Cursor::based(&movie.1, movie.0))?;
        let fragmented = !parsed.defaults.is_empty();
        let mut demuxer = Self {
            source,
            lanes: Vec::new(),
            skipped: Vec::new(),
            at: 0,
            queue: VecDeque::new(),
            failed: false,
        };
        for track in &parsed.tracks {
            let Some(entry) = track.entries.first() else { continue };
            let media = known(track, entry, &movie.1).and_then(|media| {
                let first = demuxer.lanes.iter().all(|lane| lane.track.kind() != media.kind());
                first.then_some(media).ok_or("a stream has one track of each kind, and this is not the first")
            });
            match media {
                Ok(media) => demuxer.lanes.push(Lane {
                    id: track.id,
                    track: media,
                    shift: shift(track, parsed.timescale),
                    defaults: parsed.defaults_of(track.id),
                    walk: Walk::new(track.samples.clone()),
                    ahead: None,
                    decode_time: 0,
                }),
                Err(why) => demuxer.skipped.push(format!("track {} ({}): {why}", track.id, entry.kind)),
            }
        }
        if !fragmented {
            demuxer.at = u64::MAX;
        }
        Ok(demuxer)
    }

    /// The tracks that frames come of.
    pub fn tracks(&self) -> impl Iterator<Item = &Arc<Track>> {
        self.lanes.iter().map(|lane| &lane.track)
    }

    /// Tracks that are left out, and why.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The next frame; `None` at the end. After an error there is no more.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not tell the end from a failure")]
    pub fn next(&mut self) -> Option<Result<Frame, Trouble>> {
        if self.failed {
            return None;
        }
        let frame = self.sample().and_then(|sample| sample.map(|s| self.frame(s)).transpose());
        self.failed = frame.is_err();
        frame.transpose()
    }

    fn sample(&mut self) -> Result<Option<Sample>, Trouble> {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.ahead.is_none() {
                lane.ahead = lane.walk.next().map(|s| Sample { lane: index, ..s });
            }
        }
        let clock = |s: &Sample| {
            self.lanes
                .get(s.lane)
                .map_or(0, |l| rescale(s.dts.saturating_sub(l.shift), l.track.clock, 1_000_000))
        };
        let first = self.lanes.iter().filter_map(|lane| lane.ahead).min_by_key(clock);
        if let Some(first) = first {
            if let Some(lane) = self.lanes.get_mut(first.lane) {
                lane.ahead = None;
            }
            return Ok(Some(first));
        }
        while self.queue.is_empty() {
            let Some((head, start, end)) = next_box(&mut self.source, self.at)? else { return Ok(None) };
            if head.kind.0 == *b"moof" {
                let from = self.at;
                let (base, bytes) = content(&mut self.source, head, start, end)?;
                let fragment = Fragment::decode(&mut Cursor::based(&bytes, base))?;
                self.gather(&fragment, from)?;
            }
            self.at = end;
        }
        Ok(self.queue.pop_front())
    }

    /// Lists the samples of a fragment whose moof begins at byte `moof`.
    fn gather(&mut self, fragment: &Fragment, moof: u64) -> Result<(), Trouble> {
        let mut samples = Vec::new();
        let mut end = moof;
        let size = self.source.size();
        for part in &fragment.tracks {
            let base = part.base_offset.unwrap_or(if part.base_is_moof { moof } else { end });
            let Some((index, lane)) = self.lanes.iter_mut().enumerate().find(|(_, l)| l.id == part.track)
            else {
                continue;
            };
            let mut dts = part.decode_time.map_or(lane.decode_time, |t| i64::try_from(t).unwrap_or(i64::MAX));
            end = base;
            for run in &part.runs {
                let mut at =
                    run.data_offset.map_or(end, |offset| base.saturating_add_signed(i64::from(offset)));
                for (n, s) in run.samples.iter().enumerate() {
                    let bytes = s.size.or(part.size).unwrap_or(lane.defaults.size);
                    let duration = s.duration.or(part.duration).unwrap_or(lane.defaults.duration);
                    let flags = run.first_flags.filter(|_| n == 0).or(s.flags).or(part.flags);
                    let key = flags.unwrap_or(lane.defaults.flags) & fragment::NON_SYNC == 0;
                    if at.saturating_add(u64::from(bytes)) > size && bytes > 0 {
                        break;
                    }
                    let pts = dts.saturating_add(s.composition);
                    samples.push(Sample { lane: index, dts, pts, key, at, size: bytes });
                    at = at.saturating_add(u64::from(bytes));
                    dts = dts.saturating_add(i64::from(duration));
                }
                end = at;
            }
            lane.decode_time = dts;
        }
        let clock = |s: &Sample| {
            self.lanes
                .get(s.lane)
                .map_or(0, |l| rescale(s.dts.saturating_sub(l.shift), l.track.clock, 1_000_000))
        };
        samples.sort_by_key(clock);
        self.queue.extend(samples);
        Ok(())
    }

    fn frame(&mut self, sample: Sample) -> Result<Frame, Trouble> {
        let Some(lane) = self.lanes.get(sample.lane) else { return Err(Trouble::Cut(sample.at)) };
        let n = usize::try_from(sample.size.min(SAMPLE)).unwrap_or(0);
        let payload = self.source.read(sample.at, n).map_err(Trouble::Read)?;
        if payload.len() < n || sample.size > SAMPLE {
            return Err(Trouble::Cut(sample.at));
        }
        let key = sample.key || lane.track.kind() == Kind::Audio;
        let (dts, pts) = (sample.dts.saturating_sub(lane.shift), sample.pts.saturating_sub(lane.shift));
        Ok(Frame { track: Arc::clone(&lane.track), dts, pts, key, payload })
    }
}

/// The head of the box at byte `at`, where its content begins and where it ends; `None` at the end of the source.
fn next_box<S: Source>(source: &mut S, at: u64) -> Result<Option<(BoxHeader, u64, u64)>, Trouble> {
    let size = source.size();
    if at >= size || size.saturating_sub(at) < 8 {
        return Ok(None);
    }
    let bytes = source.read(at, 32).map_err(Trouble::Read)?;
    let head = BoxHeader::decode(&mut Cursor::based(&bytes, at))?;
    let end = head.size.map_or(size, |n| at.saturating_add(n));
    Ok(Some((head, at.saturating_add(u64::from(head.header)), end)))
}

/// The content of a box, with the byte it begins at.
fn content<S: Source>(
    source: &mut S,
    head: BoxHeader,
    start: u64,
    end: u64,
) -> Result<(u64, Bytes), Trouble> {
    let end = end.min(source.size());
    let length = end.saturating_sub(start);
    match usize::try_from(length) {
        Ok(n) if length <= LARGEST => Ok((start, source.read(start, n).map_err(Trouble::Read)?)),
        _ => Err(Trouble::TooLarge(head.kind, length)),
    }
}

/// What the edit list takes off the track's times: it starts at a later time of the media, or after a pause.
fn shift(track: &wire::mp4::Track<'_>, movie: u32) -> i64 {
    let ticks = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut shift = 0i64;
    for edit in &track.edits {
        match edit.media_time {
            None => shift = shift.saturating_sub(rescale(ticks(edit.duration), movie, track.timescale)),
            Some(start) => return shift.saturating_add(ticks(start)),
        }
    }
    shift
}

/// The track as the rest of the house knows it. `moov` holds the entry's bytes.
fn known(
    track: &wire::mp4::Track<'_>,
    entry: &SampleEntry<'_>,
    moov: &Bytes,
) -> Result<Arc<Track>, &'static str> {
    if !matches!(&track.handler.0, b"vide" | b"soun") {
        return Err("neither pictures nor sound");
    }
    let codec = match (&entry.kind.0, entry.object_type) {
        (b"avc1" | b"avc3", _) => Codec::H264,
        (b"hvc1" | b"hev1", _) => Codec::H265,
        (b"av01", _) => Codec::Av1,
        (b"mp4a", Some(0x69 | 0x6b)) | (b".mp3", _) => Codec::Mp3,
        (b"mp4a", Some(0x40) | None) => Codec::Aac,
        _ => return Err("a codec we do not carry from MP4"),
    };
    let config = match codec {
        Codec::Mp3 => Bytes::new(),
        _ if entry.config.is_empty() => return Err("no decoder configuration"),
        _ => moov.slice_ref(entry.config),
    };
    if track.timescale == 0 {
        return Err("no timescale");
    }
    let description = describe(codec, &config, None);
    // The record is copied: a slice would keep the whole moov.
    let config = Bytes::copy_from_slice(&config);
    Ok(Arc::new(Track { codec, config, clock: track.timescale, flv_flags: None, description }))
}
