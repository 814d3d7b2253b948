//! AMF0 values: whatever is read can be written, and reads the same again; with a field tree the result is the same, and the
//! leaves tile what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::rtmp::message::Command;
use wire::{Cursor, Tree, amf0};

fuzz_target!(|data: &[u8]| {
    let mut plain = Cursor::new(data);
    let (values, error) = amf0::decode_all(&mut plain);

    let written = amf0::encode_all(&values);
    let (again, trouble) = amf0::decode_all(&mut Cursor::new(&written));
    assert_eq!(trouble, None, "what was written cannot be read");
    // By their bytes: a number may be NaN, which equals nothing.
    assert_eq!(amf0::encode_all(&again), written);

    let mut traced = Cursor::traced(data, Tree::default());
    let (same, same_error) = amf0::decode_all(&mut traced);
    assert_eq!(amf0::encode_all(&same), written);
    assert_eq!(same_error, error);
    let mut end = 0;
    let tree = traced.into_trace();
    for leaf in tree.leaves() {
        assert_eq!(leaf.bits.start, end, "a gap or an overlap before {:?}", leaf.field);
        end = leaf.bits.end;
    }
    assert!(end <= data.len() as u64 * 8);

    for amf3 in [false, true] {
        if let Ok((command, _)) = Command::decode(&mut Cursor::new(data), amf3) {
            let _ = Command::decode(&mut Cursor::new(&command.encode()), false);
        }
    }
});
