//! Several captures as one timeline.
//!
//! Each file is read front to back; of all that are open, the packet with the earliest time comes next. A file is
//! opened when the timeline reaches its first packet, so that a long ring of files takes no more memory than those that
//! overlap.

use std::path::{Path, PathBuf};

use super::{Bookmark, CaptureError, Next, Packet, Reader};

/// Captures kept open from the beginning; of more, only the time of the first packet is looked up.
const OPEN_AT_ONCE: usize = 16;

/// Captures read as one.
#[derive(Debug)]
pub struct Merged {
    sources: Vec<Source>,
    /// The source that gave the last packet: its next one is not known yet.
    last: Option<usize>,
}

/// Where one of several files stands.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    /// It is to be opened at this time.
    Waiting(i64),
    Open(Box<Bookmark>),
    Over,
}

#[derive(Debug)]
struct Source {
    state: State,
    /// Time of its next packet; the earliest of all times where it has something else to tell.
    next_ns: i64,
}

#[derive(Debug)]
enum State {
    /// To be opened when its time comes.
    Waiting(PathBuf),
    Open(Box<Reader>),
    /// Could not be opened; to be told.
    Failed(CaptureError),
    /// Over, and taken by [`Merged::ended`] or still to be.
    Over(Option<Box<Reader>>),
}

impl Merged {
    /// Opens files, of which `-` is the standard input. One that cannot be opened is told by [`next`](Self::next).
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Self {
        let opened = paths.iter().enumerate().map(|(index, path)| {
            let path = path.as_ref();
            let mut source = Source::new(Reader::open(path));
            let lazy = index >= OPEN_AT_ONCE && path != Path::new("-");
            if lazy && matches!(source.state, State::Open(_)) {
                source.state = State::Waiting(path.to_path_buf());
            }
            source
        });
        Self { sources: opened.collect(), last: None }
    }

    /// One capture.
    pub fn one(reader: Result<Reader, CaptureError>) -> Self {
        Self { sources: vec![Source::new(reader)], last: None }
    }

    /// Where all files stand before the next packet; none where something that cannot be read comes next.
    pub(crate) fn bookmark(&mut self) -> Option<Vec<Mark>> {
        if let Some(source) = self.last.take().and_then(|last| self.sources.get_mut(last)) {
            source.look();
        }
        let mark = |source: &Source| match &source.state {
            State::Waiting(_) => Some(Mark::Waiting(source.next_ns)),
            State::Open(reader) => reader.bookmark().map(|mark| Mark::Open(Box::new(mark))),
            State::Failed(_) => None,
            State::Over(_) => Some(Mark::Over),
        };
        self.sources.iter().map(mark).collect()
    }

    /// Opens files where a bookmark was made in them.
    pub(crate) fn resume<P: AsRef<Path>>(paths: &[P], marks: &[Mark]) -> Self {
        let source = |(path, mark): (&P, &Mark)| {
            let path = path.as_ref();
            match mark {
                Mark::Waiting(next_ns) => {
                    Source { state: State::Waiting(path.to_path_buf()), next_ns: *next_ns }
                }
                Mark::Open(mark) => Source::new(Reader::resume(path, mark)),
                Mark::Over => Source { state: State::Over(None), next_ns: i64::MIN },
            }
        };
        Self { sources: paths.iter().zip(marks).map(source).collect(), last: None }
    }

    /// Number of captures.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The next packet of the timeline, or what is wrong with a file at its place; with the number of the capture,
    /// counted from 0, and how many interfaces that has.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<(usize, usize, Result<Packet<'_>, CaptureError>)> {
        if let Some(source) = self.last.take().and_then(|last| self.sources.get_mut(last)) {
            source.look();
        }
        let index = loop {
            let earliest =
                self.sources.iter().enumerate().filter(|(_, s)| !matches!(s.state, State::Over(_)));
            let (index, _) = earliest.min_by_key(|(_, source)| source.next_ns)?;
            let source = self.sources.get_mut(index)?;
            source.begin();
            if !matches!(source.state, State::Over(_)) {
                break index;
            }
        };
        let source = self.sources.get_mut(index)?;
        self.last = Some(index);
        if let State::Failed(_) = source.state
            && let State::Failed(error) = std::mem::replace(&mut source.state, State::Over(None))
        {
            return Some((index, 1, Err(error)));
        }
        let State::Open(reader) = &mut source.state else { return None };
        let interfaces = reader.interfaces();
        reader.next().map(|next| (index, interfaces, next))
    }

    /// The reader of a capture that is over, for what it counted; none where it could not be opened, or was taken before.
    pub fn ended(&mut self, index: usize) -> Option<Reader> {
        match &mut self.sources.get_mut(index)?.state {
            State::Over(reader) => reader.take().map(|reader| *reader),
            _ => None,
        }
    }
}

impl Source {
    fn new(opened: Result<Reader, CaptureError>) -> Self {
        let state = match opened {
            Ok(reader) => State::Open(Box::new(reader)),
            Err(error) => State::Failed(error),
        };
        let mut source = Self { state, next_ns: i64::MIN };
        source.look();
        source
    }

    /// Finds out what comes next.
    fn look(&mut self) {
        let State::Open(reader) = &mut self.state else { return };
        match reader.peek() {
            Next::Packet(time_ns) => self.next_ns = time_ns,
            Next::Trouble => self.next_ns = i64::MIN,
            Next::End => {
                if let State::Open(reader) = std::mem::replace(&mut self.state, State::Over(None)) {
                    self.state = State::Over(Some(reader));
                }
            }
        }
    }

    /// Opens it where that was put off.
    fn begin(&mut self) {
        if let State::Waiting(path) = &self.state {
            let path = path.clone();
            *self = Self::new(Reader::open(path));
        }
    }
}
