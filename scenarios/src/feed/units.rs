//! Files of which frames are made: MP4, transport streams, ADTS.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use media::adts::Splitter;
use media::clock::rescale;
use media::ts::Reader;
use media::{Frame, Unit, mp4};

use super::FeedError;

/// Read of a file without an index at a time.
const READ: u64 = 64 * 1024;

/// What a file's frames are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Mp4,
    Ts,
    Adts,
}

impl Container {
    /// By how a file begins.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let mp4 = [b"ftyp", b"moov", b"styp", b"moof", b"mdat", b"free", b"skip", b"wide"];
        if head.get(4..8).is_some_and(|kind| mp4.iter().any(|known| kind == &known[..])) {
            return Some(Self::Mp4);
        }
        // Packets of 188 bytes, also with four bytes before each, or sixteen behind.
        let sync = |at: usize| head.get(at) == Some(&wire::ts::SYNC_BYTE);
        if [(0, 188), (4, 192), (0, 204)].into_iter().any(|(from, step)| sync(from) && sync(from + step)) {
            return Some(Self::Ts);
        }
        let mut frames = 0u32;
        Splitter::new().data(head, None, |unit| frames += u32::from(matches!(unit, Unit::Frame(_))));
        let begins = head.starts_with(b"ID3") || head.first() == Some(&0xff);
        (frames > 1 && begins).then_some(Self::Adts)
    }
}

/// What else media comes in.
pub(super) fn looks_like(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some("Matroska or WebM"),
        [0xff, second, ..] if second & 0xe0 == 0xe0 => Some("MPEG audio"),
        [b'I', b'D', b'3', ..] => Some("MPEG audio"),
        [b'O', b'g', b'g', b'S', ..] => Some("Ogg"),
        [b'R', b'I', b'F', b'F', ..] => Some("WAV or AVI"),
        _ => None,
    }
}

/// A file of which frames are made.
#[derive(Debug)]
pub(super) struct Units {
    path: PathBuf,
    container: Container,
    form: Form,
    /// What was read to know what there is.
    ready: VecDeque<Unit>,
    /// What the latest piece of the file held.
    held: VecDeque<Unit>,
    left_out: Vec<String>,
    /// Added to every time so that none is negative.
    shift: Option<i64>,
}

#[derive(Debug)]
enum Form {
    Mp4(Box<mp4::Demuxer<OnDisk>>),
    Ts(File, Box<Reader>),
    Adts(File, Splitter),
    /// Read to its end.
    Over,
}

#[derive(Debug)]
struct OnDisk(File);

impl mp4::Source for OnDisk {
    fn size(&mut self) -> u64 {
        self.0.metadata().map_or(0, |m| m.len())
    }

    fn read(&mut self, at: u64, n: usize) -> Result<Bytes, String> {
        let mut bytes = vec![0; n];
        let mut filled = 0;
        while filled < n {
            match self.0.read_at(&mut bytes[filled..], at.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) => return Err(error.to_string()),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }
}

impl Units {
    /// Opens a file, and reads as far as the first frame. An error where there is none.
    pub(super) fn open(path: &Path, file: File, container: Container) -> Result<Self, FeedError> {
        let (mut ready, mut left_out) = (VecDeque::new(), Vec::new());
        let form = match container {
            Container::Mp4 => {
                let failed = |e| FeedError::Mp4(path.to_owned(), e);
                let demuxer = mp4::Demuxer::open(OnDisk(file)).map_err(failed)?;
                ready.extend(demuxer.tracks().map(|track| Unit::Track(track.clone())));
                left_out.extend_from_slice(demuxer.skipped());
                Form::Mp4(Box::new(demuxer))
            }
            Container::Ts => Form::Ts(file, Box::default()),
            Container::Adts => Form::Adts(file, Splitter::new()),
        };
        let (path, held) = (path.to_owned(), VecDeque::new());
        let mut units = Self { path, container, form, ready, held, left_out, shift: None };
        while container != Container::Mp4 && !matches!(units.ready.back(), Some(Unit::Frame(_))) {
            let Some(unit) = units.read()? else { break };
            units.ready.push_back(unit);
        }
        if let Form::Ts(_, reader) = &units.form {
            units.left_out = reader.left_out();
        }
        if units.ready.is_empty() {
            return Err(FeedError::Empty(units.path, units.left_out));
        }
        Ok(units)
    }

    /// The same from its beginning.
    pub(super) fn again(&self) -> Result<Self, FeedError> {
        let file = File::open(&self.path).map_err(|e| FeedError::Io(self.path.clone(), e))?;
        Self::open(&self.path, file, self.container)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Tracks that are left out, and why.
    pub(super) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The next track or frame; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Unit>, FeedError> {
        let unit = match self.ready.pop_front() {
            None => self.read()?,
            unit => unit,
        };
        if let Some(Unit::Frame(frame)) = &unit {
            // Frames come in order of their decoding times: the first is the earliest.
            self.shift.get_or_insert(-frame.dts_ms());
        }
        Ok(unit)
    }

    fn read(&mut self) -> Result<Option<Unit>, FeedError> {
        let failed = |e| FeedError::Io(self.path.clone(), e);
        loop {
            if let Some(unit) = self.held.pop_front() {
                return Ok(Some(unit));
            }
            match &mut self.form {
                Form::Over => return Ok(None),
                Form::Mp4(demuxer) => {
                    let frame = demuxer.next().transpose();
                    let frame = frame.map_err(|e| FeedError::Mp4(self.path.clone(), e))?;
                    return Ok(frame.map(Unit::Frame));
                }
                Form::Ts(file, reader) => {
                    if let Some(unit) = reader.next_unit() {
                        return Ok(Some(unit));
                    }
                    match piece(file).map_err(failed)? {
                        Some(bytes) => reader.data(&bytes),
                        None => {
                            reader.finish();
                            self.held.extend(std::iter::from_fn(|| reader.next_unit()));
                            self.form = Form::Over;
                        }
                    }
                }
                Form::Adts(file, splitter) => match piece(file).map_err(failed)? {
                    Some(bytes) => splitter.data(&bytes, None, |unit| self.held.push_back(unit)),
                    None => self.form = Form::Over,
                },
            }
        }
    }

    /// When a frame is due, in nanoseconds from the first one.
    pub(super) fn nanoseconds(&self, frame: &Frame) -> u64 {
        let since = frame.dts.saturating_add(rescale(self.shift.unwrap_or(0), 1000, frame.track.clock));
        let exact = i128::from(since.max(0)) * 1_000_000_000 / i128::from(frame.track.clock.max(1));
        u64::try_from(exact).unwrap_or(u64::MAX)
    }

    /// The same in milliseconds.
    pub(super) fn time(&self, frame: &Frame) -> u32 {
        let time = frame.dts_ms().saturating_add(self.shift.unwrap_or(0));
        u32::try_from(time.max(0)).unwrap_or(u32::MAX)
    }
}

/// The next bytes of a file; none at its end.
fn piece(mut file: &File) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    Read::take(&mut file, READ).read_to_end(&mut bytes)?;
    Ok((!bytes.is_empty()).then_some(bytes))
}
