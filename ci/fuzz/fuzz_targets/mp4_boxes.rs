//! MP4 boxes: whatever a file claims, the leaves tile what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::mp4::fragment::SegmentIndex;
use wire::mp4::{BoxHeader, Fragment, Movie, head_needs};
use wire::{Cursor, Tree};

fuzz_target!(|data: &[u8]| {
    let Some((which, data)) = data.split_first() else { return };
    let mut c = Cursor::traced(data, Tree::default());
    let same = match which % 4 {
        0 => Movie::decode(&mut c) == Movie::decode(&mut Cursor::new(data)),
        1 => Fragment::decode(&mut c) == Fragment::decode(&mut Cursor::new(data)),
        2 => SegmentIndex::decode(&mut c) == SegmentIndex::decode(&mut Cursor::new(data)),
        _ => {
            let head = BoxHeader::decode(&mut c);
            assert!(head_needs(data).is_none() || head.is_err());
            head == BoxHeader::decode(&mut Cursor::new(data))
        }
    };
    assert!(same, "a field tree changes what is read");
    let left = c.bits_left();
    let mut end = 0;
    for leaf in c.into_trace().leaves() {
        assert_eq!(leaf.bits.start, end, "a gap or an overlap before {:?}", leaf.field);
        end = leaf.bits.end;
    }
    assert_eq!(end + left, data.len() as u64 * 8);
});
