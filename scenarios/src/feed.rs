//! What a publisher sends: the tags of a clip or of a file, again and again if wanted.

mod units;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use media::flv::{Demuxer, config_body, frame_header};
use media::{Kind, Unit, mp4};
use session::rtmp::MediaKind;
use wire::flv::file::{Reader, Step};
use wire::flv::{TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO};

use self::units::{Container, Units, looks_like};
use crate::sample::{Clip, Tag};
use crate::span::{MS, Span};

/// Read of an FLV file at a time.
const READ: usize = 256 * 1024;
/// Bytes that tell what a file is.
const HEAD: u64 = 8192;
/// The largest FLV tag: eleven bytes of header, 24 bits of body, four bytes behind it.
const LARGEST_TAG: usize = (1 << 24) + 15;

/// Why a file cannot be published, or not further.
#[derive(Debug)]
pub enum FeedError {
    /// It could not be opened or read.
    Io(PathBuf, std::io::Error),
    /// It is no FLV file, or damaged.
    Flv(PathBuf, wire::Error),
    /// It is no MP4 file, or damaged.
    Mp4(PathBuf, mp4::Trouble),
    /// No file that we read, but what it looks like where that is known.
    Unknown(PathBuf, Option<&'static str>),
    /// Nothing in it can be published; why each of its tracks cannot.
    Empty(PathBuf, Vec<String>),
    /// It ends inside of a tag.
    Cut(PathBuf),
    /// The protocol cannot carry what is in it.
    Codecs(PathBuf, String),
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Flv(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Mp4(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Unknown(file, what) => {
                write!(f, "{}: no FLV, MP4, MPEG-TS or ADTS file", file.display())?;
                match what {
                    Some(what) => {
                        write!(f, ", but {what}: ffmpeg -i FILE -c copy FILE.mp4 makes an MP4 file of it")
                    }
                    None => Ok(()),
                }
            }
            Self::Empty(file, why) => {
                write!(f, "{}: no picture and no sound that could be published", file.display())?;
                if why.is_empty() { Ok(()) } else { write!(f, " ({})", why.join("; ")) }
            }
            Self::Cut(file) => write!(f, "{}: the file is cut: its last tag is not whole", file.display()),
            Self::Codecs(file, what) => write!(f, "{}: RTSP cannot carry {what}", file.display()),
        }
    }
}

impl std::error::Error for FeedError {}

/// What a file or a clip holds, in the order it is due: as tags, for RTMP, or as units. Take one or the other.
///
/// The next round begins when the longest track of this one is over, to the sample; a shorter track pauses until
/// then, so that tracks stay in step.
#[derive(Debug)]
pub struct Feed {
    source: Source,
    /// Nanoseconds of the rounds before this one.
    offset: u64,
    /// Earliest time of this round.
    first: Option<u32>,
    span: Span,
    /// Makes units of tags.
    demuxer: Demuxer,
    units: VecDeque<(Unit, u64)>,
}

#[derive(Debug)]
enum Source {
    Clip { clip: Clip, next: usize },
    Flv(Flv),
    Units(Box<Units>),
}

/// What a source has next.
enum Piece {
    Tag(Tag),
    Unit(Unit),
}

impl Feed {
    /// The clip inside the program.
    pub fn clip(clip: Clip) -> Self {
        Self::of(Source::Clip { clip, next: 0 })
    }

    /// A file, told by how it begins.
    pub fn file(path: &Path) -> Result<Self, FeedError> {
        let failed = |e| FeedError::Io(path.to_owned(), e);
        let mut file = File::open(path).map_err(failed)?;
        let mut head = Vec::new();
        (&file).take(HEAD).read_to_end(&mut head).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        if head.starts_with(b"FLV") {
            return Ok(Self::of(Source::Flv(Flv::new(path, file))));
        }
        match Container::of(&head) {
            Some(container) => Ok(Self::of(Source::Units(Box::new(Units::open(path, file, container)?)))),
            None => Err(FeedError::Unknown(path.to_owned(), looks_like(&head))),
        }
    }

    fn of(source: Source) -> Self {
        let (demuxer, units) = (Demuxer::new(), VecDeque::new());
        Self { source, offset: 0, first: None, span: Span::default(), demuxer, units }
    }

    /// Tracks of the file that are left out, and why.
    pub fn left_out(&self) -> &[String] {
        match &self.source {
            Source::Units(units) => units.left_out(),
            Source::Clip { .. } | Source::Flv(_) => &[],
        }
    }

    /// The next tag with its time since the feed began, in milliseconds; `None` at the end of a round.
    pub fn tag(&mut self) -> Result<Option<(Tag, u64)>, FeedError> {
        while let Some((piece, due)) = self.piece()? {
            let tag = match piece {
                Piece::Tag(tag) => tag,
                Piece::Unit(unit) => match tag_of(&unit) {
                    Some(tag) => tag,
                    None => continue,
                },
            };
            return Ok(Some((tag, due)));
        }
        Ok(None)
    }

