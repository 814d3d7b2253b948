//! Reads capture files front to back, in constant memory: pcap and pcapng of either byte order and any time
//! resolution, packed with gzip or zstd or not, from anything that can be read. [`Merged`] reads several as one.
//!
//! A cut or damaged file gives what it holds: [`Reader::next`] reports the trouble with its byte position and goes on
//! at the next place where the file makes sense again.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use wire::net::LinkType;

use buffer::Buffer;
pub use error::{CaptureError, Problem};
pub(crate) use merge::Mark;
pub use merge::Merged;

mod buffer;
mod compressed;
mod error;
mod format;
mod merge;
mod pcap;
mod pcapng;
mod summary;

use summary::Summary;

/// One captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Frame number, 1-based as in Wireshark.
    pub number: u64,
    /// Nanoseconds since 1970. A packet stored without a time (simple packet block) has that of the one before.
    pub time_ns: i64,
    /// What the data begins with.
    pub link: LinkType,
    /// The packet as far as it was captured.
    pub data: &'a [u8],
    /// Its length on the wire in bytes.
    pub orig_len: u32,
    /// Interface number, counted from 0 through all sections of the file.
    pub interface: u32,
    /// The record it is stored in, unless it is from no file.
    pub record: Option<Record<'a>>,
}

/// A record or block of a capture file that holds a packet.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// All of it, the packet included.
    pub bytes: &'a [u8],
    /// Its position in the file, unpacked.
    pub at: u64,
    layout: Layout,
}

/// How a record is to be read.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Pcap(wire::pcap::FileHeader),
    Pcapng(wire::pcap::ByteOrder),
}

impl Record<'_> {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self.layout {
            Layout::Pcap(_) => "pcap packet record",
            Layout::Pcapng(_) => "pcapng block",
        }
    }

    /// Reads it from a cursor over [`bytes`](Self::bytes).
    pub fn decode<T: wire::Trace>(&self, c: &mut wire::Cursor<'_, T>) -> wire::Result<()> {
        match &self.layout {
            Layout::Pcap(file) => wire::pcap::whole_record(c, file),
            Layout::Pcapng(order) => wire::pcapng::read::block(c, *order).map(drop),
        }
    }
}

impl<'a> Packet<'a> {
    /// Takes the packet's headers apart.
    pub fn parse(&self) -> wire::net::Packet<'a> {
        wire::net::parse(self.link, self.data, self.orig_len)
    }
}

/// Reads a capture packet by packet.
#[derive(Debug)]
pub struct Reader {
    name: String,
    buffer: Buffer,
    format: Format,
    summary: Summary,
    place: Place,
    /// Found by [`peek`](Self::peek) and not taken yet.
    ahead: Option<Result<Found, Trouble>>,
}

/// What comes next in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A packet with this time, in nanoseconds since 1970.
    Packet(i64),
    /// Something that cannot be read.
    Trouble,
    /// Nothing.
    End,
}

/// A place in a capture file, to go on from.
#[derive(Clone, Debug)]
pub(crate) struct Bookmark {
    position: u64,
    place: Place,
    format: Format,
    summary: Summary,
}

#[derive(Clone, Debug)]
enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
}

/// What a reader does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Read the next record or block.
    Next,
    /// Look for one: what stands at the buffer's beginning is none.
    Lost,
    /// Nothing: the file is over.
    End,
}

/// A packet that was found; its data is in the buffer.
#[derive(Debug)]
struct Found {
    time_ns: Option<i64>,
    link: LinkType,
    interface: u32,
    data: Range<usize>,
    orig_len: u32,
    /// The record or block in the buffer, and its position in the file.
    record: Range<usize>,
    at: u64,
}

/// What one step through a file gave.
enum Step {
    Packet(Found),
    /// A block that holds no packet. True where Wireshark shows it as a frame of its own all the same.
    Other(bool),
    End,
}

/// Trouble in a file, and where to go on.
#[derive(Debug)]
struct Trouble {
    at: u64,
    problem: Problem,
    then: Place,
}

impl Trouble {
    fn io(at: u64, error: std::io::Error) -> Self {
        Self { at, problem: Problem::Io(error), then: Place::End }
    }

    fn cut(at: u64, inside: &'static str, want: usize, got: usize) -> Self {
        let problem = Problem::Cut { inside, want: want as u64, got: got as u64 };
        Self { at, problem, then: Place::End }
    }

    fn damaged(error: wire::Error, then: Place) -> Self {
        Self { at: error.at, problem: Problem::Damaged(error), then }
    }
}

