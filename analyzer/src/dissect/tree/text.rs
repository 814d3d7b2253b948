//! Messages of text: RTSP, SDP, HTTP, playlists.

use wire::hls::{What, lines};
use wire::rtsp::{Head, Interleaved};
use wire::sdp::Description;
use wire::trace::field;
use wire::{Cursor, Field, Result, Trace};

use super::{Part, mp4, ts};
use crate::dissect::provenance::Provenance;

const SPEC: &str = "RFC 8216 §4.1";
static LINE: Field = field("playlist line", SPEC, "A tag, a URI, a comment or nothing.");
static TAG: Field = field("tag", SPEC, "Name of the tag, `#` included.");
static COLON: Field = field("separator", SPEC, "A colon, comma or equals sign.");
static VALUE: Field = field("tag value", "RFC 8216 §4.3", "As the tag defines it.");
static NAME: Field = field("attribute", "RFC 8216 §4.2", "Name of an attribute.");
static ATTRIBUTE: Field =
    field("attribute value", "RFC 8216 §4.2", "Number, resolution, word or quoted string.");
static URI: Field = field("URI", SPEC, "A segment or a playlist.");
static COMMENT: Field = field("comment", SPEC, "Ignored.");
static END: Field = field("line end", SPEC, "LF, or CR and LF.");
static BODY: Field = field("body", "RFC 9110 §6.4", "Content of the message.");
static PACKET: Field = field("interleaved packet", "RFC 2326 §10.12", "One RTP or RTCP packet.");

/// The parts of an RTSP message: head, then body.
pub fn rtsp(unit: &[u8], head: usize, origin: &Provenance) -> Vec<Part> {
    let (first, body) = unit.split_at(head.min(unit.len()));
    let end = unit.len() as u64;
    let (part, read) = Part::read("RTSP message", first, origin.slice(0..first.len() as u64), Head::decode);
    let mut parts = vec![part];
    if !body.is_empty() {
        let origin = origin.slice(first.len() as u64..end);
        let kind = read.and_then(|h| h.headers.value("Content-Type").map(str::to_owned)).unwrap_or_default();
        let part = if kind.trim().starts_with("application/sdp") {
            Part::read("SDP session description", body, origin, Description::decode).0
        } else {
            plain(body, origin)
        };
        parts.push(part.at(1));
    }
    parts
}

/// The frame around an interleaved packet.
pub fn interleaved(unit: &[u8], origin: Provenance) -> Part {
    Part::read("RTSP interleaved frame", unit, origin, |c| {
        Interleaved::decode(c)?;
        c.rest(&PACKET);
        Ok(())
    })
    .0
}

/// An HTTP head.
pub fn http(head: &[u8], origin: Provenance) -> Part {
    Part::read("HTTP head", head, origin, |c| wire::http::Head::decode(c).map(drop)).0
}

/// The parts of an HTTP body.
pub fn body(bytes: &[u8], origin: Provenance, content_type: &str) -> Vec<Part> {
    let kind = content_type.to_ascii_lowercase();
    let parts = if kind.contains("mpegurl") || bytes.starts_with(b"#EXTM3U") {
        vec![Part::read("HLS playlist", bytes, origin, playlist).0]
    } else if kind.contains("mp4") || matches!(bytes.get(4..8), Some(b"ftyp" | b"styp" | b"moof" | b"sidx")) {
        mp4::parts(bytes, &origin)
    } else if bytes.len() >= 2 * wire::ts::PACKET && wire::ts::is_packets(bytes) {
        ts::parts(bytes, &origin)
    } else {
        vec![plain(bytes, origin)]
    };
    parts.into_iter().map(|part| Part { level: part.level.saturating_add(1), ..part }).collect()
}

fn plain(bytes: &[u8], origin: Provenance) -> Part {
    Part::read(format!("body, {} bytes", bytes.len()), bytes, origin, |c| {
        c.rest(&BODY);
        Ok(())
    })
    .0
}

/// Reads a playlist.
pub fn playlist<T: Trace>(c: &mut Cursor<'_, T>) -> Result<()> {
    let bytes = c.peek();
    for line in lines(bytes) {
        let line = line?;
        c.group(&LINE, |c| {
            let length = line.span.len();
            match &line.what {
                What::Blank => {}
                What::Comment(_) => drop(c.bytes(&COMMENT, length)?),
                What::Uri(_) => drop(c.text(&URI, length)?),
                What::Tag(tag) => {
                    c.text(&TAG, tag.name.text.len().saturating_add(1))?;
                    if let Some(value) = tag.value {
                        c.bytes(&COLON, 1)?;
                        value_of(c, value.text)?;
                    }
                }
            }
            let rest = c.peek();
            let end = match rest {
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] => 1,
                _ => 0,
            };
            c.bytes(&END, end).map(drop)
        })?;
    }
    Ok(())
}

/// A list of attributes where every item is one, else a plain value.
fn value_of<T: Trace>(c: &mut Cursor<'_, T>, value: &str) -> Result<()> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
    };
    let mut rest = value;
    while let Some((name, behind)) = rest.split_once('=').filter(|(name, _)| is_name(name)) {
        let quoted = behind.starts_with('"');
        let inside = if quoted { behind.get(1..).unwrap_or_default() } else { behind };
        let stop = if quoted { '"' } else { ',' };
        let found = inside.find(stop);
        let length = match found {
            Some(at) if quoted => at.saturating_add(2),
            Some(at) => at,
            None => behind.len(),
        };
        c.text(&NAME, name.len())?;
        c.bytes(&COLON, 1)?;
        c.text(&ATTRIBUTE, length)?;
        rest = behind.get(length..).unwrap_or_default();
        match rest.strip_prefix(',') {
            Some(more) => {
                c.bytes(&COLON, 1)?;
                rest = more;
            }
            None => break,
        }
    }
    if !rest.is_empty() {
        c.text(&VALUE, rest.len())?;
    }
    Ok(())
}
