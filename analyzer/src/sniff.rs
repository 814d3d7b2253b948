//! Which protocol a connection speaks, by its first bytes and never by its port.

use wire::http::Start;

use crate::flow::{At, ConnInfo, Dir, Missing};

/// Bytes kept until the first line decides.
const MAX_KEPT: usize = 16 * 1024;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// RTSP from here on.
    Rtsp,
    /// RTSP, but its blocks have to be found first.
    RtspInside,
    /// HTTP/1 from here on.
    Http,
    /// Text whose first line is not here yet.
    Unclear,
    /// Binary: RTMP, or nothing that is followed.
    Binary,
}

/// Judges the beginning of what one side says.
pub(crate) fn judge(info: &ConnInfo, bytes: &[u8]) -> Speech {
    let start = bytes.trim_ascii_start();
    match start.first() {
        None if bytes.len() < MAX_KEPT => return Speech::Unclear,
        Some(b'$') if !info.client_known && is_rtsp_port(info) => return Speech::RtspInside,
        Some(first) if first.is_ascii_uppercase() => {}
        _ => return Speech::Binary,
    }
    let Some(end) = start.iter().position(|b| *b == b'\n') else {
        let text = start.iter().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\t' | b'\r'));
        return if text && start.len() < MAX_KEPT { Speech::Unclear } else { Speech::Binary };
    };
    let line = start.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let version = line.and_then(|line| Start::of(line.trim_end_matches('\r'))).map(|start| start.version());
    match version {
        Some(version) if version.starts_with("RTSP/") => Speech::Rtsp,
        Some(version) if version.starts_with("HTTP/1.") => Speech::Http,
        _ => Speech::Binary,
    }
}

/// True where exactly one side has a port registered or commonly used for RTSP: for connections that a capture joins
/// late, inside of a block.
fn is_rtsp_port(info: &ConnInfo) -> bool {
    let known = |port: u16| matches!(port, 554 | 322 | 8554 | 8322);
    known(info.a.port()) != known(info.b.port())
}

/// What came before the first line was whole.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) info: ConnInfo,
    pub(crate) pieces: Vec<(Dir, At, Piece)>,
    bytes: usize,
}

/// A piece of a stream.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes.
    Bytes(Vec<u8>),
    /// Bytes that are missing.
    Gap(u64, Missing),
}

impl Kept {
    pub(crate) fn new(info: ConnInfo) -> Self {
        Self { info, pieces: Vec::new(), bytes: 0 }
    }

    /// Keeps bytes and judges what that side has said so far.
    pub(crate) fn data(&mut self, dir: Dir, at: At, bytes: &[u8]) -> Speech {
        self.pieces.push((dir, at, Piece::Bytes(bytes.to_vec())));
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > MAX_KEPT.saturating_mul(2) || self.pieces.len() > 1000 {
            return Speech::Binary;
        }
        let of_side = self.pieces.iter().filter_map(|(d, _, piece)| match piece {
            Piece::Bytes(bytes) if *d == dir => Some(bytes.as_slice()),
            _ => None,
        });
        judge(&self.info, &of_side.collect::<Vec<_>>().concat())
    }

    /// Keeps a hole: a line with a hole is none.
    pub(crate) fn gap(&mut self, dir: Dir, at: At, len: u64, why: Missing) -> Speech {
        self.pieces.push((dir, at, Piece::Gap(len, why)));
        Speech::Binary
    }
}
