//! What segments carry: initialization sections and movie fragments (ISO 14496-12 §8), read as they flow past.

use model::TrackKind;
use wire::mp4::{self, BoxHeader, Fragment, Movie};
use wire::{Cursor, mp4::fragment::NON_SYNC};

use super::samples::Samples;
use crate::track::{Stats, codec};

/// Largest box that is kept to be read.
const MAX_BOX: u64 = 1 << 20;
/// Tracks followed for one viewer.
const MAX_TRACKS: usize = 32;

/// Reads the boxes of one resource.
#[derive(Debug, Default)]
pub(super) struct Boxes {
    head: Vec<u8>,
    kept: Vec<u8>,
    /// True where the box that is kept is a `moov`.
    movie: bool,
    state: State,
    /// Bytes passed.
    at: u64,
    /// Where the box being read begins.
    start: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// At a box.
    #[default]
    Head,
    /// In a box that is kept, with this many bytes to go.
    Keep(u64),
    /// In a box that is passed over.
    Skip(u64),
    /// What follows is no box.
    Blind,
}

/// A box that was read.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// `moov`, with its content.
    Movie(Vec<u8>),
    /// `moof`, with where it begins in the resource.
    Fragment(u64, Fragment),
}

impl Boxes {
    /// Takes the next bytes and hands on what they complete.
    pub(super) fn data(&mut self, bytes: &[u8], mut found: impl FnMut(Found)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.state {
                State::Blind => rest.len(),
                State::Skip(left) => {
                    let used = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    self.skip_to(left.saturating_sub(used as u64));
                    used
                }
                State::Keep(left) => {
                    let used = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    self.kept.extend_from_slice(rest.get(..used).unwrap_or_default());
                    let left = left.saturating_sub(used as u64);
                    self.state = State::Keep(left);
                    if left == 0 {
                        self.state = State::Head;
                        self.whole(&mut found);
                    }
                    used
                }
                State::Head => {
                    let need = mp4::head_needs(&self.head).unwrap_or(1);
                    let used = need.saturating_sub(self.head.len()).clamp(1, rest.len());
                    if self.head.is_empty() {
                        self.start = self.at;
                    }
                    self.head.extend_from_slice(rest.get(..used).unwrap_or_default());
                    if mp4::head_needs(&self.head).is_none() {
                        self.begin();
                    }
                    used
                }
            };
            self.at = self.at.saturating_add(used as u64);
            rest = rest.get(used.max(1)..).unwrap_or_default();
        }
    }

    /// Passes over bytes that are missing.
    pub(super) fn hole(&mut self, len: u64) {
        self.at = self.at.saturating_add(len);
        match self.state {
            State::Skip(left) if left > len => self.skip_to(left.saturating_sub(len)),
            State::Skip(left) if left == len => self.skip_to(0),
            State::Keep(left) if left > len => {
                self.kept.clear();
                self.state = State::Skip(left.saturating_sub(len));
            }
            _ => self.state = State::Blind,
        }
    }

    fn skip_to(&mut self, left: u64) {
        self.state = if left == 0 { State::Head } else { State::Skip(left) };
    }

    fn begin(&mut self) {
        let head = std::mem::take(&mut self.head);
        let Ok(header) = BoxHeader::decode(&mut Cursor::new(&head)) else {
            self.state = State::Blind;
            return;
        };
        let plausible = header.kind.0.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
        self.state = match header.content() {
            _ if !plausible => State::Blind,
            None => State::Blind,
            Some(0) => State::Head,
            Some(left) if matches!(&header.kind.0, b"moov" | b"moof") && left <= MAX_BOX => {
                self.kept.clear();
                self.movie = header.kind.0 == *b"moov";
                State::Keep(left)
            }
            Some(left) => State::Skip(left),
        };
    }

    fn whole(&mut self, found: &mut impl FnMut(Found)) {
        let kept = std::mem::take(&mut self.kept);
        if self.movie {
            found(Found::Movie(kept));
        } else if let Ok(fragment) = Fragment::decode(&mut Cursor::new(&kept)) {
            found(Found::Fragment(self.start, fragment));
        }
    }
}