    /// The next unit with the time to send it, in milliseconds since the feed began; `None` at the end of a round. Times of
    /// frames go on from round to round.
    pub fn unit(&mut self) -> Result<Option<(Unit, u64)>, FeedError> {
        loop {
            if let Some(unit) = self.units.pop_front() {
                return Ok(Some(unit));
            }
            let Some((piece, due)) = self.piece()? else { return Ok(None) };
            match piece {
                Piece::Unit(Unit::Frame(mut frame)) => {
                    let offset = ticks(self.offset, frame.track.clock);
                    frame.dts = frame.dts.saturating_add(offset);
                    frame.pts = frame.pts.saturating_add(offset);
                    self.units.push_back((Unit::Frame(frame), due));
                }
                Piece::Unit(unit) => self.units.push_back((unit, due)),
                Piece::Tag(Tag::Script(_)) => {}
                Piece::Tag(Tag::Media(kind, _, body)) => {
                    // FLV's timestamps are 32 bits that wrap.
                    let time = (due & 0xffff_ffff) as u32;
                    let units = match kind {
                        MediaKind::Video => self.demuxer.video(time, body),
                        MediaKind::Audio => self.demuxer.audio(time, body),
                    };
                    let (track, frame) = units.map_err(|e| FeedError::Flv(self.name(), e))?;
                    self.units.extend([track, frame].into_iter().flatten().map(|unit| (unit, due)));
                }
            }
        }
    }

    fn piece(&mut self) -> Result<Option<(Piece, u64)>, FeedError> {
        let piece = match &mut self.source {
            Source::Clip { clip, next } => {
                let tag = clip.tags.get(*next).cloned();
                *next += 1;
                tag.map(Piece::Tag)
            }
            Source::Flv(flv) => flv.next()?.map(Piece::Tag),
            Source::Units(units) => units.next()?.map(Piece::Unit),
        };
        let Some(piece) = piece else { return Ok(None) };
        let time = match (&piece, &self.source) {
            (Piece::Tag(Tag::Media(kind, time, body)), _) => {
                self.span.tag(*kind, *time, body);
                *time
            }
            (Piece::Unit(Unit::Frame(frame)), Source::Units(units)) => {
                self.span.frame(message_kind(frame.track.kind()), frame, units.nanoseconds(frame));
                units.time(frame)
            }
            _ => return Ok(Some((piece, milliseconds(self.offset)))),
        };
        let first = *self.first.get_or_insert(time);
        let due = milliseconds(self.offset + u64::from(time.saturating_sub(first)) * MS);
        Ok(Some((piece, due)))
    }

    /// Begins the next round: its first tag is due when this round is over.
    pub fn again(&mut self) -> Result<(), FeedError> {
        if self.first.take().is_none() {
            return Err(self.is_empty());
        }
        // A round without a length would never let anybody sleep.
        self.offset += std::mem::take(&mut self.span).period().max(MS);
        match &mut self.source {
            Source::Clip { next, .. } => *next = 0,
            Source::Flv(flv) => flv.rewind()?,
            Source::Units(units) => **units = units.again()?,
        }
        Ok(())
    }

    /// What to say where no frame came of it.
    pub(crate) fn is_empty(&self) -> FeedError {
        FeedError::Empty(self.name(), self.left_out().to_vec())
    }

    /// The file's name.
    pub(crate) fn name(&self) -> PathBuf {
        match &self.source {
            Source::Clip { .. } => PathBuf::from("the clip"),
            Source::Flv(flv) => flv.path.clone(),
            Source::Units(units) => units.path().to_owned(),
        }
    }
}

/// An FLV file, read piece by piece.
#[derive(Debug)]
struct Flv {
    path: PathBuf,
    file: File,
    reader: Reader,
    buffer: Vec<u8>,
}

impl Flv {
    fn new(path: &Path, file: File) -> Self {
        Self { path: path.to_owned(), file, reader: Reader::new(), buffer: Vec::new() }
    }

    fn rewind(&mut self) -> Result<(), FeedError> {
        self.file.seek(SeekFrom::Start(0)).map_err(|e| FeedError::Io(self.path.clone(), e))?;
        self.reader = Reader::new();
        self.buffer.clear();
        Ok(())
    }

    /// The tags before one that is cut off come first.
    fn next(&mut self) -> Result<Option<Tag>, FeedError> {
        loop {
            let step = self.reader.step(&self.buffer).map_err(|e| FeedError::Flv(self.path.clone(), e))?;
            let (tag, used) = match step {
                Step::Need(n) => {
                    if !self.fill(n.min(LARGEST_TAG))? {
                        let whole = self.buffer.is_empty();
                        return if whole { Ok(None) } else { Err(FeedError::Cut(self.path.clone())) };
                    }
                    continue;
                }
                Step::Header(_, used) => (None, used),
                Step::Tag(tag, used) => {
                    let body = Bytes::copy_from_slice(tag.body);
                    let tag = match tag.header.kind {
                        TAG_AUDIO => Some(Tag::Media(MediaKind::Audio, tag.header.timestamp, body)),
                        // An end of sequence would end every repetition.
                        TAG_VIDEO if tag.body.get(1) == Some(&2) && tag.body.len() <= 5 => None,
                        TAG_VIDEO => Some(Tag::Media(MediaKind::Video, tag.header.timestamp, body)),
                        TAG_SCRIPT => Some(Tag::Script(body)),
                        _ => None,
                    };
                    (tag, used)
                }
            };
            self.buffer.drain(..used);
            if tag.is_some() {
                return Ok(tag);
            }
        }
    }

