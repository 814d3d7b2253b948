#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;

use super::fragment::SegmentIndex;
use super::write::{Part, Sample, fragment_head};
use super::*;
use crate::trace::Tree;

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut w = Writer::new();
    w.whole(kind, content);
    w.into_bytes()
}

#[test]
fn heads_have_sizes_of_32_and_64_bits_and_to_the_end() {
    let head = |bytes: &[u8]| BoxHeader::decode(&mut Cursor::new(bytes));
    let short = head(&[0, 0, 0, 20, b'm', b'o', b'o', b'f']).unwrap();
    assert_eq!((short.kind, short.size, short.content()), (BoxType(*b"moof"), Some(20), Some(12)));
    let long = head(&[0, 0, 0, 1, b'm', b'd', b'a', b't', 0, 0, 0, 2, 0, 0, 0, 0]).unwrap();
    assert_eq!((long.header, long.size), (16, Some(2 << 32)));
    assert_eq!(head(&[0, 0, 0, 0, b'm', b'd', b'a', b't']).unwrap().size, None);
    let error = head(&[0, 0, 0, 7, b'f', b'r', b'e', b'e']).unwrap_err();
    assert_eq!(error.to_string(), "byte 0: size: want the head at least, got 7 (0x7)");
    assert_eq!(head_needs(&[0, 0, 0, 1]), Some(8));
    assert_eq!(head_needs(&[0, 0, 0, 1, b'm', b'd', b'a', b't']), Some(16));
    assert_eq!(head_needs(&[0, 0, 0, 9, b'm', b'd', b'a', b't']), None);
    assert_eq!(BoxType(*b"a\x00b\xff").to_string(), "a\\x00b\\xff");
}

#[test]
fn a_fragment_comes_back_as_it_was_written() {
    let sample = |duration, size, key, composition| Sample { duration, size, key, composition };
    let video = vec![sample(3600, 1000, true, 7200), sample(3600, 10, false, -3600)];
    let parts = [
        Part { track: 1, decode_time: 1 << 40, samples: video },
        Part { track: 2, decode_time: 7, samples: vec![sample(1024, 6, true, 0)] },
    ];
    let bytes = fragment_head(9, &parts);
    let mut c = Cursor::new(&bytes);
    let head = BoxHeader::decode(&mut c).unwrap();
    let end = usize::try_from(head.size.unwrap()).unwrap();
    let fragment = Fragment::decode(&mut Cursor::new(&bytes[8..end])).unwrap();
    assert_eq!(fragment.sequence, 9);
    let [first, second] = &fragment.tracks[..] else { panic!() };
    assert_eq!((first.track, first.decode_time, first.base_is_moof), (1, Some(1 << 40), true));
    let got: Vec<_> = first.runs[0].samples.iter().map(|s| (s.duration, s.size, s.composition)).collect();
    assert_eq!(got, [(Some(3600), Some(1000), 7200), (Some(3600), Some(10), -3600)]);
    assert_eq!(first.runs[0].samples[1].flags.unwrap() & fragment::NON_SYNC, fragment::NON_SYNC);
    assert_eq!(first.runs[0].samples[0].flags.unwrap() & fragment::NON_SYNC, 0);
    // Data begin behind the head of mdat, the second track's behind the first's.
    assert_eq!(first.runs[0].data_offset, i32::try_from(bytes.len()).ok());
    assert_eq!(second.runs[0].data_offset, i32::try_from(bytes.len() + 1010).ok());
    let mdat = BoxHeader::decode(&mut Cursor::new(&bytes[end..])).unwrap();
    assert_eq!((mdat.kind, mdat.content()), (BoxType(*b"mdat"), Some(1016)));
}