/// A track of an initialization section.
#[derive(Debug)]
struct Track {
    /// Which section, and its number there.
    of: (u64, u32),
    timescale: u32,
    duration: u32,
    size: u32,
    flags: u32,
    stats: Stats,
}

/// The tracks of one viewer.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    tracks: Vec<Track>,
    /// What the latest fragment holds.
    spans: Vec<Span>,
    /// When the first picture and the first sound were whole.
    firsts: [Option<i64>; 2],
    /// Whether every frame is marked.
    trace: bool,
}

/// When a track's part of a fragment begins and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Initialization section and number in it.
    pub(super) track: (u64, u32),
    /// Decode time in ticks, where it is given.
    pub(super) from: Option<u64>,
    /// Ticks.
    pub(super) lasts: u64,
    /// What each sample lasts, where they are all alike.
    pub(super) each: Option<u64>,
    /// Ticks in a second.
    pub(super) timescale: u32,
}

impl Tracks {
    /// No track yet; every frame is marked where `trace` says so.
    pub(super) fn new(trace: bool) -> Self {
        Self { trace, ..Self::default() }
    }

    /// True where the initialization section with this key was read.
    pub(super) fn knows(&self, of: u64) -> bool {
        self.tracks.iter().any(|track| track.of.0 == of)
    }

    /// A segment's first picture or sound is whole.
    pub(super) fn first(&mut self, picture: bool, at_ns: i64) {
        let [pictures, sounds] = &mut self.firsts;
        let first = if picture { pictures } else { sounds };
        *first = first.map_or(Some(at_ns), |known| Some(known.min(at_ns)));
    }

    /// When the first picture and the first sound were whole, nanoseconds since 1970.
    pub(super) fn firsts(&self) -> [Option<i64>; 2] {
        self.firsts
    }

    /// An initialization section with this key.
    pub(super) fn movie(&mut self, of: u64, bytes: &[u8]) {
        let Ok(movie) = Movie::decode(&mut Cursor::new(bytes)) else { return };
        for track in &movie.tracks {
            let known = self.tracks.iter().any(|t| t.of == (of, track.id));
            if known || self.tracks.len() >= MAX_TRACKS {
                continue;
            }
            let kind = match &track.handler.0 {
                b"vide" => TrackKind::Video,
                b"soun" => TrackKind::Audio,
                _ => TrackKind::Data,
            };
            let mut stats = Stats::new(kind).traced(self.trace);
            if let Some(entry) = track.entries.first() {
                describe(&mut stats, entry);
            }
            let defaults = movie.defaults_of(track.id);
            self.tracks.push(Track {
                of: (of, track.id),
                timescale: track.timescale,
                duration: defaults.duration,
                size: defaults.size,
                flags: defaults.flags,
                stats,
            });
        }
    }