    /// Reads until the buffer holds `n` bytes; false where the file ends first.
    fn fill(&mut self, n: usize) -> Result<bool, FeedError> {
        while self.buffer.len() < n {
            let before = self.buffer.len();
            let mut piece = (&self.file).take(READ as u64);
            piece.read_to_end(&mut self.buffer).map_err(|e| FeedError::Io(self.path.clone(), e))?;
            if self.buffer.len() == before {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Nanoseconds in milliseconds, rounded to the nearest.
fn milliseconds(nanoseconds: u64) -> u64 {
    (nanoseconds + MS / 2) / MS
}

/// Nanoseconds in ticks of a clock, rounded to the nearest.
fn ticks(nanoseconds: u64, clock: u32) -> i64 {
    let exact = u128::from(nanoseconds) * u128::from(clock) + 500_000_000;
    i64::try_from(exact / 1_000_000_000).unwrap_or(i64::MAX)
}

/// A unit as a tag; its time is told beside it.
fn tag_of(unit: &Unit) -> Option<Tag> {
    match unit {
        Unit::Track(track) => Some(Tag::Media(message_kind(track.kind()), 0, config_body(track)?.into())),
        Unit::Frame(frame) => {
            let body = [frame_header(frame).as_ref(), &frame.payload].concat();
            Some(Tag::Media(message_kind(frame.track.kind()), 0, body.into()))
        }
        Unit::Metadata(_) => None,
    }
}

fn message_kind(kind: Kind) -> MediaKind {
    match kind {
        Kind::Video => MediaKind::Video,
        Kind::Audio => MediaKind::Audio,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn round(feed: &mut Feed) -> Vec<(MediaKind, u64, usize)> {
        let mut tags = Vec::new();
        while let Some((tag, due)) = feed.tag().unwrap() {
            if let Tag::Media(kind, _, body) = tag {
                tags.push((kind, due, body.len()));
            }
        }
        tags
    }

    #[test]
    fn a_file_gives_the_same_tags_as_the_clip_round_for_round_without_a_seam() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/h264-aac.flv");
        let mut file = Feed::file(&path).unwrap();
        let mut clip = Feed::clip(Clip::sample().unwrap());
        let first = round(&mut file);
        assert_eq!(first.len(), 201 + 376);
        assert_eq!(round(&mut clip), first);
        for n in 1..50 {
            file.again().unwrap();
            clip.again().unwrap();
            let next: Vec<_> = first.iter().map(|(kind, due, size)| (*kind, due + n * 8000, *size)).collect();
            assert_eq!((&round(&mut file), &round(&mut clip)), (&next, &next));
        }
    }

    #[test]
    fn rounds_of_frames_join_to_the_sample() {
        assert_eq!(ticks(2_133_333_333, 48_000), 102_400);
        assert_eq!((1..1000).map(|n| ticks(2_133_333_333 * n, 48_000)).max(), Some(102_400 * 999));
        assert_eq!(milliseconds(2_133_500_000), 2134);
    }

    #[test]
    fn what_cannot_be_published_is_refused_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("letter.txt");
        File::create(&path).unwrap().write_all(b"Dear reader, ...").unwrap();
        let error = Feed::file(&path).unwrap_err().to_string();
        assert!(error.ends_with("letter.txt: no FLV, MP4, MPEG-TS or ADTS file"), "{error}");
        let path = directory.path().join("film.webm");
        File::create(&path).unwrap().write_all(&[0x1a, 0x45, 0xdf, 0xa3, 0]).unwrap();
        let error = Feed::file(&path).unwrap_err().to_string();
        assert!(error.contains("file, but Matroska or WebM: ffmpeg -i"), "{error}");
        let path = directory.path().join("empty.ts");
        let packet = [&[0x47, 0x1f, 0xff, 0x10][..], &[0xff; 184]].concat();
        File::create(&path).unwrap().write_all(&packet.repeat(9)).unwrap();
        let error = Feed::file(&path).unwrap_err().to_string();
        assert!(error.contains("empty.ts: no picture and no sound"), "{error}");
        let path = directory.path().join("broken.mp4");
        File::create(&path).unwrap().write_all(b"\0\0\0\x10ftypisom\0\0\0\0").unwrap();
        let error = Feed::file(&path).unwrap_err().to_string();
        assert!(error.contains("broken.mp4: no moov box"), "{error}");
        let path = directory.path().join("empty.flv");
        File::create(&path).unwrap().write_all(b"FLV\x01\x05\0\0\0\x09\0\0\0\0").unwrap();
        let mut feed = Feed::file(&path).unwrap();
        assert!(feed.tag().unwrap().is_none());
        assert!(feed.again().unwrap_err().to_string().contains("no picture and no sound"));
    }
}
