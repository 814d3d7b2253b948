//! MP4 files and segments: the boxes, then what movie, fragments and indexes hold.

use wire::mp4::BoxHeader;
use wire::mp4::fragment::{Fragment, SegmentIndex};
use wire::mp4::movie::Movie;
use wire::trace::field;
use wire::{Cursor, Field, Result, Trace};

use super::Part;
use crate::dissect::provenance::Provenance;

const CLAUSE: &str = "ISO 14496-12 §4.2";
static BOX: Field = field("top-level box", CLAUSE, "A box of the file.");
static CONTENT: Field = field("box content", CLAUSE, "What the box holds.");

/// Boxes read at the top level.
const MAX_BOXES: usize = 4096;

/// A top-level box: its type, and where its content stands.
type Place = ([u8; 4], std::ops::Range<usize>);

/// Reads the boxes of the top level.
pub fn boxes<T: Trace>(c: &mut Cursor<'_, T>) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    while c.remaining() >= 8 && places.len() < MAX_BOXES {
        let place = c.group(&BOX, |c| {
            let head = BoxHeader::decode(c)?;
            let size = head.content().map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
            let start = c.position();
            c.bytes(&CONTENT, if head.size.is_none() { c.remaining() } else { size })?;
            Ok((head.kind.0, start..c.position()))
        })?;
        places.push(place);
    }
    Ok(places)
}

/// The parts of a file.
pub fn parts(bytes: &[u8], origin: &Provenance) -> Vec<Part> {
    let (part, _) = Part::read("MP4 boxes", bytes, origin.clone(), |c| boxes(c).map(drop));
    let mut parts = vec![part];
    // What stands before a damaged box is shown all the same.
    let mut c = Cursor::new(bytes);
    let mut at = 0usize;
    while parts.len() < MAX_BOXES {
        let Ok(head) = BoxHeader::decode(&mut c) else { break };
        let start = c.position();
        let size =
            head.content().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX).min(c.remaining());
        let Ok(content) = c.bytes(&CONTENT, size) else { break };
        let origin = origin.slice(start as u64..c.position() as u64);
        let name = format!("{} box, {} bytes", head.kind, content.len());
        match &head.kind.0 {
            b"moov" => parts.push(Part::read(name, content, origin, |c| Movie::decode(c).map(drop)).0.at(1)),
            b"moof" => {
                parts.push(Part::read(name, content, origin, |c| Fragment::decode(c).map(drop)).0.at(1))
            }
            b"sidx" => {
                parts.push(Part::read(name, content, origin, |c| SegmentIndex::decode(c).map(drop)).0.at(1))
            }
            _ => {}
        }
        if c.position() <= at {
            break;
        }
        at = c.position();
    }
    parts
}
