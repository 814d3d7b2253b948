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

/// RTMP in another guise, that is named and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disguise {
    /// Inside TLS.
    Rtmps,
    /// Inside HTTP requests.
    Rtmpt,
}

/// RTMP in another guise, by the first bytes of a connection or request.
pub(crate) fn disguise(info: &ConnInfo, bytes: &[u8]) -> Option<Disguise> {
    // A ClientHello to a port of RTMP or RTMPS.
    if let [0x16, 3, 0..=4, _, _, 1, ..] = bytes {
        return (info.client_known && matches!(info.b.port(), 1935 | 1936)).then_some(Disguise::Rtmps);
    }
    let path = bytes.strip_prefix(b"POST /")?;
    let named = [&b"open/1"[..], b"send/", b"idle/", b"close/", b"fcs/ident"];
    let typed = || path.windows(TUNNELLED.len()).take(1024).any(|w| w.eq_ignore_ascii_case(TUNNELLED));
    (named.iter().any(|name| path.starts_with(name)) && typed()).then_some(Disguise::Rtmpt)
}

/// The content type of RTMPT.
const TUNNELLED: &[u8] = b"application/x-fcs";

/// What came before the first line was whole.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) info: ConnInfo,
    pub(crate) pieces: Vec<(Dir, At, Piece)>,
    bytes: usize,
}

/// A piece of a stream.
#[derive(Clone, Debug)]
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

    /// Memory held, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.bytes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtmp_in_other_guises_is_named() {
        let info = |port: u16, client_known| ConnInfo {
            a: "192.0.2.1:5000".parse().unwrap(),
            b: format!("192.0.2.2:{port}").parse().unwrap(),
            client_known,
            time_ns: 0,
            frame: 1,
        };
        let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
        assert_eq!(disguise(&info(1936, true), &hello), Some(Disguise::Rtmps));
        assert_eq!(disguise(&info(443, true), &hello), None);
        let post =
            |path: &str, kind: &str| format!("POST /{path} HTTP/1.1\r\nContent-Type: {kind}\r\n\r\n\0");
        for path in ["open/1", "send/57005/3", "idle/57005/0", "fcs/ident2"] {
            let request = post(path, "application/x-fcs");
            assert_eq!(disguise(&info(80, true), request.as_bytes()), Some(Disguise::Rtmpt), "{path}");
        }
        assert_eq!(disguise(&info(80, true), post("send/1", "text/plain").as_bytes()), None);
        assert_eq!(disguise(&info(80, true), post("vote", "application/x-fcs").as_bytes()), None);
    }
}