impl Reader {
    /// Opens a file; `-` is the standard input.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        if path.as_ref() == Path::new("-") {
            return Self::new("stdin", std::io::stdin());
        }
        let name = path.as_ref().display().to_string();
        match File::open(path.as_ref()) {
            Ok(file) => Self::new(name, file),
            Err(error) => Err(CaptureError { file: name, at: 0, problem: Problem::Io(error) }),
        }
    }

    /// Reads from anything; `name` is for messages.
    pub fn new(name: impl Into<String>, source: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let name = name.into();
        let source = match compressed::unpacked(Box::new(source)) {
            Ok(source) => source,
            Err(error) => return Err(CaptureError { file: name, at: 0, problem: Problem::Io(error) }),
        };
        let mut buffer = Buffer::new(source);
        match format::detect(&mut buffer) {
            Ok(format) => {
                let (summary, place) = (Summary::default(), Place::Next);
                Ok(Self { name, buffer, format, summary, place, ahead: None })
            }
            Err(trouble) => Err(CaptureError { file: name, at: trouble.at, problem: trouble.problem }),
        }
    }

    /// The next packet, or what is wrong at this place of the file. After an error reading goes on behind the damage;
    /// `None` is the end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<Packet<'_>, CaptureError>> {
        let step = match self.ahead.take() {
            Some(step) => step,
            None => self.advance()?,
        };
        match step {
            Ok(found) => {
                let layout = match &self.format {
                    Format::Pcap(pcap) => Layout::Pcap(pcap.header()),
                    Format::Pcapng(pcapng) => Layout::Pcapng(pcapng.order()),
                };
                let bytes = self.buffer.taken(found.record.clone());
                let record = Record { bytes, at: found.at, layout };
                Some(Ok(self.summary.packet(self.buffer.taken(found.data.clone()), &found, record)))
            }
            Err(trouble) => {
                self.place = trouble.then;
                Some(Err(CaptureError { file: self.name.clone(), at: trouble.at, problem: trouble.problem }))
            }
        }
    }

    /// What [`next`](Self::next) will give.
    pub fn peek(&mut self) -> Next {
        if self.ahead.is_none() {
            self.ahead = self.advance();
        }
        match &self.ahead {
            Some(Ok(found)) => Next::Packet(found.time_ns.unwrap_or(self.summary.previous_ns())),
            Some(Err(_)) => Next::Trouble,
            None => Next::End,
        }
    }

    /// Where it stands before the next packet; none where something that cannot be read comes next.
    pub(crate) fn bookmark(&self) -> Option<Bookmark> {
        let (position, place) = match &self.ahead {
            None => (self.buffer.position(), self.place),
            Some(Ok(found)) => (found.at, Place::Next),
            Some(Err(_)) => return None,
        };
        let (format, summary) = (self.format.clone(), self.summary.clone());
        Some(Bookmark { position, place, format, summary })
    }

    /// Opens a file where a bookmark was made in it.
    pub(crate) fn resume(path: &Path, bookmark: &Bookmark) -> Result<Self, CaptureError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| compressed::at(file, bookmark.position));
        match opened {
            Ok(source) => Ok(Self {
                name,
                buffer: Buffer::at(source, bookmark.position),
                format: bookmark.format.clone(),
                summary: bookmark.summary.clone(),
                place: bookmark.place,
                ahead: None,
            }),
            Err(error) => {
                Err(CaptureError { file: name, at: bookmark.position, problem: Problem::Io(error) })
            }
        }
    }

    /// Interfaces that the capture has named so far; one at least.
    pub fn interfaces(&self) -> usize {
        match &self.format {
            Format::Pcap(_) => 1,
            Format::Pcapng(pcapng) => pcapng.interfaces(),
        }
    }

    fn advance(&mut self) -> Option<Result<Found, Trouble>> {
        loop {
            if self.place == Place::Lost {
                match self.search() {
                    Ok(place) => self.place = place,
                    Err(trouble) => return Some(Err(trouble)),
                }
            }
            if self.place == Place::End {
                return None;
            }
            let step = match &mut self.format {
                Format::Pcap(pcap) => pcap.step(&mut self.buffer),
                Format::Pcapng(pcapng) => pcapng.step(&mut self.buffer),
            };
            match step {
                Ok(Step::Packet(found)) => return Some(Ok(found)),
                Ok(Step::Other(frame)) => self.summary.skip(frame),
                Ok(Step::End) => self.place = Place::End,
                Err(trouble) => return Some(Err(trouble)),
            }
        }
    }

    /// Goes forward to where the file makes sense again.
    fn search(&mut self) -> Result<Place, Trouble> {
        let from = self.buffer.position();
        let found = match &mut self.format {
            Format::Pcap(pcap) => pcap.search(&mut self.buffer),
            Format::Pcapng(pcapng) => pcapng.search(&mut self.buffer),
        };
        let at = self.buffer.position();
        self.summary.skipped = self.summary.skipped.saturating_add(at.saturating_sub(from));
        match found {
            Ok(true) => Ok(Place::Next),
            Ok(false) => Ok(Place::End),
            Err(error) => Err(Trouble::io(at, error)),
        }
    }

    /// What was read so far.
    pub fn summary(&self) -> model::Capture {
        let (format, link, synthetic) = match &self.format {
            Format::Pcap(pcap) => ("pcap", Some(pcap.link()), false),
            Format::Pcapng(pcapng) => ("pcapng", pcapng.first_link(), pcapng.is_synthetic()),
        };
        self.summary.to_model(&self.name, format, link, synthetic)
    }

    /// Time of the first packet in the file, which need not be the earliest, in nanoseconds since 1970.
    pub fn start_ns(&self) -> Option<i64> {
        self.summary.start_ns
    }

    /// Packets that the capturing machine dropped, as far as the file says.
    pub fn dropped(&self) -> Option<u64> {
        match &self.format {
            Format::Pcap(_) => None,
            Format::Pcapng(pcapng) => pcapng.dropped(),
        }
    }

    /// Bytes of the file that made no sense and were passed over.
    pub fn skipped_bytes(&self) -> u64 {
        self.summary.skipped
    }
}

#[cfg(test)]
mod tests;