#[test]
fn an_esds_comes_back_as_it_was_written() {
    let mut w = Writer::new();
    let entry = w.open(b"mp4a");
    w.zeros(6);
    w.u16(1);
    w.zeros(8);
    w.u16(2);
    w.u16(16);
    w.u32(0);
    w.u32(48_000 << 16);
    w.esds(0x40, &[0x11, 0x90]);
    w.close(entry);
    let bytes = w.into_bytes();
    let mut found = None;
    let mut c = Cursor::new(&bytes);
    let all = Inside::all(&c);
    all.boxes(&mut c, &mut |c, inside| {
        found = Some(SampleEntry::decode(c, inside, entry::Form::Audio)?);
        Ok(())
    })
    .unwrap();
    let found = found.unwrap();
    assert_eq!((found.sound, found.object_type), (Some((2, 48_000)), Some(0x40)));
    assert_eq!((found.config, found.config_box), (&[0x11, 0x90][..], Some(BoxType(*b"esds"))));
}

#[test]
fn a_table_is_no_longer_than_its_box() {
    let mut stts = vec![0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    stts.extend([0; 16]);
    let bytes = boxed(b"trak", &boxed(b"mdia", &boxed(b"minf", &boxed(b"stbl", &boxed(b"stts", &stts)))));
    let error = Movie::decode(&mut Cursor::new(&bytes)).unwrap_err();
    assert_eq!(error.to_string(), "byte 44: entry_count in box: 2147483647 is above the limit of 2");
    let mut run = vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let bytes = boxed(b"traf", &boxed(b"trun", &run));
    let error = Fragment::decode(&mut Cursor::new(&bytes)).unwrap_err();
    assert!(matches!(error.problem, Problem::TooLarge { limit: 65_536, .. }), "{error}");
    run[2] = 2;
    run.extend([0; 7]);
    let bytes = boxed(b"traf", &boxed(b"trun", &run));
    let error = Fragment::decode(&mut Cursor::new(&bytes)).unwrap_err();
    assert!(matches!(error.problem, Problem::TooLarge { limit: 1, .. }), "{error}");
}

#[test]
fn a_box_that_claims_more_than_encloses_it_is_an_error_at_its_size() {
    let mut bytes = boxed(b"trak", &boxed(b"tkhd", &[0; 84]));
    bytes[11] = 200;
    let error = Movie::decode(&mut Cursor::based(&bytes, 1000)).unwrap_err();
    assert_eq!(error.to_string(), "byte 1008: size in box: 200 is above the limit of 92");
    // Fields beyond the end of their own box are an error as well.
    let mut bytes = boxed(b"trak", &[boxed(b"tkhd", &[0; 20]), boxed(b"free", &[0; 100])].concat());
    bytes[12..16].copy_from_slice(b"tkhd");
    assert!(Movie::decode(&mut Cursor::new(&bytes)).is_err());
}

#[test]
fn nesting_has_a_bound() {
    let mut bytes = Vec::new();
    for _ in 0..40 {
        bytes = boxed(b"minf", &bytes);
    }
    let bytes = boxed(b"trak", &boxed(b"mdia", &bytes));
    let error = Movie::decode(&mut Cursor::new(&bytes)).unwrap_err();
    assert!(matches!(error.problem, Problem::TooDeep { .. }), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_gap(bytes in proptest::collection::vec(any::<u8>(), 0..256), which in 0..4) {
        let content = match which {
            0 => boxed(b"trak", &bytes),
            1 => boxed(b"traf", &bytes),
            2 => boxed(b"mvex", &bytes),
            _ => bytes,
        };
        let mut c = Cursor::traced(&content, Tree::default());
        match which {
            1 => drop(Fragment::decode(&mut c)),
            3 => drop(SegmentIndex::decode(&mut c)),
            _ => drop(Movie::decode(&mut c)),
        }
        let left = c.bits_left();
        let mut at = 0;
        for leaf in c.into_trace().leaves() {
            prop_assert_eq!(leaf.bits.start, at);
            at = leaf.bits.end;
        }
        prop_assert_eq!(at + left, content.len() as u64 * 8);
    }
}