    /// A fragment that needs the initialization section with this key. Returns true for a picture, and where its first one ends
    /// in the resource, or false and its first sound's end where there is no video. Samples that have to be looked into are asked for.
    pub(super) fn fragment(
        &mut self,
        of: Option<u64>,
        start: u64,
        fragment: &Fragment,
        arrived_ns: i64,
        samples: &mut Samples,
    ) -> Option<(bool, u64)> {
        let mut first: Option<(bool, u64)> = None;
        self.spans.clear();
        for part in &fragment.tracks {
            let exact = self.tracks.iter().position(|t| Some(t.of.0) == of && t.of.1 == part.track);
            let index = exact.or_else(|| self.tracks.iter().rposition(|t| t.of.1 == part.track));
            let Some(track) = index.and_then(|index| self.tracks.get_mut(index)) else { continue };
            let mut time = part.decode_time;
            let mut lasts = 0u64;
            let (mut shortest, mut longest) = (u32::MAX, 0);
            for run in &part.runs {
                let mut place = run
                    .data_offset
                    .and_then(|offset| u64::try_from(offset).ok())
                    .map(|offset| start.saturating_add(offset));
                for (n, sample) in run.samples.iter().enumerate() {
                    let lead = run.first_flags.filter(|_| n == 0);
                    let flags = lead.or(sample.flags).or(part.flags).unwrap_or(track.flags);
                    let size = sample.size.or(part.size).unwrap_or(track.size);
                    let duration = sample.duration.or(part.duration).unwrap_or(track.duration);
                    let video = track.stats.kind() == TrackKind::Video;
                    let ms = |ticks: i128| {
                        let ms = ticks.saturating_mul(1000).checked_div(i128::from(track.timescale));
                        ms.unwrap_or(0)
                    };
                    let dts = ms(i128::from(time.unwrap_or(0)));
                    let composition = i32::try_from(ms(i128::from(sample.composition))).unwrap_or(0);
                    let dts = u32::try_from(dts.rem_euclid(1 << 32)).unwrap_or(0);
                    track.stats.bytes = track.stats.bytes.saturating_add(u64::from(size));
                    track.stats.arrived(arrived_ns);
                    track.stats.frame(dts, composition, video && flags & NON_SYNC == 0);
                    time = time.map(|time| time.saturating_add(u64::from(duration)));
                    if let Some(place) = place.filter(|_| track.stats.hidden.is_open()) {
                        samples.want(index.unwrap_or_default(), place, size);
                    }
                    lasts = lasts.saturating_add(u64::from(duration));
                    (shortest, longest) = (shortest.min(duration), longest.max(duration));
                    let end = place.map(|place| place.saturating_add(u64::from(size)));
                    if let Some(end) = end.filter(|_| first.is_none_or(|(picture, _)| video && !picture)) {
                        first = Some((video, end));
                    }
                    place = end;
                }
            }
            let Track { of: track, timescale, .. } = *track;
            let each = (shortest == longest).then_some(u64::from(longest));
            self.spans.push(Span { track, from: part.decode_time, lasts, each, timescale });
        }
        first
    }

    /// A whole sample that was asked for.
    pub(super) fn sample(&mut self, index: usize, bytes: &[u8]) {
        if let Some(track) = self.tracks.get_mut(index) {
            track.stats.audio_frame(bytes);
        }
    }

    /// The tracks of the latest fragment.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> + use<> {
        self.spans.clone().into_iter()
    }

    /// A piece of the timeline is missing.
    pub(super) fn lost(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.stats.lost());
    }

    /// The tracks so far.
    pub(super) fn stats(&self) -> impl Iterator<Item = &Stats> {
        self.tracks.iter().map(|track| &track.stats)
    }

    /// Another resource begins, which need not follow the one before.
    pub(super) fn seam(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.stats.seam());
    }

    /// The tracks.
    pub(super) fn into_stats(self) -> impl Iterator<Item = Stats> {
        self.tracks.into_iter().map(|track| track.stats)
    }
}

fn describe(stats: &mut Stats, entry: &mp4::SampleEntry<'_>) {
    stats.declare("sample_entry", entry.kind.to_string());
    let codec = match &entry.kind.0 {
        b"avc1" | b"avc3" => "h264",
        b"hvc1" | b"hev1" => "h265",
        b"av01" => "av1",
        b"vp08" => "vp8",
        b"vp09" => "vp9",
        b"mp4a" => match entry.object_type {
            Some(0x69 | 0x6b) => "mp3",
            _ => "aac",
        },
        b"Opus" => "opus",
        b"fLaC" => "flac",
        b".mp3" => "mp3",
        _ => return,
    };
    stats.info.codec = Some(codec.to_owned());
    if let Some((width, height)) = entry.size {
        stats.info.width = Some(u32::from(width));
        stats.info.height = Some(u32::from(height));
    }
    if let Some((channels, rate)) = entry.sound {
        stats.info.channels = u8::try_from(channels).ok();
        stats.info.sample_rate = Some(rate);
    }
    let unreadable = match codec {
        "h264" | "h265" => codec::record(&mut stats.info, codec == "h265", entry.config).err(),
        "aac" => stats.audio_config(&mut Cursor::new(entry.config)).err(),
        _ => None,
    };
    if let Some(error) = unreadable {
        stats.declare("configuration", format!("unreadable: {error}"));
    }
}
