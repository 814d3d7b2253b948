//! Where decode times stand in a segment of fragmented MP4.

use std::ops::Range;

use wire::cursor::Cursor;
use wire::mp4::BoxHeader;

/// Changes the decode time of every track in every movie fragment (ISO/IEC 14496-12 §8.8.12).
pub(super) fn decode_times(segment: &mut [u8], change: impl Fn(u64) -> u64) {
    let whole = 0..segment.len();
    let moofs = within(segment, whole, *b"moof");
    let trafs = moofs.into_iter().flat_map(|moof| within(segment, moof, *b"traf"));
    let tfdts: Vec<_> = trafs.flat_map(|traf| within(segment, traf, *b"tfdt")).collect();
    for tfdt in tfdts {
        let Some(content) = segment.get_mut(tfdt) else { continue };
        let Some((version, time)) = content.split_first_mut() else { continue };
        // Behind the version stand 24 bits of flags.
        let Some(time) = time.get_mut(3..) else { continue };
        if *version == 1 {
            if let Some(bytes) = time.first_chunk_mut() {
                *bytes = change(u64::from_be_bytes(*bytes)).to_be_bytes();
            }
        } else if let Some(bytes) = time.first_chunk_mut() {
            let changed = change(u64::from(u32::from_be_bytes(*bytes)));
            *bytes = u32::try_from(changed).unwrap_or(u32::MAX).to_be_bytes();
        }
    }
}

/// The contents of the boxes of a kind directly within a part of `bytes`.
fn within(bytes: &[u8], part: Range<usize>, kind: [u8; 4]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = part.start;
    while at < part.end {
        let rest = bytes.get(at..part.end).unwrap_or_default();
        let Ok(head) = BoxHeader::decode(&mut Cursor::new(rest)) else { break };
        let size =
            head.size.and_then(|size| usize::try_from(size).ok()).unwrap_or(rest.len()).min(rest.len());
        let end = at.saturating_add(size);
        if head.kind.0 == kind {
            found.push(at.saturating_add(usize::from(head.header)).min(end)..end);
        }
        at = end;
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).unwrap();
        [&size.to_be_bytes(), &kind[..], content].concat()
    }

    #[test]
    fn times_of_both_sizes_in_every_fragment_are_changed() {
        let segment = |short: u32, long: u64| {
            let short = boxed(b"tfdt", &[&[0; 4][..], &short.to_be_bytes()].concat());
            let long = boxed(b"tfdt", &[&[1, 0, 0, 0][..], &long.to_be_bytes()].concat());
            let trafs = [boxed(b"traf", &short), boxed(b"traf", &[boxed(b"tfhd", &[0; 8]), long].concat())];
            [boxed(b"styp", b"cmfs"), boxed(b"moof", &trafs.concat()), boxed(b"mdat", b"tfdt")].concat()
        };
        let mut whole = [segment(1, 1 << 40), segment(2, 3)].concat();
        decode_times(&mut whole, |time| time + 777);
        assert_eq!(whole, [segment(778, (1 << 40) + 777), segment(779, 780)].concat());
        for cut in 0..whole.len() {
            decode_times(&mut whole[..cut], |time| time);
        }
    }
}
